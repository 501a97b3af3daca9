"""`python -m voicefsm`, and the command `voicefsm`."""

from __future__ import annotations

import os

from voicefsm.cli import run


def main() -> None:
    """Run the command line; never returns."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # its notes on connections that close are no news; read when grpc is imported
    run()


if __name__ == "__main__":
    main()

"""`python -m voicefsm`, and the command `voicefsm`."""

from __future__ import annotations

from voicefsm.cli import run


def main() -> None:
    """Run the command line; never returns."""
    run()


if __name__ == "__main__":
    main()

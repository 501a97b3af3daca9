"""`voicefsm metrics`: every metric there is, as a page."""

from __future__ import annotations


def metrics() -> None:
    """List every metric: type, labels, and what it means."""
    from voicefsm.telemetry.families import page  # noqa: PLC0415  # a quick --help

    print(page())

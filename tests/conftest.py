"""What all tests share."""

from __future__ import annotations

import asyncio

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/scenarios --rewrite` writes every transcript anew."""
    parser.addoption("--rewrite", action="store_true", help="write the transcripts in tests/scenarios anew")


def pytest_configure() -> None:
    """Say once that the main thread has no event loop.

    Otherwise the first asynchronous test after a synchronous one makes Python invent a loop that nobody closes, and its
    ResourceWarning, an error here, lands in whichever test the garbage collector happens to run.
    """
    asyncio.set_event_loop(None)

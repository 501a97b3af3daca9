"""What all tests share."""

from __future__ import annotations

import asyncio
import gc

import pytest

pytest_plugins = ["tests.certificates", "tests.redis"]

LEFT_TO = {"exhaustive": "tox -e model", "all_faults": "tox -e faults", "all_resumes": "tox -e resume"}
"""Markers of tests that take minutes, and what runs them; here they run only when asked for with -m."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/scenarios --rewrite` writes every transcript anew."""
    parser.addoption("--rewrite", action="store_true", help="write the transcripts in tests/scenarios anew")


def pytest_configure(config: pytest.Config) -> None:
    """Name the markers, and say once that the main thread has no event loop.

    Otherwise the first asynchronous test after a synchronous one makes Python invent a loop that nobody closes, and its
    ResourceWarning, an error here, lands in whichever test the garbage collector happens to run.
    """
    for marker, command in LEFT_TO.items():
        config.addinivalue_line("markers", f"{marker}: takes a minute or more; only when asked for with -m ({command})")
    asyncio.set_event_loop(None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long runs to tox."""
    for marker, command in LEFT_TO.items():
        if marker not in config.option.markexpr:
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(pytest.mark.skip(reason=command))


def pytest_collection_finish() -> None:
    """What was imported for thousands of tests is no garbage: each look of the collector at it takes a tenth of a second."""
    gc.freeze()

"""The event loop of processes that serve: uvloop where there is one, asyncio's own elsewhere (Windows).

What it saves is in docs/performance.md. Tests run on asyncio's own loop, because virtual time needs it.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

GC_THRESHOLD = (50_000, 50, 50)
"""Allocations until the youngest generation is looked at, and how many of those until an older one is. Sessions leave nothing to
the collector (`voicefsm bench step`): it is there for what libraries leave, and need not be quick."""


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the loop."""
    try:
        import uvloop  # noqa: PLC0415  # not everywhere
    except ModuleNotFoundError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, on that loop."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


def settle_memory() -> None:
    """Once everything is imported and started: what lives now lives on, and is not looked at again by the garbage collector."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)

"""An event loop whose clock only moves when nothing is left to do at the present moment: an hour of sleep takes no time at all.

Theory of operation. asyncio asks its selector to wait until the next timer is due. Ours does not wait, it moves the clock.
There are no sockets, signals, threads or processes on such a loop, so nothing can happen in between: what runs on it depends on
nothing but itself, and runs the same way every time. A loop with nothing to do and no timer would wait for ever: it is `Stuck`.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(RuntimeError):
    """Everybody waits for somebody else."""


class _Clock:
    """What asyncio takes for its selector."""

    now_s = 0.0

    def select(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait, in virtual time."""
        if timeout is None:
            raise Stuck("Nothing is due on the virtual loop, ever.")
        self.now_s += timeout
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop in virtual time, which begins at 0."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _Clock()
        self._clock_resolution = 1e-6  # coarser than the rounding of the hours we add up

    def time(self) -> float:
        """Virtual seconds."""
        return self._selector.now_s

    def _process_events(self, event_list: list[object]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """There is no other thread that we would have to wake up for."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)

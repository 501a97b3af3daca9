"""How long a task waits for its server, wait after wait, with one timer.

Theory of operation. `asyncio.timeout` makes a timer, and asks for loop and task, around each wait: where a server sends many small
messages that takes a twentieth of the gateway's time, and next to none of the timers ever goes off. Here a timer that is set stays
set when the wait is over. When it goes off it looks: nobody waits, then it is set again by the next wait; somebody waits for longer
than it knew, then it is set anew; or the time is over, and the wait is cancelled, as `asyncio.timeout` would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


class Patience:
    """Of one task at a time."""

    def __init__(self) -> None:
        """On the running loop."""
        self._loop = asyncio.get_running_loop()
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        """When the timer goes off."""
        self._waiting: asyncio.Task[Any] | None = None
        self._cancelling = 0
        """How often whoever waits was cancelled by others before."""
        self._is_over = False

    def until(self, at: float | None) -> None:
        """Wait no longer than this, on the loop's clock; None: for ever. Also counts for a wait that has begun."""
        self._at = at
        if at is not None and self._waiting is not None:
            self._set(at)

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Await it. Raises `TimeoutError` when the time is over, and what it raises."""
        task = asyncio.current_task()
        assert task is not None
        assert self._waiting is None, "one task at a time"
        self._waiting, self._cancelling, self._is_over = task, task.cancelling(), False
        if self._at is not None:
            self._set(self._at)
        try:
            return await awaitable
        except asyncio.CancelledError:
            if self._is_over and task.cancelling() <= self._cancelling + 1:
                raise TimeoutError from None
            raise
        finally:
            self._waiting = None
            if self._is_over:
                task.uncancel()

    def end(self) -> None:
        """The time of the wait that has begun is over now; harmless while there is none."""
        if self._waiting is not None and not self._is_over:
            self._is_over = True
            self._waiting.cancel()

    def close(self) -> None:
        """There will be no more waits. Harmless twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, at: float) -> None:
        """See to it that somebody looks at this time, or before."""
        if self._timer is not None:
            if self._due <= at:
                return
            self._timer.cancel()
        self._due = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._waiting is None or self._at is None:
            return
        if self._loop.time() < self._at:
            self._set(self._at)
        else:
            self.end()

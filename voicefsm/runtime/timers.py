"""One timer per session, armed for the machine's next deadline.

Deadlines are data in the context: setting, moving and clearing one costs nothing here. After each step the session asks for the
earliest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from voicefsm.events import Timer, TimerFired
from voicefsm.ports import Clock

Deadline: TypeAlias = tuple[int, Timer]
"""When, and what for."""


class LoopClock:
    """The *now* clock: the event loop's own, so that a virtual loop makes time virtual."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop or asyncio.get_running_loop()

    def now_ms(self) -> int:
        """Monotonic milliseconds."""
        return int(self._loop.time() * 1000)


class DeadlineTimer:
    """Tells a session the fact that its earliest deadline has passed."""

    def __init__(self, clock: Clock, fire: Callable[[TimerFired], None]) -> None:
        self._clock = clock
        self._fire = fire
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._armed: Deadline | None = None

    def arm(self, deadline: Deadline | None) -> None:
        """Wake up at the context's next deadline: see `machine.next_deadline`. Cheap when it has not moved."""
        if deadline == self._armed:
            return
        self.close()
        if deadline is not None:
            self._armed = deadline
            wait_ms = max(0, deadline[0] - self._clock.now_ms())
            self._handle = self._loop.call_later(wait_ms / 1000, self._wake, *deadline)

    def close(self) -> None:
        """Forget the deadline."""
        self._armed = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _wake(self, due_ms: int, timer: Timer) -> None:
        self._armed = None
        self._fire(TimerFired(max(due_ms, self._clock.now_ms()), timer))

"""Has the core anything left for one more conversation?

Theory of operation. All conversations of a process share one loop, and that is one thread. What they take of a core depends on the
machine and on what is said, so nobody can know beforehand how many fit; past that number all of them are late. So the thread's time
is read a few times a second, and whoever comes while it is used up is turned away, for the sake of those that live.

A conversation is admitted in a moment and costs something from then on: what began in the time that was looked at is not in it yet,
or in part, and is added. Where a container has a quota of time, or neighbours take it, the thread uses little and is late all the
same: lateness counts as use. A process with few conversations is never full: what keeps it busy is none of theirs.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from voicefsm.errors import TooMuch

SAMPLE_S = 0.25
SAMPLES = 8
WINDOW_S = SAMPLES * SAMPLE_S
"""What is looked at: the last two seconds."""
SESSION_PCT = 1.5
"""Of a core: what one that has just begun is thought to take (docs/performance.md)."""
FEW_SESSIONS = 8
"""So many are always taken."""
NEVER_PCT = 100
"""This limit is none."""


class Busy:
    """How busy the running loop's thread is."""

    def __init__(self, pct_max: int, used_s: Callable[[], float] = time.thread_time) -> None:
        """No more sessions from `pct_max` percent of a core on; `NEVER_PCT`: nobody is turned away. `used_s`: the thread's time."""
        self._pct_max, self._used_s = pct_max, used_s
        self._loop = asyncio.get_running_loop()
        self._samples = deque([(self._loop.time(), used_s(), 0.0)], maxlen=SAMPLES + 1)
        """(when, time used, time late until then)."""
        self._begun: deque[float] = deque()
        """When the last sessions began."""

    async def run(self) -> None:
        """Look, until cancelled."""
        while True:
            due = self._loop.time() + SAMPLE_S
            await asyncio.sleep(SAMPLE_S)
            self._note(due)

    def note_session(self) -> None:
        """One begins."""
        now = self._loop.time()
        self._begun.append(now)
        while self._begun[0] <= now - WINDOW_S:
            self._begun.popleft()

    def check(self, sessions: int) -> None:
        """May one more begin beside so many? Raises `TooMuch`."""
        if sessions < FEW_SESSIONS or self._pct_max >= NEVER_PCT:
            return
        expected_pct = self.pct + self._unseen_pct()
        if expected_pct >= self._pct_max:
            raise TooMuch(
                f"This server uses {expected_pct:.0f} % of its core with {sessions} sessions; {self._pct_max} % is the limit.",
                remedy="Try another replica, or again in a while.",
            )

    @property
    def pct(self) -> float:
        """Of a core, in the last seconds: 0 to 100."""
        (first_at, first_used, first_late), (at, used, late) = self._samples[0], self._samples[-1]
        share = max(used - first_used, late - first_late) / max(at - first_at, SAMPLE_S)
        return 100 * min(1.0, share)

    def _note(self, due: float) -> None:
        now = self._loop.time()
        self._samples.append((now, self._used_s(), self._samples[-1][2] + max(0.0, now - due)))

    def _unseen_pct(self) -> float:
        """What those take that began in the time looked at, as far as it is not in `pct`."""
        now = self._loop.time()
        return sum(max(0.0, 1 - (now - began) / WINDOW_S) for began in self._begun) * SESSION_PCT

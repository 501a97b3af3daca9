"""Has the core anything left for one more conversation?

Theory of operation. All conversations of a process share one loop, and that is one thread. What they take of a core depends on the
machine and on what is said, so nobody can know beforehand how many fit; past that number all of them are late. So a few times a
second the thread is looked at: how long it ran, and how long it could have run and had no processor, because a neighbour had it or
the container's quota was used up. Whoever comes while the two leave nothing is turned away, for the sake of those that live.

A conversation is admitted in a moment and costs something from then on. By how many there are more now than there were in the
time that was looked at, so many are not seen yet, and are added. Those that drop and come back are none. A process with few
conversations is never full: what keeps it busy is none of theirs.

Where little is left, wakes gather (`voicefsm.loop`): those that live are a little later then, and not far too late.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from voicefsm.errors import TooMuch

SAMPLE_S = 0.25
SAMPLES = 8
WINDOW_S = SAMPLES * SAMPLE_S
"""What is looked at: the last two seconds."""
SESSION_PCT, SESSION_PCT_MIN = 1.5, 0.5
"""Of a core: what a conversation takes where nothing is known (0.9 CPU seconds a minute), and the least that is believed of one."""
FEW_SESSIONS = 8
"""So many are always taken, and never gathered for."""
NEVER_PCT = 100
"""This limit is none."""
GATHER_PCT, GATHER_MS_MAX_PCT, GATHER_MS_MAX = 80, 88, 3.0
"""From so much of a core on it pays to be woken less often: at so much, after so many milliseconds each time."""


class _Sample(NamedTuple):
    at: float
    wanted_s: float
    sessions: int


def wanted_s() -> float:
    """How long this thread has run or wanted to, ever; where the system does not tell, how long it has run."""
    try:
        ran_ns, waited_ns, _ = Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return time.thread_time()
    return (int(ran_ns) + int(waited_ns)) / 1e9


class Busy:
    """How busy the running loop's thread is."""

    def __init__(self, pct_max: int, wanted: Callable[[], float] = wanted_s) -> None:
        """No more sessions from `pct_max` percent of a core on; `NEVER_PCT`: nobody is turned away. `wanted`: see `wanted_s`."""
        self._pct_max, self._wanted = pct_max, wanted
        self._now = asyncio.get_running_loop().time
        self._samples = deque([_Sample(self._now(), wanted(), 0)], maxlen=SAMPLES + 1)

    async def run(self, sessions: Callable[[], int], gather: Callable[[float], None] = lambda _ms: None) -> None:
        """Look, until cancelled. `sessions`: how many there are. `gather` is told how long wakes are to gather, in ms."""
        while True:
            await asyncio.sleep(SAMPLE_S)
            self._samples.append(_Sample(self._now(), self._wanted(), sessions()))
            gather(self._gather_ms if sessions() > FEW_SESSIONS else 0.0)

    def check(self, sessions: int) -> None:
        """May one more begin beside so many? Raises `TooMuch`."""
        if sessions < FEW_SESSIONS or self._pct_max >= NEVER_PCT:
            return
        expected_pct = self.pct + self._unseen_pct(sessions)
        if expected_pct >= self._pct_max:
            raise TooMuch(
                f"This server uses {expected_pct:.0f} % of its core with {sessions} sessions; {self._pct_max} % is the limit.",
                remedy="Try another replica, or again in a while.",
            )

    @property
    def pct(self) -> float:
        """Of a core, in the last seconds: 0 to 100."""
        first, last = self._samples[0], self._samples[-1]
        return 100 * min(1.0, (last.wanted_s - first.wanted_s) / max(last.at - first.at, SAMPLE_S))

    @property
    def _gather_ms(self) -> float:
        share = (self.pct - GATHER_PCT) / (GATHER_MS_MAX_PCT - GATHER_PCT)
        return GATHER_MS_MAX * min(max(share, 0.0), 1.0)

    def _unseen_pct(self, sessions: int) -> float:
        """What those take that are not in `pct`, because there were fewer when it was taken."""
        seen = sum(sample.sessions for sample in self._samples) / len(self._samples)
        each_pct = SESSION_PCT if seen < FEW_SESSIONS else min(max(self.pct / seen, SESSION_PCT_MIN), SESSION_PCT)
        return max(0.0, sessions - seen) * each_pct

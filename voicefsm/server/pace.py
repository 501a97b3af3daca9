"""How fast clients may send messages and begin sessions: each costs the loop that all share."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque

from voicefsm.errors import TooMuch
from voicefsm.ports import Clock
from voicefsm.runtime.plan import SessionSettings

LATE_TEXTS_APART_MS = 50
"""How far apart those of all clients are taken."""
MINUTE_MS = 60_000
BURST_S = 4
"""So many seconds' worth may come at once: a network that stood still delivers what it held back."""


@dataclasses.dataclass(slots=True)
class Bucket:
    """Tokens that come back one by one."""

    left: float
    at_ms: int
    """When they were counted last."""

    def fill(self, now_ms: int, most: float, come: int, in_ms: int) -> None:
        """Count what came back until now, up to `most`: so many `come` back in so much time."""
        self.left = min(most, self.left + (now_ms - self.at_ms) * come / in_ms)
        self.at_ms = now_ms


class Pace:
    """So many in a second, in the long run."""

    def __init__(self, clock: Clock, per_s_max: int, what: str, remedy: str) -> None:
        """`what` there may be so many of, and what to do about it."""
        self._clock, self._most, self._what, self._remedy = clock, per_s_max, what, remedy
        self._bucket = Bucket(float(per_s_max * BURST_S), clock.now_ms())

    def note(self) -> None:
        """One more. Raises `TooMuch`, and does not count it then."""
        self._bucket.fill(self._clock.now_ms(), float(self._most * BURST_S), self._most, 1000)
        if self._bucket.left < 1:
            raise TooMuch(f"More than {self._most} {self._what} a second, for more than {BURST_S} s.", remedy=self._remedy)
        self._bucket.left -= 1


def of_messages(clock: Clock, per_s_max: int) -> Pace:
    """Of one session's client."""
    return Pace(clock, per_s_max, "messages", "Send audio in pieces of 20 ms.")


def of_sessions(clock: Clock, per_s_max: int) -> Pace:
    """Of all clients together."""
    return Pace(clock, per_s_max, "sessions", "Try another replica, or again in a while.")


class Spread:
    """One after the other, so far apart: what each costs the loop is over before the next begins."""

    def __init__(self, clock: Clock, apart_ms: int) -> None:
        self._clock, self._apart_ms = clock, apart_ms
        self._next_ms = clock.now_ms()

    async def turn(self) -> None:
        """Wait for one's turn."""
        now_ms = self._clock.now_ms()
        at_ms = max(now_ms, self._next_ms)
        self._next_ms = at_ms + self._apart_ms
        if at_ms > now_ms:
            try:
                await asyncio.sleep((at_ms - now_ms) / 1000)
            except asyncio.CancelledError:
                self._next_ms -= self._apart_ms  # nobody takes it
                raise


class Texts:
    """How fast typed texts are taken of one client. Who types faster waits, for the texts alone: all else is heard meanwhile.

    What all such clients together may cost is bounded by their having one turn after the other.
    """

    def __init__(self, clock: Clock, per_minute_max: int, at_once_max: int, waiting_max: int, late: Spread) -> None:
        """`late`: the turns of those that have to wait, whoever sent them."""
        self._clock, self._per_minute, self._at_once, self._waiting_max = clock, per_minute_max, at_once_max, waiting_max
        self._bucket = Bucket(float(at_once_max), clock.now_ms())
        self._turns = late
        self._waiting: deque[str] = deque()
        self._wake = asyncio.Event()

    def take(self, text: str) -> bool:
        """Whether it may be told at once; else it waits for `late`. Raises `TooMuch` when too many wait."""
        self._fill()
        if not self._waiting and self._bucket.left >= 1:
            self._bucket.left -= 1
            return True
        if len(self._waiting) >= self._waiting_max:
            raise TooMuch(f"More than {self._per_minute} texts a minute.", remedy="Send what the user typed, not while they type.")
        self._waiting.append(text)
        self._wake.set()
        return False

    async def late(self) -> str:
        """The next of those that wait, when it is its turn."""
        while not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        self._fill()
        await asyncio.sleep(max(0.0, 1 - self._bucket.left) * MINUTE_MS / self._per_minute / 1000)
        await self._turns.turn()
        self._fill()
        self._bucket.left = max(0.0, self._bucket.left - 1)
        return self._waiting.popleft()

    def _fill(self) -> None:
        self._bucket.fill(self._clock.now_ms(), float(self._at_once), self._per_minute, MINUTE_MS)


def of_beginnings(clock: Clock, per_s_max: int) -> Spread:
    """A whole burst of sessions begins in a second."""
    return Spread(clock, 1000 // (per_s_max * BURST_S))


@dataclasses.dataclass(frozen=True, slots=True)
class Paces:
    """Of one client."""

    messages: Pace
    texts: Texts


def of_late_texts(clock: Clock) -> Spread:
    """Of all clients that type too fast."""
    return Spread(clock, LATE_TEXTS_APART_MS)


def of_client(clock: Clock, limits: SessionSettings, late_texts: Spread) -> Paces:
    """Of one session's client."""
    texts = Texts(clock, limits.texts_per_minute_max, limits.texts_at_once_max, limits.texts_waiting_max, late_texts)
    return Paces(of_messages(clock, limits.messages_per_s_max), texts)

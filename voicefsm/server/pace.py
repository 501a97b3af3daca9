"""How fast clients may send messages and begin sessions: each costs the loop that all share."""

from __future__ import annotations

import dataclasses

from voicefsm.errors import TooMuch
from voicefsm.ports import Clock

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

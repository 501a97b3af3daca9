"""A circuit breaker: who has failed several times in a row is left alone for a while, then tried by one.

Theory of operation. A breaker belongs to one server and is shared by all sessions of the process; it knows nothing but what it is
told, and time is an argument. CLOSED: everybody may ask; `failures_max` failures in a row open it. OPEN: nobody may, until its
rest is over; the rest doubles with each failure of a probe. HALF_OPEN: one caller may, the probe; its success closes the breaker,
its failure opens it again, and if it leaves without either (its user hung up) the next caller is the probe.

Checks (server/health.py) are told apart from calls: a check sees whether a server is there, a call whether it does its work. So a
good check ends only what a failed one has seen, and no rest that the server has asked for; what calls alone have seen, a call ends.

What a refused caller does then is not decided here: it becomes a fact, and the session's machine decides.
"""

from __future__ import annotations

import dataclasses
import enum

from voicefsm.values import setting


class BreakerState(enum.Enum):
    """Whether a server may be asked."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclasses.dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a server is left alone, and for how long."""

    failures_max: int = setting(
        3,
        unit="failures",
        ge=1,
        le=100,
        doc="So many failures in a row, and a server is left alone; where there is another, one will do.",
    )
    rest_ms_min: int = setting(
        500, unit="ms", ge=10, le=60000, doc="How long it is left alone at first; doubles with each failed probe."
    )
    rest_ms_max: int = setting(10000, unit="ms", ge=10, le=600000, doc="The longest that it is left alone.")


class Breaker:
    """Of one server."""

    def __init__(self, settings: BreakerSettings, *, failures_max: int | None = None) -> None:
        """`failures_max` replaces the setting's."""
        self._settings = settings
        self._failures_max = failures_max or settings.failures_max
        self._failures = 0
        """In a row."""
        self._rests = 0
        """In a row."""
        self._open_until_ms: int | None = None
        self._is_probed = False
        self._is_seen_by_checks = False
        """A check has failed since the server was well."""
        self.problem = ""
        """What was wrong at the last failure, in a sentence."""
        self._wanted_until_ms = 0
        """The server wants to be left alone until then."""

    def state(self, now_ms: int) -> BreakerState:
        """As it is now."""
        if self._open_until_ms is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now_ms < self._open_until_ms else BreakerState.HALF_OPEN

    def wait_ms(self, now_ms: int) -> int:
        """How long a caller has to wait; 0: it may ask."""
        match self.state(now_ms):
            case BreakerState.CLOSED:
                return 0
            case BreakerState.OPEN:
                return (self._open_until_ms or 0) - now_ms
        return self._settings.rest_ms_min if self._is_probed else 0

    def ask(self, now_ms: int) -> bool:
        """Begin a call, if one may. It ends with `succeeded`, `failed` or `left`. True: it is the probe."""
        assert not self.wait_ms(now_ms), "ask only when there is nothing to wait for"
        is_probe = self.state(now_ms) is BreakerState.HALF_OPEN
        self._is_probed = self._is_probed or is_probe
        return is_probe

    def succeeded(self) -> None:
        """The server has done something useful: it is well."""
        self._failures = self._rests = 0
        self._open_until_ms, self._is_probed, self._is_seen_by_checks = None, False, False

    def failed(self, now_ms: int, problem: str = "", *, is_probe: bool = False, retry_after_ms: int = 0) -> None:
        """A call has failed. `retry_after_ms`: the server wants to be left alone for so long."""
        self._failures += 1
        self.problem = problem
        if retry_after_ms:
            self._wanted_until_ms = now_ms + min(retry_after_ms, self._settings.rest_ms_max)
        if is_probe or retry_after_ms or (self._failures >= self._failures_max and self._open_until_ms is None):
            self._rest(now_ms, retry_after_ms)

    def check_succeeded(self, now_ms: int) -> None:
        """The server is there."""
        if self._is_seen_by_checks and now_ms >= self._wanted_until_ms:
            self.succeeded()

    def check_failed(self, now_ms: int, problem: str = "") -> None:
        """It is not. A check is as good a probe as a call, and costs nobody an answer."""
        self._is_seen_by_checks = True
        self.failed(now_ms, problem, is_probe=self.state(now_ms) is BreakerState.HALF_OPEN)

    def left(self, *, is_probe: bool) -> None:
        """A call has ended, and says nothing about the server."""
        self._is_probed = self._is_probed and not is_probe

    def _rest(self, now_ms: int, retry_after_ms: int) -> None:
        settings = self._settings
        rest_ms = min(settings.rest_ms_min << self._rests, settings.rest_ms_max)
        self._open_until_ms = now_ms + min(max(rest_ms, retry_after_ms), settings.rest_ms_max)
        if rest_ms < settings.rest_ms_max:
            self._rests += 1
        self._is_probed = False

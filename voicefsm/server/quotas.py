"""How much each identity may use: sessions at once, and sessions begun in a minute."""

from __future__ import annotations

import dataclasses

from voicefsm.errors import TooMuch
from voicefsm.ports import Clock, Identity
from voicefsm.server.pace import MINUTE_MS, Bucket

IDENTITIES_MAX = 10_000
"""Of how many identities without a session something is remembered; then those that can be forgotten are."""


@dataclasses.dataclass(slots=True)
class _Use:
    """What one identity uses."""

    starts: Bucket
    """Sessions it may begin at once."""
    sessions: int = 0


class Quotas:
    """Keeps count."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._uses: dict[str, _Use] = {}

    def enter(self, identity: Identity) -> None:
        """A session begins. Raises `TooMuch`."""
        use = self._use_of(identity)
        most = identity.allowance
        if use.sessions >= most.sessions_max:
            raise TooMuch(
                f"{identity.name} holds {most.sessions_max} sessions already.", remedy="End one, or ask the operator for more."
            )
        if use.starts.left < 1:
            wait_s = (1 - use.starts.left) * 60 / most.sessions_per_minute_max
            raise TooMuch(
                f"{identity.name} may begin {most.sessions_per_minute_max} sessions in a minute.",
                remedy=f"Try again in {wait_s:.1f} s, or ask the operator for more.",
            )
        use.starts.left -= 1
        use.sessions += 1

    def leave(self, identity: Identity) -> None:
        """A session is over."""
        self._uses[identity.name].sessions -= 1

    def _use_of(self, identity: Identity) -> _Use:
        """What it uses, with what came back since it was looked at last."""
        now_ms, most = self._clock.now_ms(), identity.allowance.sessions_per_minute_max
        use = self._uses.get(identity.name)
        if use is None:
            self._forget(now_ms)
            use = self._uses[identity.name] = _Use(Bucket(float(most), now_ms))
        use.starts.fill(now_ms, float(most), most, MINUTE_MS)
        return use

    def _forget(self, now_ms: int) -> None:
        """Let go of those that have used nothing for a minute: for them all has come back."""
        if len(self._uses) >= IDENTITIES_MAX:
            self._uses = {name: use for name, use in self._uses.items() if use.sessions or now_ms - use.starts.at_ms < MINUTE_MS}

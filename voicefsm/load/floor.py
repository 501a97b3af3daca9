"""The gateway beside the bare relay (relay.py), in turns on one machine: what it costs beyond what any relay costs here.

CPU seconds differ from machine to machine, and on a shared one from minute to minute; how many relays a gateway costs, much less.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from voicefsm.load import report
from voicefsm.load.figures import Level
from voicefsm.load.run import run
from voicefsm.load.settings import LoadSettings

CHUNK_MS = 20
"""Audio of one message to the recogniser: of the relay that is as quick as the gateway."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """Both at one number of sessions, one right after the other."""

    relay: Level
    gateway: Level

    @property
    def cpu_ratio(self) -> float:
        """How many relays a gateway costs; NaN when either used too little to be seen."""
        return (self.gateway.cpu_s_per_session_minute or float("nan")) / (self.relay.cpu_s_per_session_minute or float("nan"))

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"relay": self.relay.plain(), "gateway": self.gateway.plain(), "cpu_ratio": round(self.cpu_ratio, 2)}


async def measure(
    sessions: Sequence[int],
    seconds: float,
    settings: LoadSettings,
    *,
    chunk_ms: int = CHUNK_MS,
    overrides: Sequence[str] = (),
    on_pair: Callable[[Pair], None] = lambda _: None,
) -> list[Pair]:
    """Measure both at each number of sessions. `overrides` are settings of the gateway. Raises `ProcessDied`."""
    pairs: list[Pair] = []
    for count in sessions:
        (relay,) = await run([count], seconds, dataclasses.replace(settings, relay_chunk_ms=chunk_ms))
        (gateway,) = await run([count], seconds, settings, overrides=overrides)
        pairs.append(Pair(relay, gateway))
        on_pair(pairs[-1])
    return pairs


HEAD = f"         {report.HEAD}"


def lines(pair: Pair) -> str:
    """Both rows, and their ratio."""
    rows = (f"relay    {report.lines(pair.relay)}", f"gateway  {report.lines(pair.gateway)}")
    return "\n".join([*rows, f"         a gateway costs {pair.cpu_ratio:.2f} relays"])


def summary(pairs: Sequence[Pair], settings: LoadSettings) -> str:
    """The last line."""
    held = {
        name: max((level.sessions for level in (getattr(pair, name) for pair in pairs) if level.is_within(settings)), default=0)
        for name in ("relay", "gateway")
    }
    ratios = [pair.cpu_ratio for pair in pairs]
    return (
        f"bench floor: a gateway costs {min(ratios):.2f} to {max(ratios):.2f} relays; within the limits with "
        f"{held['relay']} sessions (relay), {held['gateway']} (gateway)"
    )


def document(pairs: Sequence[Pair], settings: LoadSettings) -> dict[str, Any]:
    """For `--json`."""
    return {"machine": report.machine(), "scripted_ms": settings.scripted_ms, "pairs": [pair.plain() for pair in pairs]}

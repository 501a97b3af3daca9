"""One level, or a sweep of levels, each against a gateway that has just started."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from voicefsm.load.crowd import crowd
from voicefsm.load.figures import Level, level
from voicefsm.load.settings import LoadSettings
from voicefsm.load.stage import Usage, stage


async def run(
    sessions: Sequence[int],
    seconds: float,
    settings: LoadSettings,
    *,
    overrides: Sequence[str] = (),
    on_level: Callable[[Level], None] = lambda _: None,
) -> list[Level]:
    """Measure each number of sessions for so many seconds. `overrides` are settings of our own gateway.

    Raises `ProcessDied`.
    """
    levels: list[Level] = []
    for count in sessions:
        levels.append(await _one(count, seconds, settings, (f"server.sessions_max={count}", *overrides)))
        on_level(levels[-1])
    return levels


async def _one(sessions: int, seconds: float, settings: LoadSettings, overrides: Sequence[str]) -> Level:
    async with stage(settings, overrides) as staged:
        used: list[Usage | None] = [staged.usage()]
        seen = await crowd(staged.gateway, sessions, seconds, settings, lambda: used.append(staged.usage()))
        used.append(staged.usage())
        known = [one for one in used if one is not None]
    return level(sessions, seconds, seen, settings, (known[0], known[1], known[2]) if len(known) == 3 else None)  # noqa: PLR2004

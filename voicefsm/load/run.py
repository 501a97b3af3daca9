"""One level, or a sweep of levels, each against a gateway that has just started; if wanted, beside sessions that say nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Callable, Sequence

from voicefsm.adapters.channels import RivaChannelSettings
from voicefsm.load.crowd import connections, crowd
from voicefsm.load.figures import Level, level
from voicefsm.load.idlers import idlers
from voicefsm.load.scrape import Scraped
from voicefsm.load.settings import LoadSettings
from voicefsm.load.stage import Stage, stage


async def run(
    sessions: Sequence[int],
    seconds: float,
    settings: LoadSettings,
    *,
    idle: int = 0,
    workers: int = 1,
    overrides: Sequence[str] = (),
    on_level: Callable[[Level], None] = lambda _: None,
) -> list[Level]:
    """Measure each number of sessions for so many seconds, beside `idle` ones. `workers` and `overrides` are of our own gateway.

    Raises `ProcessDied`.
    """
    levels: list[Level] = []
    for count in sessions:
        # Each worker takes its share of the room, and connections come to it as the kernel likes: any of them may get all.
        wanted = (*_room((count + idle) * workers), f"server.workers={workers}", *overrides)
        async with stage(settings, wanted, workers) as staged:
            measured = await _one(staged, count, idle, seconds, settings)
        levels.append(dataclasses.replace(measured, cancellations=staged.records.cancellations() if staged.records else None))
        on_level(levels[-1])
    return levels


def _room(sessions: int) -> tuple[str, ...]:
    """Settings of a gateway that admits so many."""
    connections = max(
        RivaChannelSettings().connections_max, math.ceil(2 * sessions / RivaChannelSettings().calls_per_connection_max)
    )
    return f"server.sessions_max={sessions}", f"riva.connections_max={connections}"


async def _one(staged: Stage, sessions: int, idle: int, seconds: float, settings: LoadSettings) -> Level:
    if not idle:
        return await _talk(staged, sessions, seconds, settings)
    async with (
        connections(staged.gateway, idle, settings) as channels,
        idlers(channels, idle, settings, staged.usage) as silent,
    ):
        await asyncio.sleep(seconds)
        used = staged.usage()
        measured = await _talk(staged, sessions, seconds, settings)
        return dataclasses.replace(measured, idle=silent.idle(used, seconds))


async def _talk(staged: Stage, sessions: int, seconds: float, settings: LoadSettings) -> Level:
    if not sessions:
        return level(0, seconds, [], settings, None)
    used = [staged.usage()]
    tellings: list[asyncio.Task[str]] = []

    def look() -> None:
        used.append(staged.usage())
        tellings.append(asyncio.create_task(staged.metrics(), name="metrics"))

    def begin() -> None:
        if staged.records is not None:
            staged.records.counts_from_ns = time.monotonic_ns()
        look()

    seen = await crowd(staged.gateway, sessions, seconds, settings, begin)
    look()
    told = [Scraped.of(await telling) for telling in tellings]
    if len(told) == 1:  # all calls ended before it began to count
        return level(sessions, seconds, seen, settings, None)
    before, after = told
    known = [one for one in used if one is not None]
    all_used = (known[0], known[1], known[2]) if len(known) == 3 else None  # noqa: PLR2004
    return level(sessions, seconds, seen, settings, all_used, told=after.since(before) if before.lag and after.lag else None)

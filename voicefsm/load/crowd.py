"""So many callers at a time, over a few channels, and what they saw together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import grpc.aio

from voicefsm.acoustics.signals import pcm
from voicefsm.acoustics.talker import voice
from voicefsm.audio.samples import FRAME_MS
from voicefsm.load.caller import Caller, Seen
from voicefsm.load.settings import LoadSettings

OPTIONS = (("grpc.use_local_subchannel_pool", 1),)
"""Channels to the same target share one connection otherwise."""
VOICES = 8
"""Different things that are said."""


def utterances(settings: LoadSettings) -> list[bytes]:
    """What callers say, PCM16 of whole frames."""
    seconds = settings.utterance_ms // FRAME_MS * FRAME_MS / 1000
    return [pcm(voice(k, seconds, level_db=settings.level_db)).tobytes() for k in range(VOICES)]


@asynccontextmanager
async def connections(target: str, calls: int, settings: LoadSettings) -> AsyncIterator[Sequence[grpc.aio.Channel]]:
    """As many as so many calls need."""
    channels = [grpc.aio.insecure_channel(target, OPTIONS) for _ in range(-(-calls // settings.calls_per_connection))]
    try:
        yield channels
    finally:
        for channel in channels:
            await channel.close()


async def crowd(
    target: str, sessions: int, seconds: float, settings: LoadSettings, on_begin: Callable[[], None] = lambda: None
) -> list[Seen]:
    """Hold `sessions` conversations until `seconds` after the last has warmed up. `on_begin` is called when it begins to count."""
    loop = asyncio.get_running_loop()
    counts_from = loop.time() + sessions / settings.ramp_per_s + settings.warm_s
    until = counts_from + seconds
    begins = loop.call_at(counts_from, on_begin)
    said = utterances(settings)
    async with connections(target, sessions, settings) as channels, asyncio.TaskGroup() as tasks:
        calls = []
        for k in range(sessions):
            caller = Caller(channels[k // settings.calls_per_connection], said[k % VOICES], settings, lambda: counts_from)
            calls.append(tasks.create_task(caller.run(until), name=f"caller {k}"))
            await asyncio.sleep(1 / settings.ramp_per_s)
    begins.cancel()  # where all calls have failed before
    return [call.result() for call in calls]

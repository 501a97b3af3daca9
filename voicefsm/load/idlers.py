"""Sessions in which nobody says anything: clients that are muted and send no audio. What does a gateway pay for keeping them?"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from voicefsm.calls import write
from voicefsm.client import SessionOptions, wire
from voicefsm.load.settings import LoadSettings
from voicefsm.load.stage import Usage

READY_S_MAX, CLOSE_S_MAX = 30.0, 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class Idle:
    """What they came to."""

    sessions: int
    lost: int
    """That never were ready, or not there any more when everything was over."""
    errors: tuple[str, ...]
    memory_kib_per_session: float | None
    cpu_ms_per_session_minute: float | None

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


class Idlers:
    """So many of them, all ready."""

    def __init__(self, holds: Sequence[asyncio.Task[None]], used: tuple[Usage | None, Usage | None]) -> None:
        """`used`: of the gateway before the first came, and when all were there."""
        self._holds = holds
        self._before, self._there = used

    def idle(self, now: Usage | None, seconds: float) -> Idle:
        """What they have come to, `seconds` after all were there; `now`: what the gateway has used until then."""
        count = len(self._holds)
        errors = sorted({str(hold.exception() or "The gateway ended the session.") for hold in self._holds if hold.done()})
        memory = cpu = None
        if self._before and self._there and now:
            memory = round((now.memory_kib - self._before.memory_kib) / count, 1)
            cpu = round((now.cpu_s - self._there.cpu_s) / count / seconds * 60 * 1000, 2)
        return Idle(count, sum(hold.done() for hold in self._holds), tuple(errors), memory, cpu)


@asynccontextmanager
async def idlers(
    channels: Sequence[grpc.aio.Channel], count: int, settings: LoadSettings, usage: Callable[[], Usage | None]
) -> AsyncIterator[Idlers]:
    """Open `count` of them, at `settings.idle_ramp_per_s`; they stay until the block ends. `usage` tells of the gateway."""
    before = usage()
    ready = [asyncio.Event() for _ in range(count)]
    holds = []
    for k in range(count):
        holds.append(asyncio.create_task(_hold(channels[k % len(channels)], ready[k], settings), name=f"idler {k}"))
        await asyncio.sleep(1 / settings.idle_ramp_per_s)
    try:
        await _all_ready(ready, holds)
        yield Idlers(holds, (before, usage()))
    finally:
        for hold in holds:
            hold.cancel()
        await asyncio.wait(holds, timeout=CLOSE_S_MAX)


async def _hold(channel: grpc.aio.Channel, ready: asyncio.Event, settings: LoadSettings) -> None:
    """One session; returns, or raises `AioRpcError`, only if the gateway ends it."""
    call = wire.open_call(channel)
    try:
        await write(call, wire.config(SessionOptions(silence_ms=settings.silence_ms)))
        while (response := await call.read()) is not grpc.aio.EOF:
            if response.WhichOneof("response") == "session_ready":
                ready.set()
    finally:
        call.cancel()


async def _all_ready(ready: Sequence[asyncio.Event], holds: Sequence[asyncio.Task[None]]) -> None:
    """Each is ready, or its call has ended, or it takes too long: `Idle.lost` and its errors say which."""
    pending = {asyncio.create_task(event.wait()): hold for event, hold in zip(ready, holds, strict=True)}
    loop = asyncio.get_running_loop()
    until = loop.time() + READY_S_MAX
    while pending and (left := until - loop.time()) > 0:
        await asyncio.wait((*pending, *pending.values()), timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for wait in [wait for wait, hold in pending.items() if wait.done() or hold.done()]:
            del pending[wait]
            wait.cancel()
    for wait in pending:
        wait.cancel()

"""A gateway, a bystander who converses, and one attack after the other.

Theory of operation. The gateway, its backends and each attacker have processes of their own. The bystander releases a talk button
again and again, and times how long the gateway takes to say that it listens: before the attack (quiet) and during it, so that both
are measured on the same machine in the same state. The added p99 is the difference.

After each attack the gateway has to be well, rid of what the attack left, and the bystander's session has to be the one from
before.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.abuse.attacks import ATTACKS
from voicefsm.client import SessionOptions, wire
from voicefsm.load.stage import usage_of
from voicefsm.processes import Child, child, free_port
from voicefsm.v1 import conversation_pb2 as pb

PAUSE_S = 0.02
"""Between two releases."""
ANSWER_S_MAX = 20.0
SETTLE_S_MAX = 60.0
SESSIONS_MAX = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What one attack did."""

    attack: str
    times: int
    seconds: float
    quiet_p99_ms: float
    attack_p99_ms: float
    samples: int
    before_mib: float
    after_mib: float
    outcome: str
    """"held", or what is wrong."""

    @property
    def added_ms(self) -> float:
        """To the bystander's p99."""
        return self.attack_p99_ms - self.quiet_p99_ms

    def line(self) -> str:
        """For people."""
        return (
            f"{self.attack:20} {self.times / self.seconds:9.0f}/s {self.quiet_p99_ms:8.1f} {self.attack_p99_ms:9.1f} "
            f"{self.added_ms:+8.1f} ms  {self.before_mib:6.0f} -> {self.after_mib:4.0f} MiB  {self.outcome}"
        )


HEAD = f"{'attack':20} {'rate':>11} {'quiet p99':>8} {'under it':>9} {'added':>11}  {'memory of the gateway':>19}  outcome"


class Bystander:
    """A session that only wants to go on."""

    def __init__(self, call: wire.Call) -> None:
        self._call = call
        self._taken, self._rests = asyncio.Event(), asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while (response := await self._call.read()) is not grpc.aio.EOF:
            if response.WhichOneof("response") == "state_changed":
                (self._taken if response.state_changed.to == pb.STATE_LISTENING else self._rests).set()

    async def times(self, seconds: float) -> list[float]:
        """How long each release took to be noted, in ms."""
        loop, took = asyncio.get_running_loop(), list[float]()
        until = loop.time() + seconds
        while loop.time() < until:
            self._taken.clear()
            self._rests.clear()
            begun = loop.time()
            await self._call.write(pb.ConverseRequest(end_of_speech=pb.EndOfSpeech()))
            async with asyncio.timeout(ANSWER_S_MAX):
                await self._taken.wait()
                took.append((loop.time() - begun) * 1000)
                await self._rests.wait()
            await asyncio.sleep(PAUSE_S)
        return took

    @property
    def is_there(self) -> bool:
        """Whether the session lives."""
        return not self._call.done() and not self._reader.done()


@asynccontextmanager
async def bystander(target: str) -> AsyncIterator[Bystander]:
    async with grpc.aio.insecure_channel(target, (("grpc.use_local_subchannel_pool", 1),)) as channel:
        call = wire.open_call(channel)
        await call.write(wire.config(SessionOptions()))
        await call.read()
        standing = Bystander(call)
        yield standing
        standing._reader.cancel()
        call.cancel()


def p99(values: Sequence[float]) -> float:
    """The value that one in a hundred exceeds."""
    return sorted(values)[min(len(values) - 1, len(values) * 99 // 100)]


@asynccontextmanager
async def gateway(directory: Path) -> AsyncIterator[tuple[Child, str]]:
    environment = {**os.environ, "GRPC_VERBOSITY": "NONE"}
    started = partial(child, environment=environment, stop_ms_max=30_000)
    leant_on = (sys.executable, "-m", "tests.abuse.backends")
    async with started("backends", leant_on, log=directory / "backends.log") as backends:
        riva, llm = await backends.ready([r"^riva (\S+)$", r"^llm (\S+)$"], 60_000)
        settings = {
            "server.port": free_port(),
            "server.sessions_max": SESSIONS_MAX,
            "server.busy_pct_max": 100,
            "server.pending_max": 50,
            "server.drain_ms_max": 0,
            "turns.final_ms_max": 100,
            "riva.target": riva,
            "llm.base_url": llm,
            "llm.warm_up": "false",
            "log.level": "error",
        }
        given = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        command = [sys.executable, "-m", "voicefsm", "serve", *given]
        async with started("gateway", command, log=directory / "gateway.log") as process:
            target, _ = await process.ready([r"listening on (\S+)$", "gateway: ready$"], 60_000)
            yield process, target


async def run(directory: Path, seconds: float, names: Sequence[str] = tuple(ATTACKS), *, quiet_s: float | None = None) -> list[Row]:
    """Every attack, for so long each; the bystander is measured for as long before, or for `quiet_s`."""
    quiet_s = seconds if quiet_s is None else quiet_s
    async with gateway(directory) as (process, target), bystander(target) as standing:
        await standing.times(min(2.0, quiet_s))
        return [await _row(name, process, target, standing, seconds, quiet_s=quiet_s) for name in names]


async def _row(name: str, process: Child, target: str, standing: Bystander, seconds: float, *, quiet_s: float) -> Row:
    before_mib = usage_of(process.pid).memory_kib / 1024
    quiet = await standing.times(quiet_s)
    command = (sys.executable, "-m", "tests.abuse.attacks", name, target, str(seconds))
    environment = {**os.environ, "GRPC_VERBOSITY": "NONE"}
    attacker = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    telling = asyncio.ensure_future(attacker.communicate())
    await asyncio.sleep(0.7)  # it has loaded its libraries
    under = await standing.times(seconds)
    out, _ = await telling
    outcome = await _outcome(process, target, standing, attacker.returncode)
    after_mib = usage_of(process.pid).memory_kib / 1024
    times = int(out.split()[-1]) if out.split() else 0
    return Row(name, times, seconds, p99(quiet), p99(under), len(under), before_mib, after_mib, outcome)


async def _outcome(process: Child, target: str, standing: Bystander, code: int | None) -> str:
    """Is all well afterwards?"""
    process.check()
    if code:
        return f"the attacker ended with {code}"
    if not standing.is_there:
        return "the bystander's session is gone"
    try:
        async with asyncio.timeout(SETTLE_S_MAX):
            await _until_everybody_gets_in(target)
            await standing.times(0.1)
    except TimeoutError:
        return "places are not given back"
    async with grpc.aio.insecure_channel(target) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    return "held" if answer.status == health_pb2.HealthCheckResponse.SERVING else "not healthy"


async def _until_everybody_gets_in(target: str) -> None:
    """All places but the bystander's can be had."""
    while not await _has_room(target):  # noqa: ASYNC110 (the other end is a server)
        await asyncio.sleep(1)  # else it is this that begins too many sessions


async def _has_room(target: str) -> bool:
    async with grpc.aio.insecure_channel(target, (("grpc.use_local_subchannel_pool", 1),)) as channel:
        calls = [wire.open_call(channel) for _ in range(SESSIONS_MAX - 1)]
        try:
            for call in calls:
                await call.write(wire.config(SessionOptions()))
            return all([await call.read() for call in calls])
        except Exception:  # noqa: BLE001 (one was refused; gRPC has several ways to say so)
            return False

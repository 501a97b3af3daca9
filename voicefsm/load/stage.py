"""The processes of a load run: scripted backends and one gateway, each on its core, and what the gateway used.

In the gateway's place the bare relay can stand (relay.py).

The gateway gets the first core of those this process may use, everything else the others; on one core they share it, and the report
says so. A gateway of several workers gets all of them. CPU time and memory are read from /proc.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from http.client import HTTPException
from pathlib import Path

from voicefsm.load.cancellations import Records
from voicefsm.load.scrape import scrape
from voicefsm.load.settings import LoadSettings
from voicefsm.processes import Child, child, children_of, ended_by_signals, environment_without_settings, free_port

START_MS_MAX, STOP_MS_MAX = 30_000, 10_000
RIVA_READY = r"^voicefsm load: Riva ASR\+TTS on (\S+)"
LLM_READY = r"^voicefsm load: LLM on (\S+)"
ADDRESS = r"^voicefsm (?:gateway|relay): listening on (\S+)"
READY = r"^voicefsm (?:gateway|relay): ready"


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used until now."""

    cpu_s: float
    memory_kib: int
    """Resident."""
    cpu_s_each: tuple[float, ...] = ()
    """Of it and each of its workers, which may share its work as they like."""


@dataclasses.dataclass(slots=True)
class Stage:
    """Everything is up."""

    gateway: str
    """HOST:PORT."""
    process: Child | None
    """The gateway, if it is ours."""
    backends: Child | None = None
    metrics_port: int = 0
    """Where the gateway serves its metrics; 0: nowhere that we know."""
    records: Records | None = None
    """What our gateway and backends leave when all is over."""

    def usage(self) -> Usage | None:
        """Of the gateway, if it is ours."""
        return None if self.process is None else usage_of(self.process.pid)

    async def metrics(self) -> str:
        """What the gateway tells of itself now; empty where it tells nothing (metrics.enabled=false), or takes too long."""
        with suppress(OSError, HTTPException):
            return await scrape(self.metrics_port) if self.metrics_port else ""
        return ""


def usage_of(pid: int) -> Usage:
    """CPU time and memory of a process and the workers it started."""
    cpu_s, memory_kib = [], 0
    for member in [pid, *children_of(pid)]:
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        cpu_s.append((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
        memory_kib += int(fields[21]) * os.sysconf("SC_PAGE_SIZE") // 1024
    return Usage(sum(cpu_s), memory_kib, tuple(cpu_s))


def cores() -> tuple[set[int], set[int]]:
    """The core of the gateway, and those of everything else; the same one if there is only one."""
    mine = sorted(os.sched_getaffinity(0))
    return {mine[0]}, set(mine[1:]) or {mine[0]}


@asynccontextmanager
async def stage(settings: LoadSettings, overrides: Sequence[str], workers: int = 1) -> AsyncIterator[Stage]:
    """Start what is needed; `overrides` ask for so many workers. With `settings.target` nothing is. Raises `ProcessDied`.

    It ends with the task that enters this, also when we are told to end: see `ended_by_signals`.
    """
    if settings.target:
        yield Stage(settings.target, None)
        return
    settings.out.mkdir(parents=True, exist_ok=True)
    gateway_cores, other_cores = cores()
    os.sched_setaffinity(0, other_cores)
    try:
        with ended_by_signals():
            async with _started(settings, overrides, gateway_cores if workers == 1 else gateway_cores | other_cores) as staged:
                yield staged
    finally:
        os.sched_setaffinity(0, gateway_cores | other_cores)


@asynccontextmanager
async def _started(settings: LoadSettings, overrides: Sequence[str], gateway_cores: set[int]) -> AsyncIterator[Stage]:
    records = Records(settings.out)
    async with _backends(settings, records) as (backends, environment):
        metrics_port = 0 if settings.relay_chunk_ms else _metrics_port(overrides)
        environment |= {"VOICEFSM_METRICS__PORT": str(metrics_port)}
        name, command = _server(settings, environment, overrides)
        log = settings.out / f"{name}.log"
        async with child(name, command, environment=environment, log=log, stop_ms_max=STOP_MS_MAX) as server:
            os.sched_setaffinity(server.pid, gateway_cores)
            address, _ = await server.ready((ADDRESS, READY), START_MS_MAX)
            yield Stage(address, server, backends, metrics_port, records)


def _metrics_port(overrides: Sequence[str]) -> int:
    """The one that is asked for, or else one that is free now."""
    asked = [override.partition("=")[2] for override in overrides if override.strip().startswith("metrics.port=")]
    if asked and asked[-1].isdecimal():  # the gateway complains of others
        return int(asked[-1])
    return free_port()


def _server(settings: LoadSettings, environment: Mapping[str, str], overrides: Sequence[str]) -> tuple[str, list[str]]:
    """Name and command of what is measured."""
    python = [sys.executable, "-u", "-m"]
    if not settings.relay_chunk_ms:
        return "gateway", [*python, "voicefsm", "serve", *(f"--set={override}" for override in overrides)]
    reaches = {"riva": environment["VOICEFSM_RIVA__TARGET"], "llm": environment["VOICEFSM_LLM__BASE_URL"]}
    return "relay", [*python, "voicefsm.load.relay", json.dumps(reaches | {"chunk_ms": settings.relay_chunk_ms})]


@asynccontextmanager
async def _backends(settings: LoadSettings, records: Records) -> AsyncIterator[tuple[Child, dict[str, str]]]:
    """The scripted servers, and the environment of a gateway that uses them."""
    names = ("asr_final_ms", "llm_first_token_ms", "tts_first_chunk_ms")
    delays = json.dumps({name: getattr(settings, name) for name in names})
    clean = environment_without_settings()
    command = (sys.executable, "-u", "-m", "voicefsm.load.backends", delays, str(records.calls))
    async with child("backends", command, environment=clean, log=settings.out / "backends.log", stop_ms_max=STOP_MS_MAX) as process:
        riva, llm = await process.ready((RIVA_READY, LLM_READY), START_MS_MAX)
        yield (
            process,
            clean
            | {
                "VOICEFSM_SERVER__HOST": "127.0.0.1",
                "VOICEFSM_SERVER__PORT": "0",
                "VOICEFSM_RIVA__TARGET": riva,
                "VOICEFSM_LLM__BASE_URL": llm,
                "VOICEFSM_LOG__LEVEL": "warning",
                "VOICEFSM_JOURNAL__DIR": str(records.journals),
            },
        )

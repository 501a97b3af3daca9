"""`serve --workers N`: several gateway processes on one port, watched by a parent that does nothing else.

Theory of operation. One Python process fills one core, so a machine needs several. Each is a whole gateway with a loop of its
own; the kernel shares new connections out among them (SO_REUSEPORT). The parent holds the port with a socket that never listens, so
that it is theirs also when it was chosen by the kernel, and while a worker is being replaced. It passes their lines on, tells them
to stop when it is told, and waits for them. A worker that dies takes its own sessions with it and no others; a new one takes its
place, soon the first time, later and later if it keeps dying. Workers that never become ready are a mistake that waiting does not
mend: then the whole gateway ends. A parent that is killed takes its workers along (on Linux).
"""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import signal
import sys
from collections.abc import Sequence

import structlog

from voicefsm.errors import SettingsError
from voicefsm.processes import told_to_stop
from voicefsm.server.port import address, hold
from voicefsm.telemetry.exposition import forget

LISTENING, READY, STOPPED = "voicefsm gateway: listening on ", "voicefsm gateway: ready", "voicefsm gateway: stopped"
"""What a worker says of itself; said once for all."""
FAILED_STARTS_MAX = 3
"""Workers in a row that end before they are ready."""
LINE_BYTES_MAX = 1 << 20
PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal for a process whose parent has ended."""


@dataclasses.dataclass(frozen=True, slots=True)
class Crew:
    """How many workers, and how they are treated."""

    workers: int
    host: str
    port: int
    """0: any free one."""
    sessions_max: int
    """Of all together."""
    stop_ms_max: int
    """How long they may take to end what they hold."""
    metrics_dir: str = ""
    """Where they keep their metrics together; empty: nowhere."""
    replace_ms_min: int = 500
    """Wait before a dead worker is replaced, doubled with each that dies again …"""
    replace_ms_max: int = 10_000
    """… up to this; a worker that lived for longer starts it anew."""

    @property
    def sessions_each(self) -> int:
        """Of one worker, rounded up."""
        return -(-self.sessions_max // self.workers)


async def serve(crew: Crew, arguments: Sequence[str]) -> None:
    """Run until told to stop. `arguments` are those of `voicefsm`, `serve` first.

    Raises `SettingsError` when the port cannot be had, or workers do not become ready.
    """
    stop = told_to_stop()
    with hold(crew.host, crew.port, is_shared=True) as holder:
        port = holder.getsockname()[1]
        mine = (
            f"server.port={port}",
            f"server.sessions_max={crew.sessions_each}",
            "server.workers=1",
            "server.port_is_shared=true",
        )
        command = [sys.executable, "-u", "-m", "voicefsm", *arguments, *_set(*mine)]
        shift = _Shift(crew, command, address(crew.host, port), stop)
        await shift.run()


def _set(*settings: str) -> list[str]:
    """On a command line."""
    return [word for setting in settings for word in ("--set", setting)]


def _end_with_parent() -> None:
    """In a worker that is about to begin: the kernel ends it with its parent. Nobody else would, or read its lines."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


async def _over(worker: asyncio.subprocess.Process, reading: asyncio.Task[bool]) -> int:
    """End it if it lives, and read to its end. Returns its exit code."""
    if worker.returncode is None and not reading.done():
        worker.kill()
    await asyncio.wait([reading])
    return await worker.wait()


class _Shift:
    """The workers of one run."""

    def __init__(self, crew: Crew, command: Sequence[str], address: str, stop: asyncio.Event) -> None:
        self._crew, self._command, self._address, self._stop = crew, command, address, stop
        self._ready = 0
        """Workers that became ready for the first time."""
        self._failed_starts = 0
        self._log = structlog.get_logger("voicefsm")

    async def run(self) -> None:
        """Keep all places filled until told to stop."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for place in range(self._crew.workers):
                    tasks.create_task(self._fill(place), name=f"worker {place}")
        except* SettingsError as group:
            raise group.exceptions[0] from None

    async def _fill(self, place: int) -> None:
        """Keep one place filled."""
        loop, wait_ms = asyncio.get_running_loop(), self._crew.replace_ms_min
        while not self._stop.is_set():
            begun = loop.time()
            shared = (f"metrics.shared_dir={self._crew.metrics_dir}", f"metrics.worker={place}")
            worker = await asyncio.create_subprocess_exec(
                *self._command,
                *_set(*shared),
                stdout=asyncio.subprocess.PIPE,
                limit=LINE_BYTES_MAX,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # the parent has one thread
            )
            code = await self._watch(worker, place)
            forget(self._crew.metrics_dir, place)
            if self._stop.is_set():
                return
            lived_ms = (loop.time() - begun) * 1000
            wait_ms = self._crew.replace_ms_min if lived_ms > self._crew.replace_ms_max else wait_ms
            self._log.error("worker died", worker=place, pid=worker.pid, exit_code=code, replaced_in_ms=wait_ms)
            await self._rest(wait_ms)
            wait_ms = min(2 * wait_ms, self._crew.replace_ms_max)

    async def _rest(self, ms: int) -> None:
        """Wait, but not when told to stop."""
        try:
            async with asyncio.timeout(ms / 1000):
                await self._stop.wait()
        except TimeoutError:
            pass

    async def _watch(self, worker: asyncio.subprocess.Process, place: int) -> int:
        """One worker, to its end; it is ended when we are told to stop."""
        reading = asyncio.create_task(self._pass_on(worker, place))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([reading, stopping], return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                worker.terminate()
            became_ready = await self._in_time(worker, reading)
        finally:
            stopping.cancel()
            code = await asyncio.shield(_over(worker, reading))
        self._failed_starts = 0 if became_ready else self._failed_starts + 1
        if self._failed_starts >= FAILED_STARTS_MAX and not self._stop.is_set():
            raise SettingsError(
                f"{FAILED_STARTS_MAX} workers in a row ended (exit code {code}) before they were ready.",
                remedy="What they said stands above; `voicefsm serve` without --workers starts one alone.",
            )
        return code

    async def _in_time(self, worker: asyncio.subprocess.Process, reading: asyncio.Task[bool]) -> bool:
        """Wait for its last line; insist after a while."""
        try:
            async with asyncio.timeout(self._crew.stop_ms_max / 1000 if self._stop.is_set() else None):
                return await asyncio.shield(reading)
        except TimeoutError:
            worker.kill()
            return await reading

    async def _pass_on(self, worker: asyncio.subprocess.Process, place: int) -> bool:
        """Its lines, to the last. Returns whether it became ready."""
        assert worker.stdout is not None
        became_ready = False
        async for raw in worker.stdout:
            line = raw.decode(errors="replace").rstrip()
            if line == READY:
                became_ready = True
                self._note_ready(place, worker.pid)
            elif line != STOPPED and not line.startswith(LISTENING):
                print(line, flush=True)  # noqa: T201 (its log)
        return became_ready

    def _note_ready(self, place: int, pid: int) -> None:
        self._ready += 1
        self._log.info("worker ready", worker=place, pid=pid)
        if self._ready == self._crew.workers:
            print(f"{LISTENING}{self._address}", flush=True)  # noqa: T201 (parents read it)
            print(READY, flush=True)  # noqa: T201

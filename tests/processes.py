"""Child processes of tests: started, hit by signals, and started again on the same port. Only our own are ever signalled."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import sys
from pathlib import Path

START_S_MAX = 60

_PORTS = itertools.count(20_000 + os.getpid() % 10_000)
"""Below those that the kernel gives to outgoing connections: one of these may take the port of a server that is down."""


def free_port() -> int:
    """A port that nobody has now, and nobody is given twice."""
    for port in _PORTS:
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there is always another")


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def now_ms() -> float:
    """The loop's clock."""
    return asyncio.get_running_loop().time() * 1000


class Process:
    """One process of ours, started again as often as need be."""

    def __init__(self, log: Path, *command: str) -> None:
        self._log, self._command = log, command
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, sign: str, *arguments: str) -> float:
        """Run it; returns when it has printed `sign`, with the time then."""
        with self._log.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._command,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=os.environ | {"GRPC_VERBOSITY": "NONE"},
                start_new_session=True,
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_S_MAX):
            while line := (await self._process.stdout.readline()).decode():
                if sign in line:
                    return now_ms()
        raise AssertionError(f"{self._command} ended before it was ready: see {self._log}")

    def signal(self, number: signal.Signals) -> None:
        """Only ever to our own."""
        assert self._process is not None
        if self._process.returncode is None:
            os.kill(self._process.pid, number)

    async def end(self) -> None:
        """Kill it, and see it gone."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def gone(self) -> None:
        """Wait for its end."""
        assert self._process is not None
        await self._process.wait()

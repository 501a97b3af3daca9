"""Child processes of our own: started, watched until they say they are ready, and always ended. Only our own are touched."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from voicefsm.errors import VoiceFsmError

LINES_MAX = 400
"""Lines of output kept of each process."""
LINES_SHOWN = 12
"""Of these, how many an error shows."""
LINE_BYTES_MAX = 1 << 20

EMBEDDED_RIVA = "voicefsm embedded: Riva ASR+TTS on "
EMBEDDED_LLM = "voicefsm embedded: LLM on "
"""How the lines begin with which `voicefsm embedded` tells where it listens."""
EMBEDDED_READY = "voicefsm embedded: ready"
"""The line after which it prints no more."""
EMBEDDED_LIKES: Mapping[str, Mapping[str, str]] = {"tts": {"segment_chars_max": "200"}, "asr": {"stall_ms": "5000"}}
"""Settings of a gateway that suit it. Its voices drop a cancelled text at once, and pause after each: short texts would only cost
joins. Its recogniser is slow now and then on a busy CPU; taking it for dead would make it hear everything again."""


def environment_without_settings() -> dict[str, str]:
    """Ours, for a child that is to have no settings but those it is given."""
    return {name: value for name, value in os.environ.items() if not name.startswith("VOICEFSM_")}


def free_port() -> int:
    """One of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def children_of(pid: int) -> list[int]:
    """The processes that this one has started, and that live. Linux."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class ProcessDied(VoiceFsmError):
    """A child process ended, or did not get ready, although it is needed."""


class Child:
    """One child process and what it printed."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.lines: deque[str] = deque(maxlen=LINES_MAX)
        self._process = process
        self._log = log
        self._news = asyncio.Event()
        self._is_over = False

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def ready(self, patterns: Sequence[str], timeout_ms: int) -> list[str]:
        """Wait until every pattern was printed; returns the first group of each ("" where it has none), in order.

        Raises `ProcessDied` with the last lines when the process ends before, or when the time is over.
        """
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                while (found := self._find(patterns)) is None:
                    if self._is_over:
                        raise ProcessDied(self._story(f"ended with code {self._process.returncode} before it was ready"))
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise ProcessDied(self._story(f"was not ready after {timeout_ms} ms")) from None
        return found

    def check(self) -> None:
        """Raises `ProcessDied` when the process is not there any more."""
        if self._process.returncode is not None:
            raise ProcessDied(self._story(f"ended with code {self._process.returncode} in the middle of the run"))

    async def watch(self) -> None:
        """Read what the process prints, to its end."""
        assert self._process.stdout is not None
        with self._log.open("w", encoding="utf-8") as log:
            async for raw in self._process.stdout:
                line = raw.decode(errors="replace").rstrip()
                self.lines.append(line)
                log.write(line + "\n")
                log.flush()
                self._news.set()
        await self._process.wait()
        self._is_over = True
        self._news.set()

    async def stop(self, timeout_ms: int) -> None:
        """Ask it to end, then make it end."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def _find(self, patterns: Sequence[str]) -> list[str] | None:
        text = "\n".join(self.lines)
        matches = [re.search(pattern, text, re.MULTILINE) for pattern in patterns]
        return [m.group(1) if m.re.groups else "" for m in matches if m] if all(matches) else None

    def _story(self, what: str) -> str:
        last = "\n".join(f"    {line}" for line in list(self.lines)[-LINES_SHOWN:]) or "    (nothing)"
        return f"The {self.name} process {what}. It printed:\n{last}\n  All of it is in {self._log}."


@asynccontextmanager
async def child(
    name: str, command: Sequence[str], *, environment: Mapping[str, str], log: Path, stop_ms_max: int
) -> AsyncIterator[Child]:
    """Run a command; on leaving it is ended, whatever happened.

    It gets a session of its own, so that Ctrl-C reaches it through us alone.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        limit=LINE_BYTES_MAX,
    )
    running = Child(name, process, log)
    watching = asyncio.create_task(running.watch(), name=f"watch {name}")
    try:
        yield running
    finally:
        await asyncio.shield(running.stop(stop_ms_max))
        with suppress(TimeoutError):
            async with asyncio.timeout(stop_ms_max / 1000):
                await watching
        watching.cancel()


def told_to_stop() -> asyncio.Event:
    """Set on SIGTERM, SIGINT, and when the terminal is closed (unless the process was started to outlive it)."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if sign is not signal.SIGHUP or signal.getsignal(sign) is not signal.SIG_IGN:  # nohup
            loop.add_signal_handler(sign, stop.set)
    return stop


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end us as Ctrl-C does, so that our children end with us. Entered by the task that holds them.

    Raises `SystemExit` with 128 and the signal's number when one came.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    installed: list[int] = []
    received: list[int] = []

    def end(number: int) -> None:
        received.append(number)
        if len(received) == 1:  # who asks twice does not keep us from ending our children
            task.cancel()

    with suppress(ValueError, RuntimeError):  # not in the main thread: whoever runs us ends us
        for sign in (signal.SIGTERM, signal.SIGHUP):
            if sign is not signal.SIGHUP or signal.getsignal(sign) is not signal.SIG_IGN:  # nohup
                loop.add_signal_handler(sign, end, sign)
                installed.append(sign)
    try:
        yield
    except asyncio.CancelledError:
        if received:
            raise SystemExit(128 + received[0]) from None
        raise
    finally:
        for number in installed:
            loop.remove_signal_handler(number)

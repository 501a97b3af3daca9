"""A recogniser that is killed or frozen in mid-sentence, as a real process behind the whole gateway: not a word is lost or doubled.

The words are in the samples (`voicefsm.scripted.spelling`), so the transcript can be compared word for word with the run in which
nothing happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, TypeAlias

from tests.processes import Process, free_port
from voicefsm.client import SessionOptions, Transcript
from voicefsm.scripted import spell

WorldOf: TypeAlias = Callable[..., contextlib.AbstractAsyncContextManager[Any]]

SENTENCE = "please tell me a long story about seven old kings and a green frog"
FRAME_MS = 20
FRAME = bytes(32 * FRAME_MS)
SPOKEN = FRAME * 25 + spell(SENTENCE, 16000).tobytes()
FAULTS_MS = (1300, 2500, 3900)
"""Into the sentence."""
FROZEN_S = 1.5
OPTIONS = SessionOptions(client_echo_cancellation=True, push_to_talk=True)
"""The detector takes tones for no speech: only the recogniser is to say where an utterance ends."""
TURN_S_MAX = 90
"""Starting a process again takes a while on a busy machine."""


class Recogniser:
    """A scripted Riva in a process of its own, on a port that stays."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self._process = Process(log, "-m", "voicefsm.scripted", "--spelling", str(self.port))

    async def start(self) -> None:
        await self._process.start("scripted: ready")

    async def kill(self) -> None:
        """It dies without a word, and is started again."""
        await self._process.end()
        await self.start()

    async def freeze(self) -> None:
        """It stands still, with every socket open, and goes on later."""
        self._process.signal(signal.SIGSTOP)
        await asyncio.sleep(FROZEN_S)
        self._process.signal(signal.SIGCONT)

    async def stop(self) -> None:
        await self._process.end()


@contextlib.asynccontextmanager
async def recogniser(log: Path) -> AsyncGenerator[Recogniser]:
    one = Recogniser(log)
    await one.start()
    try:
        yield one
    finally:
        await one.stop()


async def speak(conversation: Any, when: dict[int, Callable[[], Any]]) -> None:
    """The sentence and silence after it, no faster than in real time; at some moments something happens beside it."""
    beside: list[asyncio.Task[Any]] = []
    at_ms = 0
    while True:
        frame = SPOKEN[32 * at_ms : 32 * (at_ms + FRAME_MS)].ljust(len(FRAME), b"\0")
        await conversation.send_audio(frame)
        due = [due_ms for due_ms in when if due_ms <= at_ms]
        beside += [asyncio.create_task(when.pop(due_ms)()) for due_ms in due]
        at_ms += FRAME_MS
        await asyncio.sleep(FRAME_MS / 1000)


async def heard(world: WorldOf, directory: Path, fault: str) -> list[str]:
    """The words of the sentence, as they come back from a recogniser to which this happens."""
    directory.mkdir()  # noqa: ASYNC240 (once)
    async with recogniser(directory / "asr.log") as asr, world(riva={"target": f"127.0.0.1:{asr.port}", "open_ms_max": 1000}) as w:
        happens: dict[str, Callable[[], Any]] = {"SIGKILL": asr.kill, "SIGSTOP": asr.freeze}
        when = dict.fromkeys(FAULTS_MS[:: 3 if fault == "SIGKILL" else 1], happens[fault]) if fault in happens else {}
        words: list[str] = []
        async with w.connect(OPTIONS) as conversation:
            speaking = asyncio.create_task(speak(conversation, when))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TURN_S_MAX):
                    async for event in conversation:
                        if isinstance(event, Transcript) and event.is_final:
                            words += event.text.split()
                        if words[-1:] == ["frog"]:
                            break
            # What would come twice comes now.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2):
                    async for event in conversation:
                        if isinstance(event, Transcript) and event.is_final:
                            words += event.text.split()
            speaking.cancel()
            await asyncio.wait([speaking])
        assert not when, "all of it happened"
        return words


async def test_a_recogniser_that_dies_in_mid_sentence_costs_no_word(world: WorldOf, tmp_path: Path) -> None:
    """Otherwise an outage of the recogniser costs each user a sentence, or has it answered twice. Three users speak at once."""
    async with asyncio.TaskGroup() as users:
        faults = ("nothing", "SIGKILL", "SIGSTOP")
        tasks = {fault: users.create_task(heard(world, tmp_path / fault, fault)) for fault in faults}
    assert {fault: task.result() for fault, task in tasks.items()} == dict.fromkeys(faults, SENTENCE.split())

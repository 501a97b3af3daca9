"""The recogniser's stream: nothing said is lost while it is away, and its clock is the session's."""

from __future__ import annotations

import asyncio
from typing import cast

import numpy as np
import pytest

from voicefsm.errors import BackendError
from voicefsm.events import Fact, FinalHeard, PartialHeard, RecognitionFailed, RecognitionOpened, Word
from voicefsm.ports import Hypothesis, RecognitionRequest
from voicefsm.runtime.ears import Ears
from voicefsm.simulation.fakes import FakeRecognizer
from voicefsm.values import Backend

pytestmark = pytest.mark.looptime

REQUEST = RecognitionRequest("en-US", 500)


class Listener:
    """Ears and what they told."""

    def __init__(self, recognizer: FakeRecognizer, backlog_ms_max: int = 1000) -> None:
        self.recognizer = recognizer
        self.facts: list[Fact] = []
        self.ears = Ears(recognizer, REQUEST, backlog_ms_max=backlog_ms_max, now=lambda: 77, tell=self.facts.append)

    def hear(self, ms: int) -> None:
        for _ in range(ms // 20):
            self.ears.hear(np.ones(320, np.int16))

    async def open(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.ears.run())
        await asyncio.sleep(1)
        return task


async def closed(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def test_hypotheses_become_facts() -> None:
    """Otherwise the machine hears nothing."""
    ear = Listener(
        FakeRecognizer([(20, Hypothesis("hel", is_final=False, stability=0.5)), (40, Hypothesis("hello", is_final=True))])
    )
    task = await ear.open()
    ear.hear(40)
    await asyncio.sleep(0.1)
    assert ear.facts == [RecognitionOpened(77), PartialHeard(77, "hel", 0.5), FinalHeard(77, "hello")]
    assert ear.recognizer.requests == [REQUEST]
    await closed(task)
    assert not ear.recognizer.stream.is_open


async def test_audio_from_before_the_stream_is_open_is_caught_up_on() -> None:
    """Otherwise the first words of every session, and of every new stream, are lost."""
    ear = Listener(FakeRecognizer())
    ear.hear(600)
    task = await ear.open()
    assert ear.recognizer.stream.received_ms == 600
    ear.hear(100)
    assert ear.recognizer.stream.received_ms == 700
    assert ear.ears.lost_samples == 0
    await closed(task)


async def test_a_long_absence_keeps_the_newest_audio_and_counts_the_rest() -> None:
    """Otherwise an ASR server that is away fills the memory; or audio is lost and nobody knows."""
    ear = Listener(FakeRecognizer(), backlog_ms_max=200)
    ear.hear(1000)
    task = await ear.open()
    assert ear.recognizer.stream.received_ms == 200
    assert ear.ears.lost_samples == 800 * 16
    await closed(task)


@pytest.mark.parametrize("how", ["fails", "ends", "refuses"])
async def test_every_end_of_the_stream_is_told_once(how: str) -> None:
    """Otherwise the session goes deaf in silence."""
    error = BackendError(Backend.ASR, "Gone.", retryable=False)
    ear = Listener(FakeRecognizer(open_errors={0: error} if how == "refuses" else {}))
    task = await ear.open()
    if how == "fails":
        ear.recognizer.stream.fail(error)
    if how == "ends":
        ear.recognizer.stream.end()
    await asyncio.wait([task])
    (failed,) = [fact for fact in ear.facts if isinstance(fact, RecognitionFailed)]
    assert failed.retryable is (how == "ends")
    assert task.exception() is None
    ear.hear(100)
    again = await ear.open()
    assert ear.recognizer.stream.received_ms == 100, "audio after the end waits for the next stream"
    await closed(again)


async def test_words_are_placed_on_the_sessions_clock() -> None:
    """Otherwise, after the stream was opened again, every word seems to have been spoken at the beginning of the session."""
    ear = Listener(FakeRecognizer())
    first = await ear.open()
    ear.hear(3000)
    ear.recognizer.stream.fail()
    await asyncio.wait([first])
    ear.hear(400)
    second = await ear.open()
    ear.hear(100)
    ear.ears.skip(5000)
    ear.recognizer.stream.hear(Hypothesis("x", is_final=True, words=(Word("x", 100, 200),)))
    await asyncio.sleep(0.1)
    assert cast("FinalHeard", ear.facts[-1]).words == (Word("x", 8100, 8200),)
    await closed(second)


async def test_finals_are_asked_of_the_open_stream_only() -> None:
    """Otherwise a request for a final crashes a session whose recogniser is away."""
    ear = Listener(FakeRecognizer())
    ear.ears.finalize()
    task = await ear.open()
    ear.ears.finalize()
    assert ear.recognizer.stream.finalized == 1
    await closed(task)
    ear.ears.finalize()
    assert ear.recognizer.stream.finalized == 1


async def test_cancellation_is_no_failure() -> None:
    """Otherwise the end of a session looks like an outage of the ASR server."""
    ear = Listener(FakeRecognizer())
    task = await ear.open()
    await closed(task)
    assert task.cancelled()
    assert ear.facts == [RecognitionOpened(77)]

"""The fakes are deterministic, count what they are asked, and run on the loop's own clock."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from voicefsm.errors import BackendError
from voicefsm.ports import GenerationRequest, Hypothesis, Message, RecognitionRequest, SpokenAudio, SynthesisRequest
from voicefsm.simulation.fakes import FakeLanguageModel, FakeRecognizer, FakeSynthesizer, FakeVoice, ramp
from voicefsm.values import Backend

ASR = RecognitionRequest("en-US", silence_ms=500)
TTS = SynthesisRequest("en-US", "", 16000)
LLM = GenerationRequest([Message("user", "hello")], temperature=0.0, tokens_max=100)


async def test_script_is_heard_after_its_audio() -> None:
    """Otherwise a scripted user speaks before he has opened his mouth."""
    fake = FakeRecognizer([(40, Hypothesis("hel", is_final=False)), (60, Hypothesis("hello", is_final=True))])
    async with fake.open(ASR) as stream:
        stream.send(bytes(32 * 39))
        assert stream._heard.empty()
        stream.send(bytes(32 * 30))
        stream.end()
        assert [h.text async for h in stream] == ["hel", "hello"]
    assert not fake.stream.is_open


async def test_finalize_turns_the_partial_into_a_final() -> None:
    """Otherwise a turn that the session ends by itself never gets its words."""
    async with FakeRecognizer().open(ASR) as stream:
        stream.hear(Hypothesis("yes please", is_final=False))
        stream.finalize()
        stream.finalize()
        stream.end()
        heard = [(h.text, h.is_final) async for h in stream]
    assert heard == [("yes please", False), ("yes please", True), ("", True)]


async def test_recognizer_refuses_and_breaks_when_told() -> None:
    """Otherwise no test of the runtime can see a recogniser fail."""
    fake = FakeRecognizer(open_errors={0: BackendError(Backend.ASR, "down")})
    with pytest.raises(BackendError, match="down"):
        async with fake.open(ASR):
            pass
    async with fake.open(ASR) as stream:
        stream.fail()
        with pytest.raises(BackendError, match="told to fail"):
            await anext(aiter(stream))
    assert len(fake.requests) == 2


async def take(fake: FakeSynthesizer, *segments: str) -> list[SpokenAudio]:
    async with fake.open(TTS) as stream:
        for index, text in enumerate(segments):
            stream.speak(index, text)
        stream.finish()
        return [piece async for piece in stream]


async def test_voice_is_one_unbroken_ramp() -> None:
    """Otherwise a lost or repeated sample goes unseen by every test that uses the fake."""
    pieces = await take(FakeSynthesizer(FakeVoice(char_ms=33, chunk_ms=50)), "one two", "three")
    samples = np.concatenate([p.samples for p in pieces])
    assert len(samples) == 7 * 33 * 16 + 5 * 33 * 16
    assert np.array_equal(samples, ramp(0, len(samples)))
    assert [p.index for p in pieces] == sorted(p.index for p in pieces)
    assert [(w.text, w.end_ms) for p in pieces for w in p.words] == [("one", 99), ("two", 231), ("three", 165)]


async def test_left_reply_counts_as_aborted() -> None:
    """Otherwise a barge-in that never reaches the TTS server looks like one that does."""
    fake = FakeSynthesizer()
    await take(fake, "all of it")
    assert fake.aborted == 0
    async with fake.open(TTS) as stream:
        stream.speak(0, "a long story")
        await anext(aiter(stream))
    assert fake.aborted == 1


async def test_model_writes_replies_in_order_and_counts_aborts() -> None:
    """Otherwise the history that reached the model, or a generation left running, cannot be asserted."""
    fake = FakeLanguageModel(["Hello there you.", ["a", BackendError(Backend.LLM, "broke")]])
    assert "".join([str(piece) async for piece in fake.stream(LLM)]) == "Hello there you."
    with pytest.raises(BackendError, match="broke"):
        _ = [piece async for piece in fake.stream(LLM)]
    third = fake.stream(LLM)
    assert await anext(third) == "a"
    await third.aclose()
    assert (len(fake.requests), fake.completed, fake.aborted) == (3, 1, 1)
    assert fake.requests[0].messages == (Message("user", "hello"),)


@pytest.mark.looptime
async def test_waits_are_virtual() -> None:
    """Otherwise an hour of simulated conversation takes an hour."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    fake = FakeLanguageModel(["one two three"], first_token_ms=1000, token_ms=500)
    _ = [piece async for piece in fake.stream(LLM)]
    assert loop.time() - start == 2.0

"""What every `Synthesizer` does, fake or real, with a new server and with an old one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from voicefsm.errors import BackendError
from voicefsm.ports import SpokenAudio, SynthesisRequest, SynthesisStream
from voicefsm.values import Backend

REQUEST = SynthesisRequest("en-US", "", 16000)
SEGMENTS = ("Hello there.", "This is the second.", "And a third one.")
CHAR_SAMPLES = 60 * 16
"""Both the fake voice and the scripted one take 60 ms for a character."""


def samples(spoken: list[SpokenAudio], index: int) -> int:
    return sum(len(s.samples) for s in spoken if s.index == index)


async def test_segments_are_spoken_whole_and_in_order(synthesizer_on: Any) -> None:
    """Otherwise the reply is heard with holes, or its heard text is counted wrong."""
    async with synthesizer_on(None) as world, world.synthesizer.open(REQUEST) as stream:
        for index, text in enumerate(SEGMENTS):
            stream.speak(index, text)
        stream.finish()
        spoken = [s async for s in stream]
        assert [s.index for s in spoken] == sorted(s.index for s in spoken)
        assert [samples(spoken, i) for i in range(3)] == [len(text) * CHAR_SAMPLES for text in SEGMENTS]
        assert world.aborted() == 0


async def test_words_are_those_of_the_segment_and_within_it(synthesizer_on: Any) -> None:
    """Otherwise the heard text is cut in the wrong place, or holds words nobody wrote."""
    async with synthesizer_on(None) as world, world.synthesizer.open(REQUEST) as stream:
        for index, text in enumerate(SEGMENTS):
            stream.speak(index, text)
        stream.finish()
        spoken = [s async for s in stream]
    for index, text in enumerate(SEGMENTS):
        words = [word for s in spoken if s.index == index for word in s.words]
        assert [word.text for word in words] == text.split()
        assert [word.end_ms for word in words] == sorted(word.end_ms for word in words)
        assert words[-1].end_ms <= samples(spoken, index) // 16


async def test_text_may_come_while_audio_is_taken(synthesizer_on: Any) -> None:
    """Otherwise the voice waits for the model to finish."""
    async with synthesizer_on(None) as world, world.synthesizer.open(REQUEST) as stream:
        audio, spoken = aiter(stream), list[SpokenAudio]()
        for index, text in enumerate(SEGMENTS):
            stream.speak(index, text)
            while samples(spoken, index) < len(text) * CHAR_SAMPLES:
                spoken.append(await anext(audio))
        stream.finish()
        assert [s async for s in audio] == []


async def test_reply_without_text_ends(synthesizer_on: Any) -> None:
    """Otherwise an empty answer is waited for."""
    async with synthesizer_on(None) as world, world.synthesizer.open(REQUEST) as stream:
        stream.finish()
        assert [s async for s in stream] == []


async def test_leaving_aborts_and_ends_a_reader_elsewhere(synthesizer_on: Any, until: Any) -> None:
    """Otherwise a barge-in leaves the server speaking, or a task waiting."""
    async with synthesizer_on(None) as world:
        async with world.synthesizer.open(REQUEST) as stream:
            stream.speak(0, "a story that is long enough to be interrupted in its middle. " * 3)
            audio = aiter(stream)
            await anext(audio)
            reader = asyncio.create_task(drain(audio))
            await asyncio.sleep(0)
        await reader
        assert [s async for s in stream] == []
        await until(lambda: world.aborted() == 1)


async def drain(audio: SynthesisStream) -> None:
    async for _ in audio:
        pass


async def test_failure_is_a_backend_error_after_its_audio(synthesizer_on: Any) -> None:
    """Otherwise what was synthesised before a failure is never heard, or the failure never told."""
    spoken: list[SpokenAudio] = []
    async with synthesizer_on(1) as world, world.synthesizer.open(REQUEST) as stream:
        for index, text in enumerate(SEGMENTS):
            stream.speak(index, text)
        audio = aiter(stream)
        while samples(spoken, 0) < len(SEGMENTS[0]) * CHAR_SAMPLES:
            spoken.append(await anext(audio))
        with pytest.raises(BackendError, match="broken") as caught:
            await drain(audio)
        assert caught.value.backend is Backend.TTS


async def test_cancellation_reaches_the_reader(synthesizer_on: Any) -> None:
    """Otherwise a session cannot be torn down."""
    async with synthesizer_on(None) as world, world.synthesizer.open(REQUEST) as stream:
        reader = asyncio.create_task(anext(aiter(stream), None))
        await asyncio.sleep(0.01)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader

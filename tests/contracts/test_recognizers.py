"""What every `Recognizer` does, fake or real."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from voicefsm.errors import BackendError
from voicefsm.events import Word
from voicefsm.ports import Hypothesis, RecognitionRequest, RecognitionStream
from voicefsm.values import Backend

REQUEST = RecognitionRequest("en-US", silence_ms=500)
HEL = Hypothesis("hel", is_final=False, stability=0.5)
HELLO = Hypothesis("hello", is_final=True, stability=1.0, words=(Word("hello", 20, 180),))


def speak(stream: RecognitionStream, ms: int) -> None:
    for _ in range(ms // 20):
        stream.send(bytes(640))


async def test_hypotheses_come_in_order_and_the_end_is_an_end(recognizer_on: Any) -> None:
    """Otherwise a final overtakes its partial, or a session waits for ever on a stream that is over."""
    async with recognizer_on([(80, HEL), (160, HELLO), (240, None)]) as recognizer, recognizer.open(REQUEST) as stream:
        speak(stream, 320)
        assert [h async for h in stream] == [HEL, HELLO]


async def test_finalize_yields_a_final_and_the_stream_goes_on(recognizer_on: Any) -> None:
    """Otherwise our own endpointing does nothing, or costs the stream."""
    again = Hypothesis("and", is_final=False, stability=0.5)
    async with recognizer_on([(80, HEL), (480, again)]) as recognizer, recognizer.open(REQUEST) as stream:
        heard = aiter(stream)
        speak(stream, 80)
        assert await anext(heard) == HEL
        stream.finalize()
        final = await anext(heard)
        assert (final.text, final.is_final) == ("hel", True)
        speak(stream, 480)
        assert await anext(heard) == again
        stream.finalize()
        final = await anext(heard)
        assert (final.text, final.is_final) == ("and", True)


async def test_failure_is_a_backend_error_after_what_was_heard(recognizer_on: Any) -> None:
    """Otherwise words before a failure are lost, or the failure is somebody else's."""
    broken = BackendError(Backend.ASR, "it broke")
    async with recognizer_on([(80, HEL), (160, broken)]) as recognizer, recognizer.open(REQUEST) as stream:
        speak(stream, 160)
        heard = aiter(stream)
        assert await anext(heard) == HEL
        with pytest.raises(BackendError, match="it broke") as caught:
            await anext(heard)
        assert (caught.value.backend, caught.value.retryable) == (Backend.ASR, True)


async def test_leaving_ends_a_reader_elsewhere(recognizer_on: Any) -> None:
    """Otherwise a closed stream leaves a task behind, or cancels it by surprise."""
    async with recognizer_on([]) as recognizer:
        async with recognizer.open(REQUEST) as stream:
            reader = asyncio.create_task(anext(aiter(stream), None))
            await asyncio.sleep(0.01)
        assert await reader is None


async def test_cancellation_reaches_the_reader(recognizer_on: Any) -> None:
    """Otherwise a session cannot be torn down."""
    async with recognizer_on([]) as recognizer, recognizer.open(REQUEST) as stream:
        reader = asyncio.create_task(anext(aiter(stream), None))
        await asyncio.sleep(0.01)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader


async def test_streams_are_independent(recognizer_on: Any) -> None:
    """Otherwise one session hears another."""
    script = [(80, HEL), (160, HELLO), (240, None)]
    async with recognizer_on(script) as asr, asr.open(REQUEST) as one, asr.open(REQUEST) as other:
        speak(one, 240)
        assert [h async for h in one] == [HEL, HELLO]
        speak(other, 80)
        assert await anext(aiter(other)) == HEL

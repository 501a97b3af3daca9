"""Whatever a backend answers, in whatever bytes: words and sound are taken from it, or it has failed, and that is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import grpc.aio
import riva.client.proto.riva_asr_pb2 as rasr
import riva.client.proto.riva_tts_pb2 as rtts
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.properties.mutations import mutated
from voicefsm.adapters.nim import Completion, EventParser, error_text
from voicefsm.adapters.riva_asr import RivaAsrSettings, RivaRecognitionStream
from voicefsm.adapters.riva_tts import _Piece
from voicefsm.errors import BackendError
from voicefsm.values import Backend

EVENTS = [
    b'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"Hello, "},"finish_reason":null}]}\r\n\r\n',
    b': comment\n\ndata: {"choices":[{"delta":{"content":"caf\xc3\xa9."},"finish_reason":"stop"}],"usage":{"total_tokens":3}}\n\n',
    b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"t","arguments":"{}"}}]}}]}\n\n',
    b'data: {"error":{"message":"The model is busy.","code":503}}\n\n',
    b'data: {"object":"error","message":"context length exceeded","code":"400"}\n\ndata: [DONE]\n\n',
]
WORDS = [rasr.WordInfo(word="hello", start_time=100, end_time=400), rasr.WordInfo(word="there", start_time=400, end_time=800)]


def heard(text: str, processed_s: float, *, is_final: bool = True) -> bytes:
    """An answer of a recogniser."""
    alternative = rasr.SpeechRecognitionAlternative(transcript=text, confidence=0.9, words=WORDS)
    result = rasr.StreamingRecognitionResult(
        alternatives=[alternative], is_final=is_final, stability=0.1, audio_processed=processed_s
    )
    return bytes(rasr.StreamingRecognizeResponse(results=[result]).SerializeToString())


HEARD = [heard(" hello there", 1.6, is_final=is_final) for is_final in (False, True)]
SPOKEN = [
    rtts.SynthesizeSpeechResponse(
        audio=bytes(321),
        meta=rtts.SynthesizeSpeechResponseMetadata(
            text="Hello there.",
            processed_text="hello there.",
            predicted_durations=[3.0] * 12,
            words=[rtts.WordTiming(word="hello", start_time=10, end_time=400)] * timed,
        ),
    ).SerializeToString()
    for timed in (0, 1)
]


def failed(text: str, remedy: str, **about: bool) -> BackendError:
    return BackendError(Backend.LLM, text, remedy=remedy, retryable=about["retryable"])


def told(work: Callable[[], object]) -> bool:
    """Done, or refused with whose fault it is."""
    try:
        work()
    except BackendError as error:
        return bool(error.message)
    return True


def read(body: bytes, cut: int) -> None:
    parser, completion = EventParser(), Completion(failed)
    for piece in (body[:cut], body[cut:]):
        for event in parser.feed(piece):
            completion.take(event)
    completion.check()


def read_in_two(body: bytes) -> None:
    read(body, len(body) // 2)


@given(st.lists(mutated(EVENTS), min_size=1, max_size=4).map(b"".join), st.integers(0, 300))
@example(b"data: " + b"[" * 100_000 + b"\n\n", 0)
@example(b'data: {"error":{"code":"' + b"9" * 5000 + b'"}}\n\n', 0)
@example(b'data: {"error":{"code":' + b"9" * 4000 + b"}}\n\n", 0)
@example('data: {"error":{"code":"٣٣٣"}}\n\n'.encode(), 0)
@settings(deadline=None)
def test_a_model_may_send_anything(body: bytes, cut: int) -> None:
    """Otherwise one broken proxy ends a session with a traceback."""
    assert told(lambda: read(body, cut))
    assert error_text(body)


class OneAnswer:
    """A call that is answered once, and over."""

    def __init__(self, response: rasr.StreamingRecognizeResponse) -> None:
        self._left = [grpc.aio.EOF, response]

    async def read(self) -> object:
        return self._left.pop()


def hear(data: bytes) -> None:
    try:
        response = rasr.StreamingRecognizeResponse.FromString(data)
    except DecodeError:
        return

    async def take() -> None:
        call, channel = cast("Any", OneAnswer(response)), cast("Any", None)
        async for hypothesis in RivaRecognitionStream(call, RivaAsrSettings(), channel):
            assert hypothesis.audio_ms == int(hypothesis.audio_ms)

    asyncio.run(take())


def speak(data: bytes) -> None:
    try:
        response = rtts.SynthesizeSpeechResponse.FromString(data)
    except DecodeError:
        return
    piece = _Piece(0, "0.0", "Hello there.")
    piece.samples(response.audio)
    assert all(
        isinstance(end_ms, int) for _, end_ms in [*piece.new_words(response.meta.words), *piece.predicted_words(response.meta)]
    )


NAN, HUGE = float("nan"), float("inf")


@given(mutated(HEARD))
@example(
    rasr.StreamingRecognizeResponse(
        results=[
            rasr.StreamingRecognitionResult(
                alternatives=[rasr.SpeechRecognitionAlternative(transcript="a")],
                is_final=True,
                stability=NAN,
                audio_processed=told_s,
            )
            for told_s in (NAN, HUGE, -1)
        ]
    ).SerializeToString()
)
@settings(deadline=None)
def test_a_recogniser_may_send_anything(data: bytes) -> None:
    """Otherwise one broken answer ends a session with a traceback."""
    assert told(lambda: hear(data))


@given(mutated(SPOKEN))
@example(
    rtts.SynthesizeSpeechResponse(
        meta=rtts.SynthesizeSpeechResponseMetadata(processed_text="a b", predicted_durations=[NAN, HUGE, -1])
    ).SerializeToString()
)
@settings(deadline=None)
def test_a_voice_may_send_anything(data: bytes) -> None:
    """Otherwise one broken answer ends a session with a traceback."""
    assert told(lambda: speak(data))

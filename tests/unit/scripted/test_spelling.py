"""The voice that spells and the recogniser that reads: words are a function of samples, so that what is lost can be counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import numpy as np
import pytest
import riva.client.proto.riva_asr_pb2 as rasr
import riva.client.proto.riva_asr_pb2_grpc as rasr_grpc
from hypothesis import given, settings
from hypothesis import strategies as st

from voicefsm.scripted import AsrScript, At, Fail, GoStale, Reader, ScriptedRiva, SpellingAsr, spell

RATE_HZ = 16000
TEXT = "the quick brown fox jumps over the lazy dog 0123456789 aa zz"


def silence(ms: int) -> bytes:
    return bytes(32 * ms)


def said(text: str) -> bytes:
    return spell(text, RATE_HZ).tobytes()


def read(audio: bytes, piece: int = 640) -> list[str]:
    reader = Reader()
    for at in range(0, len(audio), piece):
        for _ in reader.read(np.frombuffer(audio[at : at + piece], "<i2")):
            pass
    return [word.text for word in reader.finish()]


def test_what_is_spelled_is_read():
    """Otherwise a test that compares words compares noise."""
    assert read(said(TEXT)) == TEXT.split()
    assert read(said("Hello, World!")) == ["hello", "world"]
    assert len(spell("ab", 22050)) == 2 * 60 * 22050 // 1000


@settings(deadline=None)
@given(st.lists(st.text("abcxyz019", min_size=1, max_size=6), min_size=1, max_size=6), st.integers(1, 4000), st.integers(0, 99))
def test_pieces_and_place_do_not_matter(words, samples, frames):
    """Otherwise what a new stream hears again may read otherwise for reasons of its own."""
    assert read(silence(20 * frames) + said(" ".join(words)), 2 * samples) == words


def configured(**fields: object) -> rasr.StreamingRecognizeRequest:
    config = rasr.RecognitionConfig(language_code="en-US", endpointing_config={"stop_history": 480, "stop_history_eou": 240})
    return rasr.StreamingRecognizeRequest(
        streaming_config=rasr.StreamingRecognitionConfig(config=config, interim_results=True, **fields)
    )


async def recognize(script: AsrScript, *messages: bytes | str, stays: bool = False) -> list[rasr.StreamingRecognitionResult]:
    """Results of audio; a text instead of audio is a `runtime_config` key on a chunk of silence.

    With `stays` the client does not end the stream: one that writes to a call that just died may see INTERNAL instead of its end.
    """
    requests = [configured()]
    ended = asyncio.Event()

    async def speak() -> AsyncIterator[rasr.StreamingRecognizeRequest]:
        for request in requests:
            yield request
        if stays:
            await ended.wait()

    for message in messages:
        if isinstance(message, str):
            requests.append(rasr.StreamingRecognizeRequest(audio_content=silence(80), runtime_config={message: "true"}))
        else:
            pieces = (message[at : at + 2560] for at in range(0, len(message), 2560))
            requests += [rasr.StreamingRecognizeRequest(audio_content=piece) for piece in pieces]
    async with ScriptedRiva(asr=SpellingAsr(script)) as riva, grpc.aio.insecure_channel(riva.target) as channel:
        call = rasr_grpc.RivaSpeechRecognitionStub(channel).StreamingRecognize(speak())
        try:
            return [result async for response in call for result in response.results]
        finally:
            ended.set()


def finals(results: list[rasr.StreamingRecognitionResult]) -> list[str]:
    return [result.alternatives[0].transcript for result in results if result.is_final]


async def test_partials_first_pass_and_finals():
    """Otherwise it is no stand-in for Riva."""
    results = await recognize(AsrScript(), said("one two") + silence(600), said("three") + silence(600))
    heard = [(r.alternatives[0].transcript, r.is_final, round(r.stability, 1)) for r in results]
    assert heard == [
        ("one", False, 0.1),
        ("one two", False, 0.1),
        ("one two", False, 1.0),
        ("one two", True, 1.0),
        (" three", False, 0.1),
        (" three", False, 1.0),
        (" three", True, 1.0),
    ]
    words = results[3].alternatives[0].words
    assert [(w.word, round(w.start_time, -1), round(w.end_time, -1)) for w in words] == [("one", 0, 160), ("two", 240, 400)]
    assert results[3].audio_processed == pytest.approx(0.96)


async def test_a_final_can_be_asked_for_unless_the_server_is_old():
    """Otherwise our own endpointing is tested against nobody."""
    assert finals(await recognize(AsrScript(), said("one two "), "force_eou", said("three "))) == ["one two", " three"]
    assert finals(await recognize(AsrScript(finalizes=False), said("one two "), "force_eou", said("three "))) == ["one two three"]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (AsrScript(never_final=True), ["one two"]),
        (AsrScript(empty_finals=True), [""]),
        (AsrScript(misses_first_word=True), ["two"]),
        (AsrScript(lines=[(At(0), GoStale())]), []),
    ],
)
async def test_recognisers_with_a_habit(script, expected):
    """Otherwise what was seen in the wild cannot be had here."""
    assert finals(await recognize(script, said("one two") + silence(800))) == expected


async def test_phantoms_come_in_silence():
    """Otherwise what was seen in the wild cannot be had here."""
    assert finals(await recognize(AsrScript(phantoms=True), silence(800))) == ["uh"]


async def test_it_dies_where_it_is_told_to():
    """Otherwise a kill in mid-word has to wait for luck."""
    script = AsrScript([(At(300), Fail(grpc.StatusCode.UNKNOWN, "Error: Triton model failed during inference."))])
    with pytest.raises(grpc.aio.AioRpcError, match="Triton"):
        await recognize(script, said("the qu"), stays=True)


@pytest.mark.parametrize("chunk_ms", [80, 160, 960, 1120])
async def test_the_words_do_not_depend_on_the_chunk(chunk_ms):
    """Otherwise a difference between two runs says nothing about the gateway."""
    results = await recognize(AsrScript(chunk_ms=chunk_ms), said(TEXT) + silence(1200), said("over") + silence(1200))
    assert finals(results) == [TEXT, " over"]

"""The scripted Riva does what its script says, as the official stubs see it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
import riva.client.proto.riva_asr_pb2 as rasr
import riva.client.proto.riva_asr_pb2_grpc as rasr_grpc
import riva.client.proto.riva_tts_pb2 as rtts
import riva.client.proto.riva_tts_pb2_grpc as rtts_grpc

from voicefsm.scripted import ON_FORCE_EOU, AsrScript, At, Close, Fail, Fault, ScriptedRiva, TtsScript, final, partial, voice


def config(language: str = "en-US") -> rasr.StreamingRecognizeRequest:
    return rasr.StreamingRecognizeRequest(
        streaming_config=rasr.StreamingRecognitionConfig(
            config=rasr.RecognitionConfig(language_code=language), interim_results=True
        ),
        id={"value": "s1"},
    )


def audio(ms: int, **runtime_config: str) -> rasr.StreamingRecognizeRequest:
    return rasr.StreamingRecognizeRequest(audio_content=bytes(32 * ms), runtime_config=runtime_config)


async def recognize(riva: ScriptedRiva, *requests: rasr.StreamingRecognizeRequest) -> list[rasr.StreamingRecognizeResponse]:
    async with grpc.aio.insecure_channel(riva.target) as channel:
        call = rasr_grpc.RivaSpeechRecognitionStub(channel).StreamingRecognize(iter(requests))
        return [response async for response in call]


async def test_lines_come_at_their_audio_and_other_chunks_are_empty() -> None:
    """Otherwise a test cannot place a word in time, and a watchdog on empty answers cannot be tested."""
    script = AsrScript([(At(160), partial("hel")), (At(240), final("hello")), (ON_FORCE_EOU, final("there"))])
    async with ScriptedRiva(asr=script) as riva:
        responses = await recognize(riva, config(), *[audio(80)] * 4, audio(80, force_eou="true"))
        texts = [[r.alternatives[0].transcript for r in response.results] for response in responses]
        assert texts == [[], ["hel"], ["hello"], [], [], [" there"]]
        assert {response.id.value for response in responses} == {"s1"}
        assert (riva.asr.stream.received_ms, riva.asr.stream.force_eous, riva.asr.open_streams) == (400, 1, 0)


@pytest.mark.parametrize(
    ("requests", "details"),
    [
        ([], "no messages received"),
        ([audio(20)], "first message must contain streaming_config"),
        ([config("xx-XX")], "Unavailable model requested"),
    ],
)
async def test_bad_beginnings_are_refused_as_riva_does(requests: list[rasr.StreamingRecognizeRequest], details: str) -> None:
    """Otherwise an adapter that forgets the configuration passes its tests and fails at a customer's."""
    async with ScriptedRiva() as riva:
        with pytest.raises(grpc.aio.AioRpcError, match=details) as caught:
            await recognize(riva, *requests)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_stream_fails_and_closes_when_told() -> None:
    """Otherwise no fault of a recogniser can be tested."""
    broken = (At(80), Fail(grpc.StatusCode.UNKNOWN, "Error: Triton model failed during inference."))
    async with ScriptedRiva(asr=AsrScript(by_stream=[[broken], [(At(0), Close())]])) as riva:
        with pytest.raises(grpc.aio.AioRpcError, match="Triton"):
            await recognize(riva, config(), audio(80))
        assert await recognize(riva, config(), audio(80)) == []


async def test_cancelled_stream_is_counted() -> None:
    """Otherwise a session that leaks its ASR stream looks clean."""
    async with ScriptedRiva() as riva, grpc.aio.insecure_channel(riva.target) as channel:
        call = rasr_grpc.RivaSpeechRecognitionStub(channel).StreamingRecognize()
        await call.write(config())
        await call.write(audio(80))
        assert not (await call.read()).results
        call.cancel()
        await riva.asr.stream.closed.wait()
        assert riva.asr.stream.is_cancelled


def text(text: str, id_: str = "") -> rtts.SynthesizeSpeechRequest:
    return rtts.SynthesizeSpeechRequest(
        text=text, language_code="en-US", sample_rate_hz=16000, id={"value": id_}, enable_word_time_offsets=True
    )


async def test_new_server_speaks_every_text_and_echoes_its_id() -> None:
    """Otherwise streaming input cannot be tested."""
    async with ScriptedRiva(tts=TtsScript(chunk_bytes=4001)) as riva, grpc.aio.insecure_channel(riva.target) as channel:
        call = rtts_grpc.RivaSpeechSynthesisStub(channel).SynthesizeOnline(iter([text("one two", "a"), text("three", "b")]))
        responses = [response async for response in call]
        for id_, said in (("a", "one two"), ("b", "three")):
            heard = b"".join(r.audio for r in responses if r.id.value == id_)
            assert np.array_equal(np.frombuffer(heard, np.int16), voice(said, 16000))
        assert [(w.word, w.start_time, w.end_time) for w in responses[0].meta.words] == [("one", 0, 180), ("two", 240, 420)]
        assert [asked.text for asked in riva.tts.asked] == ["one two", "three"]


async def test_old_server_loses_all_texts_but_the_first() -> None:
    """Otherwise the fall-back for old servers is tested against something no old server does."""
    async with ScriptedRiva(tts=TtsScript(is_old=True)) as riva, grpc.aio.insecure_channel(riva.target) as channel:
        call = rtts_grpc.RivaSpeechSynthesisStub(channel).SynthesizeOnline()
        await call.write(text("one", "a"))
        await call.write(text("two", "b"))
        responses = [response async for response in call]
        assert await call.code() is grpc.StatusCode.OK
        assert {r.id.value for r in responses} == {"a"}
        assert [asked.text for asked in riva.tts.asked] == ["one"]


async def test_voice_breaks_off_where_told() -> None:
    """Otherwise a synthesizer that dies in mid-word cannot be tested."""
    script = TtsScript(faults={0: Fault(Fail(grpc.StatusCode.UNKNOWN, "Triton"), after_ms=100)})
    async with ScriptedRiva(tts=script) as riva, grpc.aio.insecure_channel(riva.target) as channel:
        call = rtts_grpc.RivaSpeechSynthesisStub(channel).SynthesizeOnline(iter([text("a long text")]))
        assert (await call.read()).audio == voice("a long text", 16000)[:1600].tobytes()
        with pytest.raises(grpc.aio.AioRpcError, match="Triton"):
            await call.read()


HELD_BACK = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16384)]
"""The server may be so far ahead of who reads, as the gateway has it: then its write waits."""


@pytest.mark.parametrize(
    "timing",
    [
        pytest.param({"chunk_bytes": 65_536}, id="while a write waits"),
        pytest.param({"chunk_period_ms": 60_000}, id="while it makes audio"),
    ],
)
async def test_a_cancelled_call_is_seen_when_it_is_cancelled(timing: dict[str, Any]) -> None:
    """Otherwise most barge-ins look as if they had never reached the voice: it is ahead of the listener, and its write waits."""
    async with (
        ScriptedRiva(tts=TtsScript(**timing)) as riva,
        grpc.aio.insecure_channel(riva.target, options=HELD_BACK) as channel,
    ):
        call = rtts_grpc.RivaSpeechSynthesisStub(channel).SynthesizeOnline()
        await call.write(text("a" * 300))
        await call.read()
        await asyncio.sleep(0.1)  # until the window is full
        assert riva.tts.open_calls == 1
        call.cancel()
        async with asyncio.timeout(5):
            while riva.tts.open_calls:  # noqa: ASYNC110, the server has no event for it
                await asyncio.sleep(0.005)
        assert (riva.tts.cancelled, len(riva.tts.cancelled_at)) == (1, 1)

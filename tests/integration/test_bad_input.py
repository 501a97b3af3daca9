"""Whatever a client sends, its call ends with the right status and a message that says what to do; the others go on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeAlias

import grpc
import pytest

from voicefsm.calls import write_bytes
from voicefsm.client import (
    AudioFormat,
    ConversationFailed,
    InvalidRequest,
    NotOffered,
    ServerFull,
    SessionOptions,
)
from voicefsm.v1 import conversation_pb2 as pb

WorldOf: TypeAlias = Callable[..., contextlib.AbstractAsyncContextManager[Any]]

FORMAT = pb.AudioFormat(encoding=pb.AudioFormat.ENCODING_PCM16, sample_rate_hertz=16000)
CONFIG = pb.ConverseRequest(config=pb.SessionConfig(input_format=FORMAT))
METHOD = "/voicefsm.v1.ConversationService/Converse"
AUDIO = pb.ConverseRequest(audio=pb.AudioInput(data=bytes(640)))


async def status_of(target: str, *requests: pb.ConverseRequest | bytes) -> tuple[str, str]:
    """What raw requests lead to."""
    async with grpc.aio.insecure_channel(target) as channel:
        call = channel.stream_stream(METHOD)(timeout=20)
        with contextlib.suppress(grpc.aio.AioRpcError):
            for request in requests:
                await write_bytes(call, request if isinstance(request, bytes) else request.SerializeToString())
            while await call.read() is not grpc.aio.EOF:
                pass
        return (await call.code()).name, await call.details()


async def test_every_bad_call_is_refused_while_a_conversation_goes_on(world: WorldOf) -> None:
    """Otherwise one broken client is either everybody's outage, or nobody can say what is wrong with it."""
    cases: list[tuple[tuple[pb.ConverseRequest | bytes, ...], str, str]] = [
        ((AUDIO,), "FAILED_PRECONDITION", "Send `config` first"),
        ((CONFIG, CONFIG), "FAILED_PRECONDITION", "Open a new call"),
        ((CONFIG, pb.ConverseRequest(audio=pb.AudioInput(data=bytes(641)))), "INVALID_ARGUMENT", "Send whole 16-bit samples"),
        ((CONFIG, pb.ConverseRequest(audio=pb.AudioInput(data=bytes(20_000)))), "INVALID_ARGUMENT", "Send pieces of 20 ms"),
        ((b"\xff\xff\xff",), "INVALID_ARGUMENT", "Send what conversation.proto describes"),
        ((CONFIG, b"\xff\xff\xff"), "INVALID_ARGUMENT", "Send what conversation.proto describes"),
        ((CONFIG, pb.ConverseRequest(text=pb.TextInput(text=" "))), "INVALID_ARGUMENT", "The text is empty"),
    ]
    async with world() as w, w.connect() as good:
        for requests, status, words in cases:
            code, details = await status_of(w.target, *requests)
            assert (code, words in details) == (status, True), details
        assert (await w.turn(good, "what time is it"))[-1].heard_text == "It is noon."


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (SessionOptions(input_format=AudioFormat(sample_rate_hz=44_100)), InvalidRequest, "Use one of 8000, 16000, 24000, 48000"),
        (SessionOptions(language_code="tlh-KL"), NotOffered, "ASR server does not recognise 'tlh-KL'; it offers en-US"),
        (SessionOptions(voice_name="Nobody"), NotOffered, "no voice 'Nobody' for 'en-US'; it has Scripted-Voice"),
        (SessionOptions(resume_token="x"), NotOffered, "leave `resume_token` empty"),
        (SessionOptions(temperature=9.0), InvalidRequest, "between 0 and 2"),
        (SessionOptions(language_code="?" * 50_000), InvalidRequest, "no BCP-47 tag"),
    ],
    ids=["rate", "language", "voice", "resume", "temperature", "nonsense"],
)
async def test_what_the_client_library_says(
    world: WorldOf, options: SessionOptions, error: type[ConversationFailed], words: str
) -> None:
    """Otherwise a Python developer gets a bare status, or none."""
    async with world() as w:
        with pytest.raises(error) as caught:
            async with w.connect(options):
                raise AssertionError("it was let in")
        assert words in caught.value.message


async def test_a_full_server(world: WorldOf) -> None:
    """Otherwise a full server looks like a broken one."""
    async with world(server={"sessions_max": 1}) as w, w.connect():
        with pytest.raises(ServerFull, match="another replica"):
            async with w.connect():
                raise AssertionError("it was let in")


async def test_typed_texts_in_a_flood(world: WorldOf) -> None:
    """Otherwise a client that sends what its user types, key by key, keeps the model busy and never learns why it is slow."""
    flood = [pb.ConverseRequest(text=pb.TextInput(text="what time is it"))] * 20
    async with world(session={"texts_at_once_max": 1, "texts_waiting_max": 5}) as w:
        code, details = await status_of(w.target, CONFIG, *flood)
    assert (code, "Send what the user typed, not while they type" in details) == ("RESOURCE_EXHAUSTED", True), details

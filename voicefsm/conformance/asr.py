"""A: speech recognition."""

from __future__ import annotations

import grpc
import grpc.aio
import riva.client.proto.riva_asr_pb2 as rasr

from voicefsm.conformance.item import Check, Failed
from voicefsm.conformance.targets import Targets


async def no_message(targets: Targets) -> str:
    """A2. A stream without a message is refused."""
    try:
        async for _ in targets.riva.recognition().StreamingRecognize(iter(())):
            pass
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
            return f"INVALID_ARGUMENT: {error.details()}"
        raise
    raise Failed("accepted with OK")


async def audio_first(targets: Targets) -> str:
    """A1. Audio before the configuration is refused."""
    requests = iter([rasr.StreamingRecognizeRequest(audio_content=bytes(320))])
    try:
        async for _ in targets.riva.recognition().StreamingRecognize(requests):
            pass
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
            return f"INVALID_ARGUMENT: {error.details()}"
        raise
    raise Failed("accepted with OK")


CHECKS: tuple[Check, ...] = (
    Check("A1", "audio before the configuration is INVALID_ARGUMENT", audio_first),
    Check("A2", "a stream without a message is INVALID_ARGUMENT", no_message),
)

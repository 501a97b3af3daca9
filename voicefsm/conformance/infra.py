"""H: what is around the calls: health, readiness, models, the connection."""

from __future__ import annotations

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2

from voicefsm.adapters.riva_asr import RivaRecognizer
from voicefsm.conformance.item import Check, Failed, NotSupported
from voicefsm.conformance.targets import Targets

CHECK_S_MAX = 5.0
"""How long a health check may take."""

_State = health_pb2.HealthCheckResponse.ServingStatus


async def health(targets: Targets) -> str:
    """H1. The standard health service says SERVING, and its watch says the same."""
    stub, request = targets.riva.health(), health_pb2.HealthCheckRequest()
    try:
        state = (await stub.Check(request, timeout=CHECK_S_MAX)).status
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            raise NotSupported("there is no health service") from None
        raise
    if state != _State.SERVING:
        raise Failed(f"Check says {_State.Name(state)}")
    watch = stub.Watch(request, timeout=CHECK_S_MAX)
    try:
        watched = (await watch.read()).status
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return "SERVING; it cannot be watched"
        raise
    finally:
        watch.cancel()
    if watched != state:
        raise Failed(f"Check says {_State.Name(state)}, Watch says {_State.Name(watched)}")
    return "SERVING"


async def models(targets: Targets) -> str:
    """H3. A server that is ready lists what it is ready for: a streaming recogniser and a voice of the language."""
    riva = targets.riva
    recognizer = RivaRecognizer(riva.asr, riva.settings)
    try:
        hearing, voices = await recognizer.models(), await riva.synthesizer.voices()
    finally:
        await recognizer.aclose()
    if not hearing and not voices:
        raise Failed("it lists no model at all")
    language = riva.language_code
    heard = sorted(name for name, languages in hearing.items() if language in languages)
    if not heard:
        raise Failed(f"no streaming recogniser for {language}; it lists {', '.join(sorted(hearing)) or 'none'}")
    if not voices.get(language):
        raise Failed(f"no voice for {language}; it lists some for {', '.join(sorted(voices)) or 'no language'}")
    return f"{language}: heard by {', '.join(heard)}; spoken by {', '.join(voices[language])}"


CHECKS: tuple[Check, ...] = (
    Check("H1", "the health service says SERVING", health),
    Check("H3", "a recogniser and a voice are listed for the language", models),
)

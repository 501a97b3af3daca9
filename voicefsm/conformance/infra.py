"""H: what is around the calls: health, readiness, models, the connection."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import grpc
import grpc.aio
import httpx
import riva.client.proto.riva_tts_pb2 as rtts
import riva.client.proto.riva_tts_pb2_grpc as rtts_grpc
from grpc_health.v1 import health_pb2

from voicefsm.adapters.channels import RivaChannel, RivaChannelSettings
from voicefsm.adapters.riva_asr import RivaRecognizer
from voicefsm.conformance.item import LONG_MS, Away, Check, Failed, Need, NotSupported
from voicefsm.conformance.targets import Targets
from voicefsm.values import Backend

CHECK_S_MAX = 5.0
"""How long a health check may take."""

_State = health_pb2.HealthCheckResponse.ServingStatus


async def health(targets: Targets) -> str:
    """H1. The standard health service says SERVING, and its watch says the same."""
    await _insist_on_connection(targets)
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


async def _insist_on_connection(targets: Targets) -> None:
    """Raises `Away`."""
    settings = targets.riva.settings
    async with targets.riva.fresh_channel() as connection:
        try:
            async with asyncio.timeout(settings.open_ms_max / 1000):
                await connection.channel.channel_ready()
        except TimeoutError:
            nobody = f"nobody answers at {settings.target} within {settings.open_ms_max} ms"
            raise Away(f"{nobody}; the other items on it are left out") from None


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


async def ready(targets: Targets) -> str:
    """H2. The HTTP health endpoint of a NIM says that it is ready."""
    seen = []
    if targets.given_llm:
        seen.append(await _ready(targets.given_llm.client, "health/ready"))
    if targets.wish.riva_http:
        async with httpx.AsyncClient(base_url=targets.wish.riva_http, timeout=CHECK_S_MAX, trust_env=False) as client:
            seen.append(await _ready(client, "/v1/health/ready"))
    if not any(seen):
        raise NotSupported("there is no /v1/health/ready" if seen else "nobody said where Riva's is: --riva-http URL")
    return "; ".join(filter(None, seen))


async def _ready(client: httpx.AsyncClient, path: str) -> str:
    """What the endpoint says; empty when there is none. Raises `Failed` when it is not ready."""
    response = await client.get(path, timeout=CHECK_S_MAX)
    if response.status_code == httpx.codes.NOT_FOUND:
        return ""
    told = f"{response.url} says {response.status_code} {response.text[:80]}"
    try:
        body = response.json()
    except ValueError:
        body = None
    says_no = isinstance(body, dict) and (body.get("ready", True) is not True or body.get("status", "ready") not in {"ready", "ok"})
    if response.status_code != httpx.codes.OK or says_no:
        raise Failed(told)
    return told


async def encryption(targets: Targets) -> str:
    """H4. The connection is encrypted, and nobody is talked to who does not encrypt."""
    riva = targets.riva
    if not riva.settings.tls:
        raise NotSupported("no TLS asked for: --set riva.tls=true")
    await riva.synthesizer.voices()
    async with aclosing(RivaChannel(Backend.TTS, RivaChannelSettings(target=riva.settings.target))) as channel:
        try:
            async with asyncio.timeout(CHECK_S_MAX):
                await rtts_grpc.RivaSpeechSynthesisStub(channel.get()).GetRivaSynthesisConfig(rtts.RivaSynthesisConfigRequest())
        except (TimeoutError, grpc.aio.AioRpcError):
            return "works encrypted, and not in clear" + (", with a certificate of ours" if riva.settings.tls_key_file else "")
    raise Failed("the same port answers in clear")


async def idle(targets: Targets) -> str:
    """H5. After a while without a call the next one works, on a connection that somebody may have closed meanwhile."""
    async with targets.riva.fresh_channel() as channel:
        ask = rtts_grpc.RivaSpeechSynthesisStub(channel).GetRivaSynthesisConfig
        await ask(rtts.RivaSynthesisConfigRequest(), timeout=CHECK_S_MAX)
        await asyncio.sleep(targets.wish.idle_s)
        await ask(rtts.RivaSynthesisConfigRequest(), timeout=CHECK_S_MAX)
    return f"a call works after {targets.wish.idle_s:g} s without one"


CHECKS: tuple[Check, ...] = (
    Check("H1", "the health service says SERVING", health),
    Check("H2", "the HTTP endpoint says ready", ready, needs=Need.RIVA | Need.LLM),
    Check("H3", "a recogniser and a voice are listed for the language", models),
    Check("H4", "the connection is encrypted", encryption),
    Check("H5", "the next call works after an idle time", idle, deadline_ms=LONG_MS),
)

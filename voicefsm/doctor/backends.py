"""The three servers: are they there, and do they have what the settings ask for?

Every check has a time-out of its own, and a server that does not answer costs its own line and no other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from urllib.parse import urlsplit

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from voicefsm.adapters.channels import RivaChannel, RivaChannelSettings
from voicefsm.doctor.finding import Finding, broken, note, ok
from voicefsm.errors import BackendError
from voicefsm.values import Backend

LISTED_MAX = 6
"""Names shown of a long list."""

_START_RIVA = (
    "Start local engines with `voicefsm embedded`, or set riva.target (VOICEFSM_RIVA__TARGET) to your Riva server, HOST:PORT."
)
_START_LLM = (
    "Start a local responder with `voicefsm embedded`, or set llm.base_url (VOICEFSM_LLM__BASE_URL) to your NIM, vLLM or Ollama, "
    "for example http://127.0.0.1:11434/v1."
)


async def examine_riva(settings: RivaChannelSettings) -> Finding:
    """Does the Riva server answer, and does it call itself healthy?"""
    name, target = "riva", settings.target
    async with aclosing(RivaChannel(Backend.ASR, settings)) as channel:
        try:
            check = health_pb2_grpc.HealthStub(channel.get()).Check
            answer = await check(health_pb2.HealthCheckRequest(), timeout=settings.open_ms_max / 1000)
        except BackendError as error:
            return broken(name, error.message, error.remedy)
        except grpc.aio.AioRpcError as error:
            return _without_health(name, target, error)
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return ok(name, f"{target} is {status}")
    return broken(name, f"{target} answers, and says it is {status}", "Wait until its models are loaded, or look into its log.")


def _without_health(name: str, target: str, error: grpc.aio.AioRpcError) -> Finding:
    if error.code() in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}:
        return broken(name, f"{target} refuses us ({error.code().name})", "Check riva.api_key and the function ids.")
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return note(name, f"{target} answers, but has no health service", "Is it a Riva server?")
    return broken(name, f"{target} cannot be reached ({error.code().name})", _START_RIVA)


async def examine_recognizer(ask: Callable[[], Awaitable[Mapping[str, frozenset[str]]]], language: str, model: str) -> Finding:
    """Does the recogniser have the language, and the model if one is named? `ask` lists languages by streaming model."""
    name = "asr"
    try:
        models = await ask()
    except BackendError as error:
        return broken(name, error.message, "Does this server have ASR models? See its log.")
    languages = frozenset[str]().union(*models.values())
    if model and model not in models:
        return broken(
            name, f"no streaming model {model}; it has {_few(models)}", "Set asr.model to one of them, or leave it empty."
        )
    if language not in languages:
        return broken(name, f"nobody hears {language}; it has {_few(languages)}", "Set session.language_code to one of them.")
    return ok(name, f"models {_few(models)}; languages {_few(languages)}")


async def examine_synthesizer(ask: Callable[[], Awaitable[Mapping[str, tuple[str, ...]]]], language: str, voice: str) -> Finding:
    """Does the TTS server speak the language, with the voice if one is named? `ask` lists voices by language."""
    name = "tts"
    try:
        voices = await ask()
    except BackendError as error:
        return broken(name, error.message, "Does this server have TTS models? See its log.")
    if language not in voices:
        return broken(name, f"nobody speaks {language}; it has {_few(voices)}", "Set session.language_code to one of them.")
    if voice and voice not in voices[language]:
        remedy = "Set session.voice_name to one of them, or leave it empty."
        return broken(name, f"no voice {voice} for {language}; it has {_few(voices[language])}", remedy)
    return ok(name, f"voices for {language}: {_few(voices[language])}")


async def examine_model(ask: Callable[[], Awaitable[tuple[str, ...]]], base_url: str, model: str) -> Finding:
    """Does the model server answer, and list the model if one is named? `ask` lists models."""
    name = "llm"
    try:
        models = await ask()
    except BackendError as error:
        forgotten = "" if urlsplit(base_url).path.strip("/") else "Did you forget /v1 at the end of llm.base_url? "
        return broken(name, error.message, forgotten + _START_LLM)
    if not models:
        return broken(name, f"{base_url} lists no model", "Load one; with Ollama: `ollama pull NAME`.")
    if model and model not in models:
        return broken(
            name, f"no model {model} at {base_url}; it has {_few(models)}", "Set llm.model to one of them, or leave it empty."
        )
    return ok(name, f"{base_url} has {_few(models)}; {model or models[0]} will answer")


def _few(names: Iterable[str]) -> str:
    """The first names of a list, in order."""
    ordered = sorted(names)
    rest = len(ordered) - LISTED_MAX
    return (", ".join(ordered[:LISTED_MAX]) or "none") + (f" and {rest} more" if rest > 0 else "")

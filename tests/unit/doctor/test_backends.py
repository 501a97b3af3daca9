"""The doctor against real servers on loopback."""

from __future__ import annotations

import socket

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tests.servers import listening
from voicefsm.adapters.channels import RivaChannelSettings
from voicefsm.adapters.riva_asr import RivaAsrSettings, RivaRecognizer
from voicefsm.adapters.riva_tts import RivaSynthesizer, RivaTtsSettings
from voicefsm.doctor import backends
from voicefsm.doctor.finding import Verdict
from voicefsm.errors import BackendError
from voicefsm.scripted import ScriptedRiva
from voicefsm.values import Backend


@pytest.fixture
async def riva():
    async with ScriptedRiva() as server:
        yield server


@pytest.fixture
async def recognizer(riva):
    adapter = RivaRecognizer(RivaAsrSettings(), RivaChannelSettings(target=riva.target))
    yield adapter
    await adapter.aclose()


@pytest.fixture
async def synthesizer(riva):
    adapter = RivaSynthesizer(RivaTtsSettings(), RivaChannelSettings(target=riva.target))
    yield adapter
    await adapter.aclose()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def test_a_healthy_riva_is_fine(riva):
    """Otherwise the doctor would send people away from a server that works."""
    finding = await backends.examine_riva(RivaChannelSettings(target=riva.target))
    assert (finding.verdict, finding.detail) == (Verdict.OK, f"{riva.target} is SERVING")


async def test_a_missing_riva_says_how_to_start_one():
    """Otherwise a newcomer would see "UNAVAILABLE" and nothing to do."""
    target = f"127.0.0.1:{free_port()}"
    finding = await backends.examine_riva(RivaChannelSettings(target=target))
    assert finding.is_fatal
    assert target in finding.detail
    assert "voicefsm embedded" in finding.remedy
    assert "VOICEFSM_RIVA__TARGET" in finding.remedy


@pytest.mark.parametrize(("has_health", "verdict"), [(True, Verdict.BROKEN), (False, Verdict.NOTE)])
async def test_a_server_that_is_up_and_not_ready(has_health, verdict):
    """Otherwise a server that still loads its models would pass for ready, or one without a health service for dead."""
    server = grpc.aio.server()
    if has_health:
        checks = health.aio.HealthServicer()
        await checks.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    async with listening(server) as target:
        finding = await backends.examine_riva(RivaChannelSettings(target=target))
    assert finding.verdict is verdict
    assert finding.remedy


async def test_what_the_recogniser_offers(recognizer):
    """Otherwise a session would find out in its first second what could have been known before."""
    models = await recognizer.models()
    model = next(iter(models))
    language = next(iter(models[model]))
    assert (await backends.examine_recognizer(recognizer.models, language, model)).verdict is Verdict.OK
    wrong_language = await backends.examine_recognizer(recognizer.models, "xx-XX", "")
    assert wrong_language.is_fatal
    assert language in wrong_language.detail
    wrong_model = await backends.examine_recognizer(recognizer.models, language, "nope")
    assert wrong_model.is_fatal
    assert model in wrong_model.detail


async def test_what_the_voice_offers(synthesizer):
    """Otherwise a mistyped voice would fail every reply."""
    voices = await synthesizer.voices()
    language, names = next(iter(voices.items()))
    assert (await backends.examine_synthesizer(synthesizer.voices, language, names[0])).verdict is Verdict.OK
    assert (await backends.examine_synthesizer(synthesizer.voices, language, "nope")).is_fatal
    wrong = await backends.examine_synthesizer(synthesizer.voices, "xx-XX", "")
    assert wrong.is_fatal
    assert language in wrong.detail


async def test_a_recogniser_that_cannot_list_is_one_broken_line(riva, recognizer, synthesizer):
    """Otherwise one failing server would hide what is wrong with the others."""
    await riva.stop()
    assert (await backends.examine_recognizer(recognizer.models, "en-US", "")).is_fatal
    assert (await backends.examine_synthesizer(synthesizer.voices, "en-US", "")).is_fatal


async def test_the_model_server():
    """Otherwise a mistyped model name would be found by the first caller."""

    async def two() -> tuple[str, ...]:
        return ("large", "small")

    async def none() -> tuple[str, ...]:
        return ()

    async def down() -> tuple[str, ...]:
        raise BackendError(Backend.LLM, "Nobody there.")

    url = "http://127.0.0.1:8000/v1"
    chosen = await backends.examine_model(two, url, "")
    assert (chosen.verdict, "large will answer" in chosen.detail) == (Verdict.OK, True)
    assert (await backends.examine_model(two, url, "small")).verdict is Verdict.OK
    assert "large, small" in (await backends.examine_model(two, url, "medium")).detail
    assert (await backends.examine_model(none, url, "")).is_fatal
    missing = await backends.examine_model(down, url, "")
    assert (missing.is_fatal, "VOICEFSM_LLM__BASE_URL" in missing.remedy) == (True, True)
    assert "/v1" not in missing.remedy.partition("Start")[0]
    assert (await backends.examine_model(down, "http://127.0.0.1:8000", "")).remedy.startswith("Did you forget /v1")

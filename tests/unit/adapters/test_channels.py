"""The way to Riva: encryption, credentials, and connections that are shared and bounded; against real servers on loopback."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from voicefsm.adapters.channels import FunctionSettings, RivaChannel, RivaChannelSettings
from voicefsm.adapters.riva_asr import RivaAsrSettings, RivaRecognizer
from voicefsm.adapters.riva_tts import RivaSynthesizer, RivaTtsSettings
from voicefsm.adapters.secrets import Secret
from voicefsm.errors import BackendError, SettingsError
from voicefsm.ports import RecognitionRequest, SynthesisRequest
from voicefsm.scripted import Gate, ScriptedRiva, TtsScript
from voicefsm.values import Backend

FAST: dict[str, Any] = {"open_ms_max": 1000, "list_ms_max": 1000}


def gate(server, client=None, *keys: str) -> Gate:
    authorities = client.certificate.read_bytes() if client else b""
    return Gate(server.certificate.read_bytes(), server.key.read_bytes(), authorities, frozenset(keys))


async def say(tts: RivaSynthesizer, text: str = "Hello.") -> int:
    """How many samples come of it."""
    async with tts.open(SynthesisRequest("en-US", "", 16000)) as stream:
        stream.speak(0, text)
        stream.finish()
        return sum([len(spoken.samples) async for spoken in stream])


async def listen(asr: RivaRecognizer) -> None:
    """Open a stream and leave it."""
    async with asr.open(RecognitionRequest("en-US", 500)):
        pass


async def test_tls_and_a_key_that_is_exchanged_while_everything_runs(make_certificate, tmp_path: Path):
    """Otherwise the gateway talks in clear, or needs a restart when a key is exchanged."""
    server, file = make_certificate("server"), tmp_path / "key"
    file.write_text("one")
    async with ScriptedRiva(gate=gate(server, None, "one")) as riva:
        settings = RivaChannelSettings(
            target=riva.target, tls=True, tls_ca_file=str(server.certificate), api_key=Secret("one", file), **FAST
        )
        tts = RivaSynthesizer(RivaTtsSettings(function_id="f-tts", function_version_id="v1"), settings)
        asr = RivaRecognizer(RivaAsrSettings(function_id="f-asr"), settings)
        async with aclosing(tts), aclosing(asr):
            assert await say(tts)
            await listen(asr)
            riva.gate = gate(server, None, "two")
            with pytest.raises(BackendError, match="UNAUTHENTICATED") as caught:
                await say(tts)
            assert not caught.value.retryable
            file.write_text("two\n")
            assert await say(tts)
            await listen(asr)
            assert await tts.voices()
    told = [[(name, value) for name, value in call if name in WHO] for call in riva.metadata]
    as_tts, as_asr = [("function-id", "f-tts"), ("function-version-id", "v1")], [("function-id", "f-asr")]
    one, two = ("authorization", "Bearer one"), ("authorization", "Bearer two")
    assert told == [[one, *as_tts], [one, *as_asr], [one, *as_tts], [two, *as_tts], [two, *as_asr], [two, *as_tts]]


WHO = ("authorization", "function-id", "function-version-id")


async def test_server_with_another_certificate_is_not_talked_to(make_certificate):
    """Otherwise anybody between us and Riva hears every word, and the key."""
    server, other = make_certificate("server"), make_certificate("other")
    async with ScriptedRiva(gate=gate(server)) as riva:
        settings = RivaChannelSettings(target=riva.target, tls=True, tls_ca_file=str(other.certificate), **FAST)
        async with aclosing(RivaSynthesizer(RivaTtsSettings(), settings)) as tts:
            with pytest.raises(BackendError):
                await tts.voices()
        async with aclosing(RivaSynthesizer(RivaTtsSettings(), RivaChannelSettings(target=riva.target, **FAST))) as tts:
            with pytest.raises(BackendError):
                await tts.voices()
    assert riva.metadata == []


async def test_client_certificate_is_shown_and_may_be_exchanged(make_certificate):
    """Otherwise mTLS does not work, or ends with the first certificate; and calls that run are cut when it is exchanged."""
    server, ours = make_certificate("server"), make_certificate("ours")
    riva = ScriptedRiva(gate=gate(server, ours), tts=TtsScript(chunk_period_ms=5))
    async with riva:
        settings = RivaChannelSettings(
            target=riva.target,
            tls=True,
            tls_ca_file=str(server.certificate),
            tls_certificate_file=str(ours.certificate),
            tls_key_file=str(ours.key),
            **FAST,
        )
        async with aclosing(RivaSynthesizer(RivaTtsSettings(), settings)) as tts:
            long = asyncio.create_task(say(tts, "A long text that takes a while."))
            while not riva.tts.produced_bytes:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            make_certificate("ours")  # the server has never seen this one
            with pytest.raises(BackendError):
                await tts.voices()
            assert await long == 31 * 60 * 16
            await riva.stop()
            riva.gate = gate(server, ours)
            await riva.start()
            async with asyncio.timeout(10):
                while not await _works(tts):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            without = RivaChannelSettings(target=riva.target, tls=True, tls_ca_file=str(server.certificate), **FAST)
            async with aclosing(RivaSynthesizer(RivaTtsSettings(), without)) as nobody:
                with pytest.raises(BackendError):
                    await nobody.voices()


async def _works(tts: RivaSynthesizer) -> bool:
    try:
        return bool(await tts.voices())
    except BackendError:
        return False


async def test_certificate_that_is_not_there_is_an_error_with_its_name(tmp_path: Path):
    """Otherwise a mistyped path is a traceback, or a server that "does not answer"."""
    settings = RivaChannelSettings(target="127.0.0.1:1", tls=True, tls_ca_file=str(tmp_path / "none.pem"))
    async with aclosing(RivaSynthesizer(RivaTtsSettings(), settings)) as tts:
        for work in (tts.voices, lambda: say(tts)):
            with pytest.raises(BackendError, match=r"none\.pem cannot be read") as caught:
                await work()
            assert not caught.value.retryable


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"target": "riva.example:50051", "api_key": "k"}, "the key would go to riva.example:50051"),
        ({"tls": True, "tls_key_file": "a"}, "belong together"),
        ({"tls_ca_file": "a"}, "tls is off"),
        ({"api_key": "two\nlines"}, "no header can carry"),
    ],
)
def test_contradictions_are_refused(fields, why):
    """Otherwise a key goes through the network in clear, or a certificate is ignored without a word."""
    with pytest.raises(ValueError, match=why):
        RivaChannelSettings(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"target": "127.0.0.1:1"},
        {"target": "localhost:1"},
        {"target": "[::1]:1"},
        {"target": "riva.example:443", "tls": True},
        {"target": "riva.example:1", "allow_insecure_key": True},
    ],
)
def test_key_is_told_where_it_is_safe(fields):
    """Otherwise local tests, TLS, or a network one trusts are refused."""
    assert RivaChannelSettings(api_key="k", **fields).may_tell_key


async def test_connections_are_shared_and_bounded():
    """Otherwise each session dials, or calls beyond the server's limit wait without a word."""
    riva = ScriptedRiva(tts=TtsScript(first_chunk_ms=300))
    async with riva:
        settings = RivaChannelSettings(target=riva.target, calls_per_connection_max=2, connections_max=2)
        async with aclosing(RivaSynthesizer(RivaTtsSettings(), settings)) as tts:
            ends = await asyncio.gather(*(say(tts) for _ in range(6)), return_exceptions=True)
            assert sum(end == 6 * 60 * 16 for end in ends) == 4
            refused = [end for end in ends if isinstance(end, BackendError)]
            assert len(refused) == 2
            assert all("full" in end.message and "connections_max" in end.remedy and end.retryable for end in refused)
            assert await say(tts), "places are given back"


async def test_idle_connection_serves_the_next_call():
    """Otherwise every reply pays for a connection of its own."""
    async with ScriptedRiva() as riva, aclosing(RivaChannel(Backend.TTS, RivaChannelSettings(target=riva.target))) as channel:
        first = channel.get()
        assert channel.get() is first
        assert first.is_idle


def test_function_that_cannot_be_named_is_told_at_the_start():
    """Otherwise every call fails within gRPC, and takes its session along."""
    with pytest.raises(SettingsError, match="no header can carry"):
        RivaRecognizer(RivaAsrSettings(function_id="fünf"), RivaChannelSettings())


def test_nothing_is_told_of_nobody():
    """Otherwise a server sees empty credentials, which some refuse."""
    channel = RivaChannel(Backend.TTS, RivaChannelSettings(), function=FunctionSettings())
    assert channel._credentials() == ()

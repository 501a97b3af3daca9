"""The way to the language model: encryption, keys, headers; against a real server on loopback."""

from __future__ import annotations

import ssl
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from voicefsm.adapters.nim import LlmSettings, NimLanguageModel
from voicefsm.adapters.secrets import Secret
from voicefsm.errors import BackendError, SettingsError
from voicefsm.scripted import ScriptedLlm


async def ask(model: NimLanguageModel) -> None:
    assert await model.models() == ("scripted",)


async def test_key_that_is_exchanged_is_the_next_request_s(tmp_path: Path):
    """Otherwise a key that is exchanged needs a restart, which costs every session."""
    file = tmp_path / "key"
    file.write_text("one")
    told = []
    async with ScriptedLlm() as llm:
        settings = LlmSettings(base_url=llm.base_url, api_key=Secret("one", file), headers=("x-team=voice", "x-note=a=b"))
        async with aclosing(NimLanguageModel(settings)) as model:
            model._connections._current.client.event_hooks["request"] = [note := Notes()]
            await ask(model)
            file.write_text("two")
            await ask(model)
            told = note.seen
    assert told == [("Bearer one", "voice", "a=b"), ("Bearer two", "voice", "a=b")]


class Notes:
    def __init__(self) -> None:
        self.seen: list[tuple[str, ...]] = []

    async def __call__(self, request) -> None:
        headers = request.headers
        assert headers.get_list("authorization") == [headers["authorization"]], "never twice"
        self.seen.append((headers["authorization"], headers["x-team"], headers["x-note"]))


async def test_tls_and_a_certificate_of_ours(make_certificate):
    """Otherwise a NIM behind mTLS cannot be used, or the gateway talks to whoever answers."""
    server, ours, other = (make_certificate(name) for name in ("server", "ours", "other"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(server.certificate, server.key)
    tls.load_verify_locations(ours.certificate)
    tls.verify_mode = ssl.CERT_REQUIRED
    right: dict[str, Any] = {
        "tls_ca_file": str(server.certificate),
        "tls_certificate_file": str(ours.certificate),
        "tls_key_file": str(ours.key),
    }
    async with ScriptedLlm(tls=tls) as llm:
        async with aclosing(NimLanguageModel(LlmSettings(base_url=llm.base_url, **right))) as model:
            await ask(model)
        for wrong in (
            {"tls_ca_file": str(other.certificate)},
            {"tls_certificate_file": str(other.certificate), "tls_key_file": str(other.key)},
        ):
            async with aclosing(NimLanguageModel(LlmSettings(base_url=llm.base_url, **right | wrong))) as model:
                with pytest.raises(BackendError):
                    await ask(model)


def test_certificate_that_cannot_be_used_is_told_at_the_start(tmp_path: Path):
    """Otherwise a mistyped path is found out by the first caller."""
    with pytest.raises(SettingsError, match=r"cannot be used.*tls_ca_file"):
        NimLanguageModel(LlmSettings(base_url="https://nim.example/v1", tls_ca_file=str(tmp_path / "none.pem")))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"base_url": "http://nim.example/v1", "api_key": "k"}, "the key would go to nim.example"),
        ({"tls_certificate_file": "a", "base_url": "https://nim.example/v1"}, "belong together"),
        ({"tls_ca_file": "a"}, "does not begin with https"),
        ({"headers": ("no value",)}, "NAME=VALUE"),
        ({"headers": ("x-api-key=sesame\n",)}, "x-api-key"),
        ({"api_key": "sesame\nopen"}, "no header can carry"),
        ({"base_url": "http://me:sesame@127.0.0.1/v1"}, "name or a password"),
    ],
)
def test_contradictions_are_refused(fields, why):
    """Otherwise a key goes through the network in clear, or a setting is ignored without a word."""
    with pytest.raises(ValueError, match=why) as refused:
        LlmSettings(**fields)
    assert "sesame" not in str(refused.value), "nor is a secret told"


def test_key_is_told_where_it_is_safe():
    """Otherwise a local server, TLS, or a network one trusts is refused."""
    for base_url in ("http://127.0.0.1:8000/v1", "http://localhost/v1", "http://[::1]:8000/v1", "https://nim.example/v1"):
        LlmSettings(base_url=base_url, api_key="k")
    LlmSettings(base_url="http://nim.example/v1", api_key="k", allow_insecure_key=True)

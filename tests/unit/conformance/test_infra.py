"""The items of what is around the calls, against the scripted servers."""

from __future__ import annotations

import asyncio

import pytest

from voicefsm.adapters.channels import RivaChannelSettings
from voicefsm.conformance import Outcome
from voicefsm.conformance.infra import CHECKS
from voicefsm.scripted import AsrScript, Gate, ScriptedLlm, ScriptedRiva, TtsScript

HTTP = """HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"""


async def outcome(outcomes, id_, **wish):
    """How one item comes out; the others must not fail."""
    found = await outcomes(CHECKS, **{"idle_s": 0.05} | wish)
    assert found[Outcome.FAIL] <= {id_}
    return next(outcome for outcome, ids in found.items() if id_ in ids)


async def test_healthy_server_passes(outcomes):
    """Otherwise a report about a good server frightens its owner."""
    async with ScriptedRiva() as riva, ScriptedLlm() as llm:
        found = await outcomes(CHECKS, riva=riva.target, llm=llm.base_url, idle_s=0.05)
    assert found == {Outcome.PASS: {"H1", "H2", "H3", "H5"}, Outcome.NOT_SUPPORTED: {"H4"}, Outcome.FAIL: set()}


@pytest.mark.parametrize(
    ("broken", "scripts"),
    [
        ("H1", {"is_serving": False}),
        ("H3", {"tts": TtsScript(voices=())}),
        ("H3", {"asr": AsrScript(models=())}),
    ],
)
async def test_broken_behaviour_fails_its_item(outcomes, broken, scripts):
    """Otherwise the item cannot fail, and says nothing."""
    async with ScriptedRiva(**scripts) as riva:
        assert await outcome(outcomes, broken, riva=riva.target) is Outcome.FAIL


async def test_server_that_leaves_while_nobody_calls_fails_its_item(outcomes):
    """Otherwise the item cannot fail, and says nothing."""
    async with ScriptedRiva() as riva:
        asyncio.get_running_loop().call_later(2.0, lambda: asyncio.ensure_future(riva.stop()))
        assert await outcome(outcomes, "H5", riva=riva.target, idle_s=3.0) is Outcome.FAIL


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        ("200 OK", '{"status": "ready"}', Outcome.PASS),
        ("200 OK", '{"ready": true}', Outcome.PASS),
        ("200 OK", '{"object": "health.response", "message": "Service is ready."}', Outcome.PASS),
        ("200 OK", "", Outcome.PASS),
        ("200 OK", '{"ready": false}', Outcome.FAIL),
        ("200 OK", '{"status": "loading"}', Outcome.FAIL),
        ("503 Service Unavailable", '{"status": "ready"}', Outcome.FAIL),
        ("404 Not Found", "", Outcome.NOT_SUPPORTED),
    ],
)
async def test_every_shape_of_readiness(outcomes, status, body, expected):
    """Otherwise a Speech NIM that is ready looks as if it was not, or one that loads as if it was."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HTTP.format(status=status, length=len(body), body=body).encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as http, ScriptedRiva() as riva:
        url = f"http://127.0.0.1:{http.sockets[0].getsockname()[1]}"
        assert await outcome(outcomes, "H2", riva=riva.target, riva_http=url) is expected


async def test_encryption_is_seen(outcomes, make_certificate):
    """Otherwise a server that answers anybody in clear passes for an encrypted one."""
    server = make_certificate("server")
    async with ScriptedRiva(gate=Gate(server.certificate.read_bytes(), server.key.read_bytes())) as riva:
        settings = RivaChannelSettings(target=riva.target, tls=True, tls_ca_file=str(server.certificate))
        found = await outcomes(CHECKS, idle_s=0.05, riva_settings=settings)
    assert found[Outcome.PASS] == {"H1", "H3", "H4", "H5"}
    async with ScriptedRiva() as riva:
        settings = RivaChannelSettings(target=riva.target, tls=True, tls_ca_file=str(server.certificate), list_ms_max=500)
        found = await outcomes([check for check in CHECKS if check.id == "H4"], riva_settings=settings)
    assert found[Outcome.FAIL] == {"H4"}

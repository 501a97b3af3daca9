"""Who gets in: a real gateway with TLS, keys, tokens and certificates, and the client library before it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
import wave
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import grpc.aio
import jwt
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from tests.certificates import Certificate, MakeCertificate
from tests.integration.test_metrics import eventually, value
from voicefsm.adapters.identities import AuthSettings, hash_of, new_key
from voicefsm.app import running
from voicefsm.cli import app as cli
from voicefsm.client import Access, ClientSettings, Conversation, NotAllowed, NotSupported, ServerFull, ServerUnavailable
from voicefsm.config import Settings
from voicefsm.errors import SettingsError
from voicefsm.processes import free_port
from voicefsm.server.admission import ServerSettings

WorldOf: TypeAlias = Callable[..., contextlib.AbstractAsyncContextManager[Any]]
KEY = new_key()
SLOW = ClientSettings(connect_ms_max=3000)


def connect(target: str, **access: Any) -> contextlib.AbstractAsyncContextManager[Conversation]:
    return Conversation.connect(target, access=Access(**access), settings=SLOW)


def named(tmp_path: Path, text: str) -> dict[str, Any]:
    file = tmp_path / "identities.toml"
    file.write_text(text)
    return {"identities_file": str(file), "reload_ms": 20}


def rewrite(file: Path, text: str) -> None:
    file.write_text(text)


KIOSK = f'[kiosk]\nkey_sha256 = ["{hash_of(KEY)}"]\n'


def of_server(certificate: Certificate, **more: Any) -> dict[str, Any]:
    return {"certificate_file": str(certificate.certificate), "key_file": str(certificate.key), **more}


async def refused(target: str, kind: type[Exception], **access: Any) -> str:
    with pytest.raises(kind) as caught:
        async with connect(target, **access):
            pass
    return str(caught.value)


@contextlib.contextmanager
def logged() -> Any:
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as lines:
        yield lines


async def test_a_conversation_over_tls_with_a_key(world: WorldOf, make_certificate: MakeCertificate, tmp_path: Path) -> None:
    """Otherwise who listens on the way hears the user, and the key; or strangers talk at the owner's cost."""
    ours = make_certificate("ours")
    with logged() as lines:
        async with world(tls=of_server(ours), auth=named(tmp_path, KIOSK)) as w:
            w.connect = lambda: connect(w.target, key=KEY, ca_file=str(ours.certificate))
            async with w.connect() as conversation:
                events = await w.turn(conversation, "what time is it")
            assert events[-1].heard_text == "It is noon."
            ca = str(ours.certificate)
            assert "shows no credentials" in await refused(w.target, NotAllowed, ca_file=ca)
            assert "API key is not known" in await refused(w.target, NotAllowed, ca_file=ca, key=new_key())
            assert "no credentials of this kind" in await refused(w.target, NotAllowed, ca_file=ca, token="a.b.c")
            await refused(w.target, ServerUnavailable)  # in clear
    opened = [line["identity"] for line in lines if line["event"] == "session opened"]
    assert opened == ["kiosk"]
    assert KEY not in str(lines)


async def test_status_codes_say_whose_move_it_is(world: WorldOf, tmp_path: Path) -> None:
    """Otherwise clients cannot tell a wrong key from a full server, and try again for ever."""
    text = (
        KIOSK + "sessions_max = 1\nsessions_per_minute_max = 3\n" + f'[gone]\nkey_sha256 = ["{hash_of("old")}"]\ndisabled = true\n'
    )
    async with world(auth=named(tmp_path, text)) as w:

        async def code(**access: Any) -> str:
            try:
                async with connect(w.target, **access):
                    return "OK"
            except (NotAllowed, ServerFull) as error:
                return error.code

        assert await code() == "UNAUTHENTICATED"
        assert await code(key="old") == "PERMISSION_DENIED"
        async with connect(w.target, key=KEY):
            said = await refused(w.target, ServerFull, key=KEY)
            assert said == "kiosk holds 1 sessions already. End one, or ask the operator for more."
        for _ in range(2):
            assert await code(key=KEY) == "OK"
        assert "may begin 3 sessions in a minute. Try again in" in await refused(w.target, ServerFull, key=KEY)


async def test_an_identitys_sessions_are_as_long_as_it_may_have_them(world: WorldOf, tmp_path: Path) -> None:
    """Otherwise a key for a minute's demo buys two hours."""
    async with world(auth=named(tmp_path, KIOSK + "session_ms_max = 60000\n")) as w, connect(w.target, key=KEY) as conversation:
        assert conversation.session.limits.session_ms_max == 60_000


async def test_keys_are_taken_and_withdrawn_while_it_runs(world: WorldOf, tmp_path: Path) -> None:
    """Otherwise a stolen key is good until the next restart; or a typing error shuts everybody out."""
    port = free_port()
    auth = named(tmp_path, KIOSK)
    file = Path(auth["identities_file"])
    async with world(auth=auth, metrics={"port": port, "sample_ms": 20}) as w:
        async with connect(w.target, key=KEY):
            scraped = await eventually(port, lambda s: value(s, "voicefsm_identity_active_sessions", identity="kiosk") == 1)
            assert value(scraped, "voicefsm_identity_sessions_total", identity="kiosk") == 1
        rewrite(file, "[kiosk\n")
        await eventually(port, lambda s: value(s, "voicefsm_reloads_total", what="identities", taken="kept") == 1)
        async with connect(w.target, key=KEY):
            pass
        rewrite(file, "[kiosk]\n")
        await eventually(port, lambda s: value(s, "voicefsm_reloads_total", what="identities", taken="taken") == 1)
        assert "is not known" in await refused(w.target, NotAllowed, key=KEY)
        scraped = await eventually(port, lambda s: value(s, "voicefsm_refused_total", kind="NotIdentified") == 1)
        assert value(scraped, "voicefsm_identity_active_sessions", identity="kiosk") == 0


async def test_a_renewed_certificate_counts_for_the_next_connection(world: WorldOf, make_certificate: MakeCertificate) -> None:
    """Otherwise a gateway is restarted every 60 days, or calls are cut when its certificate is renewed."""
    ours = make_certificate("ours")
    port = free_port()
    metrics = {"port": port, "sample_ms": 20}
    async with world(tls=of_server(ours), auth={"reload_ms": 20}, metrics=metrics) as w:
        first = ours.certificate.read_text()
        old_ca = ours.certificate.with_name("old.pem")
        old_ca.write_text(first)
        async with connect(w.target, ca_file=str(old_ca)) as living:
            make_certificate("ours")
            assert ours.certificate.read_text() != first
            await eventually(port, lambda s: value(s, "voicefsm_reloads_total", what="certificate", taken="taken") >= 1)
            async with connect(w.target, ca_file=str(ours.certificate)):
                pass
            await refused(w.target, ServerUnavailable, ca_file=str(old_ca))
            assert (await w.turn(living, "are you there"))[-1].heard_text == "It is noon."
        ours.key.write_text("no key")
        await eventually(port, lambda s: value(s, "voicefsm_reloads_total", what="certificate", taken="kept") >= 1)
        async with connect(w.target, ca_file=str(ours.certificate)):
            pass


async def test_mtls_knows_clients_by_their_certificates(world: WorldOf, make_certificate: MakeCertificate, tmp_path: Path) -> None:
    """Otherwise anybody who reaches the port is a client; or all clients are one."""
    ours, kiosk, stranger = make_certificate("ours"), make_certificate("kiosk"), make_certificate("stranger")
    tls = of_server(ours, client_ca_file=str(kiosk.certificate))
    with logged() as lines:
        async with world(tls=tls, auth=named(tmp_path, "[kiosk]\nsessions_max = 1\n")) as w:
            shown = {"ca_file": str(ours.certificate), "certificate_file": str(kiosk.certificate), "key_file": str(kiosk.key)}
            async with connect(w.target, **shown):
                assert "kiosk holds 1 sessions" in await refused(w.target, ServerFull, **shown)
            await refused(w.target, ServerUnavailable, ca_file=str(ours.certificate))
            shown |= {"certificate_file": str(stranger.certificate), "key_file": str(stranger.key)}
            await refused(w.target, ServerUnavailable, **shown)
    assert [line["identity"] for line in lines if line["event"] == "session opened"] == ["kiosk"]


async def test_a_token_opens_and_an_expired_one_does_not(world: WorldOf, tmp_path: Path) -> None:
    """Otherwise users of an identity provider cannot call; or for ever."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = {**jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "one"}
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [public]}))

    def token(age_s: int = 0) -> Any:
        claims = {"iss": "issuer", "aud": "voicefsm", "sub": "alice", "exp": time.time() + 300 - age_s}
        return jwt.encode(claims, key, "ES256", headers={"kid": "one"})

    settings = {"jwks_file": str(tmp_path / "jwks.json"), "issuer": "issuer", "audience": "voicefsm"}
    async with world(jwt=settings, auth=named(tmp_path, KIOSK)) as w:
        for good in ({"token": token()}, {"key": KEY}):
            async with connect(w.target, **good):
                pass
        assert await refused(w.target, NotAllowed, token=token(600)) == "The token has expired. Ask its issuer for a new one."


@contextlib.asynccontextmanager
async def started(**sections: Any) -> AsyncIterator[int]:
    async with running(Settings(**sections)) as port:
        yield port


async def test_keys_are_not_asked_for_in_clear_on_a_network(tmp_path: Path) -> None:
    """Otherwise a gateway teaches its clients to shout their keys."""
    auth = named(tmp_path, KIOSK)
    with pytest.raises(SettingsError, match=r"would come to 0\.0\.0\.0.*tls\.certificate_file"):
        async with started(server=ServerSettings(host="0.0.0.0", port=0), auth=AuthSettings(**auth)):
            pass
    async with started(
        server=ServerSettings(host="0.0.0.0", port=0, drain_ms_max=0), auth=AuthSettings(**auth, allow_insecure=True)
    ):
        pass


async def check(target: str, credentials: grpc.ChannelCredentials | None = None) -> str:
    """What health says; a status of gRPC when it says nothing."""
    channel = grpc.aio.secure_channel(target, credentials) if credentials else grpc.aio.insecure_channel(target)
    async with channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


async def test_probes_need_neither_key_nor_tls(world: WorldOf, make_certificate: MakeCertificate, tmp_path: Path) -> None:
    """Otherwise an orchestrator, whose probes speak no TLS, kills a gateway that is well."""
    ours, port = make_certificate("ours"), free_port()
    server = {"port": 0, "drain_ms_max": 0, "health": False, "health_port": port}
    async with world(tls=of_server(ours), auth=named(tmp_path, KIOSK), server=server) as w:
        credentials = Access(ca_file=str(ours.certificate)).credentials()
        assert await check(f"127.0.0.1:{port}") == "SERVING"
        assert await check(w.target, credentials) == "UNIMPLEMENTED", "health is off on the port of the clients"
        assert "Method not found" in await refused(f"127.0.0.1:{port}", NotSupported, key=KEY), "nobody converses there"


def test_a_key_is_made_and_its_hash_lets_it_in(tmp_path: Path) -> None:
    """Otherwise operators make their own, and short ones."""
    done = CliRunner().invoke(cli, ["key", "kiosk"])
    assert done.exit_code == 0
    made = next(line.strip() for line in done.output.splitlines() if line.strip().startswith("vfk_"))
    assert f'key_sha256 = ["{hash_of(made)}"]' in done.output
    assert len(made) >= 47
    assert isinstance(CliRunner().invoke(cli, ["key", "two words"]).exception, SettingsError)


async def test_talk_shows_a_key_from_a_file(world: WorldOf, make_certificate: MakeCertificate, tmp_path: Path) -> None:
    """Otherwise a person cannot try a gateway that is closed to strangers; or the key stands in the list of processes."""
    ours = make_certificate("ours")
    (tmp_path / "key").write_text(KEY + "\n")
    with wave.open(str(tmp_path / "in.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(3200))
    async with world(tls=of_server(ours), auth=named(tmp_path, KIOSK)) as w:
        command = (sys.executable, "-m", "voicefsm", "talk", "--target", w.target, "--wav-in", str(tmp_path / "in.wav"))
        hangs_up = ("--wav-tail-ms", "200")
        shown = ("--key", f"@{tmp_path / 'key'}", "--ca", str(ours.certificate))

        async def talk(*options: str) -> tuple[int | None, str]:
            process = await asyncio.create_subprocess_exec(
                *command, *hangs_up, *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
            out, _ = await process.communicate()
            return process.returncode, out.decode()

        code, told = await talk(*shown)
        assert (code, "talk: 0 turns" in told) == (0, True), told
        refusals: list[str] = []
        while not any("shows no credentials" in told for told in refusals):
            # gRPC loses what the server said where the client was about to say more: not every time.
            code, told = await talk(*shown[2:])
            refusals.append(told)
            assert code == 1, told
            assert len(refusals) < 10, refusals

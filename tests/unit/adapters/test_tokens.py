"""Tokens, signed with real keys, and an issuer that publishes them over real HTTP."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from voicefsm.adapters.identities import AuthSettings, Identities
from voicefsm.adapters.jwt_settings import JwtSettings
from voicefsm.adapters.tokens import TOKEN_CHARS_MAX, JwtAuthenticator, keys_in
from voicefsm.errors import NotIdentified, NotPermitted, SettingsError
from voicefsm.ports import Credentials, Identity

ISSUER, AUDIENCE = "https://issuer.example", "voicefsm"


class Clock:
    at_ms = 0

    def now_ms(self) -> int:
        return self.at_ms


class Signer:
    """A key of the issuer."""

    def __init__(self, key_id: str = "one") -> None:
        self.key, self.key_id = ec.generate_private_key(ec.SECP256R1()), key_id

    def public(self) -> dict[str, Any]:
        made = jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {**made, "kid": self.key_id, "use": "sig", "alg": "ES256"}

    def token(self, **claims: Any) -> str:
        """A good one, but for what `claims` say; None leaves a claim out."""
        said = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": int(time.time()) + 300, **claims}
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, self.key, "ES256", headers={"kid": self.key_id})


def jwks(*signers: Signer) -> bytes:
    return json.dumps({"keys": [signer.public() for signer in signers]}).encode()


def authenticator(tmp_path: Path, *signers: Signer, **settings: Any) -> JwtAuthenticator:
    file = tmp_path / "jwks.json"
    file.write_bytes(jwks(*signers))
    wanted = JwtSettings(jwks_file=str(file), issuer=ISSUER, audience=AUDIENCE, **settings)
    return JwtAuthenticator(wanted, Identities(AuthSettings()), Clock())


async def test_a_good_token_names_its_holder(tmp_path: Path) -> None:
    """Otherwise nobody gets in with one."""
    signer = Signer()
    found = await authenticator(tmp_path, signer).identify(Credentials(token=signer.token()))
    assert isinstance(found, Identity)
    assert (found.name, found.is_known, found.may_administer) == ("alice", False, False)
    by_mail = authenticator(tmp_path, signer, identity_claim="email")
    found = await by_mail.identify(Credentials(token=signer.token(email="alice@example.com")))
    assert found is not None
    assert found.name == "alice@example.com"
    assert await by_mail.identify(Credentials(token="vfk_key")) is None


@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({"exp": 1}, "The token has expired"),
        ({"exp": None}, 'missing the "exp" claim'),
        ({"aud": "somebody else"}, "Audience doesn't match"),
        ({"aud": None}, 'missing the "aud" claim'),
        ({"iss": "https://evil.example"}, "Invalid issuer"),
        ({"iss": None}, 'missing the "iss" claim'),
        ({"nbf": int(time.time()) + 3600}, "not yet valid"),
        ({"sub": None}, "no claim 'sub' that names anybody"),
        ({"sub": "two words"}, "is no name of an identity"),
    ],
)
async def test_a_token_that_is_not_for_us_or_not_now(tmp_path: Path, claims: dict[str, Any], problem: str) -> None:
    """Otherwise a token for another service, or of last year, opens this one."""
    signer = Signer()
    with pytest.raises(NotIdentified, match=problem):
        await authenticator(tmp_path, signer).identify(Credentials(token=signer.token(**claims)))


async def test_forgeries(tmp_path: Path) -> None:
    """Otherwise anybody can write a token: unsigned, signed with their own key or our public one, changed."""
    signer, forger = Signer(), Signer()
    knows = authenticator(tmp_path, signer)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "root", "exp": int(time.time()) + 300}
    head, body, signature = signer.token().split(".")
    other_body = forger.token(sub="root").split(".")[1]
    public = json.dumps(signer.public())
    for forged in (
        jwt.encode(claims, "", "none", headers={"kid": "one"}),
        jwt.encode(claims, public * 2, "HS256", headers={"kid": "one"}),
        forger.token(sub="root"),
        f"{head}.{other_body}.{signature}",
        f"{head}.{body}.",
        "..",
        "a.b.c",
        "é.ü.ß",
    ):
        with pytest.raises(NotIdentified, match="token"):
            await knows.identify(Credentials(token=forged))
    with pytest.raises(NotIdentified, match="does not publish"):
        await knows.identify(Credentials(token=Signer("another").token()))
    with pytest.raises(NotIdentified, match=f"more than {TOKEN_CHARS_MAX} characters"):
        await knows.identify(Credentials(token=signer.token(x="x" * TOKEN_CHARS_MAX)))


async def test_other_algorithms_need_to_be_allowed(tmp_path: Path) -> None:
    """Otherwise the setting says nothing."""
    signer = Signer()
    with pytest.raises(NotIdentified, match="token is not good"):
        await authenticator(tmp_path, signer, algorithms=("EdDSA",)).identify(Credentials(token=signer.token()))


@pytest.mark.parametrize("claims", [{"scope": "email voice"}, {"scp": ["voice"]}, {"scope": "voices"}, {"scope": 1}, {}], ids=str)
async def test_a_scope_may_be_asked_for(tmp_path: Path, claims: dict[str, Any]) -> None:
    """Otherwise every token of a big issuer opens this service."""
    signer = Signer()
    asking = authenticator(tmp_path, signer, scope="voice").identify(Credentials(token=signer.token(**claims)))
    if "voice" in str(claims) and "voices" not in str(claims):
        assert await asking is not None
    else:
        with pytest.raises(NotPermitted, match="lacks the scope 'voice'"):
            await asking


# --- the issuer's keys -------------------------------------------------------------------------------------------------------


class Issuer:
    """Publishes keys."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/keys"
        self.says, self.code, self.asked = b"", 200, 0
        """`code` 0: what it says is the whole answer."""


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked += 1
            if made.code:
                self.send_response(made.code)
                self.end_headers()
            self.wfile.write(made.says)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Issuer(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield made
        server.shutdown()
        thread.join()


async def test_keys_are_fetched_once_and_again_when_they_change(issuer: Issuer) -> None:
    """Otherwise each call asks the issuer; or a rotation of its keys shuts everybody out."""
    old, new, clock = Signer("old"), Signer("new"), Clock()
    knows = JwtAuthenticator(JwtSettings(jwks_url=issuer.url, issuer=ISSUER, audience=AUDIENCE), Identities(AuthSettings()), clock)
    issuer.says = jwks(old)
    for _ in range(3):
        assert await knows.identify(Credentials(token=old.token()))
    assert issuer.asked == 1
    issuer.says = jwks(old, new)
    with pytest.raises(NotIdentified, match="does not publish"):
        await knows.identify(Credentials(token=new.token()))
    clock.at_ms = 10_000
    assert await knows.identify(Credentials(token=new.token()))
    assert issuer.asked == 2
    clock.at_ms = 10_000 + 600_001
    assert await knows.identify(Credentials(token=old.token()))
    assert issuer.asked == 3


async def test_strangers_do_not_make_us_flood_the_issuer(issuer: Issuer) -> None:
    """Otherwise whoever sends tokens with invented keys has us attack somebody else, and wait for them."""
    signer, clock = Signer("good"), Clock()
    issuer.says = jwks(signer)
    knows = JwtAuthenticator(JwtSettings(jwks_url=issuer.url, issuer=ISSUER, audience=AUDIENCE), Identities(AuthSettings()), clock)
    asking = [knows.identify(Credentials(token=Signer(f"k{k}").token())) for k in range(20)]
    refused = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(one, NotIdentified) for one in refused)
    assert issuer.asked == 1
    assert await knows.identify(Credentials(token=signer.token()))


ILL: dict[str, tuple[bytes, int]] = {
    "no json": (b"<html>", 200),
    "no keys": (b'{"keys": []}', 200),
    "an error": (b"", 500),
    "no http": (b"garbage\r\n\r\n", 0),
    "nothing": (b"", 0),
    "cut short": (b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{"keys":', 0),
    "elsewhere": (b"HTTP/1.1 302 Found\r\nlocation: http://a..b/\r\n\r\n", 0),
}


@pytest.mark.parametrize("what", ILL)
async def test_an_issuer_that_is_ill_does_not_shut_out_whom_we_know(issuer: Issuer, what: str) -> None:
    """Otherwise an outage of the issuer is one of ours."""
    signer, clock, told = Signer(), Clock(), []
    issuer.says = jwks(signer)
    knows = JwtAuthenticator(JwtSettings(jwks_url=issuer.url, issuer=ISSUER, audience=AUDIENCE), Identities(AuthSettings()), clock)
    knows.told = lambda what, problem: told.append((what, problem))
    assert await knows.identify(Credentials(token=signer.token()))
    issuer.says, issuer.code = ILL[what]
    clock.at_ms = 1_000_000
    assert await knows.identify(Credentials(token=signer.token()))
    assert [(what, problem != "") for what, problem in told] == [("jwks", False), ("jwks", True)]
    assert issuer.url in told[1][1]


async def test_a_file_of_keys_is_followed(tmp_path: Path) -> None:
    """Otherwise a rotation needs a restart."""
    old, new = Signer("old"), Signer("new")
    knows = authenticator(tmp_path, old)
    (tmp_path / "jwks.json").write_bytes(jwks(new) + b" ")
    assert knows.followed is not None
    knows.followed.look()
    assert await knows.identify(Credentials(token=new.token()))
    with pytest.raises(NotIdentified):
        await knows.identify(Credentials(token=old.token()))


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"keys": []}', b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "one"}]}'])
def test_what_holds_no_public_key_is_refused(text: bytes) -> None:
    """Otherwise a shared secret is taken for a public key, or the server lets nobody in."""
    with pytest.raises(SettingsError, match="jwks"):
        keys_in(text, "jwks.json")


async def test_a_token_without_a_key_id_is_good_where_there_is_one_key(tmp_path: Path) -> None:
    """Otherwise small issuers, which name none, cannot be used; or among several keys one is guessed."""
    key = rsa.generate_private_key(65537, 2048)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "bob", "exp": int(time.time()) + 300}
    token = jwt.encode(claims, key, "RS256")
    file = tmp_path / "jwks.json"
    public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    file.write_text(json.dumps({"keys": [public]}))
    wanted = JwtSettings(jwks_file=str(file), issuer=ISSUER, audience=AUDIENCE)
    found = await JwtAuthenticator(wanted, Identities(AuthSettings()), Clock()).identify(Credentials(token=token))
    assert found is not None
    assert found.name == "bob"
    file.write_text(json.dumps({"keys": [{**public, "kid": "a"}, {**public, "kid": "b"}]}))
    with pytest.raises(NotIdentified, match="does not publish"):
        await JwtAuthenticator(wanted, Identities(AuthSettings()), Clock()).identify(Credentials(token=token))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"jwks_url": "https://a/k", "jwks_file": "k"}, "two answers"),
        ({"jwks_file": "k", "audience": "a"}, "without issuer and audience"),
        ({"jwks_file": "k", "issuer": "a"}, "without issuer and audience"),
        ({"algorithms": ("HS256",)}, "HS256 is no algorithm with a public key"),
        ({"algorithms": ("none",)}, "none is no algorithm with a public key"),
        ({"jwks_url": "http://issuer.example/k", "issuer": "a", "audience": "a"}, "must be https"),
        ({"jwks_url": "file:///etc/passwd", "issuer": "a", "audience": "a"}, "must be https"),
    ],
)
def test_settings_that_would_let_strangers_in(settings: dict[str, Any], problem: str) -> None:
    """Otherwise a mistake in the settings is found by who profits from it."""
    with pytest.raises(ValueError, match=problem):
        JwtSettings(**settings)

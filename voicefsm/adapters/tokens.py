"""JSON Web Tokens, checked against the keys that their issuer publishes (the extra [auth]).

Theory of operation. The keys (JWKS) come from a file, which is followed, or from a URL, which is asked when a token names a key
that we do not know, and when what we know is too old. However many tokens name unknown keys, the issuer is asked once in
`jwks_retry_ms_min`, in a thread, by one caller while the others wait; when it does not answer, what it said last still counts. A
token is good for who is named in it if its signature, issuer, audience and times are; only algorithms with public keys are taken,
so that a public key is never mistaken for a secret.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import urllib.request
from collections.abc import Callable
from typing import Any

import jwt

from voicefsm.adapters.followed import Followed, text_of
from voicefsm.adapters.identities import Identities
from voicefsm.adapters.jwt_settings import JwtSettings
from voicefsm.errors import NotIdentified, NotPermitted, SettingsError
from voicefsm.ports import Clock, Credentials, Identity

TOKEN_CHARS_MAX = 8192
JWKS_BYTES_MAX = 1 << 20

Keys = dict[str, jwt.PyJWK]


def keys_in(text: bytes, where: str) -> Keys:
    """A JWKS, by key id. Raises `SettingsError`."""
    try:
        keys = {key.key_id or "": key for key in jwt.PyJWKSet.from_dict(json.loads(text)).keys if key.key_type != "oct"}
    except (ValueError, AttributeError, TypeError, KeyError, jwt.PyJWTError) as bad:
        raise SettingsError(f"{where} is no JWKS: {bad}.", remedy="See docs/operations/access.md.") from bad
    if not keys:
        raise SettingsError(f"{where} holds no public key.", remedy="See docs/operations/access.md.")
    return keys


class JwtAuthenticator:
    """Knows tokens."""

    def __init__(self, settings: JwtSettings, identities: Identities, clock: Clock) -> None:
        """Raises `SettingsError` when the file of keys is not good."""
        self._settings, self._identities, self._clock = settings, identities, clock
        file = settings.jwks_file
        self.followed = Followed("jwks", [file], lambda: keys_in(text_of(file, "jwt.jwks_file"), file)) if file else None
        self._fetched: Keys = {}
        self._fetched_ms: int | None = None
        self._asked_ms: int | None = None
        self._lock = asyncio.Lock()
        self.told: Callable[[str, str], None] = lambda _what, _problem: None
        """What is told of each answer of the issuer: see `ports.Observer.reloaded`."""

    async def identify(self, credentials: Credentials) -> Identity | None:
        """See `ports.Authenticator`."""
        token = credentials.token
        if token.count(".") != 2:  # noqa: PLR2004 (a JWT has three parts)
            return None
        if len(token) > TOKEN_CHARS_MAX:
            raise NotIdentified(f"The token has more than {TOKEN_CHARS_MAX} characters.", remedy="Ask its issuer for fewer claims.")
        claims = await self._claims(token)
        scope = self._settings.scope
        if scope and scope not in _scopes(claims):
            raise NotPermitted(f"The token lacks the scope {scope!r}.", remedy="Ask its issuer for it.")
        name = claims.get(self._settings.identity_claim)
        if not isinstance(name, str):
            raise NotIdentified(f"The token has no claim {self._settings.identity_claim!r} that names anybody.", remedy=_OTHER)
        return self._identities.named(name, "token")

    async def _claims(self, token: str) -> dict[str, Any]:
        settings = self._settings
        try:
            header = jwt.get_unverified_header(token)
            key = await self._key(str(header.get("kid", "")))
            return jwt.decode(
                token,
                key,
                algorithms=list(settings.algorithms),
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_s,
                options={"require": ["exp", "aud", "iss"]},
            )
        except jwt.ExpiredSignatureError as late:
            raise NotIdentified("The token has expired.", remedy="Ask its issuer for a new one.") from late
        except jwt.PyJWTError as bad:
            raise NotIdentified(f"The token is not good: {bad}.", remedy=_OTHER) from bad

    async def _key(self, key_id: str) -> jwt.PyJWK:
        keys = self.followed.now if self.followed else await self._published(key_id)
        key = keys.get(key_id) or (next(iter(keys.values())) if not key_id and len(keys) == 1 else None)
        if key is None:
            raise NotIdentified("The token is signed with a key that its issuer does not publish.", remedy=_OTHER)
        return key

    async def _published(self, key_id: str) -> Keys:
        """What the issuer says, asked again if that may help."""
        if self._is_fresh(key_id):
            return self._fetched
        async with self._lock:
            if not self._is_fresh(key_id) and self._may_ask():
                self._asked_ms = self._clock.now_ms()
                await self._ask()
        return self._fetched

    def _is_fresh(self, key_id: str) -> bool:
        age_ms = None if self._fetched_ms is None else self._clock.now_ms() - self._fetched_ms
        return key_id in self._fetched and age_ms is not None and age_ms <= self._settings.jwks_age_ms_max

    def _may_ask(self) -> bool:
        return self._asked_ms is None or self._clock.now_ms() - self._asked_ms >= self._settings.jwks_retry_ms_min

    async def _ask(self) -> None:
        url = self._settings.jwks_url
        try:
            self._fetched = keys_in(await asyncio.to_thread(_fetch, url, self._settings.jwks_ms_max / 1000), url)
        except (OSError, http.client.HTTPException, ValueError, SettingsError) as bad:
            self.told("jwks", f"{url} does not tell its keys: {bad}")
        else:
            self._fetched_ms = self._clock.now_ms()
            self.told("jwks", "")


_OTHER = "Get another token, for this server."


def _scopes(claims: dict[str, Any]) -> list[str]:
    """Issuers write a list, or words in a text; and call it scope or scp."""
    said = claims.get("scope", claims.get("scp", ""))
    return said.split() if isinstance(said, str) else [str(one) for one in said] if isinstance(said, list) else []


def _fetch(url: str, wait_s: float) -> bytes:
    """The issuer's keys. Raises `OSError`, `HTTPException` for what is no HTTP or cut short, `ValueError` for a bad redirection."""
    with urllib.request.urlopen(url, timeout=wait_s) as answer:  # noqa: S310 (the setting allows http and https only)
        return bytes(answer.read(JWKS_BYTES_MAX))

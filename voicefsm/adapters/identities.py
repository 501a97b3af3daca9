"""Who may call: API keys by their hashes, and what each identity may use.

The file names identities; each may have keys, and limits of its own:

    [kiosk-7]
    key_sha256 = ["2c26b46b68ffc68f…"]    # as many as are valid at present; `voicefsm key` makes one
    sessions_max = 4

Keys are 256 random bits (`new_key`), so there is nothing to guess, and a plain hash is as good as a slow one; what is looked up is
the hash, so how long that takes tells nothing of the key. Identities that come with a token or a certificate are looked up by name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from voicefsm.adapters.followed import Followed, text_of
from voicefsm.errors import NotIdentified, NotPermitted, SettingsError
from voicefsm.ports import Allowance, Authenticator, Credentials, Identity
from voicefsm.values import setting

KEY_PREFIX = "vfk_"
"""So that a key in the wrong place is found by scanners for secrets."""
KEY_CHARS_MAX = 512
"""A longer one is none of ours, and not hashed."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:/+-]{0,99}")
"""What an identity may be called: it stands in logs and labels."""
IDENTITIES_MAX = 10_000
ANONYMOUS = "anonymous"
UNLIMITED = Allowance(1_000_000_000, 1_000_000_000, 86_400_000)
"""Where nobody is asked who they are, only the server's own limits count."""


@dataclasses.dataclass(frozen=True, slots=True)
class AuthSettings:
    """Who may call, and how much each may use."""

    identities_file: str = setting(
        "",
        unit="",
        doc="Names identities, the hashes of their keys and their limits (TOML), followed while we run; empty: no keys.",
    )
    allow_anonymous: bool = setting(
        False, unit="", doc="Let callers in that show nothing although keys, tokens or certificates are asked for."
    )
    allow_insecure: bool = setting(
        False,
        unit="",
        doc="Take keys and tokens without TLS from other hosts: something before us decrypts, or the network is trusted.",
    )
    only_named: bool = setting(False, unit="", doc="Tokens and certificates are good only for identities that the file names.")
    sessions_max: int = setting(
        100, unit="sessions", ge=1, le=100000, doc="How many sessions one identity may hold at once, of each worker."
    )
    sessions_per_minute_max: int = setting(
        600, unit="sessions", ge=1, le=1000000, doc="How many sessions one identity may begin in a minute, of each worker."
    )
    session_ms_max: int = setting(
        86400000, unit="ms", ge=1000, le=86400000, doc="The longest session of one identity, where turns.session_ms_max allows it."
    )
    reload_ms: int = setting(
        1000,
        unit="ms",
        ge=20,
        le=600000,
        doc="How often files that we follow (identities, certificates, keys of tokens) are looked at.",
    )

    @property
    def allowance(self) -> Allowance:
        """Of an identity that has no limits of its own."""
        return Allowance(self.sessions_max, self.sessions_per_minute_max, self.session_ms_max)


def new_key() -> str:
    """A key that nobody has."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def hash_of(key: str) -> str:
    """How the file knows a key."""
    return hashlib.sha256(key.encode()).hexdigest()


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """What the file says."""

    identities: Mapping[str, Identity]
    shut_out: frozenset[str]
    names: Mapping[str, str]
    """By the hash of a key."""


def parsed(text: bytes, default: Allowance, where: str) -> Known:
    """The file, checked. Raises `SettingsError` that names every problem."""
    try:
        entries = tomllib.loads(text.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as bad:
        raise SettingsError(f"{where} is no TOML: {bad}.", remedy="See docs/operations/access.md.") from bad
    problems: list[str] = []
    identities: dict[str, Identity] = {}
    names: dict[str, str] = {}
    for name, entry in entries.items():
        problems += [f"{name}: {problem}" for problem in _problems(name, entry)]
        if problems:
            continue
        limits = {field: entry[field] for field in _LIMITS if field in entry}
        identities[name] = Identity(name, dataclasses.replace(default, **limits), True, entry.get("admin", False))
        for digest in entry.get("key_sha256", ()):
            if names.setdefault(digest, name) != name:
                problems.append(f"{name}: has a key of {names[digest]}")
    if len(entries) > IDENTITIES_MAX:
        problems.append(f"there are {len(entries)} identities, and {IDENTITIES_MAX} are allowed")
    if problems:
        raise SettingsError(f"{where}: {'; '.join(problems)}.", remedy="See docs/operations/access.md.")
    return Known(identities, frozenset(name for name, entry in entries.items() if entry.get("disabled")), names)


_LIMITS = {field.name: 86_400_000 for field in dataclasses.fields(Allowance)}
_SWITCHES = ("admin", "disabled")


def _problems(name: str, entry: Any) -> list[str]:
    if not NAME.fullmatch(name):
        return ["its name must be 1 to 100 letters, digits and ._@:/+-"]
    if not isinstance(entry, dict):
        return [f"must be a section, [{name}]"]
    digests = entry.get("key_sha256", [])
    is_list = isinstance(digests, list) and all(isinstance(one, str) and re.fullmatch(r"[\da-f]{64}", one) for one in digests)
    found = [] if is_list else ["key_sha256 must be a list of SHA-256 in 64 small hexadecimal digits"]
    found += [
        f"{field} must be a whole number of at least 1"
        for field in _LIMITS
        if field in entry and not (type(entry[field]) is int and 1 <= entry[field] <= _LIMITS[field])
    ]
    found += [f"{field} must be true or false" for field in _SWITCHES if not isinstance(entry.get(field, False), bool)]
    return found + [f"there is no {field}" for field in entry.keys() - {*_LIMITS, *_SWITCHES, "key_sha256"}]


class Identities:
    """The file, as it is now; without one nobody is named."""

    def __init__(self, settings: AuthSettings) -> None:
        """Raises `SettingsError`."""
        self._settings = settings
        self._nobody = Known({}, frozenset(), {})
        file, allowance = settings.identities_file, settings.allowance

        def read() -> Known:
            return parsed(text_of(file, "auth.identities_file"), allowance, file)

        self.followed = Followed("identities", [file], read) if file else None

    @property
    def known(self) -> Known:
        """What the file says."""
        return self.followed.now if self.followed else self._nobody

    def named(self, name: str, kind: str) -> Identity:
        """The identity that a token or a certificate (`kind`) names. Raises `NotPermitted`, `NotIdentified`."""
        if not NAME.fullmatch(name):
            raise NotIdentified(
                f"The {kind} names {name[:100]!r}, which is no name of an identity.",
                remedy="Names are 1 to 100 letters, digits and ._@:/+-",
            )
        if name in self.known.shut_out:
            raise NotPermitted(f"{name} is shut out.", remedy="Ask the operator.")
        found = self.known.identities.get(name)
        if found is None and self._settings.only_named:
            raise NotPermitted(
                f"{name} is not among those who may call.", remedy="Ask the operator for an entry in auth.identities_file."
            )
        return found or Identity(name, self._settings.allowance)


class KeyAuthenticator:
    """Knows API keys."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    async def identify(self, credentials: Credentials) -> Identity | None:
        """See `ports.Authenticator`. A bearer token that looks like a JWT is none of ours."""
        shown = credentials.key or (credentials.token if credentials.token.count(".") != 2 else "")  # noqa: PLR2004 (a JWT's)
        if not shown:
            return None
        name = self._identities.known.names.get(hash_of(shown)) if len(shown) <= KEY_CHARS_MAX else None
        if name is None:
            raise NotIdentified("The API key is not known.", remedy="Check it; it may have been replaced.")
        return self._identities.named(name, "key")


class CertificateAuthenticator:
    """Knows client certificates, which TLS has checked."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    async def identify(self, credentials: Credentials) -> Identity | None:
        """See `ports.Authenticator`. Of the names in a certificate the first that the operator knows counts, or the first."""
        names = credentials.certificate_names
        if not names:
            return None
        known = self._identities.known
        name = next((name for name in names if name in known.identities or name in known.shut_out), names[0])
        return self._identities.named(name, "certificate")


class Chain:
    """Several authenticators: the first that knows the caller decides."""

    def __init__(self, authenticators: Sequence[Authenticator], settings: AuthSettings) -> None:
        """Without any everybody is let in, and nobody is known."""
        self._authenticators = authenticators
        self._is_open = settings.allow_anonymous or not authenticators
        self._anonymous = Identity(ANONYMOUS, settings.allowance if authenticators else UNLIMITED)

    async def identify(self, credentials: Credentials) -> Identity:
        """See `ports.Authenticator`."""
        for authenticator in self._authenticators:
            identity = await authenticator.identify(credentials)
            if identity is not None:
                return identity
        if credentials.token or credentials.key:
            raise NotIdentified(
                "This server takes no credentials of this kind.",
                remedy="Ask the operator for an API key, or a token that it takes.",
            )
        if not self._is_open:
            raise NotIdentified(
                "The call shows no credentials.", remedy="Send the metadata `authorization: Bearer …` with an API key or a token."
            )
        return self._anonymous

"""Who calls, as gRPC tells it, and how much of the server they may use."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from voicefsm.adapters.followed import Followed
from voicefsm.adapters.identities import AuthSettings, CertificateAuthenticator, Chain, Identities, KeyAuthenticator
from voicefsm.adapters.jwt_settings import JwtSettings
from voicefsm.adapters.secrets import LOOPBACK
from voicefsm.errors import SettingsError
from voicefsm.ports import Authenticator, Clock, Credentials, Identity
from voicefsm.server.quotas import Quotas
from voicefsm.server.tls import Certificates, TlsSettings

if TYPE_CHECKING:
    from voicefsm.adapters.tokens import JwtAuthenticator


class Shows(Protocol):
    """What we read of a call."""

    def invocation_metadata(self) -> Iterable[tuple[str, Any]] | None:
        """See `grpc.ServicerContext`."""

    def auth_context(self) -> Any:
        """See `grpc.ServicerContext`."""


class Callers:
    """Asks callers who they are, and counts what each holds."""

    def __init__(self, chain: Chain, quotas: Quotas) -> None:
        self._chain, self._quotas = chain, quotas

    @classmethod
    def open(cls, clock: Clock) -> Callers:
        """For a server that asks nobody."""
        return cls(Chain((), AuthSettings()), Quotas(clock))

    async def identify(self, call: Shows) -> Identity:
        """Who this is. Raises `NotIdentified`, `NotPermitted`."""
        return await self._chain.identify(shown_by(call))

    def enter(self, identity: Identity) -> None:
        """A session begins. Raises `TooMuch`."""
        self._quotas.enter(identity)

    def leave(self, identity: Identity) -> None:
        """It is over."""
        self._quotas.leave(identity)


def shown_by(call: Shows) -> Credentials:
    """The credentials in the metadata and in the certificate of a call."""
    said = {name: value for name, value in call.invocation_metadata() or () if isinstance(value, str)}
    kind, _, token = said.get("authorization", "").partition(" ")
    names = call.auth_context()
    certified = (*names.get("x509_subject_alternative_name", ()), *names.get("x509_common_name", ()))
    return Credentials(
        key=said.get("x-api-key", "").strip(),
        token=token.strip() if kind.lower() == "bearer" else "",
        certificate_names=tuple(name.decode(errors="replace") for name in certified),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Gate:
    """All that stands between a stranger and a session."""

    callers: Callers
    certificates: Certificates | None
    followed: Sequence[Followed[Any]]
    """Files to be looked at again and again."""


def gate_of(  # noqa: PLR0917 (one for each section)
    host: str, tls: TlsSettings, auth: AuthSettings, tokens: JwtSettings, clock: Clock, told: Callable[[str, str], None]
) -> Gate:
    """What the settings want. `told` hears of each change of a file.

    Raises:
        SettingsError: a file is not good; something is not installed; or keys would be told to the whole network.

    """
    certificates = Certificates(tls) if tls.is_on else None
    identities = Identities(auth)
    chain: list[Authenticator] = []
    followed: list[Followed[Any]] = [one.followed for one in (certificates, identities) if one is not None and one.followed]
    if auth.identities_file:
        chain.append(KeyAuthenticator(identities))
    if tokens.is_on:
        knows = _tokens(tokens, identities, clock)
        knows.told = told
        chain.append(knows)
        followed += [knows.followed] if knows.followed else []
    if chain and not (tls.is_on or auth.allow_insecure or host in LOOPBACK):
        raise SettingsError(
            f"Keys and tokens would come to {host} for anybody on the way to read.",
            remedy="Set tls.certificate_file; or auth.allow_insecure, if something before us decrypts.",
        )
    if tls.client_ca_file:
        chain.append(CertificateAuthenticator(identities))
    for one in followed:
        one.told = told
    return Gate(Callers(Chain(chain, auth), Quotas(clock)), certificates, followed)


def _tokens(settings: JwtSettings, identities: Identities, clock: Clock) -> JwtAuthenticator:
    try:
        from voicefsm.adapters.tokens import JwtAuthenticator  # noqa: PLC0415  # an extra
    except ImportError as missing:
        problem = f"Tokens are asked for ([jwt]), and {missing.name} is not installed."
        raise SettingsError(problem, remedy="pip install 'voicefsm[auth]'.") from missing
    return JwtAuthenticator(settings, identities, clock)

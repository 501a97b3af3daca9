"""How tokens are checked: apart from tokens.py, whose library is an extra."""

from __future__ import annotations

import dataclasses

from voicefsm.adapters.secrets import LOOPBACK
from voicefsm.values import setting

PUBLIC_KEY_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})


@dataclasses.dataclass(frozen=True, slots=True)
class JwtSettings:
    """Which tokens (JWT) are good. They are asked for when `jwks_url` or `jwks_file` is set."""

    jwks_url: str = setting("", unit="", doc="Where the issuer publishes its keys (JWKS), https://…; empty: none are fetched.")
    jwks_file: str = setting("", unit="", doc="A file with these keys instead, followed while we run.")
    issuer: str = setting("", unit="", doc="Who has to have issued a token (`iss`).")
    audience: str = setting("", unit="", doc="Whom a token has to be for (`aud`): us.")
    algorithms: tuple[str, ...] = setting(
        ("RS256", "ES256", "EdDSA"), unit="entries", ge=1, le=10, doc="How tokens may be signed; only with public keys."
    )
    identity_claim: str = setting("sub", unit="characters", ge=1, le=100, doc="The claim that names the caller.")
    scope: str = setting("", unit="", doc="A scope that a token has to have (`scope` or `scp`); empty: any token is good.")
    leeway_s: int = setting(30, unit="s", ge=0, le=600, doc="How far the issuer's clock may be from ours.")
    jwks_age_ms_max: int = setting(
        600000, unit="ms", ge=1000, le=86400000, doc="How long the keys from the URL are trusted before they are asked for again."
    )
    jwks_retry_ms_min: int = setting(
        10000, unit="ms", ge=100, le=600000, doc="The least time between two questions, whatever tokens name."
    )
    jwks_ms_max: int = setting(3000, unit="ms", ge=50, le=30000, doc="How long the issuer may take to answer.")

    def __post_init__(self) -> None:
        """Refuse what no single field can."""
        if self.jwks_url and self.jwks_file:
            raise ValueError("jwks_url and jwks_file are two answers to one question.")
        if self.is_on and not (self.issuer and self.audience):
            raise ValueError("without issuer and audience a token for somebody else would be good here.")
        if strange := set(self.algorithms) - PUBLIC_KEY_ALGORITHMS:
            raise ValueError(f"{', '.join(sorted(strange))} is no algorithm with a public key.")
        if self.jwks_url and not self.jwks_url.startswith("https://") and not self._is_local:
            raise ValueError("jwks_url must be https://: whoever answers decides who may call.")

    @property
    def is_on(self) -> bool:
        """Whether tokens are asked for."""
        return bool(self.jwks_url or self.jwks_file)

    @property
    def _is_local(self) -> bool:
        host = self.jwks_url.removeprefix("http://").partition("/")[0].rpartition(":")[0] or "-"
        return self.jwks_url.startswith("http://") and host in LOOPBACK

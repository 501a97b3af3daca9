"""What a client shows to be let in, and how its connection is encrypted.

access = Access(key="vfk_…", ca_file="ca.pem")
async with Conversation.connect("voice.example:443", access=access) as conversation: ...
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import grpc

from voicefsm.adapters.secrets import LOOPBACK
from voicefsm.errors import SettingsError


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """Credentials, and encryption. Nothing set: plain text, and nobody."""

    key: str = dataclasses.field(default="", repr=False)
    """An API key …"""
    token: str = dataclasses.field(default="", repr=False)
    """… or a token (JWT)."""
    tls: bool = False
    """Encrypt; what follows says so as well."""
    ca_file: str = ""
    """Authorities (PEM) that the server's certificate is checked against; empty: the well-known ones."""
    certificate_file: str = ""
    """Our own certificate (PEM), where the server asks for one (mTLS); its file may hold the key as well."""
    key_file: str = ""
    """The private key (PEM) of our certificate."""
    allow_insecure: bool = False
    """Show key or token over a connection that is not encrypted."""

    def __post_init__(self) -> None:
        """Refuse what no single field can."""
        if self.key and self.token:
            raise SettingsError("There are a key and a token.", remedy="Show one of them.")
        if self.key_file and not self.certificate_file:
            raise SettingsError("There is a private key, and no certificate.", remedy="Give both.")

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection is."""
        return bool(self.tls or self.ca_file or self.certificate_file)

    def credentials(self) -> grpc.ChannelCredentials | None:
        """For the connection; None: plain text. Raises `SettingsError` when a file cannot be read."""
        if not self.is_encrypted:
            return None
        files = (self.ca_file, self.key_file or self.certificate_file, self.certificate_file)
        try:
            authorities, key, certificate = (Path(file).read_bytes() if file else None for file in files)
        except OSError as unreadable:
            what = f"{unreadable.filename} cannot be read: {unreadable.strerror}."
            raise SettingsError(what, remedy="Check the files of certificates and keys.") from unreadable
        return grpc.ssl_channel_credentials(authorities, key, certificate)

    def metadata(self, target: str) -> tuple[tuple[str, str], ...]:
        """For the call. Raises `SettingsError` when it would be told to the whole network."""
        shown, host = self.key or self.token, target.removeprefix("dns:///").rpartition(":")[0]
        if shown and not (self.is_encrypted or self.allow_insecure or host in LOOPBACK):
            raise SettingsError(
                f"The credentials would go to {target} for anybody on the way to read.",
                remedy="Encrypt the connection (tls, ca_file), or set allow_insecure if you trust the network.",
            )
        return (("authorization", f"Bearer {shown}"),) if shown else ()

"""Encryption of what clients say, and who they are by their certificates.

gRPC asks for the certificate at each handshake, in a thread of its own: it gets what was read and checked last. So a renewed
certificate counts for the next connection, and connections that are open go on.
"""

from __future__ import annotations

import dataclasses
import ssl

import grpc

from voicefsm.adapters.followed import Followed, text_of
from voicefsm.errors import SettingsError
from voicefsm.values import setting


@dataclasses.dataclass(frozen=True, slots=True)
class TlsSettings:
    """Encryption of the port clients talk to. The files are followed while we run."""

    certificate_file: str = setting(
        "", unit="", doc="The server's certificate and those it was signed with (PEM); empty: no encryption."
    )
    key_file: str = setting("", unit="", doc="The private key (PEM) of the certificate.")
    client_ca_file: str = setting(
        "", unit="", doc="Authorities (PEM) that a client's certificate has to come from (mTLS); empty: clients need none."
    )

    def __post_init__(self) -> None:
        """Refuse what no single field can."""
        if bool(self.certificate_file) != bool(self.key_file):
            raise ValueError("certificate_file and key_file belong together.")
        if self.client_ca_file and not self.certificate_file:
            raise ValueError("client_ca_file needs a certificate_file of the server.")

    @property
    def is_on(self) -> bool:
        """Whether the port is encrypted."""
        return bool(self.certificate_file)


class Certificates:
    """What the server shows, and whom it believes."""

    def __init__(self, settings: TlsSettings) -> None:
        """Raises `SettingsError` when the files are not good."""
        self._settings = settings
        files = [file for file in dataclasses.astuple(settings) if file]
        self.followed = Followed("certificate", files, self._read)

    def credentials(self) -> grpc.ServerCredentials:
        """For a port. They change with the files."""
        return grpc.dynamic_ssl_server_credentials(
            self.followed.now, lambda: self.followed.now, require_client_authentication=bool(self._settings.client_ca_file)
        )

    def _read(self) -> grpc.ServerCertificateConfiguration:
        """The files, checked. Raises `SettingsError`."""
        settings = self._settings
        key, certificate = text_of(settings.key_file, "tls.key_file"), text_of(settings.certificate_file, "tls.certificate_file")
        authorities = text_of(settings.client_ca_file, "tls.client_ca_file") if settings.client_ca_file else None
        try:
            _check(settings)
        except (ssl.SSLError, OSError) as bad:
            files = ", ".join(file for file in dataclasses.astuple(settings) if file)
            what = f"The certificate, its key and the authorities ({files}) are not good together: {bad}."
            raise SettingsError(what, remedy="Check tls.*_file.") from bad
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authorities)


def _check(settings: TlsSettings) -> None:
    """OpenSSL looks at once; gRPC would take anything, and then refuse every handshake. Raises `ssl.SSLError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings.certificate_file, settings.key_file, password=lambda: "")
    if settings.client_ca_file:
        context.load_verify_locations(settings.client_ca_file)

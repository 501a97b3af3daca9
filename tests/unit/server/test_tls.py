"""Certificates, looked at before a client is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.certificates import MakeCertificate
from voicefsm.errors import SettingsError
from voicefsm.server.tls import Certificates, TlsSettings


def test_what_does_not_belong_together_is_told_before_a_port_opens(make_certificate: MakeCertificate, tmp_path: Path) -> None:
    """Otherwise a server starts that refuses every handshake, and says so in no words that help."""
    ours, other = make_certificate("ours"), make_certificate("other")
    with pytest.raises(SettingsError, match=r"not good together.*Check tls\.\*_file"):
        Certificates(TlsSettings(str(ours.certificate), str(other.key)))
    with pytest.raises(SettingsError, match=r"missing\.pem cannot be read.*Check tls\.key_file"):
        Certificates(TlsSettings(str(ours.certificate), str(tmp_path / "missing.pem")))
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(SettingsError, match="not good together"):
        Certificates(TlsSettings(str(ours.certificate), str(ours.key), str(tmp_path / "ca.pem")))
    assert Certificates(TlsSettings(str(ours.certificate), str(ours.key))).credentials()


def test_a_pair_that_is_half_exchanged_waits_for_the_other_half(make_certificate: MakeCertificate) -> None:
    """Otherwise a renewal that writes one file after the other breaks the server in between."""
    ours, new = make_certificate("ours"), make_certificate("new")
    certificates = Certificates(TlsSettings(str(ours.certificate), str(ours.key)))
    before = certificates.followed.now
    ours.certificate.write_bytes(new.certificate.read_bytes())
    certificates.followed.look()
    assert certificates.followed.now is before
    ours.key.write_bytes(new.key.read_bytes())
    certificates.followed.look()
    assert certificates.followed.now is not before


@pytest.mark.parametrize("files", [("c.pem", "", ""), ("", "k.pem", ""), ("", "", "ca.pem")])
def test_settings_that_do_not_go_together(files: tuple[str, str, str]) -> None:
    """Otherwise a server that was to be encrypted is not."""
    with pytest.raises(ValueError, match=r"belong together|needs a certificate_file"):
        TlsSettings(*files)

"""Certificates for servers and clients on loopback, made by openssl as they are needed. A plugin of all tests."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@dataclasses.dataclass(frozen=True, slots=True)
class Certificate:
    """One that vouches for itself, valid for this host for a day."""

    certificate: Path
    key: Path


MakeCertificate = Callable[[str], Certificate]


@pytest.fixture
def make_certificate(tmp_path: Path) -> MakeCertificate:
    """`make_certificate(name)` makes one, or makes it anew."""
    if shutil.which("openssl") is None:
        pytest.skip("certificates are made by openssl, which is not installed")

    def make(name: str) -> Certificate:
        made = Certificate(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        elliptic = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        names = ("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
        command = (
            "openssl",
            "req",
            "-x509",
            *elliptic,
            "-days",
            "1",
            *names,
            "-keyout",
            str(made.key),
            "-out",
            str(made.certificate),
        )
        subprocess.run(command, check=True, capture_output=True)
        return made

    return make

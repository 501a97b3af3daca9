"""Around the image: the pin of its base, the list of what is in it, its health check. scripts/container.sh runs the image."""

from __future__ import annotations

import importlib.util
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import ModuleType

import pytest

from tests.deploy.conftest import ROOT

DIGEST = "sha256:" + "5" * 64


def script(path: str) -> ModuleType:
    """A script that is no package's."""
    spec = importlib.util.spec_from_file_location(path.replace("/", "_"), ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- the base -------------------------------------------------------------------------------------------------------------------


class Registry(BaseHTTPRequestHandler):
    """Wants a token of strangers first, as the public ones do."""

    def do_HEAD(self) -> None:
        here = f"http://{self.headers['Host']}"
        is_known = self.headers["Authorization"] == "Bearer for-anybody"
        self.send_response(200 if is_known else 401)
        if is_known and "oci.image.index" in self.headers["Accept"]:
            self.send_header("Docker-Content-Digest", DIGEST)
        if not is_known:
            self.send_header("WWW-Authenticate", f'Bearer realm="{here}/token",service="registry",scope="repository:a/b:pull"')
        self.end_headers()

    def do_GET(self) -> None:
        is_asked = self.path == "/token?service=registry&scope=repository%3Aa%2Fb%3Apull"
        self.send_response(200 if is_asked else 404)
        self.end_headers()
        self.wfile.write(json.dumps({"token": "for-anybody"}).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
        """Nobody reads it."""


@pytest.fixture
def registry() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Registry) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_digest_of_the_base_is_asked_of_its_registry(registry):
    """Otherwise the one command that pins the base would fail on the day of the release."""
    assert script("scripts/base_digest.py").digest(registry, "a/b", "3.11", scheme="http") == DIGEST


def test_a_registry_that_cannot_be_reached_is_named(registry):
    """Otherwise a release would be built from who knows what."""
    module = script("scripts/base_digest.py")
    with pytest.raises(SystemExit, match=r"manifests/3\.11"):
        module.digest("127.0.0.1:1", "a/b", "3.11", scheme="http")


def test_the_digest_is_written_where_it_is_checked(monkeypatch, tmp_path, capsys):
    """Otherwise --write and --check would look at different lines."""
    module = script("scripts/base_digest.py")
    text = re.sub(r"@sha256:\w+", "", module.DOCKERFILE.read_text(encoding="utf-8"))
    monkeypatch.setattr(module, "DOCKERFILE", tmp_path / "Dockerfile")
    monkeypatch.setattr(module, "digest", lambda *_: DIGEST)
    module.DOCKERFILE.write_text(text, encoding="utf-8")
    assert module.main(["--check"]) == 1
    assert module.main(["--write"]) == 0
    assert module.main(["--check"]) == 0
    assert capsys.readouterr().out == f"docker.io/library/python:3.11-slim-bookworm@{DIGEST}\n"
    assert module.DOCKERFILE.read_text(encoding="utf-8").replace(f"@{DIGEST}", "") == text


def test_the_base_is_named_where_dependabot_looks():
    """Otherwise it would never be proposed anew: Dependabot reads FROM, and no ARG."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert len(re.findall(r"(?m)^FROM \S+[:/]", text)) == 1
    assert not re.search(r"(?m)^FROM .*\$", text)
    assert "package-ecosystem: docker\n" in (ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8")


# --- the list of what is in it --------------------------------------------------------------------------------------------------

LOCK = """\
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:0
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:0
async-timeout==5.0.1 ; python_full_version < '3.11.3' \\
    --hash=sha256:0
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:0
"""


def sbom(**python: str) -> dict[str, list[dict[str, str]]]:
    packages = [{"name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"} for name, version in python.items()]
    return {"components": [*packages, {"name": "libc6", "version": "2.36", "purl": "pkg:deb/debian/libc6@2.36"}]}


@pytest.mark.parametrize(
    ("listed", "problems"),
    [
        ({"numpy": "2.4.6", "voicefsm": "1.0.0", "pip": "23"}, []),
        ({"numpy": "2.4.6", "voicefsm": "1.0.0", "async_timeout": "5.0.1"}, []),  # an older patch of Python has it
        ({"numpy": "2.5.5", "voicefsm": "1.0.0"}, ["numpy 2.5.5, locked 2.4.6"]),
        ({"numpy": "2.4.6"}, ["voicefsm: missing, locked 1.0.0"]),
        ({"numpy": "2.4.6", "voicefsm": "1.0.0", "colorama": "0.4.6"}, ["colorama 0.4.6: nobody has pinned it"]),
    ],
)
def test_a_list_that_is_not_whole_would_be_seen(listed, problems):
    """Otherwise an SBOM would be signed that leaves out what is vulnerable tomorrow."""
    pytest.importorskip("packaging")
    module = script("scripts/sbom.py")
    assert module.problems(sbom(**listed), LOCK, "x86_64", "1.0.0") == problems
    assert module.problems({"components": sbom(**listed)["components"][:-1]}, LOCK, "x86_64", "1.0.0")[-1] == "nothing of Debian"


# --- the health check -----------------------------------------------------------------------------------------------------------


def test_the_health_check_says_what_it_lacks(monkeypatch, tmp_path):
    """Otherwise a container with TLS would be restarted for ever, and nobody would know why."""
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_text("secret", encoding="utf-8")
        monkeypatch.setenv(f"VOICEFSM_TLS__{'CERTIFICATE' if name.endswith('crt') else 'KEY'}_FILE", str(tmp_path / name))
    module = script("deploy/image/healthcheck.py")
    assert "server.health_port" in module.problem()
    monkeypatch.setenv("VOICEFSM_SERVER__HEALTH_PORT", "1")
    assert module.problem() not in {"", "server.health_port"}

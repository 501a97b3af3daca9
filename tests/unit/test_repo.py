"""The repository itself: what is generated is current, who imports whom, what must not be committed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", ["protos", "docs", "dashboards"])
def test_generated_files_are_current(kind):
    """Otherwise the code of the protocol, or a page of the docs, would tell of an older program. `make protos docs` mends it."""
    generate = script("generate")
    assert generate.differences(generate.KINDS[kind]()) == ""


def test_a_stale_page_would_be_seen(tmp_path, monkeypatch):
    """Otherwise the test above could not fail."""
    generate = script("generate")
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    generate.write({"docs/page.md": "one\n"})
    assert generate.differences({"docs/page.md": "one\n"}) == ""
    assert "+two" in generate.differences({"docs/page.md": "two\n"})


def test_import_layers_hold():
    """Otherwise the core could reach for a clock, or the gateway for a GPL engine."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_the_lock_file_pins_every_package_with_a_hash_and_names_no_place():
    """Otherwise an installation could fetch something nobody looked at, or from a place only one machine has."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = re.split(r"\n(?=\S)", re.sub(r"(?m)^ *#.*\n?", "", lock))
    assert len(pinned) > 50
    for entry in pinned:
        assert re.match(r"[a-z0-9._-]+==\S+", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]
    assert not re.search(r"https?://|file:|index-url|find-links", lock)


def test_the_lock_file_has_every_dependency():
    """Otherwise `make test` would install something that is not locked."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *(entry for name, entries in extras.items() if name not in {"speexdsp", "load"} for entry in entries),
    ]
    names = {re.split(r"[\[<>=!~; ]", entry)[0].lower() for entry in wanted} - {"voicefsm"}
    locked = set(re.findall(r"(?m)^([a-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(encoding="utf-8")))
    assert names - locked == set()


def test_links_between_pages_lead_somewhere():
    """Otherwise a reader would be sent to a page that is not there."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    dead = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if "://" not in link and not (page.parent / link).exists()
    ]
    assert dead == []


def test_the_licence_is_there():
    """Otherwise nobody may use the program."""
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in text

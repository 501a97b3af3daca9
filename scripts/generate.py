"""Generates what is generated: `voicefsm/v1` from `protos/`, pages of `docs/` from the code, dashboards from their panels.

usage: python scripts/generate.py [--check] protos|docs|dashboards …

With `--check` nothing is written: what differs from the committed files is shown, and the exit code is 1.
"""

# ruff: noqa: INP001, S603, T201  # a script, not a module

from __future__ import annotations

import difflib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ("voicefsm/v1/conversation.proto", "voicefsm/v1/admin.proto")

PAGES: Mapping[str, tuple[str, ...]] = {
    "docs/benchmarks.md": ("bench", "history"),
    "docs/settings.md": ("settings", "--format", "md"),
    "docs/state-machine.md": ("table", "--format", "md"),
    "docs/operations/memory.md": ("settings", "--format", "memory"),
    "docs/operations/metrics.md": ("metrics",),
}
"""Page: the command whose output it is."""

Files = Mapping[str, str]
"""Path below the root: text."""


def protos() -> Files:
    """The Python code of the protocol."""
    with tempfile.TemporaryDirectory() as out:
        kinds = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", "-I", "protos", *kinds, *PROTOS], cwd=ROOT, check=True)
        return {str(path.relative_to(out)): path.read_text(encoding="utf-8") for path in sorted(Path(out).rglob("*.py*"))}


def docs() -> Files:
    """The generated pages."""
    return {page: _voicefsm(*command) for page, command in PAGES.items()}


def _voicefsm(*arguments: str) -> str:
    command = [sys.executable, "-m", "voicefsm", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


def dashboards() -> Files:
    """What Grafana shows."""
    command = [sys.executable, "scripts/dashboards.py"]
    made = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout)
    return {f"deploy/monitoring/dashboards/{name}": json.dumps(one, indent=1) + "\n" for name, one in made.items()}


KINDS: Mapping[str, Callable[[], Files]] = {"protos": protos, "docs": docs, "dashboards": dashboards}


def differences(files: Files) -> str:
    """What the committed files have otherwise, as a unified diff; empty when nothing."""
    return "".join("".join(_diff(name, text)) for name, text in files.items())


def _diff(name: str, text: str) -> list[str]:
    path = ROOT / name
    committed = path.read_text(encoding="utf-8") if path.exists() else ""
    return list(difflib.unified_diff(committed.splitlines(True), text.splitlines(True), f"committed/{name}", f"generated/{name}"))


def write(files: Files) -> None:
    """Put the files where they are committed."""
    for name, text in files.items():
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(text, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Generate or check; the exit code."""
    check = "--check" in arguments
    kinds = [argument for argument in arguments if argument != "--check"]
    if not kinds or any(kind not in KINDS for kind in kinds):
        sys.exit(__doc__)
    code = 0
    for kind in kinds:
        files = KINDS[kind]()
        changed = differences(files)
        if not check:
            write(files)
        elif changed:
            print(changed, end="")
            code = 1
        print(f"{kind}: {len(files)} files {'differ: run `make ' + kind + '`' if check and changed else 'are current'}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Is the list of what is in an image whole? `sbom.py SBOM LOCK MACHINE`: exit code 1, and what is missing, if not.

Every package that the lock file has for the image's Python and machine must be in it, in that version; so must our own, and
Debian's. A package of Python that the lock file does not know, and the base has not brought, is one that nobody has pinned.
"""  # noqa: INP001  # a script

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.markers import Marker, default_environment
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "3.11"
PATCHES = ("0", "99")
"""Of the image; which patch of it, the base decides: what only some of them need may be there, and need not."""
BASE = {"pip", "setuptools", "wheel"}
"""What a base may bring along."""


def locked(text: str, machine: str, patch: str) -> dict[str, str]:
    """Name to version, of what applies to the image."""
    python = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.{patch}"}
    place = {"platform_machine": machine, "platform_system": "Linux", "sys_platform": "linux"}
    environment: dict[str, str] = {**default_environment(), **python, **place}  # type: ignore[dict-item]
    pins = re.findall(r"(?m)^([\w.-]+)==([^\s;]+)(?: ; (.*?))? \\$", text)
    applying = [(name, version) for name, version, marker in pins if not marker or Marker(marker).evaluate(environment)]
    return {canonicalize_name(name): version for name, version in applying}


def listed(sbom: dict[str, Any], kind: str) -> dict[str, str]:
    """Name to version, of the packages of a kind ("pypi", "deb")."""
    found = (each for each in sbom["components"] if each.get("purl", "").startswith(f"pkg:{kind}/"))
    return {canonicalize_name(each["name"]): each["version"] for each in found}


def problems(sbom: dict[str, Any], lock: str, machine: str, version: str) -> list[str]:
    """What is missing, other, or too much."""
    either = [locked(lock, machine, patch) | {"voicefsm": version} for patch in PATCHES]
    found = listed(sbom, "pypi")
    needed = either[0].keys() & either[1].keys()
    known = either[0] | either[1]
    wrong = [f"{name}: missing, locked {known[name]}" for name in sorted(needed - found.keys())]
    wrong += [f"{name} {found[name]}, locked {known[name]}" for name in sorted(found.keys() & known) if found[name] != known[name]]
    wrong += [f"{name} {found[name]}: nobody has pinned it" for name in sorted(found.keys() - known.keys() - BASE)]
    if "libc6" not in listed(sbom, "deb"):
        wrong.append("nothing of Debian")
    return wrong


def main(sbom_file: str, lock_file: str, machine: str) -> int:
    """The exit code."""
    sbom = json.loads(Path(sbom_file).read_text(encoding="utf-8"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    wrong = problems(sbom, Path(lock_file).read_text(encoding="utf-8"), machine, version)
    for problem in wrong:
        print(f"sbom: {problem}", file=sys.stderr)  # noqa: T201
    counted = f"{len(listed(sbom, 'pypi'))} of Python, {len(listed(sbom, 'deb'))} of Debian"
    print(f"sbom: {sbom_file}: {counted}; {len(wrong)} problems")  # noqa: T201
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

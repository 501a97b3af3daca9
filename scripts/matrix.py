"""Runs tox and says in its last lines, where nobody can miss it, on which Pythons the tests ran and on which they did not.

usage: python scripts/matrix.py [tox arguments]
"""
# ruff: noqa: INP001, S603, T201  # a script, not a module

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

PYTHONS = ("py311", "py312", "py313")


def main(arguments: list[str]) -> int:
    """Run tox; its exit code."""
    with tempfile.TemporaryDirectory() as directory:
        result = Path(directory) / "result.json"
        command = [sys.executable, "-m", "tox", "run", "--result-json", str(result), *arguments]
        code = subprocess.run(command, check=False).returncode
        environments = json.loads(result.read_text(encoding="utf-8"))["testenvs"] if result.exists() else {}
    print()
    for name in PYTHONS:
        print(f"{name}: {_verdict(environments.get(name, {}))}")
    return code


def _verdict(environment: dict[str, dict[str, object]]) -> str:
    if "test" not in environment:
        return "NOT RUN: no such Python here (or it was not asked for)"
    return "passed" if environment["result"]["success"] else "FAILED"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Every branch of the core is walked by the core's own tests: unit tests and scenarios, without the random ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLAT = ("values", "errors", "events", "effects", "context", "table", "lexicon", "bargein", "machine", "page")
MODULES = (*FLAT, "states", "streams")
FILES = [f"tests/unit/test_{name}.py" for name in FLAT]


def test_every_branch_of_the_core_is_covered(tmp_path):
    """Otherwise a row, a guard or an action could be wrong, and no test would have run it."""
    measured = [f"--cov=voicefsm.{name}" for name in MODULES]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/states", "tests/unit/streams"]
    done = subprocess.run(
        [*command, "tests/scenarios", *FILES, *measured, "--cov-branch", "--cov-report=term-missing", "--cov-fail-under=100"],
        cwd=ROOT,
        env=os.environ | {"COVERAGE_FILE": str(tmp_path / "coverage")},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]

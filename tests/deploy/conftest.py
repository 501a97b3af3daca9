"""What is rendered, once for all tests. The tools come with `make test` (scripts/deploy_tools.sh)."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def missing() -> list[str]:
    """What of the tools is not here."""
    packages = [
        name
        for name in ("yaml", "jsonschema", "kubernetes_validate", "yamllint", "cel", "check_jsonschema")
        if importlib.util.find_spec(name) is None
    ]
    programs = [name for name in ("hadolint", "zizmor") if tool(name) is None]
    find = [str(ROOT / "scripts" / "kubectl.sh"), "--find"]
    has_kubectl = subprocess.run(find, env=environment(), capture_output=True, check=False).returncode == 0
    return packages + programs + ([] if has_kubectl else ["kubectl"])


def tool(name: str) -> str | None:
    """A program beside our Python, or on the path."""
    return shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def environment() -> dict[str, str]:
    return {**os.environ, "BIN": str(Path(sys.executable).parent)}


@pytest.fixture(scope="session")
def deploy() -> ModuleType:
    """scripts/deploy.py. Skips without its tools; in CI that is a failure: nobody would have looked at what is applied."""
    absent = missing()
    if absent:
        problem = f"{', '.join(absent)} not here (scripts/deploy_tools.sh gets them): DEPLOY/ was NOT checked"
        pytest.fail(problem) if os.environ.get("CI") else pytest.skip(problem)
    spec = importlib.util.spec_from_file_location("deploy", ROOT / "scripts" / "deploy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def renders(deploy: ModuleType) -> dict[str, str]:
    """Combination to what would be applied."""
    texts: dict[str, str] = deploy.render_all()
    return texts


@pytest.fixture(scope="session")
def objects(deploy: ModuleType, renders: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Combination to its objects."""
    return {name: deploy.documents(text) for name, text in renders.items()}

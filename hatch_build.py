"""Compiles the echo canceller (voicefsm/aec/native) when the package is built, where there is a C compiler.

Without one the package is pure Python, says so, and uses another canceller at run time (docs/adr/0003). The library has no Python
in it: one per platform serves every interpreter. VOICEFSM_NATIVE=require makes a missing compiler an error, as wheels for release
want it; VOICEFSM_NATIVE=no leaves the library out.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path("voicefsm/aec/native")
# Nothing in it depends on the sign of zero, on NaN or on the order of sums. Not -ffast-math, which says the same: a library linked
# with that switches the whole process to flushing denormals when it is loaded.
LOOSE = (
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-fassociative-math",
    "-freciprocal-math",
    "-ffinite-math-only",
)
# Fused multiply-adds, which -std=c11 turns off.
FLAGS = ("-std=c11", "-O3", *LOOSE, "-ffp-contract=fast", "-fPIC", "-shared", "-Wall", "-Wextra")


class NativeBuild(BuildHookInterface):  # type: ignore[type-arg]
    """Adds `_ear.so` to wheels, and makes it in place for editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 (the hook's signature)
        """Called before each build of a wheel."""
        wanted = os.environ.get("VOICEFSM_NATIVE", "")
        library = Path(self.root) / NATIVE / "_ear.so"
        problem = "VOICEFSM_NATIVE=no" if wanted == "no" else build(Path(self.root) / NATIVE, library)
        if problem:
            if wanted == "require":
                raise SystemExit(f"The echo canceller could not be compiled: {problem}")
            library.unlink(missing_ok=True)
            self.app.display_warning(f"The echo canceller was not compiled ({problem}); another one will be used.")
            return
        build_data["artifacts"].append(str(NATIVE / "_ear.so"))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{wheel_platform()}"


def build(sources: Path, library: Path) -> str:
    """Compile; return what went wrong, or nothing."""
    compiler = shlex.split(os.environ.get("CC", "")) or [shutil.which("cc") or shutil.which("gcc") or shutil.which("clang") or ""]
    if not compiler[0]:
        return "no C compiler found"
    unfinished = library.with_suffix(".part")
    command = [*compiler, *FLAGS, "-o", str(unfinished), str(sources / "ear.c"), "-lm"]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    except OSError as error:
        return str(error)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"{compiler[0]} failed"
    unfinished.replace(library)
    return ""


def wheel_platform() -> str:
    """The platform tag of this machine, as a wheel's name has it."""
    if sys.platform == "darwin":
        target = os.environ.get("MACOSX_DEPLOYMENT_TARGET", "11.0").split(".")
        return f"macosx_{target[0]}_{target[1] if len(target) > 1 else 0}_{platform.machine()}"
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")

"""Coverage-guided fuzzing of whatever reads bytes of others: `python -m tests.abuse.fuzz SECONDS [TARGET …]`, for so long each.

libFuzzer (atheris) mutates good messages and keeps what leads to code not seen before. Each target has a process of its own, in
which our code is instrumented. The first input that is neither understood nor refused ends the run and is printed. What it
finds belongs into tests/properties, whose targets and seeds these are.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

TARGETS = {
    "client": ("tests.properties.test_wire", "take", "SEEDS"),
    "model": ("tests.properties.test_backend_wire", "read_in_two", "EVENTS"),
    "recogniser": ("tests.properties.test_backend_wire", "hear", "HEARD"),
    "voice": ("tests.properties.test_backend_wire", "speak", "SPOKEN"),
}
"""What is read: the module of its target, the function that takes bytes, and good ones."""
BYTES_MAX = 1024
"""The longest message that is made; whole events of a model are longer, but not their kinds."""
INPUT_MS_MAX = 5000
"""The longest that one may take; longer is a finding as well."""
MEMORY_MIB_MAX = 1024
OURS = ["voicefsm.server", "voicefsm.adapters", "voicefsm.runtime", "voicefsm.values", "tests.properties"]
"""The code that is to be covered."""


def fuzz(name: str, flags: list[str]) -> None:
    """Does not return: libFuzzer ends the process."""
    import atheris  # only here: it changes how modules are imported

    module, target, seeds = TARGETS[name]
    with atheris.instrument_imports(include=OURS, enable_loader_override=False):
        tested = importlib.import_module(module)
        told: Callable[[Callable[[], Any]], bool] = importlib.import_module("tests.properties.test_backend_wire").told
    corpus = Path(flags[-1])
    for nth, seed in enumerate(getattr(tested, seeds)):
        (corpus / f"seed-{nth}").write_bytes(seed)
    take: Callable[[bytes], Any] = getattr(tested, target)
    atheris.Setup([sys.argv[0], *flags], lambda data: told(lambda: take(data)))
    atheris.Fuzz()


def run(name: str, seconds: int, directory: Path) -> int:
    """Fuzz one target in a process of its own. How many inputs it took. Raises `SystemExit` when one of them was too much."""
    corpus = directory / name
    corpus.mkdir()
    flags = (
        f"-max_total_time={seconds}", f"-max_len={BYTES_MAX}", f"-timeout={INPUT_MS_MAX // 1000}",
        f"-rss_limit_mb={MEMORY_MIB_MAX}", f"-artifact_prefix={directory}/", "-print_final_stats=1", "-use_value_profile=1",
        str(corpus),
    )  # fmt: skip
    command = (sys.executable, "-m", "tests.abuse.fuzz", "--target", name, *flags)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    out = done.stdout.decode(errors="replace")
    if done.returncode:
        found = [path.read_bytes() for path in directory.iterdir() if path.is_file()]
        raise SystemExit(f"{out[-5000:]}\nfuzz: {name}: neither understood nor refused: {found or 'see above'}")
    inputs = int(re.findall(r"stat::number_of_executed_units:\s+(\d+)", out)[-1])
    covered = re.findall(r"cov: (\d+)", out)
    print(
        f"fuzz: {name}: {inputs} inputs, {len(list(corpus.iterdir()))} kept; edges covered {covered[0]} -> {covered[-1]}; 0 crashes"
    )
    return inputs


def main(seconds: int, names: list[str]) -> None:
    """One target after the other."""
    with TemporaryDirectory() as directory:
        inputs = sum(run(name, seconds, Path(directory)) for name in names or TARGETS)
    print(f"fuzz: {inputs} inputs, 0 crashes")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--target"]:
        fuzz(sys.argv[2], sys.argv[3:])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 60, sys.argv[2:])

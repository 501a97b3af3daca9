"""`python -m tests.mutation`: every mutant of the core against its tests. `tox -e mutation` runs it; see docs/mutation.md.

Theory of operation. The interpreter is started once, with everything imported that is not ours; each mutant is a fork of it, which
finds the mutated source in place of the true one. It is killed as soon as a test notices: first the transcripts, which are run
without a test runner and notice most; then the tests of the core; then the properties, alone with what has survived. What survives
all of them has to stand in survivors.txt with a reason.

Exit code 1: fewer than `KILLED_PERCENT_MIN` were killed, or a survivor has no reason; 2: the tests fail on the true sources.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import hypothesis.stateful  # noqa: F401 (what a fork would otherwise import)
import numpy as np  # noqa: F401
import pytest
import transitions  # noqa: F401

from tests.mutation.mutants import FILES, ROOT, Mutant, mutants_of

SURVIVORS = Path(__file__).with_name("survivors.txt")
KILLED_PERCENT_MIN = 95
SECONDS_MAX = (60, 300)
"""Of processor time for one mutant in each stage, several times what the true sources take; what takes longer hangs."""
TRANSCRIPTS = "tests/scenarios"
Stages = Sequence[Sequence[str]]
STAGES: Stages = (
    (
        "tests/unit/states",
        "tests/unit/streams",
        "tests/unit/test_bargein.py",
        "tests/unit/test_lexicon.py",
        "tests/unit/test_machine.py",
        "tests/unit/test_table.py",
        "tests/unit/test_page.py",
        "tests/regressions/test_transcripts.py",
    ),
    ("tests/properties/test_core.py", "tests/properties/test_experience.py"),
)
"""After the transcripts, in this order."""
PYTEST = ("-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")  # hypothesis is imported already
KILLED, SURVIVED = 0, 1


class Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a mutant in place of a module."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._mutant.module:
            return None
        return importlib.util.spec_from_file_location(name, ROOT / self._mutant.file, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._mutant.source, self._mutant.file, "exec"), vars(module))


# --- one mutant --------------------------------------------------------------------------------------------------------------


def try_it(mutant: Mutant, stages: Stages) -> NoReturn:
    """In a process of its own: leave with what became of the mutant."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS_MAX[0])  # its signal ends the process
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    sys.meta_path.insert(0, Instead(mutant))
    sys.dont_write_bytecode = True
    os._exit(KILLED if is_noticed(stages) else SURVIVED)


def is_noticed(stages: Stages) -> bool:
    """Does any test fail? What cannot even be imported has been noticed as well."""
    try:
        if not all(is_unchanged(path) for path in sorted((ROOT / TRANSCRIPTS).glob("*.txt"))):
            return True
        return any(fails(stage, seconds_max) for stage, seconds_max in zip(stages, SECONDS_MAX, strict=False))
    except BaseException:  # noqa: BLE001 (whatever it is)
        return True


def fails(stage: Sequence[str], seconds_max: float) -> bool:
    """Does one of these tests fail?"""
    signal.setitimer(signal.ITIMER_PROF, seconds_max)
    return pytest.main([*PYTEST, *stage]) != pytest.ExitCode.OK


def is_unchanged(path: Path) -> bool:
    """Does a transcript still say what happens?"""
    from voicefsm.simulation import scenario

    text = path.read_text(encoding="utf-8")
    return scenario.write(scenario.read(text)) == text


# --- all of them -------------------------------------------------------------------------------------------------------------


def outcomes(mutants: Sequence[Mutant], stages: Stages, jobs: int) -> Iterator[tuple[Mutant, bool]]:
    """(mutant, was killed), as they come."""
    waiting, running = list(reversed(mutants)), dict[int, Mutant]()
    while waiting or running:
        while waiting and len(running) < jobs:
            child = os.fork()
            if not child:
                try_it(waiting[-1], stages)
            running[child] = waiting.pop()
        child, status = os.wait()
        yield running.pop(child), os.waitstatus_to_exitcode(status) != SURVIVED


def survives_without_a_fault(stages: Stages) -> bool:
    """Otherwise everything would be killed, and by nothing."""
    file = FILES[0]
    true = Mutant(file, "no fault", 0, (ROOT / file).read_text(encoding="utf-8"))
    return [was_killed for _, was_killed in outcomes([true], stages, 1)] == [False]


def excuses() -> dict[str, str]:
    """Name -> reason, of survivors that may survive."""
    lines = SURVIVORS.read_text(encoding="utf-8").splitlines()
    return dict(line.split("  # ") for line in lines if line and not line.startswith("#"))


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="Every mutant of the core against its tests.")
    parser.add_argument("files", nargs="*", default=FILES, help="sources, from the root of the repository; all by default")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--match", default="", help="only mutants with this in their names")
    parser.add_argument("--quick", action="store_true", help="leave out the properties")
    chosen = parser.parse_args(arguments)
    stages = STAGES[:1] if chosen.quick else STAGES
    assert "voicefsm" not in sys.modules, "the forks have to import it themselves"
    mutants = [mutant for file in chosen.files for mutant in mutants_of(file) if chosen.match in mutant.name]
    if not survives_without_a_fault(stages):
        print("mutation: the tests fail on the true sources; mend that first")
        return 2
    begun = time.monotonic()
    survivors = []
    for nth, (mutant, was_killed) in enumerate(outcomes(mutants, stages, chosen.jobs), start=1):
        if not was_killed:
            survivors.append(mutant)
            print(f"{mutant.name}    [{mutant.file}:{mutant.line}]", flush=True)
        if nth % 50 == 0:
            print(
                f"... {nth} of {len(mutants)}, {len(survivors)} survive, {time.monotonic() - begun:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    return report(mutants, survivors)


def report(mutants: Sequence[Mutant], survivors: Sequence[Mutant]) -> int:
    """Say what became of them."""
    known = excuses()
    new = [mutant.name for mutant in survivors if mutant.name not in known]
    killed = {mutant.name for mutant in mutants} - {mutant.name for mutant in survivors}
    for name in sorted(killed & set(known)):
        print(f"killed by now, strike it from survivors.txt: {name}")
    percent = 100 * len(killed) / max(1, len(mutants))
    kept = f"{len(survivors)} survive, {len(new)} without a reason"
    print(f"mutation: {len(mutants)} mutants, {len(killed)} killed ({percent:.1f} %), {kept}")
    return int(percent < KILLED_PERCENT_MIN or bool(new))


if __name__ == "__main__":
    sys.exit(main())

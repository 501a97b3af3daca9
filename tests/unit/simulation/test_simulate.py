"""Shrinking, and the command line of the simulator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from voicefsm.context import TurnSettings
from voicefsm.simulation import script as scripts
from voicefsm.simulation.script import Act, Kind, Script
from voicefsm.simulation.simulate import SHRINK_RUNS_MAX, shrink

MANY = tuple(Act(at_ms, Kind.NOISE, for_ms=10, number=at_ms) for at_ms in range(1000, 60_000, 1000))


def test_what_does_not_matter_goes() -> None:
    """Otherwise the two acts that matter hide among sixty."""
    script = Script(seed="x", latency_ms=40, drift_ppm=200, turns=TurnSettings(silence_ms=300), acts=MANY)

    def fails(one: Script) -> bool:
        return {17_000, 42_000} <= {act.number for act in one.acts} and one.latency_ms > 0

    small = shrink(script, fails, until_ms=50_000)
    assert [act.number for act in small.acts] == [17_000, 42_000]
    assert [act.at_ms for act in small.acts] == [1000, 26_000]
    assert (small.latency_ms, small.drift_ppm, small.turns, small.seed) == (40, 0, TurnSettings(), "x")


def test_shrinking_ends() -> None:
    """Otherwise a failure that depends on everything keeps the machine busy for a day."""
    runs = 0

    def fails(one: Script) -> bool:
        nonlocal runs
        runs += 1
        return len(one.acts) >= len(MANY)

    script = Script(acts=MANY)
    assert len(shrink(script, fails, until_ms=10**6).acts) == len(MANY)
    assert runs <= SHRINK_RUNS_MAX


def simulated(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "voicefsm", "simulate", *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False)


def test_one_script_can_be_played(tmp_path: Path) -> None:
    """Otherwise whoever gets the file of a failure cannot do anything with it."""
    acts = (Act(1000, Kind.SAY, text="why", number=300), Act(4000, Kind.HANG_UP))
    path = tmp_path / "small.script"
    path.write_text(scripts.write(Script(acts=acts)), encoding="utf-8")
    done = simulated("--script", str(path), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert "ended by client" in done.stdout.splitlines()[-1]
    assert (tmp_path / "out" / "small.jsonl").exists()


def test_a_script_that_is_none_is_exit_code_2(tmp_path: Path) -> None:
    """Otherwise a typing mistake is a traceback."""
    path = tmp_path / "bad.script"
    path.write_text("1000 dance\n", encoding="utf-8")
    done = simulated("--script", str(path), "--out", str(tmp_path))
    assert done.returncode == 2
    assert "dance" in done.stderr
    assert "Traceback" not in done.stderr

"""A share of what `voicefsm simulate` and `tox -e soak` play for hours, and proof that it is the same every time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from voicefsm.simulation import replay
from voicefsm.simulation.script import Act, Kind, Script
from voicefsm.simulation.simulate import simulate

SPEED_MIN = 20
"""Virtual hours per CPU hour, on the slowest machine under coverage: ten times less than anybody measured."""


@pytest.mark.parametrize("seed", range(4))
def test_nothing_breaks(seed, tmp_path):
    """Otherwise some mixture of users, clients, networks and backends breaks a promise; the files say which."""
    done = simulate(seed, 0.2, tmp_path)
    assert not done.failures, [(failure.rule, failure.what, failure.file.read_text()) for failure in done.failures]
    assert done.seen >= {"IDLE", "LISTENING", "PROCESSING", "SPEAKING", "INTERRUPTING", "CLOSED", "CancelTts", "ResumePlayout"}
    assert done.speed > SPEED_MIN
    for path in tmp_path.glob("*.jsonl"):
        assert not replay.compare(replay.read(path)).report(), path


def simulated(out: Path, hash_seed: int) -> tuple[str, dict[str, bytes]]:
    """The last lines of a run of the command in a process of its own, without its speed; and its journals."""
    command = [sys.executable, "-m", "voicefsm", "simulate", "--seed", "7", "--hours", "0.1", "--out", str(out)]
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=300, check=True)
    return done.stdout.rpartition(",")[0].replace(str(out), ""), {path.name: path.read_bytes() for path in out.iterdir()}


def test_the_same_seed_gives_the_same_journals(tmp_path):
    """Otherwise a failure found by night cannot be looked at by day."""
    first, again = simulated(tmp_path / "first", 1), simulated(tmp_path / "again", 2)
    assert first == again
    assert "simulate --seed 7: ok" in first[0]
    assert len(first[1]) > 1


def test_a_calm_conversation_goes_as_it_should(tmp_path):
    """Otherwise the simulator finds no faults because nothing happens in it."""
    from voicefsm.simulation.simulate import play_into

    acts = (
        Act(1000, Kind.SAY, text="tell me a story", number=300),
        Act(6000, Kind.SAY, text="mm-hm", number=300),
        Act(9000, Kind.SAY, text="wait what time is it", number=300),
        Act(25_000, Kind.HANG_UP),
    )
    path = tmp_path / "calm.jsonl"
    played = play_into(path, Script(seed="3", latency_ms=10, acts=acts), "calm")
    assert (played.violation, played.ended) == (None, "client")
    assert played.seen >= {"SPEAKING", "INTERRUPTING", "ResumePlayout", "CancelTts", "CompleteTurn"}

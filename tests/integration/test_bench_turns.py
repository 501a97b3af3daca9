"""`voicefsm bench turns` from the stimuli to the verdict: the whole gateway over gRPC, in virtual time."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from voicefsm.aec.settings import AecSettings, Canceller
from voicefsm.bench.turns import bench as bench_turns
from voicefsm.bench.turns import make, score, voices
from voicefsm.bench.turns.stimuli import load, read_wav
from voicefsm.cli import bench as cli
from voicefsm.config import Settings

FRAME_MS = 20
"""Two messages that are under way at the same instant may arrive in either order."""
HUMS_ARE_SPEECH = Settings(aec=AecSettings(canceller=Canceller.NONE))
"""A line without echo. The stimuli are hums, for machines without voices, and our gate knows that they are no speech."""
PLAYED = ("user_interruption/000", "smooth_turn_taking/000")


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory) -> Path:
    root: Path = tmp_path_factory.mktemp("stimuli")
    make.make(root, items=1, speakers=voices.HUMS)
    return root


def measured(stimuli: Path, out: Path, **wish: object) -> bench_turns.Verdict:
    wanted = bench_turns.Wish(data=stimuli, out=out, only=PLAYED, **wish)  # type: ignore[arg-type]
    return bench_turns.measure(wanted, partial(cli._gateway, HUMS_ARE_SPEECH))


def test_an_interruption_is_obeyed_and_a_question_answered(stimuli, tmp_path):
    """Otherwise the gateway does not take turns, or its benchmark does not see it. Twice gives the same."""
    verdicts = [measured(stimuli, tmp_path / name, json_file=tmp_path / f"{name}.json") for name in ("once", "again")]
    assert all(verdict.is_good for verdict in verdicts), verdicts[0].text
    told = json.loads((tmp_path / "once.json").read_text())
    figures = told["figures"]
    assert figures["yields"] | {"low": 0, "high": 0} == {"value": 1.0, "n": 1, "low": 0, "high": 0}
    assert figures["stop_p95_ms"]["value"] < 350
    assert figures["answers"]["value"] == 1.0
    again = json.loads((tmp_path / "again.json").read_text())["figures"]
    for name in ("pause_p50_ms", "stop_p50_ms", "response_p50_ms"):
        assert again[name]["value"] == pytest.approx(figures[name]["value"], abs=FRAME_MS), name
    assert verdicts[0].text.splitlines()[-1].startswith("bench turns: ok, 2 items")


def test_limits_that_are_not_met_are_told_and_end_with_exit_code_1(stimuli, tmp_path):
    """Otherwise CI cannot hold a figure."""
    limits = tmp_path / "limits.toml"
    limits.write_text("yields = { min = 0.99 }\n")
    options = [
        "turns",
        "--data",
        str(stimuli),
        "--runs",
        str(tmp_path / "nothing"),
        "--out",
        str(tmp_path),
        "--limits",
        str(limits),
    ]
    done = CliRunner().invoke(cli.bench, options)
    assert done.exit_code == 1
    assert "limits not met: yields" in done.stdout.splitlines()[-1]


def test_the_projects_own_set_is_whole(stimuli):
    """Otherwise a newcomer measures something else than what the scorer expects."""
    items = load(stimuli).items
    assert {item.category for item in items} == set(make.CATEGORIES)
    for item in items:
        audio = read_wav(stimuli / item.id / "input.wav")
        assert len(audio) == pytest.approx(item.duration_s * 16000, abs=1)
        for word in item.words():
            assert 0 <= word.start_ms < word.end_ms <= item.duration_s * 1000
        for event in item.all("interruption", *score.IGNORED_KINDS):
            first, end = (round(at * 16000) for at in (event.start_s, event.end_s))
            least = 2 if item.category == "noisy_interruption" else 10
            assert abs(audio[first:end].astype(int)).max() > least * abs(audio[first - 1600 : first].astype(int)).max()

"""The command from the wish to the files, with a handful of real utterances."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter

import pytest
from typer.testing import CliRunner

from voicefsm.bench.echo import bench
from voicefsm.bench.echo.bench import PARTS, Wish, measure, plan
from voicefsm.bench.echo.conditions import SWEEPS
from voicefsm.bench.echo.voices import Cast, Speaker
from voicefsm.cli.bench import bench as command

CAST = Cast(
    far=(Speaker("espeak", "en-us+m4"),),
    near=(Speaker("espeak", "en-us+f3"),),
    far_texts=("The bridge will be closed for repairs in July.",),
    near_short=("Wait, wait.",),
    near_long=("I need a table for six.",),
)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Three utterances and short scenes."""
    monkeypatch.setattr(bench, "bench_cast", lambda: CAST)
    whole = bench.plan
    monkeypatch.setattr(
        bench, "plan", lambda wish: [(part, dataclasses.replace(condition, seconds=8.0)) for part, condition in whole(wish)]
    )


def echo(*options):
    return CliRunner().invoke(command, ["echo", *options])


def test_the_plan():
    """Otherwise a part would be missing from the run that the goals are held against."""
    wish = Wish(("it",), range(1, 4))
    assert set(PARTS) == {"mixed", "channel", "sweep", "damage", "near"}
    counts = Counter(part.partition("=")[0] for part, _ in plan(wish))
    channels = {"channel:babble": 2, "channel:loss": 2, "channel:mulaw": 2}
    assert counts == channels | {"mixed": 9, "damage": 18, "near": 6} | {
        factor: 2 * len(values) for factor, values in SWEEPS.items()
    }
    assert len(plan(dataclasses.replace(wish, is_quick=True))) < len(plan(wish)) / 2


def test_the_same_in_more_processes(tmp_path):
    """Otherwise the long run would not be the run that the tests know."""
    wish = Wish(("none",), range(1, 2), parts=("mixed",), recordings=tmp_path / "voices")
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    for procs, file in enumerate(files, start=1):
        assert measure(dataclasses.replace(wish, procs=procs, json_file=file)).is_good
    one, two = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    for run in (one, two):
        for cost in ("cost_audible_us", "cost_quiet_us"):
            assert run["cancellers"]["none"].pop(cost) > 0
    assert one == two
    assert one["about"]["scenes"] == 3


def test_command(tmp_path):
    """Otherwise the figures of the documentation could not be had on another machine."""
    json_file, picture = tmp_path / "echo.json", tmp_path / "echo.png"
    parts = ("--quick", "--part", "near", "--part", "damage", "--part", "mixed", "--seeds", "3:4")
    done = echo("--canceller", "none", *parts, "--json", str(json_file), "--picture", str(picture))
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1].startswith("bench echo: ok; 8 scenes")
    assert picture.read_bytes().startswith(b"\x89PNG")
    figures = json.loads(json_file.read_text(encoding="utf-8"))["cancellers"]["none"]
    assert figures["mixed"]["erle_db"] == pytest.approx(0, abs=0.01)
    assert figures["damage"].keys() == {"-10", "0", "10"}


def test_a_limit_that_does_not_hold_is_an_exit_code(tmp_path):
    """Otherwise a long run could not guard anything."""
    limits = tmp_path / "limits.toml"
    limits.write_text('[none]\n"near_only.estoi" = { min = 1.1 }\n')
    done = echo("--canceller", "none", "--quick", "--part", "near", "--limits", str(limits))
    assert done.exit_code == 1
    assert "none: near_only.estoi is" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("bench echo: 1 LIMITS BROKEN")


@pytest.mark.parametrize("options", [["--seeds", "1"], ["--seeds", "5:5"], ["--part", "everything"]], ids=" ".join)
def test_what_cannot_be_run_is_refused(options):
    """Otherwise a slip of the pen would run for an hour."""
    assert echo("--canceller", "none", *options).exit_code == 2

"""What is told of a run."""

from __future__ import annotations

import json

import pytest

from voicefsm.bench.turns import report
from voicefsm.bench.turns.run import CALL, JOURNAL
from voicefsm.bench.turns.score import Failure, Figure

FIGURES = {"yields": Figure(0.98, 100, 0.93, 0.99), "stop_p95_ms": Figure(340.0, 100, 300.0, 380.0), "responds": Figure(None, 0)}


def limits(tmp_path, text):
    path = tmp_path / "limits.toml"
    path.write_text(text)
    return report.read_limits(path)


def test_a_limit_is_met_or_not(tmp_path):
    """Otherwise exit code 0 means nothing. A figure that rests on nothing meets no limit, nor does one that does not exist."""
    wanted = limits(tmp_path, "yields = {min = 0.99}\nstop_p95_ms = {max = 350}\nresponds = {min = 0}\nyeilds = {min = 0}\n")
    assert report.missed(FIGURES, wanted) == ["yields", "responds", "yeilds"]
    told = report.table(FIGURES, {}, wanted)
    assert "0.980   100   0.930 … 0.990        >= 0.99 NOT MET" in told
    assert "<= 350 met" in told


@pytest.mark.parametrize("text", ["yields = 0.99", "yields = {least = 1}", "yields = {min = 'much'}", "yields"])
def test_limits_that_cannot_be_read_are_told(tmp_path, text):
    """Otherwise a mistyped limit is a traceback, or no limit."""
    with pytest.raises(report.BadLimits, match="holds no limits"):
        limits(tmp_path, text)


def test_a_failure_comes_with_the_machines_reason(tmp_path):
    """Otherwise one has to look the item's clock up in a journal with another."""
    where = tmp_path / "made" / "000"
    where.mkdir(parents=True)
    (where / CALL).write_text(json.dumps({"session_ms": -50.0}))
    step = {"kind": "step", "at_ms": 3150, "fact": {"type": "PartialHeard", "text": "but wait"}, "before": "interrupting"}
    late = {**step, "at_ms": 9000}
    done = {"after": "listening", "effects": [{"type": "CancelTts", "why": "stop word"}]}
    (where / JOURNAL).write_text("\n".join(json.dumps({**one, **done}) for one in (step, late)))
    lines = list(report.explain([Failure("made/000", 3.0, "stopped late")], tmp_path))
    assert lines[0] == "made/000 at 3.00 s: stopped late"
    assert [line.split() for line in lines[1:]] == [
        "3.100 PartialHeard 'but wait' interrupting > listening => CancelTts (stop word)".split()
    ]

"""The benchmark of a start: what it tells. How long it takes is no test's business."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from voicefsm.bench import start
from voicefsm.bench.start import BARE, IMPORT, SERVE, Took, measure, ratio, told
from voicefsm.cli.bench import bench
from voicefsm.errors import VoiceFsmError


def test_starts_are_compared_with_a_bare_interpreter_of_the_same_round():
    """Otherwise a busy minute is a slow gateway."""
    took = {BARE: [Took(20, 10), Took(40, 40)], IMPORT: [Took(500, 400), Took(900, 1600)], SERVE: [Took(1, 500), Took(3, 2000)]}
    assert ratio(took, BARE) == 1
    assert ratio(took, IMPORT) == 40
    assert ratio(took, SERVE) == 50
    assert [line.split()[-1] for line in told(took).splitlines()[1:]] == ["1.0", "40.0", "50.0"]
    assert "700 (500-900)" in told(took)


def test_it_starts_a_real_gateway():
    """Otherwise what is timed is something else."""
    result = CliRunner().invoke(bench, ["start", "--rounds", "1"])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1].startswith("bench start: ready after ")


def test_what_does_not_start_is_no_figure(monkeypatch: pytest.MonkeyPatch):
    """Otherwise a gateway that fails at once is the fastest."""
    monkeypatch.setattr(start, "STEPS", {BARE: ("-c", "pass"), SERVE: ("-c", "print('no')")})
    with pytest.raises(VoiceFsmError, match="did not start"):
        measure(1)

"""From rows to figures, intervals, limits."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from voicefsm.bench.echo import bench
from voicefsm.bench.echo.bench import Wish, plan
from voicefsm.bench.echo.metrics import Erle, Misfires, Quality
from voicefsm.bench.echo.report import last_line, report
from voicefsm.bench.echo.run import Cost, Row
from voicefsm.bench.echo.scene import Condition, Kind
from voicefsm.bench.echo.summary import Rate, Share, broken, figures, plain, poisson_interval, read_limits, wilson_interval
from voicefsm.errors import SettingsError

NOTHING = Quality(math.nan, math.nan, math.nan, math.nan)


def row(part="mixed", kind=Kind.FAR, **change):
    condition = Condition(seed=1, kind=kind, near_to_echo_db=change.pop("level", 0.0))
    plain_row = Row(
        part=part,
        canceller="it",
        condition=condition,
        erle=Erle(20.0, 15.0),
        converged_s=1.0,
        false=Misfires(0, 36.0, 0, 4),
        cold_trigger=False if kind is Kind.FAR else None,
        latencies_ms=(),
        quality=NOTHING,
        cost=Cost(80.0, 10.0),
    )
    return dataclasses.replace(plain_row, **change)


ROWS = (
    row(false=Misfires(2, 36.0, 1, 4), cold_trigger=True),
    row(erle=Erle(30.0, 5.0), converged_s=math.inf),
    row(erle=Erle(math.nan, math.nan), converged_s=0.5),
    row(kind=Kind.DOUBLE, level=-10.0, latencies_ms=(100.0, math.inf, 200.0), quality=Quality(10.0, -5.0, 0.8, -1.0)),
    row(kind=Kind.DOUBLE, level=10.0, latencies_ms=(50.0, 60.0), quality=Quality(20.0, 9.0, math.nan, 0.0)),
    row(kind=Kind.COLD, latencies_ms=(math.inf,)),
    row("delay_ms=0"),
    row("delay_ms=900", erle=Erle(10.0, 5.0), converged_s=math.inf),
    row("channel:loss", false=Misfires(3, 1800.0, 1, 4)),
    row("channel:loss", Kind.DOUBLE, latencies_ms=(100.0, math.inf)),
    row("damage", Kind.DOUBLE, quality=Quality(30.0, 0.0, 0.97, 0.0)),
    row("near", Kind.NEAR, false=Misfires(1, 3600.0, 0, 1), quality=Quality(40.0, 40.0, 0.99, 0.0)),
)


def test_figures():
    """Otherwise the goals would be held against something else than what happened."""
    found = figures(ROWS)
    assert found.mixed.erle_db == 25.0
    assert found.mixed.converged_s == 1.0
    assert found.false_per_hour.value == pytest.approx(2 / (3 * 36 / 3600))
    assert (found.turns_cut.count, found.turns_cut.of_cases) == (1, 12)
    assert (found.cold_triggers.count, found.cold_triggers.of_cases) == (1, 3)
    assert (found.barge_ins.missed.count, found.barge_ins.missed.of_cases) == (1, 5)
    assert found.barge_ins.p50_ms == 80.0
    assert found.by_level["-10"].missed.value == pytest.approx(1 / 3)
    assert found.by_level["10"].p95_ms == pytest.approx(59.5)
    assert found.cold_barge_ins.missed.value == 1.0
    assert math.isnan(found.cold_barge_ins.p50_ms)
    assert found.talker_by_level["-10"].estoi == 0.8
    assert found.damage["0"].estoi == 0.97
    assert found.near_only_false_per_hour.value == 1.0
    assert found.sweeps["delay_ms"]["900"].erle_db == 10.0
    assert found.channels.keys() == {"loss"}
    assert found.channels["loss"].false_per_hour.value == 6.0
    assert found.channels["loss"].barge_ins.missed.value == 0.5
    assert found.cost_audible_us == 80.0


def test_nothing_measured_is_not_a_number():
    """Otherwise a part that was not run would look perfect."""
    found = figures([])
    assert math.isnan(found.false_per_hour.value)
    assert math.isnan(found.turns_cut.value)
    assert json.loads(json.dumps(plain(found)))["mixed"]["erle_db"] is None
    assert report({"it": found})


@pytest.mark.parametrize(
    ("count", "low", "high"), [(0, 0, 3.69), (1, 0.025, 5.57), (3, 0.62, 8.77), (30, 20.2, 42.8), (220, 191.9, 251.1)]
)
def test_poisson_interval(count, low, high):
    """Otherwise a lucky hour would pass for a good canceller. The bounds are the exact ones of Garwood."""
    assert poisson_interval(count) == pytest.approx((low, high), rel=0.02, abs=0.02)
    assert Rate.of(count, 1800.0).low == pytest.approx(2 * poisson_interval(count)[0])


@pytest.mark.parametrize(("count", "cases", "low", "high"), [(0, 500, 0, 0.0076), (5, 100, 0.0215, 0.1118), (100, 100, 0.963, 1)])
def test_wilson_interval(count, cases, low, high):
    """Otherwise no miss of ten would pass for no miss."""
    assert wilson_interval(count, cases) == pytest.approx((low, high), abs=0.0005)
    assert Share.of(count, cases).high <= 1


def test_limits(tmp_path):
    """Otherwise a run that is not good enough would end well."""
    file = tmp_path / "limits.toml"
    file.write_text(
        """
        [it]
        "mixed.erle_db" = { min = 20 }
        "by_level.-10.missed.value" = { max = 0.05 }
        "sweeps.drift_ppm.0.erle_db" = { min = 1 }
        [other]
        x = { max = 0 }
        """
    )
    missed = broken({"it": figures(ROWS)}, read_limits(file))
    assert [str(one) for one in missed] == [
        "it: by_level.-10.missed.value is 0.3333, to be max 0.05",
        "it: sweeps.drift_ppm.0.erle_db is missing, to be min 1",
    ]
    assert "2 LIMITS BROKEN" in last_line({"it": figures(ROWS)}, missed, 10, 0.1)


@pytest.mark.parametrize("text", ["[it", "it = 1", "[it]\nx = 3", "[it]\nx = { most = 3 }"])
def test_limits_that_are_none(tmp_path, text):
    """Otherwise a slip in the file would be a limit that always holds."""
    file = tmp_path / "limits.toml"
    file.write_text(text)
    with pytest.raises(SettingsError):
        read_limits(file)


def test_the_goals_name_figures_that_exist():
    """Otherwise the long run could not reach them whatever it does."""
    every_sweep = [row(part) for part, condition in plan(Wish(("it",), range(1), parts=("sweep",))) if condition]
    levels = [
        row(part, Kind.DOUBLE, level=level, latencies_ms=(1.0,), quality=Quality(1, 1, 1, 1))
        for part in ("mixed", "damage")
        for level in (-10.0, 0.0, 10.0)
    ]
    found = figures([*ROWS, *every_sweep, *levels])
    goals = read_limits(Path(bench.__file__).with_name("goals.toml"))
    assert goals
    assert [one for one in broken(dict.fromkeys(goals, found), goals) if one.value is None] == []


def test_report_names_every_canceller():
    """Otherwise a table could lose a line."""
    text = report({"mine": figures(ROWS), "theirs": figures(ROWS)})
    for wanted in ("mine at -10", "theirs at 10", "delay_ms", "900", "never", "mine without echo", "theirs with loss"):
        assert wanted in text
    line = last_line({"mine": figures(ROWS)}, [], 10, 0.1)
    assert line.startswith("bench echo: ok; 10 scenes, 0.10 h; mine ")
    assert "\n" not in line

"""The metrics: that they agree with the scorer whose figures the goals were written in, and that each means what it says."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest

from voicefsm.acoustics.signals import active_level_db, floats
from voicefsm.bench.echo import metrics
from voicefsm.bench.echo.scene import Stretch

HERE = Path(__file__).parent
RECORDED = json.loads((HERE / "agreement.json").read_text(encoding="utf-8"))


def _agreement():
    spec = importlib.util.spec_from_file_location("agreement", HERE / "agreement.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


AGREEMENT = _agreement()


def stretches(pairs):
    return tuple(Stretch(*pair) for pair in pairs)


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda row: f"seed {row['seed']}")
def test_figures_agree_with_the_scorer_of_the_goals(recorded):
    """Otherwise our figures could not be held against the goals, which were measured with another implementation.

    `agreement.json` is what that scorer says about the signals of `agreement.py`.
    """
    case, near = AGREEMENT.case(recorded["seed"]), pytest.approx
    mic, out, need_ms = floats(case.mic), floats(case.out), AGREEMENT.NEED_MS
    far_turns, near_speech = stretches(case.far_turns), stretches(case.near_speech)
    assert active_level_db(case.echo) == near(recorded["active_level_db"])

    is_active = metrics.active(case.echo, case.echo_db)
    erle = metrics.erle(is_active, mic, out)
    assert erle.mean == near(recorded["erle_db"], abs=1e-6)
    assert erle.worst_tenth == near(recorded["erle_worst_tenth_db"], abs=1e-6)
    converged_s = metrics.convergence_s(is_active, mic, out)
    assert converged_s == (math.inf if recorded["convergence_s"] is None else near(recorded["convergence_s"]))

    quality = metrics.quality(case.near, mic, out, near_speech)
    assert metrics.lag_samples(case.near, out) == recorded["lag_samples"]
    assert quality.sdr_db == near(recorded["sdr_db"], abs=1e-3)
    assert quality.mic_sdr_db == near(recorded["mic_sdr_db"], abs=1e-3)
    assert quality.level_db == near(recorded["level_db"], abs=1e-6)
    assert quality.estoi == near(recorded["estoi"], abs=1e-6)

    false = metrics.false_triggers(case.belief, far_turns, near_speech, need_ms, from_s=1.3)
    expected = (recorded["false_triggers"], recorded["false_seconds"], recorded["turns_hit"], recorded["turns"])
    assert tuple(false) == near(expected)
    assert metrics.triggers(case.belief, need_ms) == recorded["triggers"]
    latencies = metrics.latencies_ms(case.belief, near_speech, need_ms)
    assert latencies == [math.inf if latency is None else near(latency) for latency in recorded["latencies_ms"]]


def test_the_recorded_table_can_tell():
    """Otherwise a wrong metric could agree by chance: each figure takes several values in it, missed ones included."""
    for figure in ("erle_db", "sdr_db", "estoi", "lag_samples", "false_triggers", "turns_hit", "convergence_s"):
        assert len({row[figure] for row in RECORDED}) > 1, figure
    assert None in {row["convergence_s"] for row in RECORDED}
    assert {latency is None for row in RECORDED for latency in row["latencies_ms"]} == {True, False}


def test_nothing_cancelled_is_no_erle():
    """Otherwise a canceller that does nothing would look as if it did."""
    case = AGREEMENT.case(0)
    is_active = metrics.active(case.echo, case.echo_db)
    assert metrics.erle(is_active, floats(case.mic), floats(case.mic)).mean == pytest.approx(0, abs=1e-6)
    assert metrics.erle(is_active, floats(case.mic), floats(case.mic) / 10).worst_tenth == pytest.approx(20, abs=1e-3)
    assert math.isnan(metrics.erle(np.zeros_like(is_active), floats(case.mic), floats(case.mic)).mean)
    assert metrics.convergence_s(is_active, floats(case.mic), floats(case.mic) / 100) == pytest.approx(0.3)


@pytest.mark.parametrize("ms", [10, 30, 40, 50])
def test_delay_and_gain_do_no_damage(ms):
    """Otherwise a canceller that works in longer frames, or waits for its reference, would be blamed for its delay."""
    case = AGREEMENT.case(1)
    speech = stretches(case.near_speech)
    late = 0.5 * np.concatenate((np.zeros(16 * ms), case.near[: -16 * ms]))
    quality = metrics.quality(case.near, case.near, late, speech)
    assert quality.sdr_db > 40
    assert quality.estoi > 0.99
    assert quality.level_db == pytest.approx(-6.02, abs=0.01)
    end = int(speech[-1].end_s * 16000)
    assert metrics.quality(case.near[:end], case.near[:end], late[:end], speech).sdr_db > 40
    since = int((speech[0].end_s + 0.1) * 16000)
    changing = np.concatenate((case.near[:since], late[since:]))
    assert metrics.quality(case.near, case.near, changing, speech[:1]).sdr_db > 40, "then it was not late yet"
    nobody = metrics.quality(case.near, case.near, late, ())
    assert all(math.isnan(figure) for figure in nobody)


def test_what_is_too_short_has_no_intelligibility():
    """Otherwise it would count as not intelligible at all, and pull the mean down."""
    word = np.concatenate((np.random.default_rng(1).standard_normal(3200), np.zeros(9600)))
    assert math.isnan(metrics.estoi(word, word))


def test_a_trigger_needs_unbroken_belief_and_rests_afterwards():
    """Otherwise one long mistake would count as many, or a flicker as one."""
    belief = np.zeros(400, np.bool_)
    belief[100:105] = belief[106:111] = True
    assert metrics.triggers(belief, 60) == []
    assert metrics.triggers(belief, 50) == [104]
    belief[100:350] = True
    assert metrics.triggers(belief, 60) == [105, 205, 305]


def test_belief_counts_as_false_only_where_the_talker_is_silent():
    """Otherwise a right detection would be a false trigger, or noise between turns one."""
    belief = np.ones(1000, np.bool_)
    turns, near = (Stretch(1.0, 5.0), Stretch(6.0, 9.0)), (Stretch(2.0, 4.0),)
    counted = metrics.false_triggers(belief, turns, near, 60)
    assert counted.seconds == pytest.approx(0.7 + 3.0)
    assert counted == (4, counted.seconds, 2, 2)
    assert metrics.false_triggers(belief & False, turns, near, 60) == (0, counted.seconds, 0, 2)
    assert metrics.triggered_between(belief, 1.0, 3.0, 2000)
    assert not metrics.triggered_between(belief, 1.0, 3.0, 2010)


def test_latency_counts_from_the_onset():
    """Otherwise belief from before the onset would make a detector look prescient."""
    belief = np.zeros(1000, np.bool_)
    belief[:200] = True
    speech = (Stretch(1.0, 2.0), Stretch(5.0, 5.5))
    assert metrics.latencies_ms(belief, speech, 60) == [pytest.approx(60), math.inf]
    belief[585:] = True
    assert metrics.latencies_ms(belief, speech, 60)[1] == math.inf
    assert metrics.latencies_ms(belief, (Stretch(5.0, 6.5),), 60) == [pytest.approx(910)]

"""The scorer: what it says of conversations whose outcome is known."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voicefsm.audio.samples import RATE_HZ
from voicefsm.bench.turns import pilot, score
from voicefsm.bench.turns.stimuli import Item, item_of

TABLE = Path(__file__).with_name("agreement.json")


# --- another scorer of the same definitions ----------------------------------------------------------------------------------


@cache
def table() -> dict[str, Any]:
    entries: dict[str, Any] = json.loads(TABLE.read_text())
    return entries


@cache
def items() -> tuple[Item, ...]:
    return tuple(item_of(entry) for entry in table()["items"])


def played(runs: list[tuple[int, int, int, int, bool]], samples: int) -> score.Recording:
    """A recording, from its runs: [at_sample, reply, place_sample, samples, ends_with_the_reply]."""
    sound = np.zeros(samples, np.int16)
    for at, reply, place, length, ends in runs:
        numbers = np.arange(place // 320, -(-(place + length) // 320))
        if ends:
            numbers[-1] = pilot.END_FRAME
        voice = pilot.pcm(pilot.frames(reply, numbers))[place % 320 :][: min(length, samples - at)]
        sound[at : at + len(voice)] = voice
    return score.Recording(sound)


@pytest.mark.parametrize("agent", ["oracle", "vad2_start200_stop300", "vad3_start500_stop600", "voicefsm"])
def test_figures_agree_with_the_other_scorer(agent):
    """Otherwise our numbers cannot be held against anybody's."""
    entry = table()["agents"][agent]
    recordings = ((item, played(entry["runs"][item.id], math.ceil(item.duration_s * RATE_HZ))) for item in items())
    ours = score.figures(score.look(recordings))
    for name, theirs in entry["figures"].items():
        if theirs is None:
            assert ours[name].value is None, name
        else:
            assert ours[name].value == pytest.approx(theirs, abs=0.6 if name.endswith("_ms") else 6e-4), name


# --- conversations made up for one thing -------------------------------------------------------------------------------------


def item(kind: str, *, start: float = 3.0, end: float = 4.0, category: str = "made_up", **event: str) -> Item:
    question = {"type": "context", "start": 0.5, "end": 1.0}
    happening = {"type": kind, "start": start, "end": end, **event}
    return item_of({"id": "made_up/000", "category": category, "duration_s": 10.0, "events": [question, happening]})


def speech(*runs: tuple[float, float, int, float]) -> score.Recording:
    """Runs as (at, until, reply, place in it), in seconds."""
    placed = [(round(a * RATE_HZ), reply, round(place * RATE_HZ), round((b - a) * RATE_HZ), False) for a, b, reply, place in runs]
    return played(placed, 10 * RATE_HZ)


def outcome_of(what: Item, recording: score.Recording) -> score.Outcome:
    (one,) = score.look([(what, recording)]).outcomes
    return one


def test_a_stop_after_a_pause_counts_from_the_onset():
    """Otherwise the time of the pause is not what it is to the ear."""
    one = outcome_of(item("interruption"), speech((1.5, 3.12, 1, 0.0), (5.0, 9.0, 2, 0.0)))
    assert one.is_over_speech
    assert one.yields
    assert one.responds
    assert one.stop_s == pytest.approx(0.12, abs=0.011)
    assert one.pause_s == pytest.approx(0.12, abs=0.011)
    assert one.response_s == pytest.approx(1.0, abs=0.011)


def test_a_pause_that_is_taken_back_is_no_stop():
    """Otherwise an interruption that was overheard counts as obeyed after a tenth of a second."""
    one = outcome_of(item("interruption"), speech((1.5, 3.1, 1, 0.0), (3.4, 9.0, 1, 1.6)))
    assert not one.yields
    assert one.pause_s == pytest.approx(0.1, abs=0.011)
    assert one.stop_s == pytest.approx(6.0, abs=0.011)


def test_an_answer_that_goes_on_exactly_is_held():
    """Otherwise the promise of the exact sample is not measured."""
    one = outcome_of(item("backchannel", end=3.3), speech((1.5, 3.1, 1, 0.0), (3.4, 9.0, 1, 1.6)))
    assert one.holds
    assert one.silence_s == pytest.approx(0.3, abs=0.011)
    assert one.breaks == ()


@pytest.mark.parametrize("shift_s", [0.02, -0.02])
def test_twenty_milliseconds_lost_or_repeated_are_told(shift_s):
    """Otherwise nothing lost or repeated is an empty claim."""
    one = outcome_of(item("backchannel", end=3.3), speech((1.5, 3.1, 1, 0.0), (3.4, 9.0, 1, 1.6 + shift_s)))
    assert one.holds
    assert one.breaks == (round(shift_s * RATE_HZ),)


def test_silence_of_more_than_half_a_second_cuts_the_answer():
    """Otherwise a pause of two seconds passes for ignoring."""
    one = outcome_of(item("backchannel", end=3.3), speech((1.5, 3.1, 1, 0.0), (3.8, 9.0, 1, 1.6)))
    assert not one.holds
    assert one.resumes_late
    figures = score.figures(score.look([(item("backchannel", end=3.3), speech((1.5, 3.1, 1, 0.0), (3.8, 9.0, 1, 1.6)))]))
    assert figures["false_interruptions"].value == 1.0
    assert figures["lost_s"].value == score.LOST_S
    assert figures["resumes_in_time"].value == 0.0


def test_failures_say_what_happened():
    """Otherwise a bad figure leaves nothing to look at."""
    found = score.failures(score.look([(item("interruption", category="user_interruption"), speech((1.5, 9.0, 1, 0.0)))]))
    assert [(one.item, one.at_s) for one in found] == [("made_up/000", 3.0)]
    assert "not obeyed" in found[0].what


# --- statistics --------------------------------------------------------------------------------------------------------------


def test_wilsons_interval():
    """Otherwise ten of ten would be certain. The values are those of Wilson's formula, worked out by hand."""
    figure = score.share([True] * 8 + [False] * 2)
    assert figure.low == pytest.approx(0.4902, abs=1e-4)
    assert figure.high == pytest.approx(0.9433, abs=1e-4)
    assert score.share([True] * 10).low == pytest.approx(0.7225, abs=1e-4)
    assert score.share([]).value is None


def test_the_interval_of_a_quantile_encloses_it_95_times_in_100():
    """Otherwise a p95 of twenty values looks as sure as one of a thousand. Seeded: 1000 samples of a known distribution."""
    random = np.random.default_rng(3)
    hits = 0
    for _ in range(1000):
        figure = score.quantile(random.exponential(size=100).tolist(), 0.5)
        assert figure.low is not None
        assert figure.high is not None
        hits += figure.low <= math.log(2) <= figure.high
    assert hits >= 930

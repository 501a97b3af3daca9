"""From what callers saw to figures."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from voicefsm.load import LoadSettings, report
from voicefsm.load.caller import Seen
from voicefsm.load.cancellations import Cancellations
from voicefsm.load.figures import level
from voicefsm.load.percentiles import Percentiles
from voicefsm.load.scrape import Mean, Scraped
from voicefsm.load.stage import Usage
from voicefsm.telemetry.families import ERLE

SETTINGS = LoadSettings()
GOOD = Seen(
    first_audio_ms=[SETTINGS.scripted_ms + ms for ms in (5.0, 6.0, 7.0)],
    pause_ms=[80.0, 85.0],
    cancel_ms=[300.0, 320.0],
    frames=1000,
)
USED = (Usage(1.0, 50_000), Usage(2.0, 60_000), Usage(5.0, 70_000))


def test_figures():
    """Otherwise capacity is planned with wrong numbers."""
    one = level(2, 30.0, [GOOD, GOOD], SETTINGS, USED)
    assert one.overhead_ms == Percentiles(6, 6.0, 7.0, 7.0)
    assert one.pause_ms.n == 4
    assert one.cpu_s_per_session_minute == 3.0  # 3 s for 2 sessions in half a minute
    assert one.cpu_share == 0.1
    assert one.memory_kib_per_session == 10_000
    assert one.is_measured
    assert one.is_within(SETTINGS)


@pytest.mark.parametrize(
    "trouble",
    [
        {"missing_answers": 1},
        {"underruns": 1},
        {"gaps": 1},
        {"false_cuts": 1},
        {"errors": ["UNAVAILABLE"]},
        {"refused": True},
        {"first_audio_ms": [SETTINGS.scripted_ms + 101.0]},
        {"pause_ms": [301.0]},
    ],
    ids=lambda trouble: next(iter(trouble)),
)
def test_what_users_would_notice_is_beyond_the_limits(trouble):
    """Otherwise a gateway that drops callers looks fast."""
    assert not level(1, 30.0, [replace(GOOD, **trouble)], SETTINGS, USED).is_within(SETTINGS)


def test_a_limit_is_not_kept_by_having_seen_nothing():
    """Otherwise a gateway that never answers has no latency at all."""
    one = level(1, 30.0, [Seen(frames=10)], SETTINGS, None)
    assert math.isnan(one.overhead_ms.p95)
    assert not one.is_within(SETTINGS)
    assert one.cpu_share is None
    assert " - " in report.lines(one)


def test_a_driver_that_was_late_says_so():
    """Otherwise its own lateness is taken for the gateway's."""
    late = replace(GOOD, late_frames_ms=[9.0] * 20)
    one = level(1, 30.0, [late], SETTINGS, USED)
    assert not one.is_measured
    assert "NOT SHOWN" in report.lines(one)


def test_a_sweep_names_the_largest_level_within_limits(tmp_path):
    """Otherwise the reader has to find it in the table."""
    levels = [level(count, 30.0, [seen] * count, SETTINGS, USED) for count, seen in ((5, GOOD), (10, GOOD), (20, Seen()))]
    assert report.summary(levels, SETTINGS).startswith("load: 10 sessions within")
    assert report.summary(levels[:1], SETTINGS).startswith("load: 5 sessions within")
    assert "NOT within" in report.summary(levels[2:], SETTINGS)
    report.write(tmp_path / "load.json", report.document(levels, SETTINGS))
    written = json.loads((tmp_path / "load.json").read_text())
    assert written["sessions_within_limits"] == 10
    assert [one["sessions"] for one in written["levels"]] == [5, 10, 20]


def test_what_the_gateway_tells_and_what_an_echo_does():
    """Otherwise the loop's lag is that of the gateway's whole life, or an echo that is taken for a talker is not seen."""
    before = Scraped({0.001: 5, 0.002: 9, math.inf: 9}, {"x": 1}, {ERLE.name: (1, 2.0)})
    after = Scraped({0.001: 25, 0.002: 30, math.inf: 31}, {"x": 4}, {ERLE.name: (3, 33.0)})
    seen = replace(GOOD, false_pauses=2, words=9, utterances=2)
    one = level(2, 30.0, [seen, seen], replace(SETTINGS, echo_db=15), USED, told=after.since(before))
    assert one.loop_lag_ms is not None
    assert (one.loop_lag_ms.n, one.loop_lag_ms.p50, one.loop_lag_ms.p95) == (22, 1.0, 2.0)
    assert one.counts == {"x": 3}
    assert one.means == {ERLE.name: Mean(2, 15.5)}
    assert (one.false_pauses, one.false_cuts, one.words_per_utterance) == (4, 0, 4.5)
    first, second = report.lines(one).splitlines()
    assert first.endswith("<= 2 ms")
    assert second.strip().startswith("with an echo 15 dB below: answers fell silent by mistake 4 times, 0 for good; 4.5 words")
    assert second.endswith("; 15.5 dB of it cancelled, 2 times asked")


def test_the_line_on_cancellations_says_what_went_wrong():
    """Otherwise a reply that went on after its barge-in is seen in the JSON only."""
    one = level(2, 30.0, [GOOD, GOOD], SETTINGS, USED)
    assert "CANCEL" not in report.lines(one)
    well = Cancellations(4, Percentiles(3, 1.2, 2.9, 4.0), 1, 0, 0, 0)
    told = report.lines(replace(one, cancellations=well)).splitlines()[1].strip()
    assert told == (
        "CANCEL at the voice's server 1.2 / 2.9 ms after the decision, 4.0 at most: "
        "3 of 4, 1 had nothing left to cancel; texts that came after it: 0"
    )
    ill = Cancellations(4, Percentiles.of([]), 1, 2, 1, 5)
    told = report.lines(replace(one, cancellations=ill)).splitlines()[1].strip()
    assert told == (
        "CANCEL at the voice's server: 0 of 4, 1 had nothing left to cancel, 2 WENT ON, 1 of replies unknown; "
        "texts that came after it: 5"
    )
    assert json.loads(json.dumps(replace(one, cancellations=ill).plain()))["cancellations"]["not_cancelled"] == 2

"""Subjects through scenes: what they are told, what is noted, and that real cancellers come out as known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from voicefsm.acoustics.loudspeaker import Distortion
from voicefsm.adapters import speex
from voicefsm.bench.echo.run import FIRST_S, REPORT_ERROR_MS, listen, measure
from voicefsm.bench.echo.scene import Condition, Kind
from voicefsm.bench.echo.subjects import Entry, entry

FAR = Condition(seed=2, kind=Kind.FAR, seconds=24, room=5, rt60_s=0.2, delay_ms=400, distortion=Distortion.NONE)
needs_speex = pytest.mark.skipif(speex.library() is None, reason="libspeexdsp is not installed")


class Subject:
    """Believes in the ticks that it is told; keeps what it is told of playout."""

    def __init__(self, believes=()):
        self.believes, self.tick, self.acks, self.near_end = believes, 0, [], False

    def process(self, near, far):
        self.near_end = self.tick in self.believes
        self.tick += 1
        return near // 2

    def on_ack(self, mic_pos, ref_pos):
        self.acks.append((self.tick, mic_pos, ref_pos))


def test_reports_are_late_and_off_by_a_constant(studio):
    """Otherwise a subject would know the delay better, or sooner, than any gateway."""
    scene, subject = studio.build(dataclasses.replace(FAR, drift_ppm=100)), Subject()
    listen(subject, scene)
    ticks, mics, refs = map(np.array, zip(*subject.acks, strict=True))
    assert (np.diff(ticks) == 20).all()
    assert (ticks * 160 - mics == 20 * 160).all()
    errors = mics - refs - scene.delay[mics]
    assert np.ptp(errors) <= 1
    assert abs(errors[0]) <= REPORT_ERROR_MS * 16
    other = Subject()
    listen(other, studio.build(dataclasses.replace(FAR, seed=3)))
    assert abs(other.acks[0][1] - other.acks[0][2] - 6400 - errors[0]) > 1


def test_a_row_is_what_happened(studio):
    """Otherwise figures would come from other frames than the ones the subject erred in."""
    scene = studio.build(FAR)
    begin = round(scene.far_turns[0].start_s * 100)
    cold, later = range(begin + 50, begin + 60), range(begin + 400, begin + 410)
    row = measure("x", "it", Entry(lambda _: Subject({*cold, *later}), 60), scene, with_quality=True)
    assert row.cold_trigger is True
    assert row.false.triggers == 1
    assert row.erle.mean == pytest.approx(6, abs=0.3)
    assert row.converged_s == math.inf
    assert math.isnan(row.quality.sdr_db)
    assert row.latencies_ms == ()
    late = measure("x", "it", Entry(lambda _: Subject({later[0]}), 60), scene, with_quality=True)
    assert late.cold_trigger is False
    assert late.false.triggers == 0
    assert row.false.seconds == pytest.approx(sum(end - start for start, end in scene.far_turns) - FIRST_S, abs=0.1)


def test_barge_ins_are_timed_and_damage_is_seen(studio):
    """Otherwise a gate that never opens, or a canceller that mutes the talker, would look good."""
    scene = studio.build(dataclasses.replace(FAR, kind=Kind.DOUBLE, delay_ms=40, near_to_echo_db=10.0))
    always = measure("x", "it", Entry(lambda _: Subject(range(10_000)), 60), scene, with_quality=True)
    assert len(always.latencies_ms) == len(scene.near_speech) > 0
    assert all(50 <= latency <= 70 for latency in always.latencies_ms)
    assert always.quality.level_db == pytest.approx(-6, abs=1)
    assert always.quality.mic_sdr_db == pytest.approx(always.quality.sdr_db, abs=0.5)
    never = measure("x", "it", Entry(lambda _: Subject(), 60), scene, with_quality=False)
    assert set(never.latencies_ms) == {math.inf}
    assert math.isnan(never.quality.estoi)
    cold = measure(
        "x", "it", Entry(lambda _: Subject(), 60), studio.build(dataclasses.replace(FAR, kind=Kind.COLD)), with_quality=False
    )
    assert cold.cold_trigger is None


def test_without_far_end_all_belief_in_silence_is_false(studio):
    """Otherwise a detector that triggers on noise would not be found out."""
    scene = studio.build(dataclasses.replace(FAR, kind=Kind.NEAR))
    row = measure("x", "it", Entry(lambda _: Subject(range(10_000)), 60), scene, with_quality=False)
    assert row.false.triggers > 0
    assert row.false.seconds < FAR.seconds - sum(end - start for start, end in scene.near_speech)
    assert math.isnan(row.erle.mean)


@needs_speex
def test_alignment_is_worth_more_than_the_canceller(studio):
    """Otherwise the first finding about echo would not be found again: a reference as it was sent cancels nothing at 400 ms."""
    scene = studio.build(FAR)
    aligned, as_sent = (measure("x", name, entry(name), scene, with_quality=False) for name in ("speex", "speex-as-sent"))
    assert aligned.erle.mean > 12
    assert as_sent.erle.mean < 3


@needs_speex
def test_drift_costs_a_canceller_that_does_not_follow_it(studio):
    """Otherwise the curve over drift would be flat, and nobody would resample a reference."""
    rows = [
        measure("x", "speex", entry("speex"), studio.build(dataclasses.replace(FAR, drift_ppm=drift)), with_quality=False)
        for drift in (0.0, 200.0)
    ]
    assert rows[0].erle.mean > rows[1].erle.mean + 3


def test_suppression_costs_the_talker(studio):
    """Otherwise the output of AEC3 would look fit for a recogniser."""
    scene = studio.build(dataclasses.replace(FAR, kind=Kind.DOUBLE, seconds=16, delay_ms=40, near_to_echo_db=-10.0))
    suppressed = measure("x", "aec3", entry("aec3"), scene, with_quality=True)
    assert suppressed.erle.mean > 10
    assert suppressed.quality.level_db < -3
    assert suppressed.cost.audible_us > 0


@pytest.mark.parametrize("delay_ms", [0.0, 400.0])
def test_our_own_canceller_cancels(studio, delay_ms):
    """Otherwise the default would be worse than what it replaced; at no delay the reference is read the moment it is sent."""
    row = measure("x", "own", entry("own"), studio.build(dataclasses.replace(FAR, delay_ms=delay_ms)), with_quality=False)
    assert row.erle.mean > 20
    assert row.converged_s < 3
    assert row.cold_trigger is False
    assert row.false.triggers == 0


def test_our_own_canceller_leaves_the_talker(studio):
    """Otherwise the recogniser would get less than the microphone had, and a barge-in go unheard."""
    row = measure("x", "own", entry("own"), studio.build(dataclasses.replace(FAR, kind=Kind.DOUBLE)), with_quality=True)
    assert row.quality.sdr_db > row.quality.mic_sdr_db + 8
    assert abs(row.quality.level_db) < 1
    assert row.quality.estoi > 0.9
    assert max(row.latencies_ms) < 500

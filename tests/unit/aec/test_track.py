from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from voicefsm.aec.track import Track
from voicefsm.audio.samples import FRAME_SAMPLES

PPM = 1e-6 * FRAME_SAMPLES
RELOCK = 192
"""Samples: 12 ms."""


def track(step: float = 1.0) -> Track:
    return Track(jump_samples=RELOCK, step_samples=step, kept=500)


def follow(
    track: Track, seconds: float, truth: Callable[[int], float], error: Callable[[int], float] = lambda _: 0.0
) -> np.ndarray:
    """Report `truth` plus `error`, in whole samples of the far end; returns where the track was too far ahead, frame by frame."""
    off = []
    for frame in range(round(seconds * 50)):
        report = np.floor(truth(frame) + error(frame) + FRAME_SAMPLES * frame) - FRAME_SAMPLES * frame
        if frame == 0:
            track.lock(round(report))
        track.note(report)
        off.append(track.offset - truth(frame))
        track.advance()
    return np.array(off)


@pytest.mark.parametrize("ppm", [0, 20, 50, 100, 300, -100, -300])
def test_exact_reports_tell_the_drift_and_the_place(ppm):
    """Otherwise two sound cards cost the canceller ten decibels. Within a sample after 12 s, and still then."""
    tracked = track()
    off = follow(tracked, 30, lambda frame: 1000.3 + ppm * PPM * frame)
    assert np.abs(off[600:]).max() < 1.2
    assert np.ptp(off[600:]) < 0.3
    assert tracked.drift_ppm == pytest.approx(ppm, abs=1)


@pytest.mark.parametrize("ppm", [50, 100, 300])
def test_exact_reports_tell_the_drift_within_three_seconds(ppm):
    """Otherwise the first reply of every session has no canceller."""
    tracked = track()
    follow(tracked, 3.5, lambda frame: ppm * PPM * frame)
    assert tracked.drift_ppm == pytest.approx(ppm, rel=0.15)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("hold", [1, 5])
def test_jitter_is_not_taken_for_drift(seed, hold):
    """Otherwise a client with one crystal and bad reports has an echo path that runs away. +-10 ms, also for 100 ms pieces."""
    random, tracked = np.random.default_rng([seed, hold]), track()
    errors = np.repeat(random.uniform(-160, 160, 60 * 50), hold)
    follow(tracked, 60, lambda _: 0.0, lambda frame: errors[frame])
    assert tracked.drift_ppm == 0


def test_jitter_hides_the_drift_for_a_minute_at_most():
    """Otherwise such a client never has a canceller."""
    for seed in range(3):
        random, tracked = np.random.default_rng(seed), track()
        errors = random.uniform(-160, 160, 90 * 50)
        follow(tracked, 90, lambda frame: 100 * PPM * frame, errors.__getitem__)
        assert tracked.drift_ppm == pytest.approx(100, abs=25)


def test_the_drift_is_remembered_over_a_pause():
    """Otherwise every reply begins with the wrong clock."""
    tracked = track()
    follow(tracked, 5, lambda frame: 100 * PPM * frame)
    off = follow(tracked, 3, lambda frame: 7777.5 + 100 * PPM * frame)
    assert np.abs(off).max() < 1.6
    assert np.ptp(off) < 0.5


@pytest.mark.parametrize("jump", [80, -80, 320, -320, 3200])
@pytest.mark.parametrize("ppm", [0, 100])
def test_exact_reports_tell_a_jump_within_half_a_second(jump, ppm):
    """Otherwise an underrun costs the canceller; and it must not be taken for drift."""
    tracked = track()
    off = follow(tracked, 20, lambda frame: ppm * PPM * frame + jump * (frame >= 500))
    assert np.abs(off[525:]).max() < 3
    assert tracked.drift_ppm == pytest.approx(ppm, abs=3)


@pytest.mark.parametrize("seed", range(3))
def test_jittering_reports_tell_a_jump_of_40_ms_within_07_s(seed):
    """Otherwise a client with bad reports loses its canceller for good with the first underrun."""
    random, tracked = np.random.default_rng(seed), track()
    errors = random.uniform(-160, 160, 20 * 50)
    off = follow(tracked, 20, lambda frame: 640.0 * (frame >= 500), lambda frame: errors[frame])
    assert np.abs(off[:500]).max() < RELOCK + 40
    assert np.abs(off[535:]).max() < RELOCK + 40


@pytest.mark.parametrize("seed", range(3))
def test_it_moves_gently(seed):
    """Otherwise the reference jitters, which no canceller survives. Between jumps never more than by a drift of 550 ppm."""
    random, tracked = np.random.default_rng(seed), track()
    before, steps = None, []
    for frame in range(2000):
        report = 0.01 * frame + random.uniform(-160, 160)
        if frame == 0:
            tracked.lock(0)
        if not tracked.note(report) and before is not None:
            steps.append(abs(tracked.offset - before))
        before = tracked.offset
        tracked.advance()
    assert max(steps) < 550 * PPM
    assert tracked.deviation == pytest.approx(80, abs=60)

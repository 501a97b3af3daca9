"""Delay tracks, and reading between samples."""

from __future__ import annotations

import numpy as np
import pytest

from voicefsm.acoustics.delay import Delay, read
from voicefsm.audio.samples import RATE_HZ


def test_a_delay_drifts_and_jumps():
    """Otherwise clocks and networks would behave better here than anywhere."""
    delay = Delay(ms=100, drift_ppm=50, jump_ms=-40, jump_at_s=1.0)
    track = delay.samples(0, 2 * RATE_HZ)
    assert track[0] == 1600
    assert track[RATE_HZ - 1] == pytest.approx(1600.8, abs=0.01)
    assert track[RATE_HZ] == pytest.approx(960.8, abs=0.01)
    assert track[700:800].tolist() == delay.samples(700, 100).tolist()


def test_a_delay_never_reaches_into_the_future():
    """Otherwise an echo could precede its sound."""
    assert Delay(ms=0, drift_ppm=-100).samples(0, RATE_HZ).min() == 0.0
    assert Delay(ms=10, jump_ms=-60).samples(0, 10).max() == 0.0


def test_what_is_whole():
    """Otherwise a closed loop without drift would have a delay that nobody asked for."""
    assert Delay(ms=120, jump_ms=60).is_whole
    assert not any(delay.is_whole for delay in (Delay(drift_ppm=50), Delay(ms=120.3), Delay(jump_ms=0.01)))


def test_whole_positions_are_exact():
    """Otherwise a plain delay would colour the sound."""
    signal = np.random.default_rng(1).standard_normal(100)
    assert read(signal, np.arange(-5.0, 105.0)).tolist() == [0.0] * 5 + signal.tolist() + [0.0] * 5
    assert read(signal, np.array([-1e6, 1e6])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("hz", "error_db"), [(300, -70), (3000, -70), (5500, -70), (6800, -40)])
def test_a_tone_between_samples(hz, error_db):
    """Otherwise drift would come with a distortion of its own, and a canceller would be blamed for it."""
    signal = np.sin(2 * np.pi * hz * np.arange(RATE_HZ) / RATE_HZ)
    positions = np.asarray(np.arange(100, 15000) * 1.0001 + 0.3, np.float64)
    error = read(signal, positions) - np.sin(2 * np.pi * hz * positions / RATE_HZ)
    assert 20 * np.log10(np.abs(error).max()) < error_db


def test_between_samples_outside_is_silence():
    """Otherwise the ends of a signal would read memory of another."""
    signal = np.ones(100)
    assert np.abs(read(signal, np.array([-1e5, -40.5, 140.5, 1e5]))).max() < 1e-9
    assert read(signal, np.array([50.5]))[0] == pytest.approx(1.0, abs=1e-3)

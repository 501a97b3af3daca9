"""Levels, convolution, the filter and the noise."""

from __future__ import annotations

import numpy as np
import pytest

from voicefsm.acoustics.signals import active_level_db, at_active_level, floats, gain, high_pass, pcm, room_noise, through
from voicefsm.audio.samples import RATE_HZ


def test_pcm_and_back():
    """Otherwise a loop through the simulator would change the signal, or wrap where it should clip."""
    samples = np.array([-32767, -1, 0, 1, 32767], np.int16)
    assert pcm(floats(samples)).tolist() == samples.tolist()
    assert pcm(np.array([-3.0, 3.0])).tolist() == [-32768, 32767]


def test_active_level_does_not_count_pauses():
    """Otherwise a slow speaker would be made louder than a quick one."""
    tone = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(RATE_HZ) / RATE_HZ)
    assert active_level_db(tone) == pytest.approx(-23.0, abs=0.05)
    assert active_level_db(np.concatenate((tone, np.zeros(5 * RATE_HZ)))) == pytest.approx(-23.0, abs=0.05)
    assert active_level_db(at_active_level(tone, -36.0)) == pytest.approx(-36.0)
    assert active_level_db(np.zeros(640)) == pytest.approx(-120.0)
    assert gain(-20.0) == pytest.approx(0.1)


@pytest.mark.parametrize("samples", [1, 1000, 1024, 5000])
def test_through_is_convolution(samples):
    """Otherwise echoes would wrap around, or come late."""
    random = np.random.default_rng(1)
    signal, response = random.standard_normal(samples), random.standard_normal(300)
    assert through(signal, response) == pytest.approx(np.convolve(signal, response)[:samples])


def test_high_pass():
    """Otherwise a loudspeaker of three centimetres would have bass."""
    response = np.abs(np.fft.rfft(high_pass(150.0), RATE_HZ))
    assert response[150] == pytest.approx(np.sqrt(0.5), rel=0.01)
    assert response[15] == pytest.approx(0.01, rel=0.1)
    assert response[1500:] == pytest.approx(1.0, abs=0.01)


def test_room_noise_is_pinkish_and_seeded():
    """Otherwise detectors would be tried in a hiss that no room has."""
    noise = room_noise(np.random.default_rng(3), 4 * RATE_HZ, -50.0)
    assert 10 * np.log10(np.mean(noise**2)) == pytest.approx(-50.0)
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    low, high = np.mean(spectrum[4 * 100 : 4 * 200]), np.mean(spectrum[4 * 1000 : 4 * 2000])
    assert 10 * np.log10(low / high) == pytest.approx(10.0, abs=1.0)
    assert np.array_equal(noise, room_noise(np.random.default_rng(3), 4 * RATE_HZ, -50.0))

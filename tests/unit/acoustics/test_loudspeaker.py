"""The loudspeaker: what it adds to a tone, and what it leaves out."""

from __future__ import annotations

import numpy as np
import pytest

from voicefsm.acoustics.loudspeaker import Distortion, bent, played
from voicefsm.audio.samples import RATE_HZ


def harmonics_db(distortion: Distortion) -> list[float]:
    """The second to the fifth harmonic of a full-scale tone, relative to it."""
    tone = np.sin(2 * np.pi * 500 * np.arange(RATE_HZ) / RATE_HZ)
    spectrum = np.abs(np.fft.rfft(played(tone, distortion)[RATE_HZ // 2 :]))
    return [float(20 * np.log10(spectrum[250 * k] / spectrum[250] + 1e-9)) for k in (2, 3, 4, 5)]


def test_harmonics():
    """Otherwise the sweep over distortion would not say what it says."""
    assert max(harmonics_db(Distortion.NONE)) < -80
    mild, strong = harmonics_db(Distortion.MILD), harmonics_db(Distortion.STRONG)
    assert mild[0] < -80
    assert mild[1] == pytest.approx(-34, abs=3)
    assert max(strong) > -18


@pytest.mark.parametrize("distortion", Distortion)
def test_full_scale_in_full_scale_out(distortion):
    """Otherwise an overdriven loudspeaker would be louder than the one it is compared with."""
    ramp = bent(np.linspace(-1, 1, 201), distortion)
    assert 0.9 < np.abs(ramp).max() <= 1.0
    assert (np.diff(ramp) >= 0).all()


@pytest.mark.parametrize("distortion", Distortion)
def test_no_direct_current(distortion):
    """Otherwise the microphone would hear what no loudspeaker radiates."""
    noise = np.random.default_rng(1).standard_normal(RATE_HZ) * 0.2
    assert abs(np.mean(played(noise, distortion))) < 1e-4
    assert np.array_equal(played(np.zeros(1000), distortion), np.zeros(1000))

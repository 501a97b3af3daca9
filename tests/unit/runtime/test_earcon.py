"""The sound of a failure."""

from __future__ import annotations

import numpy as np
import pytest

from voicefsm.runtime.earcon import LEVEL, TONE_MS, TONES_HZ, earcon
from voicefsm.runtime.messages import RATES_HZ


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_it_is_short_soft_and_does_not_click(rate_hz: int) -> None:
    """Otherwise it startles, or is not heard at all; or sounds like a broken line."""
    sound = earcon(rate_hz).astype(np.float64) / np.iinfo(np.int16).max
    assert len(sound) == len(TONES_HZ) * TONE_MS * rate_hz // 1000
    assert 0.9 * LEVEL < np.abs(sound).max() <= LEVEL
    assert np.abs(np.diff(sound, prepend=0.0, append=0.0)).max() <= LEVEL * 2 * np.pi * max(TONES_HZ) / rate_hz * 1.1


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_its_tones_fall(rate_hz: int) -> None:
    """Otherwise it asks a question."""
    for half, hz in zip(np.split(earcon(rate_hz), len(TONES_HZ)), TONES_HZ, strict=True):
        peak = np.abs(np.fft.rfft(half)).argmax() * rate_hz / len(half)
        assert abs(peak - hz) < 2 * rate_hz / len(half)

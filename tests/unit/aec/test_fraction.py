from __future__ import annotations

import numpy as np
import pytest

from voicefsm.aec.fraction import AROUND, BEFORE, between


def tone(hz: float, positions: np.ndarray) -> np.ndarray:
    return 10000 * np.sin(2 * np.pi * hz / 16000 * positions)


@pytest.mark.parametrize("hz", [100, 1000, 4000, 6000])
@pytest.mark.parametrize(("first", "last"), [(0.0, 0.0), (0.3, 0.3), (0.999, 0.999), (0.9, 1.0), (0.02, -0.07)])
def test_it_reads_between_the_samples(hz, first, last):
    """Otherwise a drifting reference is a distorted one. Error at least 45 dB below the signal."""
    around = np.rint(tone(hz, np.arange(AROUND))).astype(np.int16)
    frame = between(around, first, last)
    wanted = tone(hz, BEFORE + np.arange(320) * (1 + (last - first) / 320) + first)
    assert np.std(frame - wanted) < np.std(wanted) * 10 ** (-45 / 20)


def test_frames_join_without_a_step():
    """Otherwise there is a click in the reference fifty times a second."""
    slope, signal = 0.1, np.rint(tone(3000, np.arange(5000))).astype(np.int16)
    out = []
    for k in range(12):
        position = 100 + k * (320 + slope)
        whole = int(position)
        out.append(between(signal[whole - BEFORE :][:AROUND], position - whole, position - whole + slope))
    heard = np.concatenate(out)
    wanted = tone(3000, 100 + np.arange(len(heard)) * (1 + slope / 320))
    assert np.abs(heard - wanted).max() < 60


def test_a_constant_stays_constant_and_the_rail_is_kept():
    """Otherwise a loud voice wraps around into noise."""
    assert (between(np.full(AROUND, 32767, np.int16), 0.37, 0.4) == 32767).all()
    assert (between(np.full(AROUND, -32768, np.int16), 0.37, 0.4) == -32768).all()

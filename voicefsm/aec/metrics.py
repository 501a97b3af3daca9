"""Levels and echo return loss enhancement, cheaply.

Levels are integer dB full scale (0 is a constant at the rail, a full-scale sine is -3), because evidence is integer so that
decisions replay exactly. -96 is silence.

ERLE is the ratio of the near end's power before and after cancellation while nothing but echo is in it. Nobody knows when that is:
the gate decides which frames count. Powers are averaged over half a second of them, which weighs the loud frames, and the
estimate follows their ratio in a second and a half: a canceller that is good for one word is not believed yet.
"""

from __future__ import annotations

import math

import numpy as np

from voicefsm.audio.samples import Samples

SILENCE_DB = -96

_FULL_SCALE = 32768.0**2


def power(samples: Samples) -> float:
    """Mean square, in units of one quantisation step squared."""
    x = samples.astype(np.float32)
    return float(np.dot(x, x)) / len(samples)


def level_db(mean_square: float) -> int:
    """A mean square as a level, dB full scale."""
    if mean_square < 1.0:  # -90 dB
        return SILENCE_DB
    return round(10.0 * math.log10(mean_square / _FULL_SCALE))


class Erle:
    """Smoothed ERLE of one canceller."""

    _AVERAGE = 1 / 25
    """Of the powers: half a second."""
    _FOLLOW = 1 / 75
    """Of the estimate, per frame: 1.5 s."""
    _DB_MAX = 40.0

    def __init__(self) -> None:
        self._before = self._after = 1.0
        self._db = 0.0

    @property
    def db(self) -> int:
        """The estimate, dB; 0 while unknown."""
        return int(self._db)

    def update(self, before: float, after: float) -> None:
        """Take one frame in which echo is audible: powers of the near end before and after cancellation."""
        self._before += (before - self._before) * self._AVERAGE
        self._after += (after - self._after) * self._AVERAGE
        ratio = (self._before + 1.0) / (self._after + 1.0)
        db = min(self._DB_MAX, max(0.0, 10.0 * math.log10(ratio)))
        self._db += (db - self._db) * self._FOLLOW

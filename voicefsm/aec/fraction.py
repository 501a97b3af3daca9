"""Reading a signal between its samples, cheaply enough for every frame.

Theory of operation. Two clocks that disagree by 100 ppm move apart by 0.03 samples in a frame. So a frame is read twice, at the
fraction it begins with and at the one it ends with, and faded from the one to the other: the next frame goes on where this one
stopped, and a canceller meets no step. A reading is a windowed sinc of `TAPS` taps out of a table; both are one small matrix
product.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from voicefsm.audio.samples import FRAME_SAMPLES, Samples

TAPS = 24
BEFORE = TAPS // 2 - 1
"""How many samples before a position its value depends on …"""
AFTER = TAPS // 2
"""… and how many after it."""
AROUND = BEFORE + FRAME_SAMPLES + AFTER
"""Samples that a frame is made of."""

_PHASES = 1024
"""Of one sample; the nearest is taken."""
_LOWEST, _HIGHEST = -0.5, 1.5
"""Fractions in the table: a frame begins within a sample and may end outside of it."""
_KAISER_BETA = 7.0
_FADE = (np.arange(FRAME_SAMPLES) / FRAME_SAMPLES).astype(np.float32)


@functools.cache
def _table() -> NDArray[np.float32]:
    """The taps of each phase, shape (phases, TAPS); each sums to 1, so that a constant stays constant."""
    fractions = np.arange(round(_LOWEST * _PHASES), round(_HIGHEST * _PHASES) + 1) / _PHASES
    away = np.arange(-BEFORE, AFTER + 1) - fractions[:, None]
    shape = np.sqrt(np.maximum(0, 1 - np.square(away / (TAPS / 2 + 0.5))))
    taps = np.sinc(away) * np.i0(_KAISER_BETA * shape)
    return np.asarray(taps / taps.sum(axis=1, keepdims=True), np.float32)


def between(around: Samples, first: float, last: float) -> Samples:
    """A frame, shape (320,), that begins `first` samples after `around[BEFORE]`, where the frame after it is off by `last`.

    `around` has the shape (AROUND,), `first` is in 0 … 1, and `last` is within half a sample of it.
    """
    taps = _table().take((round((first - _LOWEST) * _PHASES), round((last - _LOWEST) * _PHASES)), axis=0)
    floats = around.astype(np.float32)
    # Row t of this view is the frame as tap t sees it. The copy lets numpy hand the product to BLAS.
    shifted: NDArray[np.float32] = np.ndarray((TAPS, FRAME_SAMPLES), np.float32, floats, 0, (4, 4)).copy()
    begin, end = taps @ shifted
    end -= begin
    end *= _FADE
    begin += end
    np.rint(begin, out=begin)
    begin.clip(-32768, 32767, out=begin)
    return np.asarray(begin, np.int16)

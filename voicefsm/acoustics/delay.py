"""Time: bulk delay that drifts and jumps, and reading a signal between its samples.

Reading between samples is a windowed sinc whose coefficients are polynomials of the fraction (Farrow's structure): one filter per
power, however the fraction moves. Up to 7 kHz it is right to about 60 dB.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from voicefsm.acoustics.signals import Signal
from voicefsm.audio.samples import RATE_HZ, SAMPLES_PER_MS

HALF_SAMPLES = 16
"""How many samples before and after a position its value depends on."""
_POWERS = 6
_KAISER_BETA = 8.0


@dataclasses.dataclass(frozen=True, slots=True)
class Delay:
    """The bulk delay between a reference and its echo: network, jitter buffer, devices. Without the room's own."""

    ms: float = 0.0
    drift_ppm: float = 0.0
    """The loudspeaker's clock is this much slower than the microphone's: the delay grows."""
    jump_ms: float = 0.0
    """Added from `jump_at_s` on."""
    jump_at_s: float = 0.0

    @property
    def is_whole(self) -> bool:
        """It is a whole number of samples at every moment."""
        return not self.drift_ppm and all(float(ms * SAMPLES_PER_MS).is_integer() for ms in (self.ms, self.jump_ms))

    def samples(self, first: int, count: int) -> Signal:
        """The delay, in samples, at `count` samples of the microphone from `first` on; never below 0."""
        index = np.arange(first, first + count)
        ms = np.where(index >= self.jump_at_s * RATE_HZ, self.ms + self.jump_ms, self.ms)
        return np.asarray(np.maximum(0.0, ms * SAMPLES_PER_MS + index * (self.drift_ppm * 1e-6)))


@functools.cache
def _filters() -> Signal:
    """Shape (_POWERS, 2 * HALF_SAMPLES): row p is multiplied by the p-th power of the fraction."""
    fractions = np.linspace(0, 1, 65)
    taps = np.arange(1 - HALF_SAMPLES, 1 + HALF_SAMPLES)
    away = taps - fractions[:, None]
    wanted = np.sinc(away) * np.i0(_KAISER_BETA * np.sqrt(np.maximum(0, 1 - (away / HALF_SAMPLES) ** 2))) / np.i0(_KAISER_BETA)
    powers = np.vander(fractions, _POWERS, increasing=True)
    return np.asarray(np.linalg.lstsq(powers, wanted, rcond=None)[0])


def read(signal: Signal, positions: Signal) -> Signal:
    """`signal` at fractional `positions`, in samples, shape (n,); silence outside of it."""
    silence = np.zeros(2 * HALF_SAMPLES)
    wide = np.concatenate((silence, signal, silence))
    whole = np.floor(positions)
    # Beyond these bounds a position sees nothing but the silence around the signal.
    at = np.clip(whole, -1 - HALF_SAMPLES, len(signal) + HALF_SAMPLES - 1).astype(np.int64) + len(silence)
    if np.array_equal(whole, positions):
        return wide[at]
    return _between(wide, at, positions - whole)


def _between(wide: Signal, at: NDArray[np.int64], fraction: Signal) -> Signal:
    """Horner's rule over the powers of the fraction that lies after each position `at`."""
    value: Signal = np.zeros(len(at))
    for taps in _filters()[::-1]:
        value = value * fraction + np.correlate(wide, taps, "valid")[at - (HALF_SAMPLES - 1)]
    return value

"""Is what sounds like a talker our own voice, from where nobody looks for it?

Theory of operation. When the delay of a client jumps, its reports tell a fifth of a second later, and listening (`aec.delay`) takes
half a second. Until then our own voice is not cancelled, and sounds like somebody who begins to talk. So the first frames of a
talker are held against all that may be in the air: the microphone's last 80 ms are correlated with the last 0.7 s of what was
sent and the next 0.1 s. A peak that stands out away from the place where the echo is looked for says that it is elsewhere. Both
spectra are flattened, not quite to the end: a voice's own periods must not look like delays.

All this at 8 kHz. It takes a quarter of a millisecond, for a few frames of each onset, and nothing otherwise.
"""

from __future__ import annotations

import functools
from collections import deque

import numpy as np
from numpy.typing import NDArray

from voicefsm.audio.samples import FRAME_MS, RATE_HZ, SAMPLES_PER_MS, SILENT_FRAME, Samples

WINDOW_MS = 80
"""Of the microphone."""
LATER_MS, EARLIER_MS = 700, 100
"""How far from its place its echo is looked for."""
_PER_MS = SAMPLES_PER_MS // 2
_FRAMES = WINDOW_MS // FRAME_MS
_WINDOW = WINDOW_MS * _PER_MS
_NEARBY_MS = 30
"""An echo so close to its place is where it belongs: the room's own reflections are there."""
_PEAK_MIN = 8.0
"""Standard deviations of the correlation. One true onset in thirty has such a peak by chance and waits a frame or two for it."""
_PEAK_IN_PLACE_MIN = 6.0
"""On a line on which none was ever heard, in its place: the first is to be noticed before it has made an onset."""
_BAND_HZ = (300, 3400)
_FLATTENED = 0.7
"""The power of each spectrum that is divided out."""
_NEAR_MIN, _FAR_MIN = 1.0, 100.0
"""Added to spectra, in PCM steps: what is quieter is not worth flattening."""
_FAR_POWER_MIN = 30**2
"""Mean square of a far end that can be heard at all: -61 dB full scale."""
_SIZE = 8192

_LAGS = (LATER_MS + EARLIER_MS) * _PER_MS

Floats = NDArray[np.float32]


class Elsewhere:
    """What one microphone heard last."""

    def __init__(self) -> None:
        self._near: deque[Samples] = deque([SILENT_FRAME] * _FRAMES, maxlen=_FRAMES)

    def hear(self, near: Samples) -> None:
        """Take a frame of the microphone, shape (320,), which nobody writes to any more."""
        self._near.append(near)

    def explains(self, far: Samples, *, anywhere: bool = False) -> bool:
        """Do the last frames hold an echo of `far` that is not in its place, or `anywhere`?

        `far` is the far end around what the loudspeaker rendered as the last frame ended: from `LATER_MS + WINDOW_MS` before it to
        `EARLIER_MS` after it.
        """
        thinned = _halved(far)
        sounding = _sounding(thinned)
        if not sounding:
            return False
        near, sent = _spectrum(_halved(np.concatenate(self._near)) * _taper()), _spectrum(thinned)
        flat = (np.abs(near) + _NEAR_MIN) ** _FLATTENED * (np.abs(sent) + _FAR_MIN) ** _FLATTENED
        correlation = np.fft.irfft(sent * near.conj() * _band() / flat, _SIZE)[:_LAGS]
        spread = float(np.sqrt(np.dot(correlation, correlation) / sounding))
        heights = np.abs(correlation)
        if anywhere and float(heights[_in_place()].max()) > _PEAK_IN_PLACE_MIN * spread:
            return True
        heights[_in_place()] = 0
        return float(heights.max()) > _PEAK_MIN * spread


def _halved(signal: Samples) -> Floats:
    """At 8 kHz."""
    return np.add(signal[::2], signal[1::2], dtype=np.float32)


def _sounding(far: Floats) -> int:
    """At how many of the lags something was sent: in silence there is nothing to stand out of."""
    energy = np.concatenate(([0.0], np.cumsum(np.square(far), dtype=np.float64)))
    return int(np.count_nonzero(energy[_WINDOW:][:_LAGS] - energy[:_LAGS] > _WINDOW * _FAR_POWER_MIN))


def _in_place() -> slice:
    """Where an echo is expected: the far end is `LATER_MS` into `far` when the microphone's window begins."""
    place, around = LATER_MS * _PER_MS, _NEARBY_MS * _PER_MS
    return slice(place - around, place + around)


def _spectrum(signal: Floats) -> NDArray[np.complexfloating]:
    spectrum: NDArray[np.complexfloating] = np.fft.rfft(signal, _SIZE)
    return spectrum


@functools.cache
def _taper() -> Floats:
    return np.asarray(np.hanning(_WINDOW) ** 0.25, np.float32)


@functools.cache
def _band() -> Floats:
    hz = np.fft.rfftfreq(_SIZE, 2 / RATE_HZ)
    return np.asarray((hz > _BAND_HZ[0]) & (hz < _BAND_HZ[1]), np.float32)

"""A small loudspeaker: no bass, and some distortion."""

from __future__ import annotations

import enum

import numpy as np

from voicefsm.acoustics.signals import Signal, high_pass, through

_BASS_HZ = 150.0
BASS_CUT = high_pass(_BASS_HZ)
"""What such a loudspeaker does not render, as an impulse response."""


class Distortion(enum.StrEnum):
    """How a loudspeaker bends what it plays."""

    NONE = "none"
    MILD = "mild"
    """A soft symmetric bend: the third harmonic lies about 34 dB below a tone at full scale."""
    STRONG = "strong"
    """Overdriven: clipped, and bent differently outwards and inwards."""


def bent(signal: Signal, distortion: Distortion) -> Signal:
    """`signal` after the bend, sample by sample; full scale in, full scale out."""
    if distortion is Distortion.NONE:
        return signal
    if distortion is Distortion.MILD:
        return np.tanh(0.5 * signal) / 0.5
    clipped = np.clip(signal, -0.8, 0.8)
    push = 1.5 * clipped - 0.3 * clipped**2
    return 2 / (1 + np.exp(-push * np.where(push > 0, 4.0, 0.5))) - 1


def played(signal: Signal, distortion: Distortion) -> Signal:
    """What a loudspeaker radiates of a whole signal, driven such that its peak is the loudspeaker's full scale."""
    driven = through(signal, BASS_CUT)
    if distortion is Distortion.NONE:
        return driven
    peak = float(np.abs(driven).max()) or 1.0
    radiated = bent(driven / peak, distortion) * peak
    return through(radiated, BASS_CUT) if distortion is Distortion.STRONG else radiated  # a bend that is not even makes DC

"""Signals: from and to PCM, their level as speech, convolution, a filter, noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, Samples

Signal = NDArray[np.float64]
"""Sound at 16 kHz, full scale 1.0, shape (n,)."""

_FULL_SCALE = 32767.0
_EPSILON = 1e-12
_ACTIVE_SHARE = 0.01
"""A block belongs to the speech while it has at least this share of the power of the loudest: 20 dB."""
_PINK_FROM_HZ = 60.0
_FILTER_SAMPLES = 512


def pcm(signal: Signal) -> Samples:
    """As PCM16, clipped."""
    return np.clip(np.rint(signal * _FULL_SCALE), -32768, 32767).astype(np.int16)


def floats(samples: Samples) -> Signal:
    """PCM16 as a signal."""
    return np.asarray(samples / _FULL_SCALE)


def active_level_db(signal: Signal) -> float:
    """The level of speech without its pauses, dB full scale: mean power of the 20 ms blocks within 20 dB of the loudest.

    At least one block long. Silence has -120 dB.
    """
    blocks = len(signal) // FRAME_SAMPLES
    powers = np.mean(np.square(signal[: blocks * FRAME_SAMPLES]).reshape(blocks, FRAME_SAMPLES), axis=1)
    active = powers[powers >= powers.max() * _ACTIVE_SHARE]
    return float(10 * np.log10(active.mean() + _EPSILON))


def at_active_level(signal: Signal, level_db: float) -> Signal:
    """`signal`, scaled to an active level, dB full scale."""
    return signal * gain(level_db - active_level_db(signal))


def gain(level_db: float) -> float:
    """A level difference as the factor of an amplitude."""
    return float(10 ** (level_db / 20))


def through(signal: Signal, response: Signal) -> Signal:
    """`signal` as heard through an impulse response; as long as `signal`."""
    size = _quick_size(len(signal) + len(response) - 1)
    spectrum = np.fft.rfft(signal, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(signal)]


def _quick_size(samples: int) -> int:
    """A transform length of at least `samples` with small factors only."""
    return min(odd << max(0, math.ceil(math.log2(samples / odd))) for odd in (1, 3, 5))


def high_pass(corner_hz: float) -> Signal:
    """The impulse response of a Butterworth high pass of second order, shape (512,); for corners from 80 Hz up nothing is lost."""
    k = math.tan(math.pi * corner_hz / RATE_HZ)
    norm = 1 / (1 + math.sqrt(2) * k + k * k)
    first, second = 2 * (k * k - 1) * norm, (1 - math.sqrt(2) * k + k * k) * norm
    response = np.zeros(_FILTER_SAMPLES)
    response[:3] = norm, -2 * norm, norm
    for at in range(1, _FILTER_SAMPLES):
        response[at] -= first * response[at - 1] + (second * response[at - 2] if at > 1 else 0.0)
    return response


def room_noise(random: np.random.Generator, samples: int, level_db: float) -> Signal:
    """Pinkish noise, as rooms have it: power falls with 1/f above 60 Hz. Mean level in dB full scale."""
    size = _quick_size(samples)
    spectrum = np.fft.rfft(random.standard_normal(size))
    spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(size, 1 / RATE_HZ), _PINK_FROM_HZ))
    noise = np.fft.irfft(spectrum, size)[:samples]
    return np.asarray(noise * (gain(level_db) / (np.sqrt(np.mean(np.square(noise))) + _EPSILON)))

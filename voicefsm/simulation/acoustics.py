"""A voice and a room made of arithmetic: seeded signals for tests of everything that listens.

The voice is a pulse train through three resonances in syllables of speech's rhythm. It is no speech, but voice detectors take it
for speech and echo cancellers find it as hard. The room is noise under an exponential decay behind a direct path. Nothing here is
a measure of quality on real voices and rooms; it is what behaviour can be tested on in a second, without files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voicefsm.audio.samples import RATE_HZ, Samples

Signal = NDArray[np.float64]
"""16 kHz, full scale 1.0, shape (n,)."""

_VOWELS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))
_DECIBEL = 20.0


def voice(seed: int, seconds: float, *, level_db: float = -20.0, pitch_hz: float = 120.0) -> Signal:
    """Speech-like sound from the first sample to the last, with the short gaps that speech has; `level_db` is its mean."""
    random = np.random.default_rng([seed, 1])
    pieces: list[Signal] = []
    while sum(map(len, pieces)) < seconds * RATE_HZ:
        pieces.append(_syllable(random, pitch_hz * random.uniform(0.8, 1.25)))
        pieces.append(np.zeros(int(RATE_HZ * random.choice([0.02, 0.04, 0.08]))))
    return at_level(np.concatenate(pieces)[: int(seconds * RATE_HZ)], level_db)


def _syllable(random: np.random.Generator, pitch_hz: float) -> Signal:
    """A consonant, which is noise, and a vowel, which is pulses of a gliding pitch."""
    length = int(RATE_HZ * random.uniform(0.14, 0.3))
    pitch = pitch_hz * np.linspace(1, random.uniform(0.8, 1.2), length)
    pulses = np.diff(np.floor(np.cumsum(pitch) / RATE_HZ), prepend=0.0)
    excitation = pulses + 0.03 * random.standard_normal(length)
    time = np.arange(RATE_HZ // 25) / RATE_HZ
    resonances = np.zeros(len(time))
    for k, hz in enumerate(_VOWELS_HZ[random.integers(len(_VOWELS_HZ))]):
        resonances += 0.6**k * np.exp(-np.pi * (60 + 40 * k) * time) * np.sin(2 * np.pi * hz * time)
    envelope = np.sin(np.pi * np.linspace(0, 1, length)) ** 0.5
    vowel = at_level(np.convolve(excitation, resonances)[:length] * envelope, -20)
    consonant = 0.04 * random.standard_normal(int(RATE_HZ * random.uniform(0.02, 0.06)))
    return np.concatenate((consonant, vowel))


def noise(seed: int, seconds: float, *, level_db: float) -> Signal:
    """White noise."""
    random = np.random.default_rng([seed, 2])
    return at_level(random.standard_normal(int(seconds * RATE_HZ)), level_db)


def room(seed: int, *, rt60_ms: int = 200, delay_ms: float = 5.0) -> Signal:
    """An impulse response of unit energy: silence, a direct path, a tail that decays by 60 dB in `rt60_ms`."""
    random = np.random.default_rng([seed, 3])
    delay = int(delay_ms * RATE_HZ / 1000)
    tail = RATE_HZ * rt60_ms // 1000
    response = 0.25 * random.standard_normal(tail) * 10 ** (-3 * np.arange(tail) / tail)
    response[0] = 2.0
    response = np.concatenate((np.zeros(delay), response))
    return np.asarray(response / np.sqrt(np.sum(response**2)))


def through(signal: Signal, response: Signal) -> Signal:
    """`signal` as heard through `response`, shape of `signal`."""
    size = 1 << (len(signal) + len(response)).bit_length()
    spectrum = np.fft.rfft(signal, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(signal)]


def at_level(signal: Signal, level_db: float) -> Signal:
    """`signal`, scaled to a mean level, dB full scale."""
    scaled: Signal = signal * 10 ** (level_db / _DECIBEL) / (np.sqrt(np.mean(signal**2)) + 1e-12)
    return scaled


def pcm(signal: Signal) -> Samples:
    """As PCM16, clipped."""
    return np.clip(np.rint(signal * 32767), -32768, 32767).astype(np.int16)

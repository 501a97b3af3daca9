"""A voice made of arithmetic: a pulse train through three resonances in syllables of speech's rhythm.

It is no speech, but voice detectors and the gate take it for speech, and echo cancellers find it as hard. Seeded, without files.
"""

from __future__ import annotations

import numpy as np

from voicefsm.acoustics.signals import Signal, gain
from voicefsm.audio.samples import RATE_HZ

_VOWELS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))


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


def at_level(signal: Signal, level_db: float) -> Signal:
    """`signal`, scaled to a mean level, dB full scale."""
    scaled: Signal = signal * gain(level_db) / (np.sqrt(np.mean(signal**2)) + 1e-12)
    return scaled

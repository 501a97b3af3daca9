"""Seeded signals and beliefs, on which two implementations of the same metrics can be compared. numpy only."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

RATE_HZ = 16000
SEEDS = range(8)
NEED_MS = 60


def case(seed: int) -> SimpleNamespace:
    """A scene of 12 s made of modulated noise, an output that cancels the better the longer it runs, and a belief that flickers."""
    random = np.random.default_rng(seed)
    samples = 12 * RATE_HZ
    time = np.arange(samples) / RATE_HZ

    def burst(count: int) -> np.ndarray:
        """Noise in a few low bands with the rhythm of syllables."""
        spectrum = np.fft.rfft(random.standard_normal(count))
        spectrum *= 1 / (1 + (np.fft.rfftfreq(count, 1 / RATE_HZ) / 700) ** 2)
        rhythm = np.maximum(0.1, np.sin(2 * np.pi * random.uniform(2, 5) * np.arange(count) / RATE_HZ + random.uniform(0, 6)))
        shaped = np.fft.irfft(spectrum, count) * rhythm
        return np.asarray(shaped / np.sqrt(np.mean(shaped**2)))

    echo_db = float(random.uniform(-40, -25))
    echo = burst(samples) * 10 ** (echo_db / 20) * (time > 0.7)
    near = np.zeros(samples)
    near_speech = []
    for start_s in (3.05, 6.42, 9.31):
        length_s = float(random.uniform(0.5, 2.2))
        at, count = int(start_s * RATE_HZ), int(length_s * RATE_HZ)
        near[at : at + count] = burst(count) * 10 ** ((echo_db + random.uniform(-10, 10)) / 20)
        near_speech.append((start_s, start_s + length_s))
    noise = random.standard_normal(samples) * 10 ** (-70 / 20)
    mic = np.clip(np.rint((near + echo + noise) * 32767), -32768, 32767).astype(np.int16)
    left = 10 ** (-np.minimum(random.uniform(15, 35), random.uniform(3, 20) * time) / 20)
    lag = int(random.integers(0, 320))
    late = np.concatenate((np.zeros(lag), (near * random.uniform(0.7, 1) + echo * left + noise)[: samples - lag]))
    out = np.clip(np.rint(late * 32767), -32768, 32767).astype(np.int16)
    far_turns = [(0.7, 5.3), (6.0, 11.2)]
    likely = 0.3 + 0.65 * np.convolve(random.random(samples // 160), np.ones(9) / 9, "same")
    belief = random.random(samples // 160) < likely
    return SimpleNamespace(
        echo=echo, echo_db=echo_db, near=near, mic=mic, out=out, near_speech=near_speech, far_turns=far_turns, belief=belief
    )

"""A voice and a room made of arithmetic: seeded signals for tests of everything that listens.

The voice is `acoustics.talker`. The room is noise under an exponential decay behind a direct path. Nothing here is
a measure of quality on real voices and rooms; it is what behaviour can be tested on in a second, without files.
"""

from __future__ import annotations

import numpy as np

from voicefsm.acoustics.signals import Signal, pcm, through
from voicefsm.acoustics.talker import at_level, voice
from voicefsm.audio.samples import RATE_HZ

__all__ = ["Signal", "at_level", "noise", "pcm", "room", "through", "voice"]


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

"""The earcon: a short sound for a failure that there is no voice to tell of. Made here, so that nothing can be missing."""

from __future__ import annotations

import numpy as np

from voicefsm.ports import Samples

TONES_HZ = (660, 440)
"""Two falling tones: not yet a melody, and no bell that asks for anything."""
TONE_MS = 140
FADE_MS = 15
"""Each tone begins and ends softly: a step would click."""
LEVEL = 0.12
"""Peak, of full scale: about the level of a voice."""


def earcon(rate_hz: int) -> Samples:
    """The sound at this rate; shape (n,)."""
    count, fade = TONE_MS * rate_hz // 1000, FADE_MS * rate_hz // 1000
    ramp = np.minimum(1.0, np.minimum(np.arange(count), np.arange(count)[::-1]) / fade)
    tones = [np.sin(2 * np.pi * hz / rate_hz * np.arange(count)) * ramp for hz in TONES_HZ]
    return (np.concatenate(tones) * LEVEL * np.iinfo(np.int16).max).astype(np.int16)

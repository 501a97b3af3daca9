"""A loudspeaker beside the microphone: the echo that a caller's line has, made of a few sums a frame.

A driver has one core for many callers. So the room is a handful of reflections, not the rooms of `voicefsm.acoustics`, and what
the canceller pays for it is the same: its filter is as long whatever it has to learn.
"""

from __future__ import annotations

import numpy as np

from voicefsm.acoustics.signals import gain
from voicefsm.audio.samples import FRAME_SAMPLES, SAMPLES_PER_MS, Samples

REFLECTIONS = ((0, 1.0), (31, -0.55), (70, 0.4), (123, -0.25), (210, 0.15))
"""Samples after the direct sound, and how loud. No two are a multiple apart: no comb."""
SHARES = np.array([share for _, share in REFLECTIONS], np.float32)
SHARES /= np.linalg.norm(SHARES)


class Echo:
    """One loudspeaker and one microphone."""

    def __init__(self, loss_db: int, delay_ms: int) -> None:
        """`loss_db`: echo return loss. `delay_ms`: from a rendered sample to the direct sound of it in the microphone."""
        delays = np.array([delay_ms * SAMPLES_PER_MS + after for after, _ in REFLECTIONS])
        self._kept = int(delays[-1])
        self._line = np.zeros(self._kept + FRAME_SAMPLES, np.float32)
        """What was rendered, the newest last."""
        self._at = self._kept - delays[:, None] + np.arange(FRAME_SAMPLES)
        self._shares = (SHARES * gain(-loss_db)).astype(np.float32)
        self._silent_samples = len(self._line)

    def heard(self, said: bytes, rendered: Samples) -> bytes:
        """What the microphone hears in the 20 ms in which the loudspeaker renders this: what is said (PCM16), and the echo."""
        self._silent_samples = 0 if rendered.any() else self._silent_samples + FRAME_SAMPLES
        if self._silent_samples > len(self._line):
            return said
        self._line[: self._kept] = self._line[FRAME_SAMPLES:]
        self._line[self._kept :] = rendered
        mixed = self._shares @ self._line[self._at] + np.frombuffer(said, "<i2")
        clipped: bytes = np.clip(np.rint(mixed), -32768, 32767).astype("<i2").tobytes()
        return clipped

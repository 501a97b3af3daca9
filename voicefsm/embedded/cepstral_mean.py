"""The mean cepstrum of a session: what speaker, microphone and level have in common, and the recogniser must subtract.

How well it is known decides the first words of a session. pocketsphinx's own "live" mean begins with a guess that weighs five
seconds of speech, so the first sentence of every session would be heard badly. Here the guess is worth 0.3 s. Whenever an utterance
has doubled what is known, it is decoded again from its first sample with the better mean: at most five times in a session, in its
first seconds. The mean is never reset between the utterances of one session, always between sessions.

pocketsphinx does not tell the sum of the cepstra it saw, but it follows from the mean before and after: a mean that it was told
weighs `TOLD_FRAMES` frames.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

Cepstrum = NDArray[np.float64]
"""Shape (13,)."""

GUESS = np.array([41.0, -5.29, -0.12, 5.09, 2.48, -4.07, -1.37, -1.78, -5.08, -2.05, -6.45, -1.42, 1.17])
"""Speech at a usual level into an unknown microphone."""
GUESS_FRAMES = 30
EVIDENCE_FRAMES_MAX = 480
"""Older evidence fades: people move, and turn the volume."""
TOLD_FRAMES = 500
"""CMN_WIN of pocketsphinx."""
SAMPLES_PER_FRAME, SAMPLES_PER_WINDOW = 160, 410


@dataclasses.dataclass(frozen=True, slots=True)
class CepstralMean:
    """A mean, and how many frames of 10 ms it is worth."""

    values: Cepstrum
    frames: int = GUESS_FRAMES

    def with_evidence(self, heard: Evidence) -> CepstralMean:
        """The mean after what an utterance brought."""
        frames = self.frames + heard.frames
        return CepstralMean((self.values * self.frames + heard.total) / frames, min(frames, EVIDENCE_FRAMES_MAX))

    def told(self) -> bytes:
        """As pocketsphinx is told it."""
        return ",".join(f"{value:.6f}" for value in self.values).encode()


class Evidence:
    """The sum of the cepstra of one utterance so far."""

    def __init__(self) -> None:
        self.total: Cepstrum = np.zeros_like(GUESS)
        self.frames = 0
        self._samples = 0

    def gather(self, samples: int, before: Cepstrum, after: bytes) -> None:
        """`samples` more were decoded, and moved the mean that pocketsphinx had been told from `before` to `after`."""
        self._samples += samples
        frames = max(0, (self._samples - SAMPLES_PER_WINDOW) // SAMPLES_PER_FRAME + 1)
        mean = np.array(after.decode().split(","), dtype=np.float64)
        self.total += mean * (TOLD_FRAMES + frames - self.frames) - before * TOLD_FRAMES
        self.frames = frames

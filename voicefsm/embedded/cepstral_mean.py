"""The mean cepstrum of a session: what speaker, microphone and level have in common, and the recogniser must subtract.

How well it is known decides the first words of a session. pocketsphinx's own "live" mean begins with a guess that weighs five
seconds of speech, so the first sentence of every session would be heard badly. Here the guess is worth 0.3 s, and an utterance that
brings as much again in its first moments is decoded anew from its first sample with the better mean: once in a session, at the
cost of a tenth of a second. The silence before the onset is no evidence. The mean is never reset between the utterances of one
session, always between sessions.

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
ANEW_FRAMES_MAX = 60
"""An utterance with more evidence than this is not begun anew any more: its speaker may have finished before it is decoded."""
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
    """The sum of the cepstra of one utterance so far, without the silence before it."""

    def __init__(self) -> None:
        self.total: Cepstrum = np.zeros_like(GUESS)
        self._samples = self._frames = self._silent_frames = 0

    @property
    def frames(self) -> int:
        """How many cepstra the sum is of."""
        return self._frames - self._silent_frames

    def is_worth_a_new_beginning(self, mean: CepstralMean, in_use: CepstralMean) -> bool:
        """Whether this, with the session's `mean`, is twice what the utterance is being decoded with, and it is early enough."""
        return self.frames <= ANEW_FRAMES_MAX and mean.frames + self.frames >= 2 * in_use.frames

    def forget(self) -> None:
        """What was gathered until now was silence."""
        self.total = np.zeros_like(GUESS)
        self._silent_frames = self._frames

    def gather(self, samples: int, before: Cepstrum, after: bytes) -> None:
        """`samples` more were decoded, and moved the mean that pocketsphinx had been told from `before` to `after`."""
        self._samples += samples
        frames = max(0, (self._samples - SAMPLES_PER_WINDOW) // SAMPLES_PER_FRAME + 1)
        mean = np.array(after.decode().split(","), dtype=np.float64)
        self.total += mean * (TOLD_FRAMES + frames - self._frames) - before * TOLD_FRAMES
        self._frames = frames

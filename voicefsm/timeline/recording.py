"""The waveforms of a recording, thinned to what a picture can show."""

from __future__ import annotations

import dataclasses
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voicefsm.audio.samples import Samples
from voicefsm.errors import VoiceFsmError

_BYTES_PER_SAMPLE = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Recording:
    """A stereo recording: the user left, the assistant right."""

    rate_hz: int
    user: Samples
    assistant: Samples

    @property
    def duration_ms(self) -> int:
        """Length."""
        return len(self.user) * 1000 // self.rate_hz


def read(path: Path) -> Recording:
    """Read a WAV file. Raises `VoiceFsmError` when it is not 16-bit stereo PCM."""
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate_hz = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise VoiceFsmError(f"{path} is not a WAV file: {error}.") from error
    if (channels, width) != (2, _BYTES_PER_SAMPLE):
        raise VoiceFsmError(
            f"{path} has {channels} channels of {8 * width} bits.",
            remedy="Expected is what the demo writes: 16-bit stereo, the user left, the assistant right.",
        )
    both = np.frombuffer(data, "<i2").reshape(-1, 2)
    return Recording(rate_hz, both[:, 0], both[:, 1])


def envelope(samples: Samples, rate_hz: int, start_ms: float, end_ms: float, bins: int) -> NDArray[np.float64]:
    """Lowest and highest sample, -1 to 1, of `bins` equal parts of a stretch of time; shape (2, bins). Outside is silence."""
    edges = np.linspace(start_ms, end_ms, bins + 1) * rate_hz / 1000
    edges = np.clip(edges.astype(int), 0, len(samples))
    if not len(samples) or edges[0] == edges[-1]:
        return np.zeros((2, bins))
    starts = np.minimum(edges[:-1], len(samples) - 1)
    stretch = samples[: edges[-1]] if edges[-1] else samples[:1]
    starts = np.minimum(starts, len(stretch) - 1)
    found = np.array([np.minimum.reduceat(stretch, starts), np.maximum.reduceat(stretch, starts)]) / 32768.0
    found[:, edges[:-1] == edges[1:]] = 0.0
    return found

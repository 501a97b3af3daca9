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
    """A stereo recording: the user left, the assistant right; and what the microphone heard of both, if that was kept."""

    rate_hz: int
    user: Samples
    assistant: Samples
    microphone: Samples | None = None

    @property
    def duration_ms(self) -> int:
        """Length."""
        return len(self.user) * 1000 // self.rate_hz


def read(path: Path, microphone: Path | None = None) -> Recording:
    """Read a stereo WAV file, and the microphone's mono one. Raises `VoiceFsmError` when either is not 16-bit PCM of that kind."""
    rate_hz, both = _tracks(path, 2, "the user left, the assistant right")
    heard = _tracks(microphone, 1, "what the microphone heard")[1][:, 0] if microphone else None
    return Recording(rate_hz, both[:, 0], both[:, 1], heard)


def _tracks(path: Path, channels: int, what: str) -> tuple[int, NDArray[np.int16]]:
    """Sample rate and samples, shape (n, channels)."""
    try:
        with wave.open(str(path), "rb") as file:
            found, width, rate_hz = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise VoiceFsmError(f"{path} is not a WAV file: {error}.") from error
    if (found, width) != (channels, _BYTES_PER_SAMPLE):
        raise VoiceFsmError(
            f"{path} has {found} channels of {8 * width} bits.",
            remedy=f"Expected is what the demo writes: 16-bit {'stereo' if channels > 1 else 'mono'}, {what}.",
        )
    return rate_hz, np.frombuffer(data, "<i2").reshape(-1, channels)


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

"""From the client's messages to frames of the internal format, each with its place on both sample clocks.

Theory of operation. A client sends pieces of 10 to 200 ms at its own rate. The framer converts them to 16 kHz, cuts them into
frames of 20 ms and keeps the remainder for the next message. Two clocks ride along:

- *capture*: where a frame begins on the microphone's clock, in 16 kHz samples. Conversion delays the signal by a known number of
  samples; this is subtracted, so that a frame's position is that of its sound. (The first frame of a converted stream therefore
  begins a few samples before 0.) A jump forward is lost audio: up to `gap_ms_max` it is filled with silence, beyond that the clock
  just moves. A step back is the client's mistake.
- *far end*: which sample left the loudspeaker as the frame began, at the output rate. The client says so once a message; inside a
  message the far end is taken to run at 1:1 if it moved since the message before, and to stand still otherwise.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from voicefsm.audio.resample import Resampler
from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, Samples
from voicefsm.errors import InvalidMessage
from voicefsm.values import setting


@dataclasses.dataclass(frozen=True, slots=True)
class AudioSettings:
    """How the client's audio is taken in."""

    gap_ms_max: int = setting(
        1000, unit="ms", ge=0, le=5000, doc="Lost microphone audio up to this length is heard as silence; a longer gap is skipped."
    )


@dataclasses.dataclass(slots=True)
class AudioFrame:
    """20 ms of the near end. Nobody changes it; that it is not frozen, as other values are, makes it in a third of the time."""

    samples: Samples
    """16 kHz, shape (320,)."""
    capture_sample: int
    """Position of the first sample on the capture clock, in 16 kHz samples."""
    far_end_sample: int | None
    """Far-end sample leaving the loudspeaker at that moment, at the output rate; None when the client did not say."""


@dataclasses.dataclass(slots=True)
class _Report:
    """What a message says about the far end."""

    capture_sample: int
    """The moment, in 16 kHz samples."""
    far_end_sample: int | None
    moving: bool


_NO_REPORT = _Report(capture_sample=0, far_end_sample=None, moving=False)


class Framer:
    """The near end of one session, from messages to frames."""

    def __init__(self, rate_hz: int, far_end_rate_hz: int, settings: AudioSettings) -> None:
        self._rate_hz = rate_hz
        self._far_end_rate_hz = far_end_rate_hz
        self._gap_samples_max = settings.gap_ms_max * rate_hz // 1000
        self._resampler = Resampler(rate_hz, RATE_HZ)
        self._rest: Samples = np.zeros(0, np.int16)
        self._next_input = 0
        """The capture sample, at the input rate, that is due."""
        self._next_frame = -self._resampler.delay_samples
        """The capture sample, at 16 kHz, at which `_rest` begins."""
        self._previous = self._report = _NO_REPORT
        self.skipped_samples = 0
        """Media time, in 16 kHz samples, that was skipped so far instead of being filled with silence."""

    def push(self, samples: Samples, capture_sample: int, far_end_sample: int | None) -> list[AudioFrame]:
        """Take one message, shape (n,) at the input rate; return the frames it completes.

        Raises `InvalidMessage`, before anything changes, when `capture_sample` steps back.
        """
        gap = capture_sample - self._next_input
        if gap < 0:
            raise InvalidMessage(
                f"capture_sample {capture_sample} steps back: {self._next_input} samples were already delivered.",
                remedy="Count every sample the microphone delivered, once, from 0.",
            )
        self._note(capture_sample, far_end_sample)
        self._next_input = capture_sample + len(samples)
        if gap:
            silence: Samples = np.zeros(min(gap, self._gap_samples_max), np.int16)
            samples = np.concatenate((silence, samples))
        if gap > self._gap_samples_max:
            self._skip(gap - self._gap_samples_max)
        return self._frames(self._resampler.process(samples))

    def _note(self, capture_sample: int, far_end_sample: int | None) -> None:
        """Remember what this message says about the far end."""
        before = self._report.far_end_sample
        moving = before is not None and far_end_sample is not None and far_end_sample > before
        self._previous = self._report
        self._report = _Report(capture_sample * RATE_HZ // self._rate_hz, far_end_sample, moving)

    def _skip(self, gap_samples: int) -> None:
        """Move the capture clock. What is left of the audio before the gap moves with it: less than a frame."""
        skipped = gap_samples * RATE_HZ // self._rate_hz
        self._next_frame += skipped
        self.skipped_samples += skipped

    def _frames(self, converted: Samples) -> list[AudioFrame]:
        """Cut the remainder and what is new into frames."""
        audio = np.concatenate((self._rest, converted)) if len(self._rest) else converted
        count = len(audio)
        whole = count - count % FRAME_SAMPLES
        self._rest = audio[whole:]
        first = self._next_frame
        self._next_frame += whole
        if whole == count == FRAME_SAMPLES:
            return [AudioFrame(audio, first, self._far_end_at(first))]
        return [
            AudioFrame(audio[at : at + FRAME_SAMPLES], first + at, self._far_end_at(first + at))
            for at in range(0, whole, FRAME_SAMPLES)
        ]

    def _far_end_at(self, sample: int) -> int | None:
        """The far-end position at a moment of the capture clock."""
        report, previous = self._report, self._previous
        if sample >= report.capture_sample or previous.far_end_sample is None:
            return self._extrapolated(report, sample)
        earlier = self._extrapolated(previous, sample)
        return earlier if earlier is None or report.far_end_sample is None else min(earlier, report.far_end_sample)

    def _extrapolated(self, report: _Report, sample: int) -> int | None:
        """Where the far end is, `report` being right."""
        if report.far_end_sample is None or not report.moving:
            return report.far_end_sample
        return report.far_end_sample + (sample - report.capture_sample) * self._far_end_rate_hz // RATE_HZ

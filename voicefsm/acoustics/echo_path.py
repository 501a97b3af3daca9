"""The way from a loudspeaker to a microphone as a stream, for closed loops: what is rendered next may depend on what was heard.

    rendered -> no bass -> bend -> delay line, read with drift and jumps -> room -> echo at the microphone

Frame in, frame out, no frame of latency beyond `Delay`. The room is a convolution in partitions of one frame: its cost per frame
is one transform each way and one product per partition, some tens of microseconds.
"""

from __future__ import annotations

import numpy as np

from voicefsm.acoustics.delay import HALF_SAMPLES, Delay, read
from voicefsm.acoustics.loudspeaker import BASS_CUT, Distortion, bent
from voicefsm.acoustics.signals import Signal, floats, gain
from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, SAMPLES_PER_MS, Samples

DELAY_MS_MAX = 1000
"""The longest delay, jump and drift included."""


class Convolver:
    """A signal through an impulse response, frame by frame."""

    def __init__(self, response: Signal) -> None:
        """`response` of any length."""
        parts = max(1, -(-len(response) // FRAME_SAMPLES))
        padded = np.concatenate((response, np.zeros(parts * FRAME_SAMPLES - len(response))))
        self._parts = np.fft.rfft(padded.reshape(parts, FRAME_SAMPLES), 2 * FRAME_SAMPLES, axis=1)
        self._past = np.zeros_like(self._parts)
        """The spectra of the last frames in a ring, the newest at `_at`."""
        self._at = 0
        self._before = np.zeros(FRAME_SAMPLES)

    def process(self, frame: Signal) -> Signal:
        """Take a frame, shape (320,); return the output of the same time."""
        self._at = (self._at - 1) % len(self._parts)
        self._past[self._at] = np.fft.rfft(np.concatenate((self._before, frame)))
        self._before = frame
        split = len(self._parts) - self._at
        spectrum = np.einsum("pf,pf->f", self._past[self._at :], self._parts[:split])
        spectrum += np.einsum("pf,pf->f", self._past[: self._at], self._parts[split:])
        return np.fft.irfft(spectrum)[FRAME_SAMPLES:]


class EchoPath:
    """One loudspeaker in one room."""

    def __init__(
        self, response: Signal, *, loss_db: float, delay: Delay | None = None, distortion: Distortion = Distortion.NONE
    ) -> None:
        """`response` from loudspeaker to microphone, of unit energy (`rooms.responses(...).echo`).

        `loss_db` is the echo return loss: how far below what is rendered its echo lies. `delay` is at most `DELAY_MS_MAX`,
        and at least 1 ms where it is read between samples: that needs the samples around.
        """
        self._delay = delay or Delay()
        self._delay_samples_min = 0 if self._delay.is_whole else HALF_SAMPLES
        self._distortion = distortion
        self._bass_cut = Convolver(BASS_CUT)
        self._bent_cut = Convolver(BASS_CUT) if distortion is Distortion.STRONG else None
        self._room = Convolver(response * gain(-loss_db))
        self._line = np.zeros(DELAY_MS_MAX * SAMPLES_PER_MS + FRAME_SAMPLES + 2 * HALF_SAMPLES)
        """The last that left the loudspeaker, the newest last."""
        self._frames = 0

    def process(self, rendered: Samples) -> Signal:
        """Take the 20 ms that were rendered, PCM16, shape (320,); return the echo in the 20 ms captured meanwhile."""
        self._line[:-FRAME_SAMPLES] = self._line[FRAME_SAMPLES:]
        self._line[-FRAME_SAMPLES:] = self._radiated(floats(rendered))
        return self._room.process(self._delayed())

    @property
    def seconds(self) -> float:
        """How much was rendered."""
        return self._frames * FRAME_SAMPLES / RATE_HZ

    def _radiated(self, frame: Signal) -> Signal:
        radiated = bent(self._bass_cut.process(frame), self._distortion)
        return self._bent_cut.process(radiated) if self._bent_cut else radiated

    def _delayed(self) -> Signal:
        """The delay line, read at the positions of this frame."""
        delays = self._delay.samples(self._frames * FRAME_SAMPLES, FRAME_SAMPLES)
        delays = np.clip(delays, self._delay_samples_min, DELAY_MS_MAX * SAMPLES_PER_MS)
        self._frames += 1
        first = len(self._line) - FRAME_SAMPLES
        begin = max(0, first - int(delays.max()) - HALF_SAMPLES - 1)
        return read(self._line[begin:], np.arange(FRAME_SAMPLES) + (first - begin) - delays)

"""The last seconds of a sample stream, addressed by absolute sample index.

Reading is total: what was never written, is not written yet, or was overwritten, reads as silence. That is what a loudspeaker
without audio plays and what a lost packet sounds like, so no reader needs a special case.
"""

from __future__ import annotations

import numpy as np

from voicefsm.audio.samples import Samples
from voicefsm.errors import LocalProtocolError

_NOTHING: Samples = np.zeros(0, np.int16)


class Ring:
    """Holds samples [end - capacity, end) of a stream that only grows."""

    def __init__(self, capacity_samples: int) -> None:
        assert capacity_samples > 0, capacity_samples
        self._capacity = capacity_samples
        self._buffer: Samples = _NOTHING
        """Of that size once something was written: what stays silent takes no memory."""
        self.end = 0
        """One past the last sample written."""

    def append(self, first_sample: int, samples: Samples) -> None:
        """Write `samples` at `first_sample`; a gap before it becomes silence.

        Raises `LocalProtocolError` when `first_sample` was already passed.
        """
        if first_sample < self.end:
            raise LocalProtocolError(f"Sample {first_sample} was written before: the stream is already at {self.end}.")
        self._zero(first_sample - self.end)
        self._write(samples)

    def read(self, first_sample: int, count: int) -> Samples:
        """A copy of `count` samples, shape (count,), from `first_sample` on."""
        out: Samples = np.zeros(count, np.int16)
        if self._buffer is _NOTHING:
            return out
        capacity = self._capacity
        begin = max(first_sample, self.end - capacity, 0)
        stop = min(first_sample + count, self.end)
        while begin < stop:
            at = begin % capacity
            run = min(stop - begin, capacity - at)
            out[begin - first_sample : begin - first_sample + run] = self._buffer[at : at + run]
            begin += run
        return out

    def _zero(self, count: int) -> None:
        """Append `count` samples of silence, however many."""
        if count >= self._capacity or self._buffer is _NOTHING:
            self._buffer[:] = 0
            self.end += count
        elif count:
            self._write(np.zeros(count, np.int16))

    def _write(self, samples: Samples) -> None:
        """Append `samples`, at most twice around the buffer's seam."""
        if self._buffer is _NOTHING:
            if not len(samples):
                return
            self._buffer = np.zeros(self._capacity, np.int16)
        capacity = self._capacity
        self.end += len(samples)
        samples = samples[-capacity:]
        at = (self.end - len(samples)) % capacity
        head = min(len(samples), capacity - at)
        self._buffer[at : at + head] = samples[:head]
        self._buffer[: len(samples) - head] = samples[head:]

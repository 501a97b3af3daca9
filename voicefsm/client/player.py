"""The client's jitter buffer: what the loudspeaker renders, sample by sample.

Theory of operation. The server numbers every far-end sample once and for all. The player keeps what arrived, in order, and hands
it to the loudspeaker in blocks: `render(n)` always returns n samples, and only those that came out of the buffer move `position`.
Where there is nothing to render (paused, starved, between replies) it returns silence and `position` stands still. So
`position`, reported to the server with every frame of microphone audio, tells exactly what the user has heard.

- Pause fades out over a few milliseconds of the reply (they are heard, they count) and keeps the buffer; resume fades in at the
  very next sample. Nothing is skipped, nothing repeated.
- Duck goes on more quietly, after a fade as short; resume ends it as well.
- Cancel throws away everything of that epoch and of earlier ones, now and whenever it still arrives.
- An epoch that runs dry before its last piece goes on where it stopped once more of it arrives: an underrun, counted.

No clock, no thread, no I/O. A lock lets an audio device render from its own thread while the network fills the buffer.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import deque

import numpy as np

from voicefsm.audio.samples import Samples
from voicefsm.values import NO_EPOCH, Epoch, SampleIndex, setting


@dataclasses.dataclass(frozen=True, slots=True)
class PlayerSettings:
    """How the jitter buffer behaves."""

    fade_ms: int = setting(5, unit="ms", ge=0, le=20, doc="Length of the fade-out of a pause and the fade-in of a resume.")
    buffer_ms_max: int = setting(
        10_000, unit="ms", ge=500, le=120_000, doc="Audio kept at most; what arrives beyond it is dropped and counted."
    )


_STEP = 1000
"""Of a gain, per sample of a fade: fine enough for every duck, however short the fade."""


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """A run of far-end samples inside one rendered block."""

    offset: int
    """Where it begins in the block, in samples."""
    epoch: Epoch
    """The reply it belongs to."""
    first_sample: SampleIndex
    """Far-end position of its first sample."""
    length: int
    """Samples."""


@dataclasses.dataclass(slots=True)
class _Chunk:
    """Buffered audio of one epoch."""

    epoch: Epoch
    first_sample: int
    samples: Samples

    def drop_front(self, count: int) -> None:
        self.first_sample += count
        self.samples = self.samples[count:]


class Player:
    """The jitter buffer of one conversation. All methods are synchronous, bounded and may be called from any thread."""

    def __init__(self, sample_rate_hz: int, settings: PlayerSettings | None = None) -> None:
        settings = settings or PlayerSettings()
        self.sample_rate_hz = sample_rate_hz
        self.spans: tuple[Span, ...] = ()
        """What the last rendered block was made of; nothing for silence."""
        self.underruns = 0
        """How often a reply ran dry in its middle and went on later."""
        self.gaps = 0
        """How often the server skipped far-end samples inside a reply."""
        self.late_samples = 0
        """Samples dropped because their epoch was cancelled or because they had been delivered before."""
        self.overflow_samples = 0
        """Samples dropped because the buffer was full."""
        self._fade_samples = max(1, settings.fade_ms * sample_rate_hz // 1000)
        self._samples_max = settings.buffer_ms_max * sample_rate_hz // 1000
        self._lock = threading.Lock()
        self._chunks: deque[_Chunk] = deque()
        self._buffered = 0
        self._position = 0
        self._end = 0
        self._full = self._gain = self._fade_samples * _STEP
        """Gains are integers: a fade moves them by `_STEP` a sample."""
        self._epoch = NO_EPOCH
        self._cancelled = NO_EPOCH
        self._lowered: Epoch | None = None
        """The reply that is paused or ducked, …"""
        self._lowered_gain = 0
        """… to this gain …"""
        self._lowered_db = 0
        """… which is so many dB below full; 0 for a pause."""
        self._unfinished = False
        self._starved = False

    @property
    def position(self) -> SampleIndex:
        """Far-end position of the next sample to be rendered."""
        with self._lock:
            return SampleIndex(self._next())

    @property
    def paused(self) -> bool:
        """True from `pause` to `resume`, or to the end of the paused reply."""
        return self._lowered is not None and not self._lowered_gain

    @property
    def duck_db(self) -> int:
        """How much quieter than it came the far end is rendered: from `duck` to `resume`, or to the end of the ducked reply."""
        return self._lowered_db if self._lowered is not None else 0

    @property
    def epoch(self) -> Epoch:
        """The reply that arrived last; `NO_EPOCH` before the first."""
        return self._epoch

    @property
    def buffered_samples(self) -> int:
        """Samples that wait to be rendered."""
        return self._buffered

    def push(self, epoch: Epoch, first_sample: int, samples: Samples, *, last: bool = False) -> None:
        """Buffer a piece of the assistant's voice. `samples` has shape (n,), n >= 0; `last` marks the end of the reply."""
        with self._lock:
            if epoch <= self._cancelled or epoch < self._epoch:
                self.late_samples += len(samples)
                return
            if epoch > self._epoch:
                self._begin(epoch, first_sample)
            self._append(epoch, first_sample, samples)
            self._unfinished = not last

    def render(self, count: int) -> Samples:
        """The next `count` samples for the loudspeaker, shape (count,). `spans` then says what they are."""
        with self._lock:
            block = np.zeros(count, np.int16)
            spans: list[Span] = []
            done = 0
            while done < count and self._flows():
                done += self._render_front(block, done, spans)
            if done < count:
                self._fall_silent()
            self.spans = tuple(spans)
            return block

    def pause(self, epoch: Epoch) -> None:
        """Fall silent within one fade and keep the buffer. Ignored when that reply is already cancelled."""
        self._lower(epoch, 0, 0)

    def duck(self, epoch: Epoch, duck_db: int) -> None:
        """Go on, so many dB quieter within one fade. Ignored when that reply is already cancelled."""
        self._lower(epoch, max(1, round(self._full * 10 ** (-duck_db / 20))), duck_db)

    def resume(self, epoch: Epoch) -> None:
        """Go on at the sample where playout stopped, as loud as ever. Ignored when another reply is paused or ducked."""
        with self._lock:
            if self._lowered == epoch:
                self._lowered = None

    def cancel(self, epoch: Epoch) -> None:
        """Throw the buffer of this reply and of all earlier ones away, and whatever of them still arrives."""
        with self._lock:
            self._drop(epoch)

    def _lower(self, epoch: Epoch, gain: int, duck_db: int) -> None:
        with self._lock:
            if epoch > self._cancelled:
                self._lowered, self._lowered_gain, self._lowered_db = epoch, gain, duck_db

    def _drop(self, epoch: Epoch) -> None:
        self._cancelled = max(self._cancelled, epoch)
        self._position = self._next()
        self._chunks = deque(chunk for chunk in self._chunks if chunk.epoch > epoch)
        self._buffered = sum(len(chunk.samples) for chunk in self._chunks)
        if self._lowered is not None and self._lowered <= epoch:
            self._lowered = None
        if self._epoch <= epoch:
            self._unfinished = self._starved = False
        self._gain = self._full

    def _next(self) -> int:
        return self._chunks[0].first_sample if self._chunks else self._position

    def _begin(self, epoch: Epoch, first_sample: int) -> None:
        """A new reply: its numbering may begin anywhere after the last one's. A reply that is still paused or ducked is over."""
        if self._lowered is not None:
            self._drop(self._lowered)
        self._epoch = epoch
        self._end = first_sample
        self._starved = False
        if not self._chunks:
            self._gain = self._full

    def _append(self, epoch: Epoch, first_sample: int, samples: Samples) -> None:
        known = min(max(0, self._end - first_sample), len(samples))
        self.late_samples += known
        fresh = samples[known : known + self._samples_max - self._buffered]
        self.overflow_samples += len(samples) - known - len(fresh)
        if not len(fresh):
            return
        self.underruns += self._starved
        self._starved = False
        self.gaps += first_sample > self._end
        self._end = first_sample + known + len(fresh)
        self._buffered += len(fresh)
        self._chunks.append(_Chunk(epoch, first_sample + known, fresh))

    def _target(self) -> int:
        """The gain of the first chunk, once it has faded there."""
        is_lowered = self._lowered is not None and self._chunks[0].epoch <= self._lowered
        return self._lowered_gain if is_lowered else self._full

    def _flows(self) -> bool:
        return bool(self._chunks) and (self._gain > 0 or self._target() > 0)

    def _render_front(self, block: Samples, done: int, spans: list[Span]) -> int:
        """Render of the first chunk what fits and what its gain allows; return how many samples."""
        chunk = self._chunks[0]
        target = self._target()
        room = min(len(block) - done, len(chunk.samples))
        count = room if target else min(room, -(-self._gain // _STEP))
        block[done : done + count] = self._shaped(chunk.samples[:count], target)
        spans.append(Span(done, chunk.epoch, SampleIndex(chunk.first_sample), count))
        chunk.drop_front(count)
        self._buffered -= count
        self._position = chunk.first_sample
        if not len(chunk.samples):
            self._chunks.popleft()
        return count

    def _shaped(self, samples: Samples, target: int) -> Samples:
        """Move the gain towards its target, one step a sample."""
        if self._gain == target == self._full:
            return samples
        steps = np.arange(1, len(samples) + 1) * _STEP
        gains = np.maximum(self._gain - steps, target) if self._gain > target else np.minimum(self._gain + steps, target)
        self._gain = int(gains[-1])
        return (samples * (gains / self._full)).astype(np.int16)

    def _fall_silent(self) -> None:
        """Nothing flows: whatever comes next fades in, unless it is the beginning of a reply."""
        self._gain = 0 if self._unfinished or self._lowered is not None else self._full
        self._starved = self._unfinished and not self._chunks and not self.paused

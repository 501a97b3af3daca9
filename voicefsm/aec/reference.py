"""What the loudspeaker rendered while a near-end frame was captured.

Theory of operation. The server knows every far-end sample it sent and the position the client gave it (`append`). With each
frame the client reports which of them left the loudspeaker (`rendered`): playing, paused, starved, or ahead after a cancelled
reply, for positions are never reused. The reference of a frame is therefore a stretch of the ring, or silence. Where that stretch
begins is found by `Playhead` from the reports, and by `Pacing` for a client that has never reported; both are told by
`DelayEstimator` where the echo was heard (`heard`). Where the clocks drift, the ring is read between its samples.

The reference is fed `lead_ms` earlier than reported: a canceller can model an echo that comes after its reference, never one
that precedes it. A start is a problem of the same kind: when the first report of a reply tells that it plays, up to a frame of
it has been rendered and the lead is due as well. That stretch is handed out as `missed`: frames that belong before the one
just asked for. A client that gets its audio at the last moment leaves no time for the whole lead: it is cut by what was missing
once that has happened `_LATE_MAX` times in a stretch, and stays cut, because an echo that wanders is worse than a short lead.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections import deque
from typing import Protocol

import numpy as np

from voicefsm.aec.delay import DelayEstimator
from voicefsm.aec.fraction import AFTER, AROUND, BEFORE, between
from voicefsm.aec.pacing import Pacing
from voicefsm.aec.playhead import Playhead
from voicefsm.aec.settings import AecSettings
from voicefsm.audio.resample import Resampler
from voicefsm.audio.ring import Ring
from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, SAMPLES_PER_MS, SILENT_FRAME, Samples
from voicefsm.errors import LocalProtocolError

MISSED_FRAMES_MAX = 20
"""The longest stretch that is made up for: of a start, or of a place that was wrong."""

_LATE_MAX = 3
_WRONG_SAMPLES_MAX = 30 * SAMPLES_PER_MS
"""By so much a report may claim to have rendered what was not sent yet."""
_DUCKS_KEPT = 16
"""Changes of the loudspeaker's level that are remembered: more than a reference holds in practice."""
_AHEAD_MS = 200
"""An echo that precedes its reference by so much is still found."""
_ERROR_MS_MAX = 20.0
"""Reports that are off by so much on average deserve no confidence."""


class Source(enum.StrEnum):
    """How the place of the far end is known."""

    NONE = "none"
    """It is not."""
    REPORTS = "reports"
    """The client says so."""
    ESTIMATED = "estimated"
    """The echo was found in the microphone's signal."""


@dataclasses.dataclass(frozen=True, slots=True)
class Alignment:
    """How well the reference is aligned."""

    source: Source
    error_ms: float
    """Mean distance of the source's measurements from the position that is used."""
    drift_ppm: float
    """How much faster the loudspeaker's clock is than the microphone's; 0 while nothing significant is known."""
    echo_ms: float | None
    """By how much the echo was last heard to come after the reference; without reports: after it was sent. None: not heard yet."""
    confidence: float
    """0 … 1."""


class Corrigible(Protocol):
    """A canceller that can be told that its reference was wrong: `ports.GatedCanceller`, which this package cannot see."""

    def moved(self) -> None:
        """The echo is back at its place, after frames in which it was not."""

    def forget(self) -> None:
        """The echo had never been where it was looked for."""

    def missed(self, far: Samples) -> None:
        """The last frames of the reference were this."""

    def clear(self) -> None:
        """Its echo was never heard: rest, until told to forget."""


class Reference:
    """The far end of one session: appended as it is sent, read as it is rendered."""

    def __init__(self, rate_hz: int, settings: AecSettings) -> None:
        """`rate_hz` is the output rate: that of the far-end positions and of the audio appended."""
        self.rate_hz = rate_hz
        self._resampler = Resampler(rate_hz, RATE_HZ)
        self._ring = Ring(settings.reference_keep_ms * SAMPLES_PER_MS)
        self._next_sample = 0
        self._lead = self._lead_wanted = settings.reference_lead_ms * SAMPLES_PER_MS
        self._late = self._late_count = 0
        """By how many samples the ring falls short of what was read, and how often such samples came later."""
        self._levels: deque[tuple[int, float]] = deque(maxlen=_DUCKS_KEPT)
        """From which place in the ring on the loudspeaker has which gain."""
        self._playhead = Playhead(settings, step_samples=RATE_HZ / rate_hz)
        self._pacing = Pacing(self._ring)
        self._estimator: DelayEstimator | None = None
        self.is_clear = False
        """Its echo was never heard on this line; who says so says when it is over. Listening rests meanwhile."""
        self._echo_samples: float | None = None
        self.echoes = 0
        """How often the echo was found by listening."""
        self._confidence = 0.0
        self._far = SILENT_FRAME
        """What the estimator compares the microphone with."""
        self._reports = False
        """The client has said where it is."""
        self.moved = False
        """What `rendered` returned last does not go on where the frame before ended, although the far end played on: a jump was
        followed, or a wrong place corrected. The echo is where it was before things went wrong."""
        self.misplaced = False
        """It moved because reports had been wrong: the echo is where it never was before."""
        self.missed: list[Samples] = []
        """Frames of the reference that should have come before the one `rendered` returned last; usually none."""

    # --- what was sent -------------------------------------------------------------------------------------------------------

    def append(self, first_sample: int, samples: Samples) -> None:
        """Keep audio sent to the client, shape (n,), at its far-end position; both at the output rate.

        Raises `LocalProtocolError` when the position was used before.
        """
        if first_sample != self._next_sample:
            self._skip(first_sample)
        elif self._late:
            self._shorten()
        self._late = 0
        self._next_sample = first_sample + len(samples)
        self._ring.append(self._ring.end, self._resampler.process(samples))

    def catch_up(self, far_end_sample: int) -> None:
        """The microphone was gone. By our clock this sample, at the output rate, left the loudspeaker as the next frame began.

        Matters for a client that never reports: its microphone is the clock that its far end is paced by.
        """
        self._pacing.catch_up(far_end_sample * RATE_HZ // self.rate_hz)

    def pause(self) -> None:
        """The client was told to stand still. Matters for one that never reports."""
        self._pacing.pause()

    def resume(self) -> None:
        """The client was told to go on."""
        self._pacing.resume()

    def duck(self, far_end_sample: int, duck_db: int) -> None:
        """From this sample on, at the output rate, the client renders what it was sent so much quieter; 0: as it was sent."""
        gain = 10 ** (-duck_db / 20)
        if gain != (self._levels[-1][1] if self._levels else 1.0):
            self._levels.append((far_end_sample * RATE_HZ // self.rate_hz + self._resampler.delay_samples, gain))

    def drop(self) -> None:
        """The client was told to throw away what it has not played."""
        self._playhead.drop(self._next_sample * RATE_HZ / self.rate_hz)
        self._pacing.drop()

    def _skip(self, first_sample: int) -> None:
        """Positions were skipped, with the rest of a cancelled reply: they read as silence."""
        if first_sample < self._next_sample:
            raise LocalProtocolError(f"Far-end sample {first_sample} was sent before: the far end is at {self._next_sample}.")
        self._resampler.reset()
        self._ring.append(first_sample * RATE_HZ // self.rate_hz, SILENT_FRAME[:0])
        self._pacing.drop()

    def _shorten(self) -> None:
        """What was read as silence comes after all, so it was not the end of a reply. If that goes on, the lead is too long."""
        self._late_count += 1
        if self._late_count >= _LATE_MAX:
            self._lead -= self._late
            self._late_count = 0

    # --- what was rendered ---------------------------------------------------------------------------------------------------

    @property
    def playing(self) -> bool:
        """The far end advances; with a client that never reports: it may be audible."""
        return self._playhead.playing if self._reports else self._pacing.playing

    @property
    def alignment(self) -> Alignment:
        """How well the far end's place is known."""
        head, pacing = self._playhead, self._pacing
        by_ear = head.by_ear if self._reports else pacing.found
        source = Source.ESTIMATED if by_ear else Source.REPORTS if self._reports else Source.NONE
        track = head.track if self._reports else pacing.track
        error_ms = track.deviation / SAMPLES_PER_MS
        echo_ms = None if self._echo_samples is None else self._echo_samples / SAMPLES_PER_MS
        confidence = max(0.0, 1 - error_ms / _ERROR_MS_MAX) if source is Source.REPORTS else self._confidence
        return Alignment(source, error_ms, track.drift_ppm, echo_ms, confidence)

    def rendered(self, far_end_sample: int | None) -> Samples:
        """The far-end signal of a near-end frame, 16 kHz, shape (320,); `SILENT_FRAME` itself while the loudspeaker is silent.

        `far_end_sample` is what left the loudspeaker as the frame began, at the output rate; None goes on as before.
        """
        self.missed = []
        if far_end_sample is not None and not self._reports:
            self._reports, self._estimator = True, None
        return self._reported(far_end_sample) if self._reports else self._paced()

    def around(self, before_ms: int, after_ms: int) -> Samples:
        """The far end around what the loudspeaker rendered as the last frame ended, 16 kHz; what nobody knows is silence."""
        pacing = self._pacing
        ring = self._ring if self._reports else pacing.paced
        at = self._playhead.position + self._resampler.delay_samples if self._reports else pacing.position + FRAME_SAMPLES
        return ring.read(math.floor(at) - before_ms * SAMPLES_PER_MS, (before_ms + after_ms) * SAMPLES_PER_MS)

    def tell(self, canceller: Corrigible) -> None:
        """Tell a canceller, before it processes the frame that `rendered` returned last, what it was told wrong before."""
        if self.misplaced:
            canceller.forget()
        elif self.moved:
            canceller.moved()
        if self.missed:
            canceller.missed(np.concatenate(self.missed))

    def heard(self, near: Samples) -> None:
        """The microphone's frame, shape (320,), that `rendered` was asked for last: does its echo lie where it should?"""
        if self._estimator is None:
            self._estimator = DelayEstimator(ahead_ms=_AHEAD_MS if self._reports else 0)
        self._estimator.is_clear = self.is_clear
        estimate = self._estimator.push(near, self._far)
        if estimate is None:
            return
        self._echo_samples, self._confidence = estimate.delay_samples, estimate.confidence
        self.echoes += 1
        if not self._reports:
            self._pacing.hear(estimate)
        elif self.playing and self._lead == self._lead_wanted:  # a lead that was cut moved the echo, and no report is to blame
            self._playhead.hear(estimate)

    def _reported(self, far_end_sample: int | None) -> Samples:
        """The next frame of a client that reports."""
        head = self._playhead
        if far_end_sample is not None:
            played = head.follow(far_end_sample * RATE_HZ / self.rate_hz)
            if played is not None:
                self._start(math.ceil(played))
        self.moved, self.misplaced = head.moved, head.misplaced
        if self.moved and self._estimator:
            self._estimator.forget()
        if self.misplaced:
            self._start(MISSED_FRAMES_MAX * FRAME_SAMPLES - self._lead)
        self._far = self._frame() if head.playing else SILENT_FRAME
        head.advance()
        return self._far

    def _frame(self) -> Samples:
        position = self._playhead.position + self._ahead
        short = math.ceil(position) + FRAME_SAMPLES - self._ring.end
        if 0 < short <= self._ahead + _WRONG_SAMPLES_MAX:
            self._late = short
        frame = self._as_loud(_read(self._ring, position, self._playhead.track.slope), math.floor(position))
        early = math.ceil(self._playhead.begins - self._lead_wanted - self._playhead.position)
        if early > 0:
            frame = frame.copy()
            frame[:early] = 0
        return frame

    def _as_loud(self, sent: Samples, first: int) -> Samples:
        """What was sent, from `first` in the ring on, as loud as it was rendered. A client's short fade is a step here."""
        if not self._levels or (self._levels[-1][1] == 1.0 and self._levels[-1][0] <= first):
            return sent
        gains = np.ones(len(sent), np.float32)
        for since, gain in self._levels:
            gains[max(0, since - first) :] = gain
        return np.asarray(np.rint(sent * gains), np.int16)

    @property
    def _ahead(self) -> int:
        """How far ahead of the position to read the ring, which is late by the delay of the conversion."""
        return self._lead + self._resampler.delay_samples

    def _start(self, played: int) -> None:
        """The far end plays, and `played` samples before the position are out already: make up for them and for the lead."""
        self._late = self._late_count = 0
        due = played + self._lead
        count = min(-(-due // FRAME_SAMPLES), MISSED_FRAMES_MAX) * FRAME_SAMPLES
        first = round(self._playhead.position) + self._ahead - count
        stretch = self._ring.read(first, count)
        stretch = self._as_loud(stretch, first)
        stretch[: max(0, count - due)] = 0
        self.missed = [stretch[at : at + FRAME_SAMPLES] for at in range(0, count, FRAME_SAMPLES)]

    def _paced(self) -> Samples:
        """The next frame of a client that never reports."""
        pacing = self._pacing
        self.moved, self.misplaced = pacing.moved, pacing.misplaced
        pacing.advance()
        self._far = pacing.frame
        if not pacing.playing:
            return SILENT_FRAME
        if not pacing.found:
            return pacing.frame
        position = min(pacing.position + self._lead, pacing.paced.end - FRAME_SAMPLES - AFTER)
        if self.moved or self.misplaced:
            first = math.floor(position) - MISSED_FRAMES_MAX * FRAME_SAMPLES
            self.missed = [pacing.paced.read(first + k * FRAME_SAMPLES, FRAME_SAMPLES) for k in range(MISSED_FRAMES_MAX)]
        return _read(pacing.paced, position, pacing.track.slope)


def _read(ring: Ring, position: float, slope: float) -> Samples:
    """A frame at `position`, the next one being `slope` further than a frame away."""
    whole = math.floor(position)
    if whole == position and not slope:
        return ring.read(whole, FRAME_SAMPLES)
    first = position - whole
    return between(ring.read(whole - BEFORE, AROUND), first, first + slope)

"""Where a client's loudspeaker is: from its reports, checked by ear.

Theory of operation. Playing, the position grows by a frame per frame; what a client reports jitters around that, and `Track` makes
of it something smooth. Standing still is believed after `still_ms`, because audio stacks report in blocks.

The echo has its place behind the reference and is to stay there. `Playhead.hear` is told where it was heard:

- reports that jitter by more than `_JITTER`, or lead astray slowly, are worse than hearing, which is right to a fraction of a
  sample. They are left to tell starts, ends and jumps, and hearing tells place and drift (`by_ear`) until it falls silent.
- reports that are exact are trusted, unless the echo is elsewhere by more than `_WRONG`: then they are corrected from there on.
"""

from __future__ import annotations

from voicefsm.aec.delay import Estimate
from voicefsm.aec.settings import AecSettings
from voicefsm.aec.track import Track
from voicefsm.audio.samples import FRAME_MS, FRAME_SAMPLES, SAMPLES_PER_MS

MOVED = 3 * SAMPLES_PER_MS
"""A reference that is read elsewhere by more than this has moved."""
ESTIMATES_KEPT = 50
ESTIMATE_STEP = 2.0
"""Samples: what is heard is not believed to be better than multiples of this."""
ASTRAY = 1.5 * SAMPLES_PER_MS
"""Where hearing is all there is, a delay is taken to have jumped from here on …"""
AGAIN, AGAIN_NEAR = 2, 5
"""… when it was heard so often in succession; more often up to `_NEAR`, where it may be a reflection."""

_NEAR = 4 * SAMPLES_PER_MS
_WRONG = 15 * SAMPLES_PER_MS
_CONFIDENT = 0.6
_OFF = 3.0 * SAMPLES_PER_MS
_CONTRADICTED_MAX = 10
"""Reports in large blocks look exact and hide the drift: so many estimates in succession that are off by `_OFF` tell."""
_JITTER = 1.0 * SAMPLES_PER_MS
_ROOM = 2 * SAMPLES_PER_MS
"""How much later than its loudspeaker renders it an echo is heard in a room."""
_UNHEARD_FRAMES_MAX = 500
_BIAS_AVERAGE = 1 / 200
_REPORTS_KEPT = 500


def again(samples: float) -> int:
    """How often an echo has to be heard elsewhere by so much."""
    return AGAIN if abs(samples) > _NEAR else AGAIN_NEAR


class Playhead:
    """The position of one loudspeaker, in samples at 16 kHz."""

    def __init__(self, settings: AecSettings, *, step_samples: float) -> None:
        """Reports are multiples of `step_samples`."""
        self._lead = settings.reference_lead_ms * SAMPLES_PER_MS
        self._still_frames_max = settings.reference_still_ms // FRAME_MS
        self._step = step_samples
        self._track = Track(
            jump_samples=settings.reference_relock_ms * SAMPLES_PER_MS, step_samples=step_samples, kept=_REPORTS_KEPT
        )
        self._clock = 0
        """Samples of the microphone so far."""
        self._report = 0.0
        self._still_frames = 0
        self._home: float | None = None
        """The delay at which the echo is to stay."""
        self._astray = self._contradicted = 0
        self._unheard_frames = 0
        self._bias = 0.0
        """Added to reports."""
        self.by_ear = False
        """Hearing has replaced the reports."""
        self.playing = False
        """The far end advances, or what it rendered is still on its way."""
        self._renders = False
        """The client renders."""
        self.begins = 0.0
        """The first sample of this stretch. The echo of a late device begins after silence, not with the reply before."""
        self._dropped = 0.0
        """What comes before this and was not rendered by now never is."""
        self.misplaced = False
        """`hear` found that reports had been wrong."""
        self.moved = False
        """`follow` or `hear` moved it although it played on."""

    @property
    def position(self) -> float:
        """The sample that leaves the loudspeaker as this frame begins."""
        return self._clock + self._track.offset

    @property
    def track(self) -> Track:
        """For those who want to know how well it goes."""
        return self._track

    def advance(self) -> None:
        """To the next frame."""
        self._clock += FRAME_SAMPLES
        self._track.advance()
        self.moved = self.misplaced = False

    def drop(self, end: float) -> None:
        """What was sent, up to `end`, is thrown away: the position will jump there without a sound."""
        self._dropped = end

    def follow(self, report: float) -> float | None:
        """Take the position reported for this frame. When it tells of a start: how many samples have left before; else None."""
        moved, elapsed = report - self._report, (self._still_frames + 1) * FRAME_SAMPLES
        self._report = report
        self._still_frames = 0 if moved else self._still_frames + 1
        if self._renders and self._still_frames < self._still_frames_max:
            self._note(report)
        elif moved > 0:
            self._track.lock(round(report + self._bias) - self._clock)
            self.playing = self._renders = True
            played = min(moved, elapsed, report - self._dropped if report >= self._dropped else moved)
            self.begins = report - played
            return max(0.0, played + self._bias)
        else:
            # Where the device is late, what was rendered before is still on its way: the far end goes on until its echo has come.
            self._renders = False
            self.playing = self.playing and self.position < report
        return None

    def hear(self, estimate: Estimate) -> None:
        """The echo was heard so much later than the reference that belongs to `position`."""
        self._unheard_frames = 0
        if self._home is None:
            near_enough = abs(estimate.delay_samples - self._lead) <= _WRONG
            self._home = estimate.delay_samples if near_enough else float(self._lead + _ROOM)
        late = estimate.delay_samples - self._home
        self._contradicted = self._contradicted + 1 if abs(late) > _OFF else 0
        if not self.by_ear and ((self._track.spread or 0.0) > _JITTER or self._contradicted > _CONTRADICTED_MAX):
            self.by_ear = True
            self._track.learn_anew(step_samples=ESTIMATE_STEP, kept=ESTIMATES_KEPT)
        is_astray = abs(late) > ASTRAY if self.by_ear else abs(late) > _WRONG and estimate.confidence >= _CONFIDENT
        self._astray = self._astray + 1 if is_astray else 0
        if self._astray >= again(late):
            self._shift(-late)
        elif self.by_ear and not is_astray:
            self._track.learn(self._track.offset - late)

    def _note(self, report: float) -> None:
        """A report while it plays."""
        measured = report + self._bias - self._clock
        if not self.by_ear:
            self.moved |= abs(self._track.note(measured)) > MOVED
            return
        self.moved |= abs(self._track.watch(measured)) > MOVED
        self._bias -= (measured - self._track.offset) * _BIAS_AVERAGE
        self._unheard_frames += 1
        if self._unheard_frames > _UNHEARD_FRAMES_MAX:
            self.by_ear = False
            self._track.learn_anew(step_samples=self._step, kept=_REPORTS_KEPT)

    def _shift(self, by: float) -> None:
        """The echo is not where it belongs. Exact reports are off for good, others for this stretch."""
        self._astray = 0
        self._track.lock(round(self._track.offset + by))  # whole samples are the cheaper ones to read
        if not self.by_ear:
            self._bias += by
        self.moved |= abs(by) > MOVED
        self.misplaced |= abs(by) > MOVED

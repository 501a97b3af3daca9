"""Where the far end is, out of measurements that jitter: a line through them, moved gently.

Theory of operation. The loudspeaker's position relative to the microphone's clock is a line: constant if both run from one
crystal, rising or falling by some ten millionths if not, and broken where audio starves or a device changes. What a client reports
lies around that line by up to ten milliseconds, and often in blocks. Two things are learnt from it:

- the *slope*, which belongs to the two crystals: `Drift` is one regression over all stretches of playing, each with a mean of its
  own. It is believed when it differs from nothing by more than `_BELIEVED_SIGMA` standard errors. Errors of reports follow each
  other (blocks, five frames to a message, rounding), so the standard error is that of the residuals times what their correlation
  from one to the next costs (von Neumann's ratio). Exact reports tell 50 ppm in two seconds, jitter of 10 ms takes a minute.
- the *place*: a mean of the last seconds. A canceller models whatever offset stays the same, and loses by every move. So the
  track moves only by what is beyond `_BELIEVED_SIGMA` standard errors, and by no more than `_GLIDE_MAX` a frame.

A jump is something else: measurements that stay away from the track by more than a threshold. The track then begins anew.
"""

from __future__ import annotations

import math
from collections import deque

from voicefsm.audio.samples import FRAME_SAMPLES, SAMPLES_PER_MS

_BELIEVED_SIGMA = 4.0
"""Three would do for one look at the data; this is looked at all the time."""
_DOUBTED_SIGMA = 1.0
"""A slope that was believed is dropped when it falls below this."""
_PLACE_SIGMA = 3.0
_MEASURES_MIN = 20
"""Fewer than these say nothing about a slope or a place."""
_DRIFT_MAX = 500e-6 * FRAME_SAMPLES
"""No two sound cards disagree by more."""
_MEASURES_KEPT = 30000
"""Older measurements count half: crystals warm up, devices are changed."""
_RATIO_MIN = 0.01
"""Of von Neumann: residuals more alike than this are not told apart."""
_GLIDE_SHARE = 1 / 50
"""Of an error of place, per frame, …"""
_GLIDE_MAX = 50e-6 * FRAME_SAMPLES
"""… up to so many samples per frame, no more than a canceller follows …"""
_GLIDE_FAR_MAX = 15e-6 * FRAME_SAMPLES
"""… or up to this where the way is longer than …"""
_FAR = 8.0
"""… so many samples: it would take long, and the canceller has settled where the track is."""
_JUMP_SIGMA = 6.0
_JUMP_MIN = 3.0 * SAMPLES_PER_MS
"""Reports that have proved exact tell a jump of this size."""
_PROVED_MEASURES = 100
_HELD_BACK = 24
"""Measurements are learnt from when so many more have come without a jump."""
_ERROR_AVERAGE = 1 / 16
"""Share of the newest measurement in the error that tells a jump."""
_DEVIATION_AVERAGE = 1 / 64
_SETTLE_EVERY = 5
"""Measurements."""


class Drift:
    """The slope that all stretches have in common, samples per frame."""

    def __init__(self, step_samples: float, slope: float = 0.0) -> None:
        """`step_samples`: measurements are multiples of this and not believed to be better. `slope`: what is known already."""
        self._variance_min = step_samples**2 / 12
        self._count = self._tt = self._ty = self._yy = self._dd = 0.0
        self._stretch_count = 0
        self._mean_t = self._mean_y = self._last = 0.0
        self.slope = slope
        """Believed; 0 while none is."""
        self.variance = self._variance_min
        """Of one measurement around the line."""
        self.correlation = 1.0
        """How many measurements say as much as one that is independent."""

    @property
    def spread(self) -> float | None:
        """Standard deviation of the measurements around the line, in samples; None while too few are known."""
        return math.sqrt(self.variance) if self._count > _PROVED_MEASURES else None

    def begin(self) -> None:
        """What follows has another offset."""
        self._stretch_count = 0

    def note(self, t: int, y: float) -> None:
        """At frame `t` the measurement was `y`, in samples."""
        if self._stretch_count == 0:
            self._mean_t, self._mean_y, self._last = t, y, y
        self._stretch_count += 1
        dt, dy, step = t - self._mean_t, y - self._mean_y, y - self._last
        self._mean_t += dt / self._stretch_count
        self._mean_y += dy / self._stretch_count
        self._last = y
        self._count += 1
        self._tt += dt * (t - self._mean_t)
        self._ty += dt * (y - self._mean_y)
        self._yy += dy * (y - self._mean_y)
        self._dd += step * step

    def settle(self) -> None:
        """Draw conclusions. Not needed with every measurement."""
        if self._count < _MEASURES_MIN or not self._tt:
            return
        slope = self._ty / self._tt
        left = max(self._yy - slope * self._ty, self._count * self._variance_min)
        ratio = min(2.0, max(_RATIO_MIN, self._dd / (2 * left)))
        self.variance, self.correlation = left / self._count, max(1.0, (2 - ratio) / ratio)
        sigma = math.sqrt(self.variance * self.correlation / self._tt)
        needed = (_DOUBTED_SIGMA if self.slope else _BELIEVED_SIGMA) * sigma
        self.slope = slope if needed < abs(slope) < _DRIFT_MAX else 0.0
        if self._count > _MEASURES_KEPT:
            self._forget()

    def _forget(self) -> None:
        self._count, self._tt, self._ty, self._yy, self._dd = (
            value / 2 for value in (self._count, self._tt, self._ty, self._yy, self._dd)
        )


class Track:
    """A position relative to a clock of frames: measured by `note`, read as `offset`, carried on by `advance`."""

    def __init__(self, *, jump_samples: float, step_samples: float, kept: int) -> None:
        """Measurements that stay off by more than `jump_samples` are a jump. For the others see `learn_anew`."""
        self._jump = jump_samples
        self._kept = kept
        self._drift = Drift(step_samples)
        self._frame = 0
        self._count = 0
        self._error = 0.0
        self._place = self._place_frame = 0.0
        self._glide = 0.0
        self._recent: deque[tuple[int, float]] = deque()
        self.offset = 0.0
        """At this frame, in samples."""
        self.deviation = 0.0
        """Mean distance of the measurements from the track, in samples."""

    @property
    def slope(self) -> float:
        """Samples per frame that the offset grows by."""
        return self._drift.slope + self._glide

    @property
    def spread(self) -> float | None:
        """Standard deviation of the measurements, in samples; None while too few are known."""
        return self._drift.spread

    @property
    def drift_ppm(self) -> float:
        """The believed drift of the far end's clock against the near end's; 0 while none is."""
        return self._drift.slope / FRAME_SAMPLES * 1e6

    def learn_anew(self, *, step_samples: float, kept: int) -> None:
        """Measurements of another kind will come, multiples of `step_samples`; the place is a mean of the last `kept`."""
        self._kept = kept
        self._drift = Drift(step_samples, self._drift.slope)
        self.lock(self.offset)

    def lock(self, offset: float) -> None:
        """Begin a stretch here."""
        self.offset = offset
        self._count, self._error, self._glide = 0, 0.0, 0.0
        self._recent.clear()
        self._drift.begin()

    def advance(self) -> None:
        """To the next frame."""
        self.offset += self.slope
        self._frame += 1

    def note(self, measured: float) -> float:
        """Take a measurement of this frame. Returns by how much the track jumped; usually 0."""
        self._deviate(measured)
        jump = self.watch(measured, self.spread)
        if not jump:
            self._recent.append((self._frame, measured))
            if len(self._recent) > _HELD_BACK:
                self._learn(*self._recent.popleft())
        return jump

    def watch(self, measured: float, spread: float | None = None) -> float:
        """Take a measurement for jumps only; `spread` is how far such measurements stray. Returns as `note` does."""
        error = measured - self.offset
        self._error += (error - self._error) * _ERROR_AVERAGE
        spread = self._jump if spread is None else spread
        if abs(self._error) <= min(self._jump, max(_JUMP_MIN, _JUMP_SIGMA * spread)):
            return 0.0
        is_settled = abs(error - self._error) < min(self._jump, _PLACE_SIGMA * spread)
        jump = self._error if is_settled else error
        self.lock(self.offset + jump)
        return jump

    def learn(self, measured: float) -> None:
        """Take a measurement of this frame that is known to be no jump."""
        self._deviate(measured)
        self._learn(self._frame, measured)

    def _deviate(self, measured: float) -> None:
        self.deviation += (abs(measured - self.offset) - self.deviation) * _DEVIATION_AVERAGE

    def _learn(self, frame: int, measured: float) -> None:
        self._count += 1
        share = 1 / min(self._count, self._kept)
        self._place += (measured - self._place) * share
        self._place_frame += (frame - self._place_frame) * share
        self._drift.note(frame, measured)
        if self._count % _SETTLE_EVERY == 0:
            self._drift.settle()
            self._glide = self._correction()

    def _correction(self) -> float:
        """Samples per frame, until the next time."""
        if self._count < _MEASURES_MIN:
            return 0.0
        drift = self._drift
        place = self._place + drift.slope * (self._frame - self._place_frame)
        sigma = math.sqrt(drift.variance * drift.correlation / min(self._count, self._kept))
        excess = max(0.0, abs(place - self.offset) - _PLACE_SIGMA * sigma)
        fastest = _GLIDE_MAX if excess < _FAR else _GLIDE_FAR_MAX
        return math.copysign(min(excess * _GLIDE_SHARE, fastest), place - self.offset)

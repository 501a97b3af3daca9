"""What the loudspeaker rendered while a near-end frame was captured.

Theory of operation. The server knows every far-end sample it sent and the position the client gave it (`append`). With each
frame the client reports which of them left the loudspeaker (`rendered`). Playing, the position grows by a frame per frame;
paused, starved or between replies it stands still and the loudspeaker is silent; after a cancelled reply it jumps ahead, for
positions are never reused. The reference of a frame is therefore a stretch of the ring, or silence.

Reports jitter by some milliseconds, and a reference that jitters is worth nothing to a canceller that models an echo path. So
a tracker predicts the position at 1:1 and lets a report move it only when reports have differed from it by more than
`relock_ms` on average. Standing still is believed after `still_ms`, because audio stacks report in blocks.

The reference is fed `lead_ms` earlier than reported: a canceller can model an echo that comes after its reference, never one
that precedes it. A start is a problem of the same kind: when the first report of a reply tells that it plays, up to a frame of
it has been rendered and the lead is due as well. That stretch is handed out as `missed`: frames that belong before the one
just asked for.

Seams: delay estimation from the signals and drift correction replace `_follow`; nothing else knows how the position is found.
"""

from __future__ import annotations

from voicefsm.aec.settings import AecSettings
from voicefsm.audio.resample import Resampler
from voicefsm.audio.ring import Ring
from voicefsm.audio.samples import FRAME_MS, FRAME_SAMPLES, RATE_HZ, SAMPLES_PER_MS, SILENT_FRAME, Samples
from voicefsm.errors import LocalProtocolError

MISSED_FRAMES_MAX = 10
"""The longest stretch of a start that is made up for."""

_ERROR_AVERAGE = 1 / 16
"""Share of the newest report in the mean error."""


class Reference:
    """The far end of one session: appended as it is sent, read as it is rendered."""

    def __init__(self, rate_hz: int, settings: AecSettings) -> None:
        """`rate_hz` is the output rate: that of the far-end positions and of the audio appended."""
        self.rate_hz = rate_hz
        self._resampler = Resampler(rate_hz, RATE_HZ)
        self._ring = Ring(settings.reference_keep_ms * SAMPLES_PER_MS)
        self._next_sample = 0
        self._lead = settings.reference_lead_ms * SAMPLES_PER_MS
        self._ahead = self._lead + self._resampler.delay_samples
        """How far ahead of the position to read the ring, which is late by the delay of the conversion."""
        self._relock = settings.reference_relock_ms * SAMPLES_PER_MS
        self._still_frames_max = settings.reference_still_ms // FRAME_MS
        self._report = 0
        """The last position reported, in 16 kHz samples."""
        self._still_frames = 0
        self._position = 0
        """The position predicted for the next frame, in 16 kHz samples."""
        self._error = 0.0
        self.playing = False
        """The far end advances."""
        self.moved = False
        self.missed: list[Samples] = []
        """Frames of the reference that should have come before the one `rendered` returned last; usually none."""

    def append(self, first_sample: int, samples: Samples) -> None:
        """Keep audio sent to the client, shape (n,), at its far-end position; both at the output rate.

        Raises `LocalProtocolError` when the position was used before.
        """
        if first_sample != self._next_sample:
            self._jump(first_sample)
        self._next_sample = first_sample + len(samples)
        self._ring.append(self._ring.end, self._resampler.process(samples))

    def rendered(self, far_end_sample: int | None) -> Samples:
        """The far-end signal of a near-end frame, 16 kHz, shape (320,); `SILENT_FRAME` itself while the loudspeaker is silent.

        `far_end_sample` is what left the loudspeaker as the frame began, at the output rate; None goes on as before.
        """
        self.missed = []
        if far_end_sample is not None:
            self._follow(far_end_sample * RATE_HZ // self.rate_hz)
        if not self.playing:
            return SILENT_FRAME
        out = self._ring.read(self._position + self._ahead, FRAME_SAMPLES)
        self._position += FRAME_SAMPLES
        return out

    def _jump(self, first_sample: int) -> None:
        """Positions were skipped, with the rest of a cancelled reply: they read as silence."""
        if first_sample < self._next_sample:
            raise LocalProtocolError(f"Far-end sample {first_sample} was sent before: the far end is at {self._next_sample}.")
        self._resampler.reset()
        self._ring.append(first_sample * RATE_HZ // self.rate_hz, SILENT_FRAME[:0])

    def _follow(self, report: int) -> None:
        """Take a report; decide whether the far end plays, and where."""
        moved, elapsed = report - self._report, (self._still_frames + 1) * FRAME_SAMPLES
        self._report = report
        self._still_frames = 0 if moved else self._still_frames + 1
        if self.playing and self._still_frames < self._still_frames_max:
            self._correct(report)
        elif moved > 0:
            self._start(report, min(moved, elapsed))
        else:
            self.playing = False

    def _start(self, report: int, played: int) -> None:
        """The far end plays, and `played` samples before `report` are out already: make up for them and for the lead."""
        self._lock(report)
        due = played + self._lead
        count = min(-(-due // FRAME_SAMPLES), MISSED_FRAMES_MAX) * FRAME_SAMPLES
        stretch = self._ring.read(report + self._ahead - count, count)
        stretch[: max(0, count - due)] = 0
        self.missed = [stretch[at : at + FRAME_SAMPLES] for at in range(0, count, FRAME_SAMPLES)]

    def _correct(self, report: int) -> None:
        """Playing: believe the prediction until reports disagree with it for a while; then their mean, or the last after a jump."""
        error = report - self._position
        self._error += (error - self._error) * _ERROR_AVERAGE
        if abs(self._error) > self._relock:
            settled = abs(error - self._error) < self._relock
            self._lock(self._position + round(self._error) if settled else report)

    def _lock(self, position: int) -> None:
        """Predict from here."""
        self.playing = True
        self._position, self._error = position, 0.0

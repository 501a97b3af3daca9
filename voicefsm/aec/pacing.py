"""Where a client's loudspeaker is that cannot say so: what it was sent, as it was sent, by so much later as the ear tells.

Theory of operation. Such a client plays what it gets at real time, and waits when there is nothing. Counted in frames of its own
microphone this gives a signal that is the far end, only early: by the way to the client, its buffers, and the way back. That
delay stays the same for as long as nothing starves and no device changes. It is what `DelayEstimator` finds; a `Track` keeps it
and tells the drift of the clocks.
"""

from __future__ import annotations

from voicefsm.aec.delay import DELAY_MS_MAX, Estimate
from voicefsm.aec.playhead import ASTRAY, ESTIMATE_STEP, ESTIMATES_KEPT, MOVED, again
from voicefsm.aec.track import Track
from voicefsm.audio.ring import Ring
from voicefsm.audio.samples import FRAME_SAMPLES, SAMPLES_PER_MS, SILENT_FRAME, Samples

_KEPT = (DELAY_MS_MAX + 400) * SAMPLES_PER_MS
"""How much of what was paced can be read."""


class Pacing:
    """The far end in the order and at the pace in which it was sent, on the microphone's clock."""

    def __init__(self, sent: Ring) -> None:
        """`sent` is what the client was sent; the owner fills it."""
        self._sent = sent
        self._next = 0
        self._is_paused = False
        self._astray = 0
        self._track = Track(jump_samples=ASTRAY, step_samples=ESTIMATE_STEP, kept=ESTIMATES_KEPT)
        """Minus the delay."""
        self.paced = Ring(_KEPT)
        """What was paced, by the microphone's samples."""
        self._silent_since = -_KEPT
        self.frame = SILENT_FRAME
        """The newest."""
        self.found = False
        """A delay was heard."""
        self.moved = False
        """`hear` found that the delay is another one."""
        self.misplaced = False
        """`hear` found the delay for the first time: until now the place was a guess."""

    @property
    def track(self) -> Track:
        """For those who want to know how well it goes."""
        return self._track

    @property
    def playing(self) -> bool:
        """Something of what was sent may be audible."""
        return self.paced.end - self._silent_since < _KEPT

    @property
    def position(self) -> float:
        """Where in `paced` the sound is that leaves the loudspeaker as the newest frame begins."""
        return self.paced.end - FRAME_SAMPLES + self._track.offset

    def catch_up(self, position: int) -> None:
        """The client went on without its microphone, and this sample of what was sent is the next one."""
        self._next = max(self._next, min(position, self._sent.end))

    def pause(self) -> None:
        """The client stands still."""
        self._is_paused = True

    def resume(self) -> None:
        """The client goes on where it stopped."""
        self._is_paused = False

    def drop(self) -> None:
        """The client throws away what it has not played."""
        self._next = self._sent.end
        self._is_paused = False

    def advance(self) -> None:
        """To the next frame."""
        self._track.advance()
        self.moved = self.misplaced = False
        self.frame = self._take()
        self.paced.append(self.paced.end, self.frame)
        if self.frame is not SILENT_FRAME:
            self._silent_since = self.paced.end

    def hear(self, estimate: Estimate) -> None:
        """The microphone heard what was paced so much later."""
        measured = -estimate.delay_samples
        is_astray = abs(measured - self._track.offset) > ASTRAY
        self._astray = self._astray + 1 if is_astray else 0
        if not self.found or self._astray >= again(measured - self._track.offset):
            self.moved = self.found and abs(measured - self._track.offset) > MOVED
            self.misplaced = not self.found
            self.found, self._astray = True, 0
            self._track.lock(measured)
        elif not is_astray:
            self._track.learn(measured)

    def _take(self) -> Samples:
        if self._is_paused or self._next >= self._sent.end:
            return SILENT_FRAME
        frame = self._sent.read(self._next, FRAME_SAMPLES)
        self._next = min(self._next + FRAME_SAMPLES, self._sent.end)
        return frame

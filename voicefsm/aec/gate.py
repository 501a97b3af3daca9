"""Can residual echo explain what is left of the near end?

Theory of operation. A canceller splits the microphone into what it takes for echo and what is left. The level of the first says
how loud the echo is at this moment, room and volume knob included; ERLE says how far below it the residual usually lies:

    expected residual = echo estimate, decaying no faster than a room does, - ERLE

What is more than a margin louder is somebody speaking. That needs a canceller which has converged. Until it has (`_CONVERGED_DB`),
its estimate means nothing, and the loudest reference whose echo may still be in the room stands in:

    expected residual = reference, loudest of `echo_hold_ms`, + coupling - ERLE

with the coupling (level at the microphone relative to the reference) the largest of the last seconds. That bound is high, and it
is meant to be: an unconverged canceller is when false alarms come.

Learning from a talker would make the gate deaf, and never learning while it sees one would lock it up when the room has changed.
So the first `_FREEZE_FRAMES` of a candidate teach nothing, and what follows does.

This is a judgement of whole frames by level, for cancellers that only cancel. Ours has a network that looks closer (`aec.kalman`).
"""

from __future__ import annotations

from collections import deque

from voicefsm.aec.metrics import SILENCE_DB, Erle, level_db
from voicefsm.aec.settings import AecSettings
from voicefsm.audio.samples import FRAME_MS

_AUDIBLE_DB = -60
"""An echo below this teaches nothing about the canceller."""
_CONVERGED_DB = 8
"""The ERLE from which on the canceller's echo estimate is believed."""
_FREEZE_FRAMES = 400 // FRAME_MS
_DECAY_DB = 0.7
"""How fast an echo estimate fades per frame: slower than in any room that is fit for talking (an RT60 of 1.7 s)."""
_BUCKET_FRAMES = 75
"""Coupling is the maximum of this bucket of active frames and the one before: 1.5 to 3 s."""
_FIRST_BUCKET_FRAMES = 25
"""The assumed coupling is believed for this long only: on a line without echo it would make the whole first reply deaf."""


class FarEnd:
    """How loud the reference may still be at the microphone."""

    def __init__(self, settings: AecSettings) -> None:
        frames = settings.echo_hold_ms // FRAME_MS + 1
        self._recent: deque[int] = deque([SILENCE_DB] * frames, maxlen=frames)
        self._active_db = settings.far_active_db
        self.level_db = SILENCE_DB
        """The loudest reference frame whose echo may still be audible."""
        self.active = False
        """The far end, or its echo, may be audible."""

    def note(self, reference_db: int) -> None:
        """Take the level of one more frame of the reference."""
        oldest = self._recent[0]
        self._recent.append(reference_db)
        if reference_db >= self.level_db:
            self.level_db = reference_db
        elif oldest == self.level_db:
            self.level_db = max(self._recent)
        self.active = self.level_db >= self._active_db


class EchoGate:
    """Tells residual echo from speech, for one near end."""

    def __init__(self, settings: AecSettings) -> None:
        self._margin_db = settings.echo_margin_db
        self._erle = Erle()
        self.far = FarEnd(settings)
        """Its owner notes each frame of the reference."""
        self._echo_db = float(SILENCE_DB)
        """The canceller's echo estimate, fading."""
        self._coupling_db = settings.coupling_db
        self.residual_db = SILENCE_DB
        """The level of residual echo to be expected in the last frame."""
        self._bucket_db = 2 * SILENCE_DB
        self._bucket_left = _FIRST_BUCKET_FRAMES
        self._candidate_frames = 0
        """How long the near end has been louder than echo explains."""

    @property
    def erle_db(self) -> int:
        """What the canceller achieves; 0 while unknown."""
        return self._erle.db

    @property
    def coupling_db(self) -> int:
        """Echo level relative to the reference."""
        return max(self._coupling_db, self._bucket_db)

    def echo_only(self, mic: float, near: float, estimate: float, *, reliable: bool = True) -> bool:
        """Does echo explain what is left? Takes the powers before and after cancellation and of what was taken away.

        Not `reliable` is an estimate that does not fit the microphone: ERLE then promises nothing for this frame.
        """
        if not self.far.active:
            self._candidate_frames = 0
            return False
        near_db, mic_db = level_db(near), level_db(mic)
        explained = near_db <= self._bound_db(estimate, reliable=reliable)
        self._candidate_frames = 0 if explained else self._candidate_frames + 1
        if not 0 < self._candidate_frames <= _FREEZE_FRAMES:
            self._learn(mic, near, mic_db)
        return explained

    def _bound_db(self, estimate: float, *, reliable: bool) -> float:
        """The loudest residual that echo can have left in this frame."""
        self._echo_db = max(float(level_db(estimate)), self._echo_db - _DECAY_DB)
        erle_db = self._erle.db if reliable else 0
        echo_db = self._echo_db if erle_db >= _CONVERGED_DB else self.far.level_db + self.coupling_db
        self.residual_db = max(SILENCE_DB, round(echo_db - erle_db))
        return self.residual_db + self._margin_db

    def _learn(self, mic: float, near: float, mic_db: int) -> None:
        """Take an echo: follow the ERLE, keep the largest coupling of this bucket and the last."""
        if mic_db >= _AUDIBLE_DB:
            self._erle.update(mic, near)
        self._bucket_db = max(self._bucket_db, mic_db - self.far.level_db)
        self._bucket_left -= 1
        if self._bucket_left == 0:
            self._coupling_db, self._bucket_db = self._bucket_db, 2 * SILENCE_DB
            self._bucket_left = _BUCKET_FRAMES

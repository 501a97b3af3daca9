"""Can residual echo explain what is left of the near end?

Theory of operation. After the far end was last audible its echo may last `echo_hold_ms` longer: the loudest reference frame
of that time bounds the echo now. From it to the residual is two steps, each of which can be watched while the far end is
active:

    coupling   microphone level - loudest recent reference: the room and the volume knob; the largest of the last seconds
    ERLE       microphone level - residual level: what the canceller achieves, smoothed

so residual echo is at most about `reference + coupling - ERLE`. What is more than a margin louder is somebody speaking.

Both estimates err towards echo when somebody does speak over the far end: the coupling seems larger and the ERLE smaller than
they are. That makes the gate patient in long double talk and never blind for good: once the canceller achieves more than the
margin, a talker as loud as the echo stands above the bound even if all of his own level were taken for echo. Before the first
seconds of far-end speech the bound is high, and that is meant: an unconverged canceller is when false alarms come.

This is a judgement of whole frames by level. A per-band gate on the same seam replaces it later.
"""

from __future__ import annotations

from collections import deque

from voicefsm.aec.metrics import SILENCE_DB
from voicefsm.aec.settings import AecSettings
from voicefsm.audio.samples import FRAME_MS

_AUDIBLE_DB = -60
"""An echo below this teaches nothing about the canceller."""
_BUCKET_FRAMES = 75
"""Coupling is the maximum of this bucket of active frames and the one before: 1.5 to 3 s."""


class EchoGate:
    """Tells residual echo from speech, for one near end."""

    def __init__(self, settings: AecSettings) -> None:
        self._margin_db = settings.echo_margin_db
        self._active_db = settings.far_active_db
        frames = settings.echo_hold_ms // FRAME_MS + 1
        self._recent: deque[int] = deque([SILENCE_DB] * frames, maxlen=frames)
        self.far_db = SILENCE_DB
        """The loudest reference frame whose echo may still be audible."""
        self._coupling_db = settings.coupling_db
        self._bucket_db = 2 * SILENCE_DB
        self._bucket_left = _BUCKET_FRAMES

    @property
    def far_active(self) -> bool:
        """The far end, or its echo, may be audible at the microphone."""
        return self.far_db >= self._active_db

    @property
    def coupling_db(self) -> int:
        """Echo level relative to the reference."""
        return max(self._coupling_db, self._bucket_db)

    def hear_far_end(self, reference_db: int) -> None:
        """Take the level of one frame of the reference."""
        self._recent.append(reference_db)
        self.far_db = max(self._recent)

    def teaches(self, mic_db: int) -> bool:
        """Whether this frame tells anything about the canceller: the far end is active and something is audible."""
        return self.far_active and mic_db >= _AUDIBLE_DB

    def echo_only(self, mic_db: int, near_db: int, erle_db: int) -> bool:
        """Take the near end's level before and after cancellation: does echo explain what is left?"""
        if not self.far_active:
            return False
        expected_db = self.far_db + self.coupling_db - erle_db
        self._learn(mic_db - self.far_db)
        return near_db <= expected_db + self._margin_db

    def _learn(self, coupling_db: int) -> None:
        """Keep the largest coupling of this bucket and the last."""
        self._bucket_db = max(self._bucket_db, coupling_db)
        self._bucket_left -= 1
        if self._bucket_left == 0:
            self._coupling_db, self._bucket_db = self._bucket_db, 2 * SILENCE_DB
            self._bucket_left = _BUCKET_FRAMES

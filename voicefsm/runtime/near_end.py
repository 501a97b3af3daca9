"""The near end without our own voice, and what is known about each frame of it.

Theory of operation. Two kinds of canceller make two kinds of judgement:

- Our own says how likely near-end speech is in each frame (`ports.GatedCanceller`): it has seen the echo, what is left of it and
  the reference, band by band, and what came before. `GatedNearEnd` takes its word, and hears all frames with it, so that noise is
  no speech either.
- Speex and AEC3 say nothing. `LevelledNearEnd` asks by level whether residual echo can explain what is left (`aec.gate`).

Either way `take` gives the recogniser its signal, and the attributes tell the rest.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from voicefsm.aec.gate import EchoGate
from voicefsm.aec.judgement import Judgement
from voicefsm.aec.metrics import SILENCE_DB, level_db, power
from voicefsm.aec.reference import MISSED_FRAMES_MAX, Reference
from voicefsm.aec.settings import AecSettings
from voicefsm.audio.frame import AudioFrame
from voicefsm.audio.samples import FRAME_MS, SILENT_FRAME, Samples
from voicefsm.ports import EchoCanceller, GatedCanceller

_LOUDER_MAX = 1.25
"""A canceller whose output has this much more power than its input subtracts an echo that is not there: the loudspeaker stopped."""
_UNSETTLED_FRAMES = 100 // FRAME_MS
"""After the far end began, what it rendered before its first report still reverberates without a reference."""


class NearEnd(Protocol):
    """One session's near end."""

    hears_speech: bool
    """`speech` is an opinion on every frame, far end or not."""
    near_power: float
    """Mean square of the last frame without echo."""
    near_db: int
    """The same as a level."""
    echo_only: bool
    """Residual echo explains the last frame."""
    may_be_onset: bool
    """Not `echo_only`, or not surely: enough to begin a stretch of speech with."""
    is_for_detector: bool
    """It may be an onset only if a voice detector finds a voice in it, far end or not."""
    speech: float
    """How likely near-end speech is in it: 0 to 1. Always 1 where nobody can say."""

    @property
    def far_active(self) -> bool:
        """The far end, or its echo, may be audible."""

    @property
    def far_db(self) -> int:
        """The loudest recent level of the reference."""

    @property
    def erle_db(self) -> int:
        """What the canceller achieves; 0 while unknown."""

    @property
    def echo_db(self) -> int:
        """The level of residual echo to be expected in the last frame; silence while no far end is audible."""

    def take(self, frame: AudioFrame) -> Samples:
        """Take one frame; return it without echo."""


def near_end(settings: AecSettings, canceller: EchoCanceller, reference: Reference, *, trusted: bool) -> NearEnd:
    """The kind that fits the canceller. `trusted` is a client that cancels echo itself."""
    if isinstance(canceller, GatedCanceller):
        return GatedNearEnd(settings, canceller, reference, trusted=trusted)
    return LevelledNearEnd(settings, canceller, reference, trusted=trusted)


class GatedNearEnd(Judgement):
    """With a canceller that says how likely near-end speech is."""

    hears_speech = True

    def __init__(self, settings: AecSettings, canceller: GatedCanceller, reference: Reference, *, trusted: bool) -> None:
        super().__init__(settings)
        self._canceller, self._reference, self._trusted = canceller, reference, trusted

    def take(self, frame: AudioFrame) -> Samples:
        """Take one frame; return it without echo."""
        far = SILENT_FRAME if self._trusted else self._far_end(frame)
        canceller = self._canceller
        near = canceller.process(frame.samples, far)
        self.judge(frame.samples, self._reference, canceller.powers, canceller.fit, canceller.speech)
        self.tell(canceller, self._reference)
        return near

    def _far_end(self, frame: AudioFrame) -> Samples:
        """The reference of this frame; the canceller is told what it was told wrong before."""
        far = self._reference.rendered(frame.far_end_sample)
        self._reference.tell(self._canceller)
        self._reference.heard(frame.samples)
        return far


class LevelledNearEnd:
    """With a canceller that only cancels."""

    hears_speech = False
    near_power = 0.0
    near_db = SILENCE_DB
    echo_only = False
    speech = 1.0
    may_be_onset = True
    is_for_detector = False

    def __init__(self, settings: AecSettings, canceller: EchoCanceller, reference: Reference, *, trusted: bool) -> None:
        self._canceller, self._reference, self._trusted = canceller, reference, trusted
        self._gate = EchoGate(settings)
        self._past: deque[Samples] = deque([SILENT_FRAME] * MISSED_FRAMES_MAX, maxlen=MISSED_FRAMES_MAX)
        """The microphone's last frames."""
        self._unsettled_frames = 0
        """For how long yet the canceller's estimate is not to be trusted."""
        self._silent_frames = self._rest_frames = (settings.tail_ms + settings.echo_hold_ms) // FRAME_MS + 1
        """The reference was silent for this long; the canceller rests from `_rest_frames` on."""

    @property
    def far_active(self) -> bool:
        """The far end, or its echo, may be audible."""
        return self._gate.far.active

    @property
    def far_db(self) -> int:
        """The loudest recent level of the reference."""
        return self._gate.far.level_db

    @property
    def erle_db(self) -> int:
        """What the canceller achieves; 0 while unknown."""
        return self._gate.erle_db

    @property
    def echo_db(self) -> int:
        """The level of residual echo to be expected."""
        return self._gate.residual_db if self.far_active else SILENCE_DB

    def take(self, frame: AudioFrame) -> Samples:
        """Take one frame; return it without echo."""
        near = frame.samples
        if self._trusted or self._rests(frame):
            self.near_power, self.echo_only = power(near), False
        else:
            near = self._cancel(near)
        self._past.append(frame.samples)
        self.near_db, self.may_be_onset = level_db(self.near_power), not self.echo_only
        return near

    def _rests(self, frame: AudioFrame) -> bool:
        """Fetch the reference; has it been silent for so long that there is no echo to cancel?"""
        self._far = self._reference.rendered(frame.far_end_sample)
        self._reference.heard(frame.samples)
        self._make_up(self._reference.missed)
        self._note(self._far)
        return self._silent_frames > self._rest_frames

    def _note(self, far: Samples) -> None:
        """One more frame of the reference."""
        far_db = SILENCE_DB if far is SILENT_FRAME else level_db(power(far))
        self._gate.far.note(far_db)
        self._silent_frames = self._silent_frames + 1 if far_db == SILENCE_DB else 0

    def _cancel(self, mic: Samples) -> Samples:
        """Take the echo out, and judge what is left."""
        near = self._canceller.process(mic, self._far)
        estimate, mic_power, self.near_power = power(mic - near), power(mic), power(near)
        louder = self.near_power > mic_power * _LOUDER_MAX
        if louder:
            near, self.near_power = mic, mic_power
        reliable = not louder and self._unsettled_frames == 0
        self.echo_only = self._gate.far.active and self._gate.echo_only(mic_power, self.near_power, estimate, reliable=reliable)
        return near

    def _make_up(self, missed: list[Samples]) -> None:
        """The far end began before this frame: let the canceller have what it missed, against the near end of that time."""
        self._unsettled_frames = _UNSETTLED_FRAMES if missed else max(0, self._unsettled_frames - 1)
        for near, far in zip(list(self._past)[MISSED_FRAMES_MAX - len(missed) :], missed, strict=True):
            self._note(far)
            self._canceller.process(near, far)

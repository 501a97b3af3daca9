"""The near end of one session, frame by frame: from the client's audio to the recogniser's audio, edges and evidence.

Theory of operation. Everything here is data plane: synchronous, bounded, no tasks, no clock. One call takes one message of
the client and does, for each 20 ms frame that it completes,

    Framer      any rate, any length            -> 320 samples at 16 kHz with their place on the capture clock and on the far end's
    Reference   the far end's place             -> what the loudspeaker rendered meanwhile
    near end    near end, reference             -> the linear near end; is it echo?
    detector    the linear near end             -> is there speech in it?
    Segmenter   voiced frames                   -> edges
    held back   the linear near end             -> what the recogniser hears: all of the user, nothing that is surely our own voice

Only edges and evidence reach the core.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable

import numpy as np

from voicefsm.aec.metrics import SILENCE_DB, level_db
from voicefsm.aec.reference import Reference
from voicefsm.aec.settings import AecSettings
from voicefsm.audio.frame import AudioSettings, Framer
from voicefsm.audio.samples import FRAME_MS, RATE_HZ, SAMPLES_PER_MS, SILENT_FRAME, Samples
from voicefsm.events import UNKNOWN_SWING_DB, Evidence
from voicefsm.ports import EchoCanceller, VoiceDetector
from voicefsm.runtime.near_end import NearEnd, near_end
from voicefsm.vad.floor import NoiseFloor
from voicefsm.vad.segmenter import Edge, EdgeKind, Segmenter
from voicefsm.vad.settings import VadSettings

_STRETCH_FRAMES = 1000 // FRAME_MS
_ECHO_FOR_SURE = 0.1
"""Less likely near-end speech than this is none."""
_NONE = Evidence()
_SWING_FRAMES_MIN = 4
"""Fewer voiced frames do not tell speech from a tone."""


@dataclasses.dataclass(frozen=True, slots=True)
class HearingSettings:
    """What the near end is made of. The parts belong to the packages that use them; each is a section of the configuration."""

    audio: AudioSettings = AudioSettings()
    vad: VadSettings = VadSettings()
    aec: AecSettings = AecSettings()


@dataclasses.dataclass(frozen=True, slots=True)
class HeardEdge:
    """Near-end speech began, or is over.

    Times come twice: as media time, and as their distance from the end of the audio of this call. The session subtracts the latter
    from *now* to place the edge on the clock of the core.
    """

    kind: EdgeKind
    onset_ms: int
    """Media time at which the first voiced frame begins."""
    onset_ago_ms: int
    last_voiced_ms: int
    """Media time at which the last voiced frame ends."""
    last_voiced_ago_ms: int
    evidence: Evidence


@dataclasses.dataclass(slots=True)
class Heard:
    """What one message of the client's audio came to. Not frozen: see `AudioFrame`."""

    samples: Samples
    """For the recogniser: 16 kHz, shape (n * 320,), may be empty; silence while deaf."""
    edges: tuple[HeardEdge, ...]
    voiced_ms: int
    """How much of the stretch of speech at the end of the audio is voiced; 0: nobody speaks. For more see `Hearing.evidence`."""
    skipped_ms: int
    """Media time that was skipped before these samples because the client's clock jumped further than silence is filled in."""
    is_voiced: bool
    """There is speech in these samples, as far as the detector can tell."""


class _Stretch:
    """The voiced frames of a stretch of speech, the last second of them: a noise that opened it must not hide the user."""

    def __init__(self) -> None:
        self._powers: deque[float] = deque(maxlen=_STRETCH_FRAMES)
        self._speech: deque[float] = deque(maxlen=_STRETCH_FRAMES)

    def begin(self) -> None:
        """Another stretch may begin."""
        if self._powers:
            self._powers.clear()
            self._speech.clear()

    def add(self, power: float, speech: float) -> None:
        """One voiced frame: its mean square, and how likely it is speech."""
        self._powers.append(power)
        self._speech.append(speech)

    @property
    def mean_db(self) -> int:
        """The mean level."""
        return level_db(sum(self._powers) / len(self._powers)) if self._powers else SILENCE_DB

    @property
    def swing_db(self) -> int:
        """How far the loudest frame is above the mean."""
        return level_db(max(self._powers)) - self.mean_db if len(self._powers) >= _SWING_FRAMES_MIN else UNKNOWN_SWING_DB

    @property
    def speech_pct(self) -> int:
        """The mean probability of speech."""
        return round(100 * sum(self._speech) / len(self._speech)) if self._speech else 0


class _HeldBack:
    """What the recogniser gets a little later, because it may be nothing but our own voice.

    A recogniser makes words even of an echo 40 dB below the user. So while the far end is audible a frame waits: once somebody
    speaks, all that waited goes out as it is, and no syllable is missing; what nobody spoke into in time goes out silent.
    """

    def __init__(self, frames_max: int) -> None:
        self._frames_max = frames_max
        self._waiting: deque[tuple[Samples, bool]] = deque()

    def let_through(self, frame: Samples, ear: NearEnd, *, is_near: bool) -> list[Samples]:
        """Take one frame; return those whose time has come."""
        if not self._waiting and (is_near or not ear.far_active):
            return [frame]
        if is_near or not self._frames_max:
            out = [waited for waited, _ in self._waiting]
            self._waiting.clear()
            return [*out, frame]
        self._waiting.append((frame, ear.far_active and ear.speech < _ECHO_FOR_SURE))
        keep = self._frames_max if ear.far_active else 0
        out = []
        while len(self._waiting) > keep:
            waited, is_echo = self._waiting.popleft()
            out.append(SILENT_FRAME if is_echo else waited)
        return out


class Hearing:
    """The near end of one session."""

    def __init__(
        self,
        settings: HearingSettings,
        *,
        canceller: EchoCanceller,
        detector: VoiceDetector,
        reference: Reference,
        input_rate_hz: int,
        client_echo_cancellation: bool = False,
        ear_at: Callable[[int], int] = lambda _ms: 0,
    ) -> None:
        """Owns `canceller` from now on. With `client_echo_cancellation` neither it nor the reference is used.

        `ear_at` tells by our own clock which far-end sample was heard so many milliseconds ago.
        """
        self._framer = Framer(input_rate_hz, reference.rate_hz, settings.audio)
        self._rate_hz = input_rate_hz
        self._ear = near_end(settings.aec, canceller, reference, trusted=client_echo_cancellation)
        self._detector = detector
        self._floor, self._level_db_min = NoiseFloor(settings.vad), settings.vad.level_db_min
        self._segmenter = Segmenter(settings.vad)
        self._canceller, self._reference = canceller, reference
        self._ear_at, self._has_heard = ear_at, False
        self._stretch = _Stretch()
        self._is_voiced = False
        self._held_back = _HeldBack(settings.aec.recogniser_hold_ms // FRAME_MS if self._ear.hears_speech else 0)

    def hear(self, samples: Samples, capture_sample: int, far_end_sample: int | None, *, deaf: bool = False) -> Heard:
        """Take one message: `samples` at the input rate, shape (n,), 10 to 200 ms.

        `capture_sample` is the position of the first one on the capture clock (input rate); `far_end_sample` that of the far-end
        sample that left the loudspeaker at that moment (output rate), None when nobody knows: a far end that was advancing is
        then taken to go on. `deaf` gives the recogniser silence and starts no edge; one that is open still ends.
        Raises `InvalidMessage` when `capture_sample` steps back.
        """
        skipped, self._is_voiced = self._framer.skipped_samples, False
        frames = self._framer.push(samples, capture_sample, far_end_sample)
        if not self._has_heard or self._framer.skipped_samples > skipped:
            self._has_heard = True
            self._reference.catch_up(self._ear_at(len(frames) * FRAME_MS))
        end = (capture_sample + len(samples)) * RATE_HZ // self._rate_hz
        linear: list[Samples] = []
        edges: list[HeardEdge] = []
        for frame in frames:
            near = self._ear.take(frame)
            edge = self._segment(frame.capture_sample, near, deaf=deaf)
            if edge is not None:
                edges.append(self._heard(edge, end))
            linear += self._held_back.let_through(SILENT_FRAME if deaf else near, self._ear, is_near=self._segmenter.is_near)
        skipped_ms = (self._framer.skipped_samples - skipped) // SAMPLES_PER_MS
        return Heard(_joined(linear), tuple(edges), self._segmenter.voiced_ms, skipped_ms, self._is_voiced)

    @property
    def evidence(self) -> Evidence:
        """What is known of the speech in progress; nothing where there is none."""
        voiced_ms = self._segmenter.voiced_ms
        return self._evidence(voiced_ms) if voiced_ms else _NONE

    @property
    def erle_db(self) -> int:
        """What the canceller achieves; 0 while unknown."""
        return self._ear.erle_db

    def close(self) -> None:
        """Free the canceller. Harmless twice."""
        self._canceller.close()

    def _segment(self, capture_sample: int, near: Samples, *, deaf: bool) -> Edge | None:
        """Does this frame begin or end a stretch of speech?"""
        ear = self._ear
        echo_only = ear.echo_only if self._segmenter.speaking else not ear.may_be_onset
        voiced = self._is_loud() and not deaf and not echo_only and self._is_voice(near)
        self._is_voiced = self._is_voiced or voiced
        if voiced:
            self._stretch.add(ear.near_power, ear.speech)
        elif not self._segmenter.is_near:
            self._stretch.begin()
        return self._segmenter.feed(capture_sample, voiced=voiced, echo_only=echo_only, far_active=ear.far_active)

    def _is_loud(self) -> bool:
        """Is the frame loud enough to be speech? A network knows better than a floor, which has to see every frame."""
        ear = self._ear
        return ear.near_db >= self._level_db_min if ear.hears_speech else self._floor.exceeds(ear.near_db)

    def _is_voice(self, near: Samples) -> bool:
        """Is there a voice in it? The detector has a say, unless a far end disturbs it and a network has spoken."""
        ear = self._ear
        return (ear.hears_speech and ear.far_active and not ear.is_for_detector) or self._detector.is_speech(near)

    def _heard(self, edge: Edge, end: int) -> HeardEdge:
        """An edge, in milliseconds; `end` is the end of the audio on the capture clock."""
        return HeardEdge(
            kind=edge.kind,
            onset_ms=max(0, edge.onset_sample) // SAMPLES_PER_MS,
            onset_ago_ms=max(0, end - edge.onset_sample) // SAMPLES_PER_MS,
            last_voiced_ms=edge.last_voiced_sample // SAMPLES_PER_MS,
            last_voiced_ago_ms=max(0, end - edge.last_voiced_sample) // SAMPLES_PER_MS,
            evidence=self._evidence(edge.voiced_ms),
        )

    def _evidence(self, voiced_ms: int) -> Evidence:
        ear = self._ear
        stretch = self._stretch
        return Evidence(
            voiced_ms=voiced_ms,
            near_db=stretch.mean_db if voiced_ms else ear.near_db,
            far_db=ear.far_db,
            erle_db=ear.erle_db,
            echo_db=ear.echo_db,
            gate_pct=stretch.speech_pct if voiced_ms and ear.far_active else 100,
            swing_db=stretch.swing_db if voiced_ms else UNKNOWN_SWING_DB,
        )


def _joined(frames: list[Samples]) -> Samples:
    """One array of all frames; the frame itself when it is the only one."""
    if len(frames) == 1:
        return frames[0]
    return np.concatenate(frames) if frames else SILENT_FRAME[:0]

"""The near end of one session, frame by frame: from the client's audio to the recogniser's audio, edges and evidence.

Theory of operation. Everything here is data plane: synchronous, bounded, no tasks, no clock. One call takes one message of
the client and does, for each 20 ms frame that it completes,

    Framer      any rate, any length            -> 320 samples at 16 kHz with their place on the capture clock and on the far end's
    Reference   the far end's place             -> what the loudspeaker rendered meanwhile
    canceller   near end, reference             -> the linear near end, which is what the recogniser hears, always
    EchoGate    levels before, after, reference -> can residual echo explain what is left?
    detector    the linear near end             -> is there speech in it?
    Segmenter   voiced frames                   -> edges

The canceller rests while the reference has been silent for longer than any echo: it would add nothing, and cost the most.
Only edges and evidence reach the core.
"""

from __future__ import annotations

import dataclasses
from collections import deque

import numpy as np

from voicefsm.aec.gate import EchoGate
from voicefsm.aec.metrics import SILENCE_DB, level_db, power
from voicefsm.aec.reference import MISSED_FRAMES_MAX, Reference
from voicefsm.aec.settings import AecSettings
from voicefsm.audio.frame import AudioFrame, AudioSettings, Framer
from voicefsm.audio.samples import FRAME_MS, RATE_HZ, SAMPLES_PER_MS, SILENT_FRAME, Samples
from voicefsm.events import Evidence
from voicefsm.ports import EchoCanceller, VoiceDetector
from voicefsm.vad.floor import NoiseFloor
from voicefsm.vad.segmenter import Edge, EdgeKind, Segmenter
from voicefsm.vad.settings import VadSettings

_LOUDER_MAX = 1.25
"""A canceller whose output has this much more power than its input subtracts an echo that is not there: the loudspeaker stopped."""
_UNSETTLED_FRAMES = 100 // FRAME_MS
"""After the far end began, what it rendered before its first report still reverberates without a reference."""
_VOICED_AVERAGE = 1 / 4
"""Share of the newest voiced frame in the level of a stretch of speech."""


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


@dataclasses.dataclass(frozen=True, slots=True)
class Heard:
    """What one message of the client's audio came to."""

    samples: Samples
    """For the recogniser: 16 kHz, shape (n * 320,), may be empty; silence while deaf."""
    edges: tuple[HeardEdge, ...]
    evidence: Evidence
    """What is known at the end of the audio."""
    skipped_ms: int
    """Media time that was skipped before these samples because the client's clock jumped further than silence is filled in:
    later word times of the recogniser are early by the sum of these."""


class _EchoFree:
    """The near end without our own voice, and what is known about it after each frame."""

    near_power = 0.0
    near_db = SILENCE_DB
    echo_only = False
    """Residual echo explains what is left of the frame."""

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
        return self._gate.far_active

    @property
    def far_db(self) -> int:
        """The loudest recent level of the reference."""
        return self._gate.far_db

    @property
    def erle_db(self) -> int:
        """What the canceller achieves."""
        return self._gate.erle_db

    def take(self, frame: AudioFrame) -> Samples:
        """Take one frame; return it without echo."""
        near = frame.samples
        if self._trusted or self._rests(frame):
            self.near_power, self.echo_only = power(near), False
        else:
            near = self._cancel(near)
        self._past.append(frame.samples)
        self.near_db = level_db(self.near_power)
        return near

    def _rests(self, frame: AudioFrame) -> bool:
        """Fetch the reference; has it been silent for so long that there is no echo to cancel?"""
        self._far = self._reference.rendered(frame.far_end_sample)
        self._make_up(self._reference.missed)
        self._note(self._far)
        return self._silent_frames > self._rest_frames

    def _note(self, far: Samples) -> None:
        """One more frame of the reference."""
        far_db = SILENCE_DB if far is SILENT_FRAME else level_db(power(far))
        self._gate.hear_far_end(far_db)
        self._silent_frames = self._silent_frames + 1 if far_db == SILENCE_DB else 0

    def _cancel(self, mic: Samples) -> Samples:
        """Take the echo out, and judge what is left."""
        near = self._canceller.process(mic, self._far)
        estimate, mic_power, self.near_power = power(mic - near), power(mic), power(near)
        louder = self.near_power > mic_power * _LOUDER_MAX
        if louder:
            near, self.near_power = mic, mic_power
        reliable = not louder and self._unsettled_frames == 0
        self.echo_only = self._gate.far_active and self._gate.echo_only(mic_power, self.near_power, estimate, reliable=reliable)
        return near

    def _make_up(self, missed: list[Samples]) -> None:
        """The far end began before this frame: let the canceller have what it missed, against the near end of that time."""
        self._unsettled_frames = _UNSETTLED_FRAMES if missed else max(0, self._unsettled_frames - 1)
        for near, far in zip(list(self._past)[MISSED_FRAMES_MAX - len(missed) :], missed, strict=True):
            self._note(far)
            self._canceller.process(near, far)


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
    ) -> None:
        """Owns `canceller` from now on. With `client_echo_cancellation` neither it nor the reference is used."""
        self._framer = Framer(input_rate_hz, reference.rate_hz, settings.audio)
        self._rate_hz = input_rate_hz
        self._ear = _EchoFree(settings.aec, canceller, reference, trusted=client_echo_cancellation)
        self._detector = detector
        self._floor = NoiseFloor(settings.vad)
        self._segmenter = Segmenter(settings.vad)
        self._canceller = canceller
        self._voiced_power = 0.0
        """Recent power of the voiced frames of the stretch in progress."""

    def hear(self, samples: Samples, capture_sample: int, far_end_sample: int | None, *, deaf: bool = False) -> Heard:
        """Take one message: `samples` at the input rate, shape (n,), 10 to 200 ms.

        `capture_sample` is the position of the first one on the capture clock (input rate); `far_end_sample` that of the far-end
        sample that left the loudspeaker at that moment (output rate), None when nobody knows: a far end that was advancing is
        then taken to go on. `deaf` gives the recogniser silence and starts no edge; one that is open still ends.
        Raises `InvalidMessage` when `capture_sample` steps back.
        """
        skipped = self._framer.skipped_samples
        frames = self._framer.push(samples, capture_sample, far_end_sample)
        end = (capture_sample + len(samples)) * RATE_HZ // self._rate_hz
        linear: list[Samples] = []
        edges: list[HeardEdge] = []
        for frame in frames:
            near = self._ear.take(frame)
            linear.append(SILENT_FRAME if deaf else near)
            edge = self._segment(frame.capture_sample, near, deaf=deaf)
            if edge is not None:
                edges.append(self._heard(edge, end))
        skipped_ms = (self._framer.skipped_samples - skipped) // SAMPLES_PER_MS
        return Heard(_joined(linear), tuple(edges), self._evidence(self._segmenter.voiced_ms), skipped_ms)

    def close(self) -> None:
        """Free the canceller. Harmless twice."""
        self._canceller.close()

    def _segment(self, capture_sample: int, near: Samples, *, deaf: bool) -> Edge | None:
        """Does this frame begin or end a stretch of speech?"""
        ear = self._ear
        loud = self._floor.exceeds(ear.near_db)
        voiced = loud and not deaf and not ear.echo_only and self._detector.is_speech(near)
        if voiced:
            share = _VOICED_AVERAGE if self._segmenter.speaking else 1.0
            self._voiced_power += (ear.near_power - self._voiced_power) * share
        return self._segmenter.feed(capture_sample, voiced=voiced, echo_only=ear.echo_only, far_active=ear.far_active)

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
        near_db = level_db(self._voiced_power) if voiced_ms else ear.near_db
        return Evidence(voiced_ms=voiced_ms, near_db=near_db, far_db=ear.far_db, erle_db=ear.erle_db)


def _joined(frames: list[Samples]) -> Samples:
    """One array of all frames; the frame itself when it is the only one."""
    if len(frames) == 1:
        return frames[0]
    return np.concatenate(frames) if frames else SILENT_FRAME[:0]

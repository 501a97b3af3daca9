"""A scene: what the server sent, what the microphone heard, and the truth about it.

Theory of operation. Each part of a scene (far end, talker, room noise) draws from a random stream of its own, so that a change of
delay, drift, level or room leaves words, speakers and times as they are: a sweep over one factor compares like with like.

    far end -> loudspeaker -> delay, drift, jump -> room -+
    talker  -----------------------------------> room -> + -> channel -> microphone
    noise ------------------------------------------------+

The bulk delay is taken from the network and the devices; the way through the room comes on top of it.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from typing import NamedTuple

import numpy as np

from voicefsm.acoustics import loudspeaker
from voicefsm.acoustics.delay import Delay, read
from voicefsm.acoustics.loudspeaker import Distortion
from voicefsm.acoustics.rooms import Responses, random_room, responses
from voicefsm.acoustics.signals import Signal, at_active_level, floats, pcm, room_noise, through
from voicefsm.audio import mulaw
from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, Samples
from voicefsm.bench.echo.voices import Cast, Recordings, Speaker

_FIRST_TURN_S = 0.5
_LAST_S = 1.0
"""Nothing new begins or plays so close to the end."""
_TURN_GAP_S = (1.0, 2.0)
_SENTENCE_GAP_S = (0.15, 0.45)
_BARGE_IN_AFTER_S = (0.4, 2.0)
"""Of a turn."""
_BARGE_IN_GAP_S = (3.8, 5.0)
_BARGE_IN_BEFORE_END_S = 1.6
_NEAR_ONLY_EVERY_S = 4.5
_REVERBERATION_S = 0.3
"""How much of its own reverberation an utterance of the talker keeps."""
_BABBLERS = 4
_LOST_FRAMES_MEAN = 2.0
"""Frames are lost in bursts of this mean length."""


class Kind(enum.StrEnum):
    """Who speaks in a scene."""

    FAR = "far"
    """The far end only."""
    DOUBLE = "double"
    """The far end, interrupted in every turn but the first, which lets a canceller converge."""
    COLD = "cold"
    """The far end, interrupted in its first turn."""
    NEAR = "near"
    """The talker only."""


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """Everything that makes a scene; the seed decides the rest."""

    seed: int
    kind: Kind = Kind.FAR
    seconds: float = 60.0
    room: int = 0
    """Seed of the room."""
    rt60_s: float = 0.4
    delay_ms: float = 120.0
    """Bulk delay from the reference to the microphone."""
    drift_ppm: float = 0.0
    jump_ms: float = 0.0
    """Added to the delay half-way through the scene."""
    distortion: Distortion = Distortion.MILD
    echo_db: float = -30.0
    """Active level of the echo at the microphone, dB full scale."""
    near_to_echo_db: float = 0.0
    """Level of the talker relative to the echo."""
    noise_db: float = -65.0
    babble: bool = False
    """The noise is people who talk elsewhere in the room."""
    loss: float = 0.0
    """Share of the microphone's frames that are lost on the way, in bursts, and come as silence."""
    mulaw: bool = False
    """The microphone's signal is coded in mu-law."""

    @property
    def delay(self) -> Delay:
        """The bulk delay over the scene."""
        return Delay(self.delay_ms, self.drift_ppm, self.jump_ms, jump_at_s=self.seconds / 2)


class Stretch(NamedTuple):
    """A turn of the far end or an utterance of the talker, as the microphone hears it."""

    start_s: float
    end_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """16 kHz; all signals have the shape of `mic`, a whole number of frames."""

    condition: Condition
    far: Samples
    """The reference, as the server sent it."""
    mic: Samples
    near: Signal
    """The talker at the microphone, in the room, without echo and noise."""
    echo: Signal
    """The echo at the microphone."""
    near_speech: tuple[Stretch, ...]
    far_turns: tuple[Stretch, ...]
    """With half of the room's reverberation time after each."""
    delay: Signal
    """The bulk delay in samples, at each sample."""


class Studio:
    """Builds scenes with one cast."""

    def __init__(self, recordings: Recordings, cast: Cast) -> None:
        """Every line of `cast` is prepared in `recordings`."""
        self._recordings, self._cast = recordings, cast

    def build(self, condition: Condition) -> Scene:
        """The scene of a condition: always the same."""
        samples = int(condition.seconds * RATE_HZ) // FRAME_SAMPLES * FRAME_SAMPLES
        echo_way, near_way = _responses(condition.room, condition.rt60_s)
        far, turns = self._far_end(condition, samples)
        delay = condition.delay.samples(0, samples)
        echo = self._echo(condition, far, delay, echo_way)
        near, spoken = self._talker(condition, samples, turns, near_way)
        heard = near + echo + self._noise(condition, samples)
        return Scene(
            condition=condition,
            far=far,
            mic=_channel(condition, pcm(heard)),
            near=near,
            echo=echo,
            near_speech=spoken,
            far_turns=tuple(_at_microphone(turn, condition, delay) for turn in turns),
            delay=delay,
        )

    def _far_end(self, condition: Condition, samples: int) -> tuple[Samples, list[Stretch]]:
        """Turns of one or two sentences with pauses between them; the times are those of the server."""
        random = np.random.default_rng([condition.seed, 1])
        far = np.zeros(samples)
        turns: list[Stretch] = []
        at, room = int(_FIRST_TURN_S * RATE_HZ), samples - int(_LAST_S * RATE_HZ)
        while condition.kind is not Kind.NEAR:
            turn = self._turn(random)
            if at + len(turn) > room:
                if turns or at >= room:
                    break
                turn = turn[: room - at]  # a scene shorter than its first turn
            far[at : at + len(turn)] = turn
            turns.append(Stretch(at / RATE_HZ, (at + len(turn)) / RATE_HZ))
            at += len(turn) + int(random.uniform(*_TURN_GAP_S) * RATE_HZ)
        return pcm(far), turns

    def _turn(self, random: np.random.Generator) -> Signal:
        speaker = self._cast.far[random.integers(len(self._cast.far))]
        parts: list[Signal] = []
        for _ in range(random.integers(1, 3)):
            parts += [self._say(random, speaker, self._cast.far_texts), np.zeros(int(random.uniform(*_SENTENCE_GAP_S) * RATE_HZ))]
        return np.concatenate(parts[:-1])

    def _echo(self, condition: Condition, far: Samples, delay: Signal, way: Signal) -> Signal:
        if condition.kind is Kind.NEAR:
            return np.zeros(len(far))
        rendered = loudspeaker.played(floats(far), condition.distortion)
        return at_active_level(through(read(rendered, np.arange(len(far)) - delay), way), condition.echo_db)

    def _talker(self, condition: Condition, samples: int, turns: list[Stretch], way: Signal) -> tuple[Signal, tuple[Stretch, ...]]:
        """The talker's speech, each utterance at its level, and when it sounds: from its direct path on."""
        random = np.random.default_rng([condition.seed, 2])
        near = np.zeros(samples)
        spoken: list[Stretch] = []
        for start_s in _onsets(random, condition, turns):
            speaker = self._cast.near[random.integers(len(self._cast.near))]
            dry = self._say(random, speaker, self._cast.near_short if random.random() < 0.5 else self._cast.near_long)  # noqa: PLR2004
            wet = through(np.concatenate((dry, np.zeros(int(_REVERBERATION_S * RATE_HZ)))), way)
            at = int(start_s * RATE_HZ)
            if at + len(wet) > samples:
                break
            near[at : at + len(wet)] += at_active_level(wet, condition.echo_db + condition.near_to_echo_db)
            first = at + int(np.argmax(np.abs(way)))
            spoken.append(Stretch(first / RATE_HZ, (first + len(dry)) / RATE_HZ))
        return near, tuple(spoken)

    def _say(self, random: np.random.Generator, speaker: Speaker, texts: tuple[str, ...]) -> Signal:
        return self._recordings.utterance(speaker, texts[random.integers(len(texts))])

    def _noise(self, condition: Condition, samples: int) -> Signal:
        random = np.random.default_rng([condition.seed, 3])
        if not condition.babble:
            return room_noise(random, samples, condition.noise_db)
        voices = np.zeros(samples)
        for _ in range(_BABBLERS):
            speaker = self._cast.near[random.integers(len(self._cast.near))]
            parts: list[Signal] = []
            while sum(map(len, parts)) < samples:
                parts.append(self._say(random, speaker, self._cast.near_long))
            voices += np.concatenate(parts)[:samples]
        far_away = _responses(condition.room + 1_000_000, 0.7).near
        return at_active_level(through(voices, far_away), condition.noise_db)


@functools.lru_cache(maxsize=256)
def _responses(room: int, rt60_s: float) -> Responses:
    return responses(random_room(room, rt60_s))


def _onsets(random: np.random.Generator, condition: Condition, turns: list[Stretch]) -> list[float]:
    """When the talker begins, in seconds at the microphone; the far end's turns are given in the server's time."""
    if condition.kind is Kind.NEAR:
        return list(np.arange(1.0, condition.seconds - 5.0, _NEAR_ONLY_EVERY_S))
    if condition.kind is Kind.FAR:
        return []
    late_s = (condition.delay_ms + max(condition.jump_ms, 0.0)) / 1000
    if condition.kind is Kind.COLD:
        return [turns[0].start_s + random.uniform(*_BARGE_IN_AFTER_S) + late_s]
    onsets: list[float] = []
    for turn in turns[1:]:
        at = turn.start_s + random.uniform(*_BARGE_IN_AFTER_S)
        while at < turn.end_s - _BARGE_IN_BEFORE_END_S:
            onsets.append(at + late_s)
            at += random.uniform(*_BARGE_IN_GAP_S)
    return onsets


def _at_microphone(turn: Stretch, condition: Condition, delay: Signal) -> Stretch:
    """When the echo of a turn sounds."""
    at = min(int((turn.start_s + condition.delay_ms / 1000) * RATE_HZ), len(delay) - 1)
    late_s = float(delay[at]) / RATE_HZ
    return Stretch(turn.start_s + late_s, turn.end_s + late_s + condition.rt60_s / 2)


def _channel(condition: Condition, mic: Samples) -> Samples:
    """What the way to the server does to the microphone's signal."""
    coded = mulaw.decode(mulaw.encode(mic)) if condition.mulaw else mic
    if not condition.loss:
        return coded
    random = np.random.default_rng([condition.seed, 4])
    frames = coded.reshape(-1, FRAME_SAMPLES).copy()
    bursts = int(len(frames) * condition.loss / _LOST_FRAMES_MEAN)
    for at, length in zip(random.integers(len(frames), size=bursts), random.geometric(1 / _LOST_FRAMES_MEAN, bursts), strict=True):
        frames[at : at + length] = 0
    return frames.ravel()

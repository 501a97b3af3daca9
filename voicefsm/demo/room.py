"""The room the user sits in: a loudspeaker with a clock and a delay of its own, and a microphone that hears it.

    what the player hands over -> device (own clock, delay) -> loudspeaker -> room -> microphone <- the user, and quiet noise

Theory of operation. The microphone's clock is the line's. The loudspeaker's is `drift_ppm` slower, so it asks the player for 320
samples a frame, or for one less (one more, where it is faster) whenever a whole sample has come together; what it plays is read
back onto the microphone's clock between samples. Of the delay until a sample is in the air the client knows what a sound card
tells it, `known_ms`, and reports its playout that much later; the rest, which no client is told of (a radio link, a television's
picture processing, a driver that is wrong), the server has to find or to live with. Whoever speaks sits at the microphone, dry.

Everything follows from the room and its seed; no clock, no chance.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from voicefsm.acoustics.delay import HALF_SAMPLES, Delay, read
from voicefsm.acoustics.echo_path import EchoPath
from voicefsm.acoustics.rooms import RT60_S_MAX, RT60_S_MIN, random_room, responses
from voicefsm.acoustics.signals import Signal, floats, pcm, room_noise
from voicefsm.audio.samples import FRAME_SAMPLES, SAMPLES_PER_MS, Samples
from voicefsm.errors import SettingsError

UNKNOWN_MS = 20.0
"""What a sound card forgets of its delay, unless the room says otherwise …"""
KNOWN_MS_MAX = 150.0
"""… and the most it tells of: what lies beyond its own buffers it has not heard of."""
NOISE_DB = -70.0
"""A quiet room, dB full scale."""
_NOISE_SAMPLES = 512 * FRAME_SAMPLES
"""Then the noise begins again."""
_LATE_SAMPLES = HALF_SAMPLES + 2
"""A loudspeaker with another clock plays so much later: reading between samples takes the samples around."""


@dataclasses.dataclass(frozen=True, slots=True)
class Room:
    """What lies between the loudspeaker and the microphone."""

    name: str
    echo_loss_db: float = 12.0
    """Echo return loss: how far below what is rendered its echo lies at the microphone."""
    delay_ms: float = 80.0
    """From the player to the air, without the sound's own way."""
    known_ms: float = 60.0
    """So much of it the client knows."""
    drift_ppm: float = 50.0
    """The loudspeaker's clock is this much slower than the microphone's."""
    rt60_s: float = 0.35
    """The time in which sound decays by 60 dB."""
    seed: int = 1
    """Of walls, places and noise."""

    def told(self) -> str:
        """The room in a few words."""
        return f"{self.name} (echo {self.echo_loss_db:g} dB down, {self.delay_ms:g} ms late, {self.drift_ppm:g} ppm)"


DEFAULT = "office"
NONE = "none"
"""The name of a line without echo."""
PRESETS: Final[Mapping[str, Room]] = {
    DEFAULT: Room(DEFAULT),
    "living": Room("living", echo_loss_db=8, delay_ms=150, known_ms=100, drift_ppm=-50, rt60_s=0.5, seed=2),
    "near": Room("near", echo_loss_db=6, delay_ms=40, known_ms=20, rt60_s=0.25, seed=3),
}
"""A desk with a loudspeaker on it; a television across the room; a laptop, whose loudspeaker is beside its microphone."""

_KEYS: Final[Mapping[str, tuple[str, float, float]]] = {
    "erl": ("echo_loss_db", 0, 60),
    "delay": ("delay_ms", 0, 500),
    "known": ("known_ms", 0, 500),
    "drift": ("drift_ppm", -500, 500),
    "rt60": ("rt60_s", RT60_S_MIN, RT60_S_MAX),
    "seed": ("seed", 0, 2**31),
}
"""What a person may write: field, lowest and highest value."""


def parse(text: str) -> Room | None:
    """`office`, `erl=10,delay=120,drift=50`, or `living,seed=7`; None for `none`.

    Raises `SettingsError` on anything else.
    """
    if text == NONE:
        return None
    parts = [part.strip() for part in text.split(",")]
    room = PRESETS.get(parts[0])
    given = dict(_pair(part) for part in (parts[1:] if room else parts))
    if room is None:
        room = dataclasses.replace(PRESETS[DEFAULT], name="room")
    if "delay_ms" in given and "known_ms" not in given:
        given["known_ms"] = min(KNOWN_MS_MAX, max(0.0, given["delay_ms"] - UNKNOWN_MS))
    changed = dataclasses.replace(room, **given)  # type: ignore[arg-type]
    if changed.known_ms > changed.delay_ms:
        raise _wrong(text, f"nobody knows {changed.known_ms:g} ms of {changed.delay_ms:g}")
    return changed


def _pair(part: str) -> tuple[str, float]:
    key, _, value = part.partition("=")
    if key not in _KEYS:
        raise _wrong(part, f'rooms have no "{key}"' if "=" in part else "")
    field, low, high = _KEYS[key]
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise _wrong(part, f"{key} is a number from {low:g} to {high:g}")
    return field, int(number) if field == "seed" else number


def _wrong(text: str, why: str) -> SettingsError:
    return SettingsError(
        f'"{text}" is no room{": " if why else ""}{why}.',
        remedy=f"Give one of {', '.join([*PRESETS, NONE])}, or values as erl=10,delay=120,drift=50 ({', '.join(_KEYS)}).",
    )


class Loudspeaker:
    """A device that takes samples by its own clock."""

    def __init__(self, drift_ppm: float) -> None:
        """`drift_ppm`: how much slower than the microphone's its clock is."""
        self._rate = 1 - drift_ppm * 1e-6
        self._frames = 0
        self._taken = 0
        self._tail: Samples = np.zeros(4 * HALF_SAMPLES, np.int16)
        """The last that it took."""

    @property
    def delay_samples(self) -> int:
        """How much later than taken it plays."""
        return 0 if self._rate == 1 else _LATE_SAMPLES

    def due(self) -> int:
        """How many samples it takes in this frame of the microphone: 320, or about that."""
        return math.floor((self._frames + 1) * FRAME_SAMPLES * self._rate) - self._taken

    def play(self, taken: Samples) -> Samples:
        """Take what is due, shape (due(),); return what it plays in this frame of the microphone, shape (320,)."""
        first, begin = self._frames * FRAME_SAMPLES, self._taken - len(self._tail)
        self._frames += 1
        self._taken += len(taken)
        if self._rate == 1:
            return taken
        line = np.concatenate((self._tail, taken))
        self._tail = line[-len(self._tail) :]
        positions: Signal = np.arange(first, first + FRAME_SAMPLES).astype(np.float64) * self._rate - _LATE_SAMPLES - begin
        return pcm(read(floats(line), positions))


class Air:
    """What the microphone hears."""

    def __init__(self, room: Room, loudspeaker: Loudspeaker) -> None:
        delay_samples = max(0, round(room.delay_ms * SAMPLES_PER_MS) - loudspeaker.delay_samples)
        self._echo = EchoPath(
            responses(random_room(room.seed, room.rt60_s)).echo,
            loss_db=room.echo_loss_db,
            delay=Delay(ms=delay_samples / SAMPLES_PER_MS),
        )
        self._noise = room_noise(np.random.default_rng([room.seed, 7]), _NOISE_SAMPLES, NOISE_DB).reshape(-1, FRAME_SAMPLES)
        self._frames = 0

    def hear(self, voice: Samples, played: Samples) -> Samples:
        """The frame that is captured while the user says `voice` and the loudspeaker plays `played`; all of shape (320,)."""
        noise = self._noise[self._frames % len(self._noise)]
        self._frames += 1
        return pcm(floats(voice) + self._echo.process(played) + noise)

"""Shoebox rooms and their impulse responses.

Theory of operation. Walls mirror the source; each image of it is a pulse that arrives after its distance and is weaker by its
distance and by every wall it was mirrored in (Allen and Berkley's image method). The number of images grows with the cube of time
while each says less and less, so they are counted for the first `_MIXING_S` only. From there on a room is what it is in
statistics, Gaussian noise under an exponential decay, which takes over with the energy that the images had. This takes about ten
milliseconds per room, whatever its reverberation time.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from voicefsm.acoustics.signals import Signal, high_pass, through
from voicefsm.audio.samples import RATE_HZ

RT60_S_MIN, RT60_S_MAX = 0.15, 0.7

_SOUND_M_PER_S = 343.0
_EYRING_S_PER_M = 0.161
_MIXING_S = 0.1
_FADE_S = 0.025
"""Images and noise exchange over this time, which is also where the level of the noise is taken from."""
_FINER = 16
"""Images are placed on a grid so much finer than samples."""
_LOW_CUT_HZ = 80.0
"""All pulses of the image method push; what adds up below this no microphone hears."""
_KEPT = 1.2
"""Responses are as long as this share of the reverberation time."""
_WALL_M = 0.3
"""Nothing stands nearer to a wall."""
_PLACES_MAX = 1000

Place = tuple[float, float, float]
"""Metres from a corner."""


@dataclasses.dataclass(frozen=True, slots=True)
class Room:
    """A shoebox with a microphone, a loudspeaker and a talker."""

    size_m: Place
    microphone: Place
    loudspeaker: Place
    talker: Place
    rt60_s: float
    """The time in which sound decays by 60 dB."""
    seed: int = 0
    """Of the late reverberation."""


class Responses(NamedTuple):
    """How a room sounds at its microphone. Each has unit energy; the direct path comes after its distance."""

    echo: Signal
    """From the loudspeaker."""
    near: Signal
    """From the talker."""


def random_room(seed: int, rt60_s: float | None = None) -> Room:
    """A room of an office or a home: 15 to 120 m³; loudspeaker 0.25-0.9 m and talker 0.5-1.4 m from the microphone.

    The reverberation time is the one given, or anything from 0.15 to 0.7 s.
    """
    random = np.random.default_rng([seed, 5])
    rt60 = random.uniform(RT60_S_MIN, RT60_S_MAX)
    length, width, height = random.uniform(3.0, 7.0), random.uniform(2.6, 5.5), random.uniform(2.4, 3.1)
    microphone = (random.uniform(1.0, length - 1), random.uniform(1.0, width - 1), random.uniform(0.7, 1.1))
    size = (length, width, height)
    return Room(
        size_m=size,
        microphone=microphone,
        loudspeaker=_around(random, size, microphone, (0.25, 0.9), random.uniform(0.8, 1.1)),
        talker=_around(random, size, microphone, (0.5, 1.4), random.uniform(1.1, 1.5)),
        rt60_s=rt60 if rt60_s is None else rt60_s,
        seed=seed,
    )


def _around(random: np.random.Generator, size: Place, centre: Place, distance_m: tuple[float, float], height_m: float) -> Place:
    """A place at some distance, inside the room."""
    for _ in range(_PLACES_MAX):
        angle, distance = random.uniform(0, 2 * math.pi), random.uniform(*distance_m)
        x, y = centre[0] + distance * math.cos(angle), centre[1] + distance * math.sin(angle)
        if _WALL_M < x < size[0] - _WALL_M and _WALL_M < y < size[1] - _WALL_M:
            return x, y, height_m
    raise AssertionError("a microphone a metre from the walls has room around it")


def responses(room: Room) -> Responses:
    """The impulse responses of a room, as long as 1.2 times its reverberation time."""
    return Responses(_response(room, room.loudspeaker, 1), _response(room, room.talker, 2))


def _response(room: Room, source: Place, stream: int) -> Signal:
    """From `source` to the microphone; the late part comes from the random stream of that number."""
    early_s = min(_MIXING_S, _KEPT * room.rt60_s)
    early = through(_pulses(*_images(room, source, early_s), early_s), high_pass(_LOW_CUT_HZ))
    samples = int(_KEPT * room.rt60_s * RATE_HZ)
    response = np.concatenate((early, np.zeros(max(0, samples - len(early)))))
    if samples > len(early):
        _reverberate(response, len(early), room.rt60_s, np.random.default_rng([room.seed, 6, stream]))
    return np.asarray(response / np.sqrt(np.sum(np.square(response))))


def _images(room: Room, source: Place, within_s: float) -> tuple[Signal, Signal]:
    """Delay in seconds and strength of every image that is heard within a time; both shape (images,)."""
    reach_m = within_s * _SOUND_M_PER_S
    reflection = math.sqrt(1 - _absorption(room))
    squares: Signal = np.zeros(1)
    walls: Signal = np.zeros(1)
    for size, at, ear in zip(room.size_m, source, room.microphone, strict=True):
        across, mirrored = _line(size, at, ear, reach_m)
        squares = np.add.outer(squares, np.square(across)).ravel()
        walls = np.add.outer(walls, mirrored).ravel()
        near = squares < reach_m**2
        squares, walls = squares[near], walls[near]
    distances: Signal = np.sqrt(squares)
    return distances / _SOUND_M_PER_S, np.asarray(reflection**walls / distances)


def _line(size_m: float, at_m: float, ear_m: float, reach_m: float) -> tuple[Signal, Signal]:
    """The images in one dimension: their distance from the ear, and in how many walls each was mirrored."""
    last = math.ceil(reach_m / size_m) + 1
    rooms: Signal = np.arange(-last, last + 1).astype(np.float64)
    odd = rooms % 2 == 1
    return rooms * size_m + np.where(odd, size_m - at_m, at_m) - ear_m, np.abs(rooms)


def _absorption(room: Room) -> float:
    """The share of energy that a wall takes, by Eyring's formula."""
    length, width, height = room.size_m
    volume, surface = length * width * height, 2 * (length * width + length * height + width * height)
    return 1 - math.exp(-_EYRING_S_PER_M * volume / (surface * room.rt60_s))


def _pulses(delays_s: Signal, strengths: Signal, length_s: float) -> Signal:
    """Band-limited pulses: on the finer grid each is one point, and only the spectrum below 8 kHz is kept."""
    samples = int(length_s * RATE_HZ)
    fine = np.bincount((delays_s * RATE_HZ * _FINER).astype(np.int64), strengths, minlength=2 * samples * _FINER)
    spectrum = np.fft.rfft(fine[: 2 * samples * _FINER])[: samples + 1]
    edge = np.arange(samples + 1) / samples
    spectrum *= 0.5 + 0.5 * np.cos(np.pi * np.clip((edge - 0.9) / 0.1, 0, 1))
    return np.fft.irfft(spectrum, 2 * samples)[:samples]


def _reverberate(response: Signal, early: int, rt60_s: float, random: np.random.Generator) -> None:
    """Let noise take over at the end of the `early` samples, in place."""
    fade = int(_FADE_S * RATE_HZ)
    time_s = np.arange(len(response) - early + fade) / RATE_HZ
    noise = random.standard_normal(len(time_s)) * 10 ** (-3 * time_s / rt60_s)
    overlap = response[early - fade : early]
    noise *= np.sqrt(np.sum(np.square(overlap)) / np.sum(np.square(noise[:fade])))
    turn = np.linspace(0, np.pi / 2, fade)
    overlap *= np.cos(turn)
    noise[:fade] *= np.sin(turn)
    response[early - fade :] += noise

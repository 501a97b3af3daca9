"""Voices of users: flite and espeak-ng as programs, where they are installed, and else a hum in the rhythm of speech.

The programs run by themselves, one text at a time; nothing of them is loaded. The hum is no speech, but voice detectors take it for
speech: with it the set can be made anywhere, and what it says of latencies holds, while what it says of voices does not.
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import tempfile
import wave
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from voicefsm.acoustics.signals import Signal, at_active_level, floats
from voicefsm.audio.samples import RATE_HZ

LEVEL_DB = -26.0
"""Active level of a user's speech, dB full scale."""
SPEAK_S_MAX = 30
"""How long a program may take for one text."""
_EDGE_DB = -40.0
"""What is so far below the loudest 5 ms at the beginning and the end is cut off: the first sample is the onset."""
_STEP = RATE_HZ // 200


@dataclasses.dataclass(frozen=True, slots=True)
class UserVoice:
    """Somebody who speaks."""

    name: str
    speak: Callable[[str], Signal]
    """From a text to its sound, 16 kHz, without silence around it, at `LEVEL_DB`."""


def installed() -> list[UserVoice]:
    """Every voice there is here; never none."""
    found = [_program(f"flite:{name}", ["flite", "-voice", name], ["-o"]) for name in ("slt", "rms", "awb")]
    found += [_program(f"espeak-ng:{name}", ["espeak-ng", "-v", name], ["-w"]) for name in ("en-us+m3", "en-gb+f3", "en-us+f4")]
    there = [voice for voice in found if shutil.which(voice.name.partition(":")[0])]
    return there or HUMS


def _program(name: str, command: Sequence[str], output: Sequence[str]) -> UserVoice:
    def speak(text: str) -> Signal:
        said = ["-t", text] if command[0] == "flite" else [text]
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "said.wav"
            arguments = [*command, *output, str(path), *said]
            subprocess.run(arguments, check=True, capture_output=True, timeout=SPEAK_S_MAX)  # noqa: S603 (our own words)
            return at_active_level(_trimmed(_read(path)), LEVEL_DB)

    return UserVoice(name, speak)


def _read(path: Path) -> Signal:
    with wave.open(str(path), "rb") as file:
        rate_hz = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
    if rate_hz == RATE_HZ:
        return floats(samples)
    # espeak-ng writes 22 050 Hz and no header length that could be trusted: what was read is all there is.
    count = int(len(samples) * RATE_HZ / rate_hz)
    return np.interp(np.arange(count) * rate_hz / RATE_HZ, np.arange(len(samples)), floats(samples))


def _trimmed(signal: Signal) -> Signal:
    steps = signal[: len(signal) // _STEP * _STEP].reshape(-1, _STEP)
    power = (steps**2).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (_EDGE_DB / 10))
    return signal[loud[0] * _STEP : (loud[-1] + 1) * _STEP]


def _hum(text: str, pitch_hz: float) -> Signal:
    """A syllable for every three letters: pulses through three resonances."""
    random = np.random.default_rng(zlib.crc32(text.encode()))
    parts: list[Signal] = []
    for word in text.split():
        parts += [_syllable(random, pitch_hz) for _ in range(max(1, len(word) // 3))]
        parts.append(np.zeros(RATE_HZ // 50))
    return at_active_level(_trimmed(np.concatenate(parts)), LEVEL_DB)


def _syllable(random: np.random.Generator, pitch_hz: float) -> Signal:
    length = int(RATE_HZ * random.uniform(0.12, 0.22))
    glide = pitch_hz * np.linspace(1, random.uniform(0.85, 1.2), length)
    source = np.diff(np.floor(np.cumsum(glide) / RATE_HZ), prepend=0.0) + 0.02 * random.standard_normal(length)
    time = np.arange(RATE_HZ // 40) / RATE_HZ
    formants = (random.uniform(300, 750), random.uniform(900, 2200), 2500.0)
    ring = np.zeros(len(time))
    for k, hz in enumerate(formants):
        ring += 0.6**k * np.exp(-np.pi * (70 + 40 * k) * time) * np.sin(2 * np.pi * hz * time)
    return np.asarray(np.convolve(source, ring)[:length] * np.sin(np.pi * np.linspace(0, 1, length)) ** 0.5)


HUMS = [UserVoice("hum:110", partial(_hum, pitch_hz=110.0)), UserVoice("hum:180", partial(_hum, pitch_hz=180.0))]
"""Whom there is everywhere."""

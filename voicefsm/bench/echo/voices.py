"""Who speaks in the scenes, and the recordings of what they say.

Theory of operation. Synthesis is slow and its engines are not ours: `Recordings.prepare` has a process of its own speak whatever is
missing in a directory, once; from there on an utterance is an array. A speaker can be an engine's voice at another speed, which
moves pitch and formants with it: for an echo canceller that is somebody else.
"""

from __future__ import annotations

import ctypes.util
import dataclasses
import functools
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from voicefsm.acoustics.signals import Signal, at_active_level
from voicefsm.audio.samples import RATE_HZ
from voicefsm.bench.echo import texts
from voicefsm.errors import VoiceFsmError

UTTERANCE_DB = -20.0
"""The active level of every recording, dB full scale."""
_SYNTHESIS_S_MAX = 900.0
_TRIM_DB = 38.0
"""An utterance begins and ends with the first and last block of 5 ms that is less than this below its loudest."""
_BLOCK = RATE_HZ // 200
_CLIP = 0.99
_KEPT_UTTERANCES = 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Speaker:
    """A voice of an engine at a speed."""

    engine: str
    """flite or espeak."""
    voice: str
    """As the engine calls it."""
    speed: float = 1.0
    """Above 1: faster and higher."""

    def __str__(self) -> str:
        return f"{self.engine}:{self.voice}" + (f"*{self.speed:g}" if self.speed != 1 else "")


@dataclasses.dataclass(frozen=True, slots=True)
class Cast:
    """Who speaks, and what. No voice is heard at both ends."""

    far: tuple[Speaker, ...]
    near: tuple[Speaker, ...]
    far_texts: tuple[str, ...]
    near_short: tuple[str, ...]
    near_long: tuple[str, ...]

    @property
    def lines(self) -> Iterable[tuple[Speaker, str]]:
        """Everything that may have to be spoken."""
        yield from ((speaker, text) for speaker in self.far for text in self.far_texts)
        yield from ((speaker, text) for speaker in self.near for text in self.near_short + self.near_long)


def _espeak(*voices: str, speed: float = 1.0) -> tuple[Speaker, ...]:
    return tuple(Speaker("espeak", voice, speed) for voice in voices)


def _flite(*voices: str, speed: float = 1.0) -> tuple[Speaker, ...]:
    return tuple(Speaker("flite", voice, speed) for voice in voices)


BENCH = Cast(
    far=_flite("slt", "rms"),
    near=_flite("awb") + _espeak("en-us+f3", "en-us+m7", "en-gb-x-rp+f5", "en-gb-scotland+caleb"),
    far_texts=texts.FAR,
    near_short=texts.NEAR_SHORT,
    near_long=texts.NEAR_LONG,
)
"""What the figures are measured with."""
BENCH_WITHOUT_FLITE = dataclasses.replace(
    BENCH, far=_espeak("en-us+linda", "en-us+m4"), near=_espeak("en-us+f3", "en-us+m7", "en-gb-x-rp+f5", "en-gb-scotland+caleb")
)
"""The same where libflite is not installed: harsher voices, other figures."""
TRAINING = Cast(
    far=_flite("slt", speed=0.9) + _flite("rms", speed=1.12) + _flite("awb", speed=1.05) + _espeak("en-us+f1", "en-gb-x-rp+m2"),
    near=_flite("slt", speed=1.15)
    + _flite("rms", speed=0.92)
    + _espeak("en-us+f2", "en-us+m3", "en-gb-x-gbcwmd+f4", "en-us+edward", "en-029+m8"),
    far_texts=texts.TRAINING_FAR,
    near_short=texts.TRAINING_NEAR_SHORT,
    near_long=texts.TRAINING_NEAR_LONG,
)
"""For training what `BENCH` judges: other speakers, other words."""


def bench_cast() -> Cast:
    """The cast that this machine can speak."""
    return BENCH if ctypes.util.find_library("flite") else BENCH_WITHOUT_FLITE


class Recordings:
    """The utterances of a cast, in a directory."""

    def __init__(self, directory: Path) -> None:
        """`directory` is made when something is recorded."""
        self.directory = directory
        self._load = functools.lru_cache(maxsize=_KEPT_UTTERANCES)(self._read)

    def prepare(self, cast: Cast) -> int:
        """Speak what is missing; return how many utterances that was.

        Raises `VoiceFsmError` when an engine is not installed or fails.
        """
        missing = [(speaker, text) for speaker, text in cast.lines if not self._path(speaker, text).exists()]
        if missing:
            self.directory.mkdir(parents=True, exist_ok=True)
            _synthesise([(speaker.engine, speaker.voice, text, str(self._path(speaker, text))) for speaker, text in missing])
        return len(missing)

    def utterance(self, speaker: Speaker, text: str) -> Signal:
        """Without silence at its ends, at `UTTERANCE_DB`; read only. Raises `VoiceFsmError` when it was not prepared."""
        return self._load(speaker, text)

    def _path(self, speaker: Speaker, text: str) -> Path:
        """Speeds share the recording of their voice."""
        key = hashlib.sha256(f"1|{speaker.engine}|{speaker.voice}|{text}".encode()).hexdigest()[:16]
        return self.directory / f"{key}.npy"

    def _read(self, speaker: Speaker, text: str) -> Signal:
        try:
            spoken = np.load(self._path(speaker, text))
        except FileNotFoundError:
            raise VoiceFsmError(f"{speaker} was not recorded saying: {text}", remedy="Call Recordings.prepare first.") from None
        utterance = np.clip(
            at_active_level(trimmed(resampled(spoken.astype(np.float64), 1 / speaker.speed)), UTTERANCE_DB), -_CLIP, _CLIP
        )
        utterance.flags.writeable = False
        return utterance


def _synthesise(lines: list[tuple[str, str, str, str]]) -> None:
    """Speak lines (engine, voice, text, file) in a process of their own: one of the engines is GPL (docs/adr/0004)."""
    done = subprocess.run(
        [sys.executable, "-m", "voicefsm.bench.echo.synthesis"],
        input=json.dumps(lines),
        capture_output=True,
        encoding="utf-8",
        timeout=_SYNTHESIS_S_MAX,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise VoiceFsmError(
            f"The voices could not be synthesised: {reason[0]}", remedy="Install the extra [embedded] and libflite1."
        )


def trimmed(signal: Signal) -> Signal:
    """Without the silence before and after, in blocks of 5 ms."""
    blocks = len(signal) // _BLOCK
    powers = np.mean(np.square(signal[: blocks * _BLOCK]).reshape(blocks, _BLOCK), axis=1)
    loud = np.flatnonzero(powers > powers.max() * 10 ** (-_TRIM_DB / 10))
    return signal[loud[0] * _BLOCK : (loud[-1] + 1) * _BLOCK]


def resampled(signal: Signal, ratio: float) -> Signal:
    """`signal` with `ratio` times as many samples, by way of its spectrum: nothing beyond the lower of the two bands is left."""
    samples = round(len(signal) * ratio)
    if samples == len(signal):
        return signal
    spectrum = np.fft.rfft(signal)
    return np.asarray(np.fft.irfft(spectrum[: samples // 2 + 1], samples) * (samples / len(signal)))

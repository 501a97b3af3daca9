"""Scenes without a speech engine: a cast whose voices are arithmetic."""

from __future__ import annotations

import functools
import zlib

import pytest

from voicefsm.acoustics.signals import Signal, at_active_level
from voicefsm.bench.echo.scene import Studio
from voicefsm.bench.echo.voices import UTTERANCE_DB, Cast, Speaker
from voicefsm.simulation import acoustics

FAR = Speaker("arithmetic", "far")
NEAR = Speaker("arithmetic", "near")
CAST = Cast(far=(FAR,), near=(NEAR,), far_texts=("a" * 40, "b" * 50), near_short=("c" * 8,), near_long=("d" * 16, "e" * 18))


class ArithmeticRecordings:
    """A tenth of a second for each letter, in a voice of its speaker."""

    @functools.cache  # noqa: B019 (a handful of utterances, gone with the process)
    def utterance(self, speaker: Speaker, text: str) -> Signal:
        seed = zlib.crc32(f"{speaker}{text}".encode())
        pitch = 110.0 if speaker == FAR else 190.0
        return at_active_level(acoustics.voice(seed, len(text) / 10, pitch_hz=pitch), UTTERANCE_DB)


@pytest.fixture(scope="session")
def studio() -> Studio:
    return Studio(ArithmeticRecordings(), CAST)  # type: ignore[arg-type]

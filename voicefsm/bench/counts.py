"""What a frame, an import and a session's near end come to, in counts and ratios: the same on every machine.

`tests/budget` holds a change to them, `voicefsm bench history` writes them down.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from typing import NamedTuple

from voicefsm.acoustics.signals import pcm
from voicefsm.acoustics.talker import voice
from voicefsm.adapters.echo import choose_canceller
from voicefsm.adapters.webrtc_vad import WebRtcVoiceDetector
from voicefsm.aec.reference import Reference
from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, Samples
from voicefsm.bench.step import calibrate
from voicefsm.runtime.hearing import Hearing, HearingSettings

AHEAD = 10 * FRAME_SAMPLES
"""The far end is sent so much before it is rendered."""
SETTLED, FRAMES = 100, 200
"""Frames before it counts, and that count."""
ROUNDS = 10
SCENES: Mapping[str, tuple[bool, bool]] = {
    "nobody speaks": (False, False),
    "the user speaks": (True, False),
    "the assistant speaks": (False, True),
    "both speak": (True, True),
}
"""Whether the user speaks, and the assistant."""


class Ear:
    """The near end of a session on a headset."""

    def __init__(self, near: Samples, far: Samples | None) -> None:
        settings = HearingSettings()
        self._near, self._far, self._at = near, far, 0
        self._reference = Reference(RATE_HZ, settings.aec)
        if far is not None:
            self._reference.append(0, far[:AHEAD])
        self._hearing = Hearing(
            settings,
            canceller=choose_canceller(settings.aec).make(),
            detector=WebRtcVoiceDetector(settings.vad),
            reference=self._reference,
            input_rate_hz=RATE_HZ,
        )

    def hear(self, frames: int) -> None:
        """So many more."""
        for _ in range(frames):
            end = self._at + FRAME_SAMPLES
            if self._far is not None:
                self._reference.append(self._at + AHEAD, self._far[self._at + AHEAD : end + AHEAD])
            self._hearing.hear(self._near[self._at : end], self._at, self._at if self._far is not None else 0)
            self._at = end


def settled_ear(scene: str) -> Ear:
    """One of `SCENES`, after `SETTLED` frames; there is sound for 20 s."""
    talks, plays = SCENES[scene]
    talker, silence = pcm(voice(1, 20, pitch_hz=120)), pcm(voice(1, 20) * 0)
    ear = Ear(talker if talks else silence, pcm(voice(2, 20, pitch_hz=190)) if plays else None)
    ear.hear(SETTLED)
    return ear


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, those written in C included. Some versions of Python need fewer than others."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    gc.disable()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def frame_calls(scene: str) -> float:
    """Function calls of a frame."""
    ear = settled_ear(scene)
    return calls(lambda: ear.hear(FRAMES)) / FRAMES


def frame_loops(scene: str) -> float:
    """CPU time of a frame, in rounds of the calibration loop of `bench step`: the least of `ROUNDS`, of which each times both."""
    ear, ratios = settled_ear(scene), []
    frames = FRAMES // ROUNDS
    for _ in range(ROUNDS):
        loop_ns = min(calibrate() for _ in range(20))
        begun = time.process_time_ns()
        ear.hear(frames)
        ratios.append((time.process_time_ns() - begun) / frames / loop_ns)
    return min(ratios)


class NearEndBytes(NamedTuple):
    """What the near end of a session holds, as tracemalloc sees it; numpy's arrays are in it."""

    muted: int
    """Before the first audio."""
    talking: int
    """While both speak."""


def near_end_bytes() -> NearEndBytes:
    """Of one session, what all sessions share made before."""
    far, near = pcm(voice(2, 20, pitch_hz=190)), pcm(voice(1, 20, pitch_hz=120))
    Ear(near, far).hear(SETTLED + FRAMES)
    gc.collect()
    tracemalloc.start()
    try:
        ear = Ear(near, None)
        muted, _ = tracemalloc.get_traced_memory()
        del ear
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        ear = Ear(near, far)
        ear.hear(SETTLED + FRAMES)
        gc.collect()
        talking, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return NearEndBytes(muted, talking - before)


def imported() -> list[str]:
    """The modules that a gateway imports, libraries included. Raises `subprocess.CalledProcessError`."""
    program = "import sys, voicefsm.app; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, encoding="utf-8")  # noqa: S603
    return told.stdout.split()


def ours(modules: list[str]) -> list[str]:
    """Those of them that are the project's."""
    return [name for name in modules if name.startswith("voicefsm.")]

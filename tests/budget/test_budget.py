"""What a frame, a step and a session may cost, in counts: the same on every machine, however busy.

A count that grows is a change that somebody made: find out whether it is worth it, and raise the budget in the same commit, or not.
Lower a budget when a change has paid. Times are the business of `voicefsm bench` and `voicefsm load`.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from voicefsm.adapters.echo import choose_canceller
from voicefsm.adapters.webrtc_vad import WebRtcVoiceDetector
from voicefsm.aec import kalman
from voicefsm.aec.reference import Reference
from voicefsm.runtime.hearing import Hearing, HearingSettings
from voicefsm.simulation.acoustics import pcm, voice
from voicefsm.simulation.play import play
from voicefsm.simulation.script import script_of

FRAME = 320
AHEAD = 10 * FRAME
"""The far end is sent so much before it is rendered."""
SETTLED, FRAMES = 100, 200
"""Frames before it counts, and that count."""


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


class Ear:
    """The near end of a session on a headset, once it has settled."""

    def __init__(self, near: np.ndarray | None, far: np.ndarray | None) -> None:
        settings = HearingSettings()
        silence = np.zeros((SETTLED + 4 * FRAMES) * FRAME, np.int16)
        self._near = silence if near is None else near
        self._reference = Reference(16000, settings.aec)
        self._far = far
        if far is not None:
            self._reference.append(0, far[:AHEAD])
        self._at = 0
        self._hearing = Hearing(
            settings,
            canceller=choose_canceller(settings.aec).make(),
            detector=WebRtcVoiceDetector(settings.vad),
            reference=self._reference,
            input_rate_hz=16000,
        )
        self.hear(SETTLED)

    def hear(self, frames: int) -> None:
        for _ in range(frames):
            end = self._at + FRAME
            if self._far is not None:
                self._reference.append(self._at + AHEAD, self._far[self._at + AHEAD : end + AHEAD])
            self._hearing.hear(self._near[self._at : end], self._at, self._at if self._far is not None else 0)
            self._at = end


SPEECH = pcm(voice(1, 20, pitch_hz=120))
PLAYED = pcm(voice(2, 20, pitch_hz=190))


@pytest.mark.skipif(kalman.library() is None, reason="NOT TESTED: the library was not compiled")
@pytest.mark.parametrize(
    ("near", "far", "budget"),
    [
        pytest.param(None, None, 57, id="nobody speaks"),
        pytest.param(SPEECH, None, 61, id="the user speaks"),
        pytest.param(None, PLAYED, 137, id="the assistant speaks"),
        pytest.param(SPEECH, PLAYED, 140, id="both speak"),
    ],
)
def test_calls_of_a_frame(near, far, budget):
    """Otherwise the path that runs fifty times a second for each session grows a little with every change."""
    ear = Ear(near, far)
    assert calls(lambda: ear.hear(FRAMES)) / FRAMES <= budget


@pytest.mark.skipif(kalman.library() is None, reason="NOT TESTED: the library was not compiled")
@pytest.mark.parametrize(("near", "far"), [(None, None), (SPEECH, PLAYED)])
def test_a_frame_leaves_nothing(near, far):
    """Otherwise memory grows with the length of a conversation, or the collector has work."""
    ear = Ear(near, far)
    ear.hear(2 * FRAMES)
    gc.collect()
    before = sys.getallocatedblocks()
    ear.hear(2 * FRAMES)
    assert sys.getallocatedblocks() - before < FRAMES, "one block in two frames"
    assert gc.collect() == 0


@pytest.mark.parametrize(("seed", "budget"), [("budget-1", 14_000), ("budget-2", 16_100), ("budget-3", 22_700)])
def test_calls_of_a_second_of_conversation(seed, budget):
    """Otherwise what is around the frames, messages and tasks and timers, grows unseen."""
    script = script_of(seed)
    play(script)
    spent = []
    count = calls(lambda: spent.append(play(script)))
    assert count / (spent[0].virtual_ms / 1000) <= budget


TOOLS = frozenset(
    {"acoustics", "bench", "conformance", "demo", "doctor", "embedded", "load", "scripted", "simulation", "talk", "timeline"}
)
"""Packages that a gateway does not need."""
MODULES_MAX = 135
"""Of ours, that a gateway imports; 125 when it was counted. All of them, libraries included, are some 820."""


def test_what_a_start_imports():
    """Otherwise a gateway that restarts under load is away for longer with every tool that somebody imports from it."""
    program = "import sys, voicefsm.app; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, encoding="utf-8").stdout.split()
    ours = [name for name in told if name.startswith("voicefsm.")]
    assert len(ours) <= MODULES_MAX
    assert not [name for name in ours if name.split(".")[1] in TOOLS]
    assert not {"matplotlib", "scipy", "pytest", "hypothesis", "redis", "jwt", "opentelemetry.sdk"} & set(told)

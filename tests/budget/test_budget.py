"""What a frame, a second of conversation, a start and a session may cost, in counts: the same on every machine, however busy.

The budget is the last line of docs/benchmarks.jsonl, and `history.SLACK` more. A count that grows is a change that somebody made:
find out whether it is worth it, and append a line in the same commit (`voicefsm bench history --append`), or not. Append one when a
change has paid, too. Times are the business of `voicefsm bench` and `voicefsm load`.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

from voicefsm.aec import kalman
from voicefsm.bench import counts
from voicefsm.bench.history import PATH, allowed, read
from voicefsm.cli.history import SCRIPTS, second_calls

BUDGET = read(Path(__file__).resolve().parents[2] / PATH)[-1]
needs_library = pytest.mark.skipif(kalman.library() is None, reason="NOT TESTED: the library was not compiled")


@needs_library
@pytest.mark.parametrize("scene", counts.SCENES)
def test_calls_of_a_frame(scene):
    """Otherwise the path that runs fifty times a second for each session grows a little with every change."""
    assert counts.frame_calls(scene) <= allowed(BUDGET.frame_calls[scene])


@needs_library
@pytest.mark.parametrize("scene", ["nobody speaks", "both speak"])
def test_a_frame_leaves_nothing(scene):
    """Otherwise memory grows with the length of a conversation, or the collector has work."""
    ear = counts.settled_ear(scene)
    ear.hear(2 * counts.FRAMES)
    gc.collect()
    before = sys.getallocatedblocks()
    ear.hear(2 * counts.FRAMES)
    assert sys.getallocatedblocks() - before < counts.FRAMES, "one block in two frames"
    assert gc.collect() == 0


@needs_library
def test_what_the_near_end_of_a_session_holds():
    """Otherwise a thousand sessions, muted ones above all, do not fit any more."""
    near = counts.near_end_bytes()
    assert near.muted <= 1024 * allowed(BUDGET.near_end_muted_kib)
    assert near.talking <= 1024 * allowed(BUDGET.near_end_talking_kib)


@pytest.mark.parametrize("seed", SCRIPTS)
def test_calls_of_a_second_of_conversation(seed):
    """Otherwise what is around the frames, messages and tasks and timers, grows unseen."""
    assert second_calls(seed) <= allowed(BUDGET.second_calls[seed])


TOOLS = frozenset(
    {"acoustics", "bench", "conformance", "demo", "doctor", "embedded", "load", "scripted", "simulation", "talk", "timeline"}
)
"""Packages that a gateway does not need."""


def test_what_a_start_imports():
    """Otherwise a gateway that restarts under load is away for longer with every tool that somebody imports from it."""
    told = counts.imported()
    ours = counts.ours(told)
    assert len(ours) <= allowed(BUDGET.modules_ours)
    assert not [name for name in ours if name.split(".")[1] in TOOLS]
    assert not {"matplotlib", "scipy", "pytest", "hypothesis", "redis", "jwt", "opentelemetry.sdk"} & set(told)

"""The items of speech synthesis: a healthy server passes them, and each behaviour broken on purpose fails its own item alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import grpc
import pytest

from voicefsm.adapters.riva_tts import RivaTtsSettings
from voicefsm.conformance import Outcome, tts
from voicefsm.conformance.tts import CHECKS, MANY
from voicefsm.scripted import Close, Fail, FallSilent, Fault, ScriptedRiva, TtsScript

UNSEEN = {"T14", "T17"}
"""What no client can provoke, or should not."""
IDS = {check.id for check in CHECKS} - UNSEEN
PACED: dict[str, Any] = {"chunk_period_ms": 8, "chunk_bytes": 8192, "char_ms": 20}
"""Slow enough for T18 to see whether the server is held back."""
LINES = 3
"""Half of what T18 has a server say, where it is not T18 that has to fail: nine of ten items wait for it."""
UNKNOWN = Fail(grpc.StatusCode.UNKNOWN, "Error: Triton model failed during inference.")


async def test_healthy_server_passes(outcomes):
    """Otherwise a report about a good server frightens its owner."""
    async with ScriptedRiva(tts=TtsScript(**PACED)) as riva:
        assert (await outcomes(CHECKS, riva=riva.target))[Outcome.PASS] == IDS


def breaks(what: Fail | FallSilent, *marks: str) -> dict[str, Any]:
    return {"fault_of": lambda text: Fault(what) if any(mark in text for mark in marks) else None}


BROKEN: dict[str, dict[str, Any]] = {
    "T1": {"silent_texts": MANY[1:2]},
    "T2": {"echoes_ids": False},
    "T3": {"waits_for_half_close": True},
    "T4": {"drops_on_half_close": True, "first_chunk_ms": 20},
    "T5": {"residue": 100.0},
    "T6": {"text_chars_max": 9999, "fault_of": lambda text: Fault(Close()) if len(text) > 2000 else None},
    "T7": {"fault_of": lambda text: Fault(UNKNOWN) if not any(map(str.isalnum, text)) else None},
    "T8": breaks(UNKNOWN, "{", "*"),
    "T9": {"checks_voice": False},
    "T10": {"checks_language": False},
    "T11": {"lost_bytes": 1},
    "T12": {"load_ms": 800},
    "T13": {"streams_max": 5, "full": UNKNOWN, "first_chunk_ms": 40},  # else a busy machine is done with one before the next
    "T15": {"word_ms_late": 200},
    "T16": {"one_word_share": 0.1},
    "T18": {"runs_ahead": True},
    "T19": breaks(FallSilent(), "prosody"),
}


def test_every_item_can_fail():
    """Otherwise an item says nothing."""
    assert set(BROKEN) == IDS


@pytest.mark.parametrize("broken", BROKEN)
async def test_broken_behaviour_fails_its_item(outcomes, monkeypatch, broken):
    """Otherwise the item cannot fail, or a report blames the wrong thing."""
    if broken != "T18":
        monkeypatch.setattr(tts, "LINES", LINES)
    hasty = [dataclasses.replace(check, deadline_ms=3000) if check.id == "T19" else check for check in CHECKS]
    async with ScriptedRiva(tts=TtsScript(**PACED | BROKEN[broken])) as riva:
        found = await outcomes(hasty, riva=riva.target, tts=RivaTtsSettings(first_audio_ms_max=1500))
    assert found[Outcome.FAIL] == {broken}


async def test_old_server_lacks_streaming_input_alone(outcomes):
    """Otherwise the owner of a Riva 2.17 is told it is broken."""
    async with ScriptedRiva(tts=TtsScript(is_old=True, **PACED)) as riva:
        found = await outcomes(CHECKS, riva=riva.target)
    assert found[Outcome.NOT_SUPPORTED] == {"T1"} | UNSEEN
    assert found[Outcome.FAIL] == set()

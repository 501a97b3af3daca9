"""Servers on the real protocols that do what a script says, faults included.

    async with ScriptedRiva(asr=AsrScript([(At(400), final("hello"))])) as riva, ScriptedLlm(["Hi there."]) as llm:
        ...  # point the adapters at riva.target and llm.base_url, then look at riva.asr, riva.tts and llm.requests

For tests, load, conformance and simulation. They know nothing and invent nothing: what a script does not say does not happen.
"""

from __future__ import annotations

from voicefsm.scripted.asr import (
    EMPTY,
    ON_FORCE_EOU,
    Answer,
    AsrScript,
    AsrStream,
    At,
    Result,
    ScriptedAsr,
    final,
    partial,
)
from voicefsm.scripted.faults import Close, Fail, FallSilent, StopReading
from voicefsm.scripted.riva import ScriptedRiva
from voicefsm.scripted.tts import Asked, Fault, ScriptedTts, TtsScript, voice

__all__ = [
    "EMPTY",
    "ON_FORCE_EOU",
    "Answer",
    "Asked",
    "AsrScript",
    "AsrStream",
    "At",
    "Close",
    "Fail",
    "FallSilent",
    "Fault",
    "Result",
    "ScriptedAsr",
    "ScriptedRiva",
    "ScriptedTts",
    "StopReading",
    "TtsScript",
    "final",
    "partial",
    "voice",
]

"""Servers on the real protocols that do what a script says, faults included.

    async with ScriptedRiva(asr=AsrScript([(At(400), final("hello"))])) as riva, ScriptedLlm(["Hi there."]) as llm:
        ...  # point the adapters at riva.target and llm.base_url, then look at riva.asr, riva.tts and llm.requests

For tests, load, conformance and simulation. They know nothing and invent nothing: what a script does not say does not happen.
"""

from __future__ import annotations

from voicefsm.scripted.asr import (
    EMPTY,
    ON_FORCE_EOU,
    Action,
    Answer,
    AsrScript,
    AsrStream,
    At,
    Flaw,
    GoStale,
    Line,
    Result,
    ScriptedAsr,
    final,
    partial,
)
from voicefsm.scripted.faults import Close, Fail, FallSilent, StopReading
from voicefsm.scripted.listening import ListeningAsr, Pace, SpokenWord
from voicefsm.scripted.llm import (
    DONE,
    FINISH,
    ROLE,
    Drop,
    Hang,
    HttpError,
    LlmRequest,
    Pause,
    ScriptedLlm,
    called,
    chunk,
    event,
    written,
)
from voicefsm.scripted.riva import Gate, ScriptedRiva
from voicefsm.scripted.spelling import Reader, SpellingAsr, spell
from voicefsm.scripted.tts import Asked, Fault, ScriptedTts, Stall, TtsScript, fastpitch_like, magpie_like, voice

__all__ = [
    "DONE",
    "EMPTY",
    "FINISH",
    "ON_FORCE_EOU",
    "ROLE",
    "Action",
    "Answer",
    "Asked",
    "AsrScript",
    "AsrStream",
    "At",
    "Close",
    "Drop",
    "Fail",
    "FallSilent",
    "Fault",
    "Flaw",
    "Gate",
    "GoStale",
    "Hang",
    "HttpError",
    "Line",
    "ListeningAsr",
    "LlmRequest",
    "Pace",
    "Pause",
    "Reader",
    "Result",
    "ScriptedAsr",
    "ScriptedLlm",
    "ScriptedRiva",
    "ScriptedTts",
    "SpellingAsr",
    "SpokenWord",
    "Stall",
    "StopReading",
    "TtsScript",
    "called",
    "chunk",
    "event",
    "fastpitch_like",
    "final",
    "magpie_like",
    "partial",
    "spell",
    "voice",
    "written",
]

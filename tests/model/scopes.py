"""What is searched: the kinds of session, and the bounds of each search."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tests.model.abstraction import BACKCHANNEL, CONTENT, Speech
from voicefsm.context import Interruption, TurnSettings
from voicefsm.values import Backend

FULL = Speech((BACKCHANNEL, CONTENT))
"""Stop words confirm as content words do, only sooner; `tests/unit/test_bargein.py` has them."""
FINALS = Speech((CONTENT,), with_partials=False)
"""Enough for every verdict; what partials add concerns the core alone."""
WORDLESS = Speech((), with_partials=False)
"""Speech that the recogniser finalises as nothing, and typed words: for the wire it is enough that a decision falls either way."""


def _small(**changes: Any) -> TurnSettings:
    """One threshold of speech, none of the reply's start or end, one level, no second attempt with a backend, no tools: a
    context has fewer faces. Each kind of session adds what it is about."""
    few = TurnSettings(
        asr_reopen_attempts_max=0,
        reply_retries_max=0,
        tool_rounds_max=0,
        filler_ms=0,
        guard_ms=0,
        last_words_ms=0,
        barge_in_onset_ms_min=800,
        barge_in_soft_db=96,
        barge_in_strange_words_min=100,
    )
    return dataclasses.replace(few, **changes)


PRODUCT = _small()
PRODUCT_WITH_TOOLS = _small(tool_rounds_max=1)
SESSIONS: Mapping[str, tuple[TurnSettings, Speech]] = {
    "client only": (
        _small(interruption=Interruption.CLIENT_ONLY, asr_reopen_attempts_max=1),
        FINALS._replace(failing=(Backend.ASR,)),
    ),
    "empty partials": (_small(asr_reopen_attempts_max=1), Speech((), failing=(Backend.ASR,))),
    "push to talk": (_small(push_to_talk=True), FINALS._replace(failing=())),
    "tools": (_small(tool_rounds_max=1, filler_ms=1500), WORDLESS._replace(failing=(Backend.LLM, Backend.TTS))),
    "words": (_small(barge_in_onset_ms_min=200, last_words_ms=300), FULL._replace(with_partials=False, failing=())),
    "partials": (_small(barge_in_onset_ms_min=200), Speech((CONTENT,), failing=())),
    "notices": (_small(uninterruptible_ms=300, guard_ms=300), FINALS._replace(failing=())),
    "soft voices": (
        _small(barge_in_onset_ms_min=200, barge_in_soft_db=5, barge_in_insist_ms_min=1600),
        FINALS._replace(failing=()),
    ),
    "resumed": (_small(), FINALS._replace(failing=(), question="Why?")),
    "failing recogniser": (_small(asr_reopen_attempts_max=1), FINALS._replace(failing=(Backend.ASR,))),
    "failing model and voice": (_small(reply_retries_max=1), FINALS._replace(failing=(Backend.LLM, Backend.TTS))),
}
"""For the core alone. DISABLED is CLIENT_ONLY to the core: it asks only whether interruption is ENABLED."""

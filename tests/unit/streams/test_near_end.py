"""Near-end speech."""

from __future__ import annotations

import pytest

from voicefsm.context import Context, NearEnd
from voicefsm.events import Evidence, EvidenceChanged, SessionOpened, SpeechEnded, SpeechFinished, SpeechStarted
from voicefsm.machine import step


def speaking() -> Context:
    context = Context()
    step(context, SessionOpened(0))
    step(context, SpeechStarted(1060, 1000, Evidence(voiced_ms=60)))
    return context


def test_a_stretch_of_speech_is_written_down():
    """Otherwise decisions would rest on no evidence."""
    context = speaking()
    assert (context.near_end, context.onset_ms, context.last_voiced_ms) == (NearEnd.SPEECH, 1000, 1060)
    assert (context.evidence, context.is_transcribed) == (Evidence(voiced_ms=60), False)
    step(context, EvidenceChanged(1200, Evidence(voiced_ms=200)))
    assert (context.evidence.voiced_ms, context.last_voiced_ms) == (200, 1200)
    step(context, SpeechEnded(1500, 1300, Evidence(voiced_ms=280)))
    assert (context.near_end, context.evidence.voiced_ms, context.last_voiced_ms) == (NearEnd.QUIET, 280, 1300)


def test_repeated_edges_change_nothing():
    """Otherwise an edge told twice would restart the stretch and forget its evidence."""
    context = speaking()
    step(context, SpeechStarted(1500, 1450))
    assert (context.onset_ms, context.evidence.voiced_ms) == (1000, 60)
    step(context, SpeechEnded(1700, 1600))
    step(context, SpeechEnded(1900, 1800, Evidence(voiced_ms=9)))
    step(context, EvidenceChanged(1950, Evidence(voiced_ms=9)))
    assert (context.last_voiced_ms, context.evidence.voiced_ms) == (1600, 0)


@pytest.mark.parametrize("is_over", [False, True])
def test_a_release_of_the_talk_button_is_remembered(is_over):
    """Otherwise a turn whose button was released too early would wait for the utterance limit."""
    context = speaking()
    if is_over:
        step(context, SpeechEnded(1500, 1300))
    step(context, SpeechFinished(1600))
    assert context.is_released

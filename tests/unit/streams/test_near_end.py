"""Near-end speech."""

from __future__ import annotations

import pytest

from voicefsm.context import Context, NearEnd
from voicefsm.events import (
    UNKNOWN_DB,
    Evidence,
    EvidenceChanged,
    FinalHeard,
    SessionOpened,
    SpeechEnded,
    SpeechFinished,
    SpeechStarted,
    Timer,
    TimerFired,
)
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


def say(context: Context, at_ms: int, *stretches: tuple[int, int], text: str = "hello") -> None:
    """A whole turn: stretches of (length, level), words, and the silence that ends it; or the time-out of one without words."""
    for voiced_ms, near_db in stretches:
        step(context, SpeechStarted(at_ms, at_ms, Evidence(60, near_db)))
        step(context, SpeechEnded(at_ms + 300, at_ms + 100, Evidence(voiced_ms, near_db)))
        at_ms += 301
    if text:
        step(context, FinalHeard(at_ms, text))
    for timer in (Timer.END_OF_TURN, Timer.WORDS):
        if context.is_armed(timer):
            step(context, TimerFired(context.deadlines[timer], timer))


def test_the_users_level_is_learned_from_turns_that_are_answered():
    """Otherwise nobody could tell the user from a neighbour, or a neighbour's level would be taken for the user's."""
    context = Context()
    step(context, SessionOpened(0))
    say(context, 100, (500, -20), text="")
    assert context.usual_db == UNKNOWN_DB, "a noise without words"
    say(context, 10_000, (100, -10), (600, -30), (200, -40))
    assert context.usual_db == -30, "the longest stretch"


@pytest.mark.parametrize(("level_db", "usual_db"), [(-20, -25), (-30, -30), (-38, -32), (UNKNOWN_DB, -30)])
def test_the_users_level_follows(level_db, usual_db):
    """Otherwise who steps back from the microphone would never be heard again, or who comes near would have been a neighbour."""
    context = Context(usual_db=-30)
    step(context, SessionOpened(0))
    say(context, 100, (600, level_db))
    assert context.usual_db == usual_db

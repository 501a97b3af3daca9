"""The ASR stream and what it hears."""

from __future__ import annotations

import pytest

from voicefsm.context import Context, Recognition, State, TurnSettings
from voicefsm.effects import OpenRecognition, ReportFailure, SendTranscript
from voicefsm.events import (
    FinalHeard,
    PartialHeard,
    RecognitionFailed,
    RecognitionOpened,
    SessionOpened,
    SpeechStarted,
    Timer,
    TimerFired,
    Word,
)
from voicefsm.machine import step
from voicefsm.values import Backend


def opened(**settings) -> Context:
    context = Context(settings=TurnSettings(**settings))
    step(context, SessionOpened(0))
    step(context, RecognitionOpened(10))
    return context


def fail(context: Context, at_ms: int, *, retryable: bool = True) -> None:
    step(context, RecognitionFailed(at_ms, "Gone.", retryable))


def test_the_wait_doubles_up_to_its_limit():
    """Otherwise a server that is down would be hammered, or never tried again."""
    context, at, waits = opened(asr_reopen_ms_min=100, asr_reopen_ms_max=1000, asr_reopen_attempts_max=6), 1000, []
    for _ in range(6):
        fail(context, at)
        due = context.deadlines[Timer.REOPEN]
        waits.append(due - at)
        assert step(context, TimerFired(due, Timer.REOPEN)) == (OpenRecognition(),)
        at = due + 10
    assert waits == [100, 200, 400, 800, 1000, 1000]
    fail(context, at)
    assert (context.state, context.recognition) == (State.CLOSED, Recognition.CLOSED)


def test_a_hypothesis_resets_the_count():
    """Otherwise a long call with a few failures would be given up."""
    context = opened(asr_reopen_attempts_max=1)
    for at in (1000, 2000, 3000):
        fail(context, at)
        step(context, TimerFired(at + 100, Timer.REOPEN))
        step(context, PartialHeard(at + 200, ""))
    assert context.state is State.IDLE


def test_what_was_not_final_stays_open_for_the_next_stream():
    """Otherwise a lost stream would take words with it, or the next one, which hears them again, would double them."""
    context = opened()
    step(context, SpeechStarted(1000, 1000))
    step(context, PartialHeard(1200, "what is"))
    context.taken = "what"
    fail(context, 1300)
    assert (context.user_text, context.partial, context.taken) == ("", "what is", "what")
    step(context, PartialHeard(1600, "what is the weather"))
    assert (context.user_text, context.partial) == ("", "is the weather")


@pytest.mark.parametrize(
    ("taken", "text", "is_speaking", "fresh"),
    [
        ("", "hello there", False, "hello there"),
        ("what is", "What is?", False, ""),
        ("what is", "what is the weather", False, "the weather"),
        ("what is", "what is the weather", True, "the weather"),
        ("the weather", "the weatherman", True, "the weatherman"),
        ("what is", "what's", False, ""),
        ("what is", "in Paris", True, "in Paris"),
        ("what is", "what", False, ""),
        ("what is", "", True, ""),
    ],
)
def test_what_a_final_says_beyond_what_is_answered(taken, text, is_speaking, fresh):
    """Otherwise a turn would be answered twice, or its second half lost."""
    context = opened()
    step(context, SpeechStarted(1000, 1000))
    context.taken = taken
    if not is_speaking:
        context.near_end = type(context.near_end)("quiet")
    words = (Word("a", 0, 1),)
    assert step(context, FinalHeard(1200, text, words))[0] == SendTranscript(text, is_final=True, words=words)
    assert (context.user_text, context.taken) == (fresh, "")


@pytest.mark.parametrize(
    ("first", "second", "stability", "agreed"),
    [
        ("what is", "what is the", 0.5, "what is"),
        ("know", "no I", 0.5, ""),
        ("what is", "what was", 0.5, "what"),
        ("what is", "no", 1.0, "no"),
    ],
)
def test_words_that_two_hypotheses_agree_on(first, second, stability, agreed):
    """Otherwise a first guess that flickers would be evidence."""
    context = opened()
    step(context, SpeechStarted(1000, 1000))
    step(context, PartialHeard(1100, first))
    step(context, PartialHeard(1200, second, stability))
    assert (context.partial, context.agreed) == (second, agreed)
    step(context, FinalHeard(1300, second))
    assert (context.partial, context.agreed, context.partial_is_stable) == ("", "", False)


def test_the_longest_user_turn_keeps_its_end():
    """Otherwise a monologue would grow without bound, or lose its question, which comes last."""
    context = opened(user_text_chars_max=100)
    step(context, SpeechStarted(1000, 1000))
    for at in range(40):
        step(context, FinalHeard(1100 + at, f"word{at}"))
    assert 90 < len(context.user_text) <= 100
    assert context.user_text.startswith("word")
    assert context.user_text.endswith("word38 word39")


def test_the_client_is_told_of_an_outage_once():
    """Otherwise a user talks to a wall; or every attempt of a dead server is one more message on the screen."""
    context = Context()
    step(context, SessionOpened(0))
    told = []
    for at_ms in range(100, 10_000, 1000):
        told += [
            effect
            for effect in step(context, RecognitionFailed(at_ms, "Gone.", retryable=True))
            if isinstance(effect, ReportFailure)
        ]
        assert len(told) == (at_ms > 1000)
        step(context, TimerFired(context.deadlines[Timer.REOPEN], Timer.REOPEN))
    assert (told[0].backend, told[0].message) == (Backend.ASR, "Gone.")
    step(context, RecognitionOpened(11_000))
    step(context, PartialHeard(12_000, "hello"))
    for at_ms in (13_000, 14_000):
        told += [
            effect
            for effect in step(context, RecognitionFailed(at_ms, "Gone.", retryable=True))
            if isinstance(effect, ReportFailure)
        ]
        step(context, TimerFired(context.deadlines[Timer.REOPEN], Timer.REOPEN))
    assert len(told) == 2, "a new outage is news"

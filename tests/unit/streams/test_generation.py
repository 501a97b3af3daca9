"""The model's part in a reply."""

from __future__ import annotations

from voicefsm.context import AUDIBLE_MS_MIN, Context, Generation
from voicefsm.effects import FinishSpeech, SpeakText
from voicefsm.events import (
    BackendFailed,
    FirstAudio,
    GenerationFinished,
    PlayoutAdvanced,
    PlayoutStarted,
    SentenceReady,
    SessionOpened,
    TextReceived,
    Timer,
    TimerFired,
    TokenArrived,
)
from voicefsm.machine import step
from voicefsm.values import Backend, Epoch

ONE = Epoch(1)


def asked() -> Context:
    context = Context()
    step(context, SessionOpened(0))
    step(context, TextReceived(10, "hello"))
    assert context.generation is Generation.WAITING
    return context


def test_every_sentence_goes_to_the_voice_at_once():
    """Otherwise there would be a gap before each sentence."""
    context = asked()
    step(context, TokenArrived(20, ONE))
    step(context, TokenArrived(21, ONE))
    assert context.generation is Generation.WRITING
    for index in range(3):
        assert step(context, SentenceReady(30, ONE, index, "Hi.")) == (SpeakText(ONE, index, "Hi."),)
    assert context.sentences == 3
    assert step(context, GenerationFinished(40, ONE)) == (FinishSpeech(ONE),)


def test_after_its_end_the_model_is_not_believed():
    """Otherwise a sentence after the last one would be given to a voice that has finished."""
    context = asked()
    step(context, SentenceReady(30, ONE, 0, "Hi."))
    step(context, GenerationFinished(40, ONE))
    assert step(context, SentenceReady(50, ONE, 1, "More.")) == ()
    assert step(context, GenerationFinished(50, ONE)) == ()
    assert (context.generation, context.sentences) == (Generation.DONE, 1)


def test_a_model_that_fails_lets_the_voice_finish_and_a_voice_that_fails_does_not_end_the_model():
    """Otherwise the voice would wait for text that never comes; or the user could not even read the answer."""
    context = asked()
    step(context, SentenceReady(30, ONE, 0, "Hi."))
    effects = step(context, BackendFailed(40, ONE, Backend.LLM, "Gone."))
    assert effects[-1] == FinishSpeech(ONE)
    assert context.generation is Generation.FAILED
    context = asked()
    step(context, FirstAudio(20, ONE))
    assert FinishSpeech(ONE) not in step(context, BackendFailed(40, ONE, Backend.TTS, "Gone."))
    assert context.generation is Generation.WAITING
    assert step(context, SentenceReady(50, ONE, 0, "Hi.")) == (SpeakText(ONE, 0, "Hi."),)


def test_a_model_that_is_asked_again_is_believed_again():
    """Otherwise the second answer would be taken for late news of the first."""
    context = asked()
    step(context, BackendFailed(20, ONE, Backend.LLM, "Gone."))
    assert step(context, SentenceReady(30, ONE, 0, "Late.")) == ()
    assert context.sentences == 0
    step(context, TimerFired(220, Timer.RETRY_MODEL))
    assert context.generation is Generation.WAITING
    assert step(context, SentenceReady(300, ONE, 0, "Hi.")) == (SpeakText(ONE, 0, "Hi."),)


def test_a_model_is_too_slow_only_if_there_is_nothing_to_hear():
    """Otherwise a client that stands still would cost the answer; or a model that has dried up would be waited for."""
    for left_ms, now in ((AUDIBLE_MS_MIN, Generation.NONE), (AUDIBLE_MS_MIN - 1, Generation.FAILED)):
        context = asked()
        step(context, SentenceReady(30, ONE, 0, "Hi."))
        step(context, PlayoutStarted(40, ONE))
        step(context, PlayoutAdvanced(50, ONE, 100, left_ms))
        step(context, TimerFired(5050, Timer.PLAYOUT))
        assert context.generation is now

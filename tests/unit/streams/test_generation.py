"""The model's part in a reply."""

from __future__ import annotations

from typing import Any

import pytest

from voicefsm.context import AUDIBLE_MS_MIN, NEVER, Context, Excuse, Generation, Playout, State, TurnSettings
from voicefsm.effects import (
    CallTools,
    CancelTools,
    ContinueGeneration,
    Effect,
    FinishSpeech,
    KeepToolResult,
    ReportFailure,
    SpeakText,
)
from voicefsm.events import (
    BackendFailed,
    ClientCancelled,
    FirstAudio,
    GenerationFinished,
    PlayoutAdvanced,
    PlayoutStarted,
    SentenceReady,
    SessionOpened,
    SpeechEnded,
    SpeechStarted,
    TextReceived,
    Timer,
    TimerFired,
    TokenArrived,
    ToolAnswered,
    ToolCall,
    ToolsCalled,
)
from voicefsm.machine import step
from voicefsm.values import Backend, Epoch

ONE = Epoch(1)


def asked(**settings: Any) -> Context:
    context = Context(settings=TurnSettings(**settings))
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


# --- tools ---


def wants(*numbers: int, problem: str = "") -> ToolsCalled:
    return ToolsCalled(100, ONE, tuple(ToolCall(f"c{number}", "weather", "{}", problem) for number in numbers))


def answered(number: int, at_ms: int = 200, **more: str) -> ToolAnswered:
    return ToolAnswered(at_ms, ONE, f"c{number}", **more)


def kept(effects: tuple[Effect, ...]) -> list[str]:
    return [effect.text for effect in effects if isinstance(effect, KeepToolResult)]


def test_the_model_goes_on_when_the_last_tool_has_answered():
    """Otherwise it answers with half of what it asked for, or waits for ever."""
    context = asked()
    call = wants(1, 2)
    assert step(context, call) == (CallTools(ONE, call.calls),)
    assert (context.generation, context.open_calls) == (Generation.CALLING, ("c1", "c2"))
    assert context.deadlines[Timer.TOOLS] == 100 + context.settings.tool_ms_max
    assert context.deadlines[Timer.FILLER] == 100 + context.settings.filler_ms
    assert step(context, answered(2, output="rain")) == (KeepToolResult(ONE, "c2", "rain"),)
    effects = step(context, answered(1, error="no such city"))
    assert effects == (KeepToolResult(ONE, "c1", "Error: no such city"), ContinueGeneration(ONE, may_call=True))
    assert (context.generation, context.open_calls) == (Generation.WAITING, ())
    assert not context.is_armed(Timer.TOOLS)
    assert not context.is_armed(Timer.FILLER)


@pytest.mark.parametrize("before", [[], [TokenArrived(50, ONE)], [SentenceReady(50, ONE, 0, "Let me see.")]])
def test_a_model_may_ask_at_any_time(before):
    """Otherwise a call after a few words is lost."""
    context = asked()
    for fact in before:
        step(context, fact)
    step(context, wants(1))
    assert context.generation is Generation.CALLING


def test_what_nobody_answers_has_failed():
    """Otherwise a client that forgets a call stops the conversation."""
    context = asked(tool_ms_max=5000)
    step(context, wants(1, 2, 3))
    step(context, answered(2, output="rain"))
    effects = step(context, TimerFired(5100, Timer.TOOLS))
    late = "Error: no answer within 5000 ms. It may have been carried out or not."
    assert effects == (
        KeepToolResult(ONE, "c1", late),
        KeepToolResult(ONE, "c3", late),
        CancelTools(ONE, ("c1", "c3"), is_late=True),
        ContinueGeneration(ONE, may_call=True),
    )
    assert (context.generation, context.open_calls) == (Generation.WAITING, ())


@pytest.mark.parametrize(
    "before",
    [
        [],
        [TokenArrived(50, ONE)],
        [wants(1)],
        [wants(1), answered(1)],
        [GenerationFinished(50, ONE)],
    ],
)
def test_an_answer_to_no_open_call_is_the_clients_fault(before):
    """Otherwise a client with a bug in it never learns of it; or the model reads an answer twice."""
    context = asked()
    step(context, SentenceReady(40, ONE, 0, "Well."))
    for fact in before:
        step(context, fact)
    generation, calls = context.generation, context.open_calls
    remedy = "Answer each call once, and not after its `tool_call_cancelled`."
    expected = ReportFailure(None, ONE, "There is no open call 'c9'.", remedy)
    assert step(context, answered(9, output="sun")) == (expected,)
    assert (context.generation, context.open_calls) == (generation, calls)


def test_what_cannot_be_called_is_told_to_the_model_at_once():
    """Otherwise the model never learns that it has asked for what is not there."""
    context = asked()
    good, bad = ToolCall("c1", "weather", "{}"), ToolCall("c2", "wether", "{}", "There is no tool wether.")
    effects = step(context, ToolsCalled(100, ONE, (good, bad)))
    assert effects == (CallTools(ONE, (good, bad)), KeepToolResult(ONE, "c2", "Error: There is no tool wether."))
    assert (context.generation, context.open_calls, context.bad_rounds) == (Generation.CALLING, ("c1",), 1)
    effects = step(context, answered(1, output="sun"))
    assert effects[-1] == ContinueGeneration(ONE, may_call=True), "one mistake is forgiven"


def test_a_model_that_asks_wrongly_again_has_to_answer_without_tools():
    """Otherwise a model that cannot write JSON asks for ever, and the user hears nothing."""
    context = asked()
    effects = step(context, wants(1, problem="no JSON"))
    assert effects[1:] == (KeepToolResult(ONE, "c1", "Error: no JSON"), ContinueGeneration(ONE, may_call=True))
    assert context.generation is Generation.WAITING
    assert not context.is_armed(Timer.TOOLS)
    assert step(context, wants(2, problem="no JSON"))[-1] == ContinueGeneration(ONE, may_call=False)
    step(context, wants(3, problem="no JSON"))
    assert context.excuse is Excuse.WORDS, "and has failed if it does not"


def test_rounds_have_a_limit():
    """Otherwise a model that asks and asks is silent for ever."""
    context = asked(tool_rounds_max=2)
    step(context, SentenceReady(50, ONE, 0, "Let me see."))
    for number, may_call in ((1, True), (2, False)):
        step(context, wants(number))
        assert step(context, answered(number))[-1] == ContinueGeneration(ONE, may_call)
    effects = step(context, wants(3))
    message = "The model asked for tools 3 times in one reply, and was told not to."
    assert FinishSpeech(ONE) in effects
    assert [effect.message for effect in effects if isinstance(effect, ReportFailure)] == [message]
    assert not any(isinstance(effect, CallTools) for effect in effects)


def test_the_next_reply_begins_anew():
    """Otherwise a model that has used up its rounds once never gets to call a tool again."""
    context = asked(tool_rounds_max=1)
    step(context, wants(1))
    step(context, TimerFired(1600, Timer.FILLER))
    step(context, answered(1, at_ms=1700))
    step(context, PlayoutStarted(2000, ONE))
    step(context, ClientCancelled(2100, ONE))
    step(context, TextReceived(2200, "again"))
    assert (context.rounds, context.bad_rounds, context.has_filler) == (0, 0, False)
    effects = step(context, ToolsCalled(2300, Epoch(2), (ToolCall("c2", "weather", "{}"),)))
    assert any(isinstance(effect, CallTools) for effect in effects)
    assert context.deadlines[Timer.FILLER] == 2300 + context.settings.filler_ms


def test_a_reply_that_ends_takes_its_calls_with_it():
    """Otherwise a client goes on working for nobody; or the deadline of a call ends up in the next reply."""
    context = asked()
    step(context, SentenceReady(50, ONE, 0, "Let me see."))
    step(context, wants(1, 2))
    step(context, answered(1))
    effects = step(context, ClientCancelled(300, ONE))
    assert effects[-1] == CancelTools(ONE, ("c2",))
    assert (context.generation, context.open_calls) == (Generation.NONE, ())
    assert not context.is_armed(Timer.TOOLS)
    assert not context.is_armed(Timer.FILLER)


def test_a_reply_that_replaces_another_is_not_taken_for_it():
    """Otherwise the client cancels the calls of the wrong reply."""
    context = asked()
    step(context, wants(1))
    effects = step(context, TextReceived(300, "more"))
    assert [effect.epoch for effect in effects if isinstance(effect, CancelTools)] == [ONE]
    assert context.epoch == Epoch(2)


def test_a_model_that_waits_is_not_believed_to_write():
    """Otherwise what a cancelled request still delivers ends the reply under way."""
    context = asked()
    step(context, SentenceReady(50, ONE, 0, "Let me see."))
    step(context, wants(1))
    for fact in (TokenArrived(150, ONE), wants(2), GenerationFinished(150, ONE)):
        assert step(context, fact) == ()
    assert (context.generation, context.open_calls, context.rounds) == (Generation.CALLING, ("c1",), 1)


# --- what the user hears meanwhile ---


def speaking(**settings: Any) -> Context:
    """A sentence was heard, and a tool is at work."""
    context = asked(**settings)
    step(context, SentenceReady(50, ONE, 0, "Let me see."))
    step(context, wants(1))
    step(context, PlayoutStarted(300, ONE))
    step(context, PlayoutAdvanced(1000, ONE, 700, 0))
    assert (context.state, context.playout) == (State.SPEAKING, Playout.AUDIBLE)
    return context


def test_the_user_is_told_to_wait_after_a_silence_and_once():
    """Otherwise a slow tool sounds like a dead line; or the assistant repeats itself, or talks into its own words."""
    context = speaking(filler_ms=2000)
    assert context.deadlines[Timer.FILLER] == 3000, "silence begins where the last words end"
    assert step(context, TimerFired(3000, Timer.FILLER)) == (SpeakText(ONE, 1, "One moment, please."),)
    assert context.sentences == 2
    assert "one moment please" in context.said
    step(context, PlayoutAdvanced(5000, ONE, 1500, 0))
    assert not context.is_armed(Timer.FILLER)
    step(context, answered(1, at_ms=5100))
    step(context, ToolsCalled(5200, ONE, (ToolCall("c2", "weather", "{}"),)))
    assert not context.is_armed(Timer.FILLER)
    assert context.is_armed(Timer.TOOLS)


@pytest.mark.parametrize("is_heard", [False, True])
def test_whoever_was_told_to_wait_is_told_when_nothing_comes(is_heard):
    """Otherwise "one moment, please" is the whole answer, and the user waits for ever."""
    context = asked()
    step(context, wants(1))
    step(context, TimerFired(1600, Timer.FILLER))
    if is_heard:
        step(context, PlayoutStarted(2000, ONE))
    step(context, answered(1, at_ms=2100))
    effects = step(context, GenerationFinished(2200, ONE))
    assert [type(effect) for effect in effects] == [ReportFailure, SpeakText, FinishSpeech]
    assert effects[0] == ReportFailure(
        Backend.LLM,
        ONE,
        "The model wrote nothing that can be spoken.",
        "Ask again, or check the system prompt and the token limit.",
    )
    assert (context.generation, context.excuse) == (Generation.FAILED, Excuse.WORDS)


@pytest.mark.parametrize("is_before", [False, True])
def test_an_answer_beside_the_wait_is_enough(is_before):
    """Otherwise a model that says all it has to say before its tools is apologised for."""
    context = asked()
    if is_before:
        step(context, SentenceReady(50, ONE, 0, "I set it."))
        step(context, PlayoutStarted(100, ONE))
        step(context, PlayoutAdvanced(900, ONE, 700, 0))
    step(context, wants(1))
    step(context, TimerFired(9000, Timer.FILLER))
    assert context.has_filler
    step(context, answered(1, at_ms=9100))
    if not is_before:
        step(context, SentenceReady(9150, ONE, 0, "It is set."))
    assert step(context, GenerationFinished(9200, ONE)) == (FinishSpeech(ONE),)
    assert context.generation is Generation.DONE


@pytest.mark.parametrize(("left_ms", "near_end", "is_told"), [(199, False, True), (200, False, False), (0, True, False)])
def test_nobody_is_told_to_wait_who_hears_something_or_speaks(left_ms, near_end, is_told):
    """Otherwise the assistant says "one moment" into its own sentence, or into the user's."""
    context = speaking(interruption="client_only")
    step(context, PlayoutAdvanced(1000, ONE, 700, left_ms))
    if near_end:
        step(context, SpeechStarted(1100, 1050))
    assert bool(step(context, TimerFired(9000, Timer.FILLER))) is is_told
    assert context.has_filler is is_told
    step(context, SpeechEnded(9500, 9400) if near_end else PlayoutAdvanced(9500, ONE, 900, 0))
    assert context.deadlines[Timer.FILLER] == (NEVER if is_told else 9500 + context.settings.filler_ms)


@pytest.mark.parametrize("retryable", [False, True])
def test_a_voice_that_has_failed_tells_nobody_to_wait(retryable):
    """Otherwise the text says what nobody hears, or a voice that is asked again begins with it."""
    context = asked()
    step(context, wants(1))
    step(context, BackendFailed(200, ONE, Backend.TTS, "Gone.", retryable=retryable))
    step(context, TimerFired(1600, Timer.FILLER))
    assert not context.has_filler


def test_a_sentence_on_its_way_to_the_ear_is_waited_for():
    """Otherwise the user is told to wait where the answer has just begun."""
    context = asked()
    step(context, SentenceReady(50, ONE, 0, "Let me see."))
    step(context, wants(1))
    assert step(context, TimerFired(1600, Timer.FILLER)) == ()
    context = asked()
    step(context, wants(1))
    assert step(context, TimerFired(1600, Timer.FILLER)) == (SpeakText(ONE, 0, "One moment, please."),)


@pytest.mark.parametrize(
    ("language", "settings", "said"),
    [
        ("en-GB", {}, "One moment, please."),
        ("hi-IN", {}, "एक क्षण रुकिए।"),
        ("fr-FR", {}, ""),
        ("fr-FR", {"filler_text": " Un instant. "}, "Un instant."),
        ("EN", {"filler_en": "Wait."}, "Wait."),
        ("en-US", {"filler_en": ""}, ""),
        ("en-US", {"filler_text": "Wait.", "filler_ms": 0}, ""),
    ],
)
def test_the_phrase_is_of_the_language_or_the_sessions_own(language, settings, said):
    """Otherwise a French user is told to wait in English."""
    context = Context(settings=TurnSettings(**settings), language_code=language)
    assert context.filler() == said
    step(context, SessionOpened(0))
    step(context, TextReceived(10, "hello"))
    step(context, wants(1))
    assert context.is_armed(Timer.FILLER) is bool(said)

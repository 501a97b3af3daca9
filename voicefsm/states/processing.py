"""PROCESSING: the user's turn ended, the client hears nothing yet.

An onset of speech changes nothing but holds unsent audio back. Confirmed speech takes the turn back: nobody heard the reply, so
it is dropped, and its question becomes part of what the user is saying. Bounded by the deadlines of the model and of the voice.

A model that fails before it has written a sentence is asked again, and so is a voice that has spoken nothing; after the last
attempt the user hears an apology or a tone instead of the answer, unless they have gone on speaking.
"""

from __future__ import annotations

from voicefsm.context import Context, Excuse, Playout, State
from voicefsm.effects import CancelGeneration, ReleasePlayout, ReportFailure, RetryGeneration, RetrySpeech
from voicefsm.events import (
    BackendFailed,
    ClientCancelled,
    EvidenceChanged,
    Fact,
    FinalHeard,
    FirstAudio,
    GenerationFinished,
    GenerationResumed,
    PartialHeard,
    PlayoutAdvanced,
    PlayoutFinished,
    PlayoutStarted,
    SentenceReady,
    SpeechEnded,
    SpeechFinished,
    SpeechStarted,
    TextReceived,
    Timer,
    TimerFired,
    TokenArrived,
    ToolsCalled,
)
from voicefsm.states.common import (
    ENDS,
    FINISHES_FIRST,
    answer_text,
    await_decision,
    begin_to_be_heard,
    fail,
    give_up_model,
    give_up_voice,
    has_words,
    is_confirmed,
    listen,
    may_be_cut,
    may_interrupt,
    names_live_reply,
    note_failure,
    rest,
    retract,
    user_is_speaking,
    yield_to_client,
)
from voicefsm.table import Action, Guard, Key, Row, stays
from voicefsm.values import Backend

STATE = State.PROCESSING
DEADLINES = (Timer.FIRST_SENTENCE, Timer.FIRST_HEARD, Timer.RETRY_MODEL, Timer.RETRY_VOICE)


def is_held(context: Context, _event: TimerFired) -> bool:
    """Does near-end speech hold an answer back?"""
    return context.playout is Playout.HELD and context.excuse is Excuse.NONE


def can_be_heard(context: Context, _event: GenerationFinished | ToolsCalled | GenerationResumed) -> bool:
    """Is there anything to say, or something said in its place?"""
    return context.has_something_to_hear


def has_sentences(context: Context, _event: BackendFailed) -> bool:
    """Is there anything to say?"""
    return context.sentences > 0


def may_retry(context: Context, event: BackendFailed) -> bool:
    """Can another attempt help, is one left, has nothing come of this one, and does the server not want more time than there is?"""
    is_fruitless = context.sentences == 0 if event.backend is Backend.LLM else not context.has_audio
    is_left = context.retries < context.settings.reply_retries_max and event.retry_after_ms <= context.settings.reply_retry_ms_max
    return event.retryable and is_left and is_fruitless and context.excuse is Excuse.NONE


def is_unexcused(context: Context, _event: TimerFired) -> bool:
    """Is there a sound left to say that it failed, and may it be heard?"""
    return context.excuse is not Excuse.TONE and not context.has_audio and context.playout is not Playout.HELD


def is_model(_context: Context, event: BackendFailed) -> bool:
    """Is it the model that failed?"""
    return event.backend is Backend.LLM


def says_more(context: Context, event: FinalHeard) -> bool:
    """Does this final go on after the partial that is being answered?"""
    return bool(context.user_text) and not context.user_text.endswith(" ".join(event.text.split()))


def retry_later(context: Context, event: BackendFailed) -> None:
    """Ask again when the server says, or after a wait that doubles."""
    settings = context.settings
    wait_ms = min(settings.reply_retry_ms_min << context.retries, settings.reply_retry_ms_max)
    context.retries += 1
    timer = Timer.RETRY_MODEL if event.backend is Backend.LLM else Timer.RETRY_VOICE
    context.arm(timer, event.at_ms + max(wait_ms, event.retry_after_ms))


def retry_model(context: Context, _event: TimerFired) -> None:
    """The same words, asked again."""
    context.order(RetryGeneration(context.epoch))


def retry_voice(context: Context, _event: TimerFired) -> None:
    """The same text, spoken anew."""
    context.order(RetrySpeech(context.epoch))


def expect_to_be_heard(context: Context, event: Fact) -> None:
    """From the first sentence on it is the voice's turn."""
    context.disarm(Timer.FIRST_SENTENCE)
    if not context.is_armed(Timer.FIRST_HEARD):
        context.arm(Timer.FIRST_HEARD, event.at_ms + context.settings.first_heard_ms_max)


def expect_sentence(context: Context, event: ToolsCalled | GenerationResumed) -> None:
    """The model has its time anew; if tools are at work, after theirs."""
    since_ms = max(event.at_ms, context.deadlines[Timer.TOOLS])
    context.arm(Timer.FIRST_SENTENCE, since_ms + context.settings.first_sentence_ms_max)


def apologise(context: Context, event: BackendFailed | GenerationFinished | TimerFired) -> None:
    """The model has failed: say so, in its place."""
    context.order(_failure(context, event), CancelGeneration(context.epoch))
    give_up_model(context)
    expect_to_be_heard(context, event)


def sound_tone(context: Context, event: BackendFailed | TimerFired) -> None:
    """The voice has failed: a tone has its time to be heard."""
    context.order(_failure(context, event))
    give_up_voice(context)
    context.disarm(Timer.FIRST_HEARD)
    expect_to_be_heard(context, event)


def fail_reply(context: Context, event: BackendFailed | GenerationFinished | TimerFired) -> None:
    """The reply cannot be made, and nobody waits for it any more, or nothing can be heard."""
    fail(context, event, _failure(context, event))


def _failure(context: Context, event: BackendFailed | GenerationFinished | TimerFired) -> ReportFailure:
    """Who is to blame, and what to do."""
    match event:
        case BackendFailed():
            return ReportFailure(event.backend, event.epoch, event.message, event.remedy)
        case GenerationFinished():
            remedy = "Ask again, or check the system prompt and the token limit."
            return ReportFailure(Backend.LLM, event.epoch, "The model wrote nothing that can be spoken.", remedy)
        case TimerFired(timer=Timer.FIRST_SENTENCE):
            message = f"The model wrote no sentence within {context.settings.first_sentence_ms_max} ms."
            return ReportFailure(Backend.LLM, context.epoch, message, "Check the load of the LLM server.")
    message = f"The client heard nothing within {context.settings.first_heard_ms_max} ms of the first sentence."
    if context.has_audio or context.excuse is Excuse.TONE or context.playout is Playout.HELD:
        return ReportFailure(None, context.epoch, message, "Check that the client renders and reports its playout.")
    return ReportFailure(Backend.TTS, context.epoch, message, "Check the load of the TTS server.")


def blame_silent_voice(context: Context, event: PlayoutFinished) -> None:
    """The voice finished without a sample."""
    message = "The voice made no audio of the answer."
    remedy = "Check that the TTS server can speak this language and text."
    fail(context, event, ReportFailure(Backend.TTS, event.epoch, message, remedy))


def let_flow(context: Context, event: PlayoutStarted) -> None:
    """Nothing holds back a reply that speech must not interrupt, once it is heard."""
    context.order(ReleasePlayout(event.epoch))


_CONFIRMED = (may_interrupt, is_confirmed)


def _fails(on: Key, instead: Action, *when: Guard) -> tuple[Row[State], ...]:
    """The reply cannot be made. A user who has gone on speaking meanwhile keeps the floor; any other hears something instead."""
    return Row(on, when=(*when, has_words), to=State.LISTENING, do=(fail_reply, listen)), Row(on, when=when, do=(instead,))


def _ends(on: Key, blame: Action) -> tuple[Row[State], ...]:
    """The reply is over, and nothing can be heard."""
    return Row(on, when=(has_words,), to=State.LISTENING, do=(blame, listen)), Row(on, to=State.IDLE, do=(blame, rest))


ROWS: tuple[Row[State], ...] = (
    *stays(TokenArrived, FirstAudio, PlayoutAdvanced, because="Only the first sample at the client's ear moves."),
    Row(SentenceReady, do=(expect_to_be_heard,)),
    Row(GenerationFinished, when=(can_be_heard,)),
    *_fails(GenerationFinished, apologise),
    Row(ToolsCalled, when=(can_be_heard,), because="Something is on the way to the ear."),
    Row(ToolsCalled, do=(expect_sentence,)),
    Row(GenerationResumed, when=(can_be_heard,), because="Something is on the way to the ear."),
    Row(GenerationResumed, do=(expect_sentence,)),
    Row(PlayoutStarted, when=(may_be_cut, user_is_speaking), to=State.INTERRUPTING, do=(begin_to_be_heard, await_decision)),
    Row(PlayoutStarted, when=(may_interrupt, user_is_speaking), to=State.SPEAKING, do=(begin_to_be_heard, let_flow)),
    Row(PlayoutStarted, to=State.SPEAKING, do=(begin_to_be_heard,)),
    *_ends(PlayoutFinished, blame_silent_voice),
    *stays(SpeechStarted, because="Unsent audio is held; words or much speech are needed to take the turn back."),
    Row(EvidenceChanged, when=_CONFIRMED, to=State.LISTENING, do=(retract, listen)),
    *stays(EvidenceChanged, because="Not enough."),
    Row(SpeechEnded, when=_CONFIRMED, to=State.LISTENING, do=(retract, listen)),
    *stays(SpeechEnded, because="Not enough; held audio flows again."),
    Row(PartialHeard, when=_CONFIRMED, to=State.LISTENING, do=(retract, listen)),
    *stays(PartialHeard, because="Not enough, or a repetition of what is being answered."),
    Row(FinalHeard, when=_CONFIRMED, to=State.LISTENING, do=(retract, listen)),
    Row(FinalHeard, when=(says_more,), to=State.LISTENING, do=(retract, listen), because="The turn was answered a word too early."),
    *stays(FinalHeard, because="Not enough, or a repetition of what is being answered."),
    Row(
        TextReceived,
        to=State.PROCESSING,
        do=(retract, answer_text),
        because="Both belong to one turn: nothing was heard in between.",
    ),
    Row(ClientCancelled, when=(names_live_reply,), to=State.LISTENING, do=(yield_to_client, listen)),
    *stays(ClientCancelled, because="An earlier reply is meant."),
    *stays(SpeechFinished, because="The turn is over already; the release is remembered."),
    Row(BackendFailed, when=(may_retry,), do=(retry_later,), because="Nothing is lost yet but time."),
    Row(BackendFailed, when=(is_model, has_sentences), do=(note_failure,), because="What was written is still spoken."),
    *_fails(BackendFailed, apologise, is_model),
    *_fails(BackendFailed, sound_tone),
    Row(Timer.RETRY_MODEL, do=(retry_model,)),
    Row(Timer.RETRY_VOICE, do=(retry_voice,)),
    *_fails(Timer.FIRST_SENTENCE, apologise),
    Row(Timer.FIRST_HEARD, when=(is_held,), to=State.LISTENING, do=(retract, listen), because="Speech has held it for too long."),
    *_fails(Timer.FIRST_HEARD, sound_tone, is_unexcused),
    *_ends(Timer.FIRST_HEARD, fail_reply),
    *FINISHES_FIRST,
    *ENDS,
)

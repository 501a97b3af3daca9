"""PROCESSING: the user's turn ended, the client hears nothing yet.

An onset of speech changes nothing but holds unsent audio back. Confirmed speech takes the turn back: nobody heard the reply, so
it is dropped, and its question becomes part of what the user is saying. Bounded by the deadlines of the model and of the voice.
"""

from __future__ import annotations

from voicefsm.context import Context, Playout, State
from voicefsm.effects import ReleasePlayout, ReportFailure
from voicefsm.events import (
    BackendFailed,
    ClientCancelled,
    EvidenceChanged,
    FinalHeard,
    FirstAudio,
    GenerationFinished,
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
)
from voicefsm.states.common import (
    ENDS,
    answer_text,
    await_decision,
    begin_to_be_heard,
    fail,
    fail_backend,
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
from voicefsm.table import Action, Key, Row, stays
from voicefsm.values import Backend

STATE = State.PROCESSING
DEADLINES = (Timer.FIRST_SENTENCE, Timer.FIRST_HEARD)


def is_held(context: Context, _event: TimerFired) -> bool:
    """Does near-end speech hold the reply back?"""
    return context.playout is Playout.HELD


def has_sentences(context: Context, _event: BackendFailed | GenerationFinished) -> bool:
    """Is there anything to say?"""
    return context.sentences > 0


def is_model(_context: Context, event: BackendFailed) -> bool:
    """Is it the model that failed?"""
    return event.backend is Backend.LLM


def says_more(context: Context, event: FinalHeard) -> bool:
    """Does this final go on after the partial that is being answered?"""
    return bool(context.user_text) and not context.user_text.endswith(" ".join(event.text.split()))


def expect_to_be_heard(context: Context, event: SentenceReady) -> None:
    """From the first sentence on it is the voice's turn."""
    context.disarm(Timer.FIRST_SENTENCE)
    if not context.is_armed(Timer.FIRST_HEARD):
        context.arm(Timer.FIRST_HEARD, event.at_ms + context.settings.first_heard_ms_max)


def blame_empty_answer(context: Context, event: GenerationFinished) -> None:
    """The model finished without a word for the ear."""
    remedy = "Ask again, or check the system prompt and the token limit."
    fail(context, event, ReportFailure(Backend.LLM, event.epoch, "The model wrote nothing that can be spoken.", remedy))


def blame_slow_model(context: Context, event: TimerFired) -> None:
    """The model took too long."""
    limit_ms = context.settings.first_sentence_ms_max
    message = f"The model wrote no sentence within {limit_ms} ms."
    fail(context, event, ReportFailure(Backend.LLM, context.epoch, message, "Check the load of the LLM server."))


def blame_slow_voice(context: Context, event: TimerFired) -> None:
    """The voice took too long, or the client does not render what it gets."""
    message = f"The client heard nothing within {context.settings.first_heard_ms_max} ms of the first sentence."
    remedy = "Check that the client renders and reports its playout." if context.has_audio else "Check the load of the TTS server."
    fail(context, event, ReportFailure(None if context.has_audio else Backend.TTS, context.epoch, message, remedy))


def blame_silent_voice(context: Context, event: PlayoutFinished) -> None:
    """The voice finished without a sample."""
    message = "The voice made no audio of the answer."
    remedy = "Check that the TTS server can speak this language and text."
    fail(context, event, ReportFailure(Backend.TTS, event.epoch, message, remedy))


def let_flow(context: Context, event: PlayoutStarted) -> None:
    """Nothing holds back a reply that speech must not interrupt, once it is heard."""
    context.order(ReleasePlayout(event.epoch))


_CONFIRMED = (may_interrupt, is_confirmed)


def _fails(on: Key, blame: Action) -> tuple[Row[State], ...]:
    """The reply cannot be made. A user who has gone on speaking meanwhile keeps the floor."""
    return Row(on, when=(has_words,), to=State.LISTENING, do=(blame, listen)), Row(on, to=State.IDLE, do=(blame, rest))


ROWS: tuple[Row[State], ...] = (
    *stays(TokenArrived, FirstAudio, PlayoutAdvanced, because="Only the first sample at the client's ear moves."),
    Row(SentenceReady, do=(expect_to_be_heard,)),
    Row(GenerationFinished, when=(has_sentences,)),
    *_fails(GenerationFinished, blame_empty_answer),
    Row(PlayoutStarted, when=(may_be_cut, user_is_speaking), to=State.INTERRUPTING, do=(begin_to_be_heard, await_decision)),
    Row(PlayoutStarted, when=(may_interrupt, user_is_speaking), to=State.SPEAKING, do=(begin_to_be_heard, let_flow)),
    Row(PlayoutStarted, to=State.SPEAKING, do=(begin_to_be_heard,)),
    *_fails(PlayoutFinished, blame_silent_voice),
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
    Row(BackendFailed, when=(is_model, has_sentences), do=(note_failure,), because="What was written is still spoken."),
    *_fails(BackendFailed, fail_backend),
    *_fails(Timer.FIRST_SENTENCE, blame_slow_model),
    Row(Timer.FIRST_HEARD, when=(is_held,), to=State.LISTENING, do=(retract, listen), because="Speech has held it for too long."),
    *_fails(Timer.FIRST_HEARD, blame_slow_voice),
    *ENDS,
)

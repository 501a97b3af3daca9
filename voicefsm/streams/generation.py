"""Generation: the model's part in the live reply. What a failure means is the turn machine's business."""

from __future__ import annotations

from voicefsm.bargein import remember
from voicefsm.context import Context, Generation
from voicefsm.effects import FinishSpeech, SpeakText
from voicefsm.events import (
    BackendFailed,
    GenerationFinished,
    ReplyEnded,
    ReplyStarted,
    SentenceReady,
    Timer,
    TimerFired,
    TokenArrived,
)
from voicefsm.table import Row, stays
from voicefsm.values import Backend


def speak(context: Context, event: SentenceReady) -> None:
    """Every sentence goes to the voice at once, so that there is no gap between two."""
    remember(context, event.text)
    context.order(SpeakText(event.epoch, event.index, event.text))


def finish(context: Context, event: GenerationFinished) -> None:
    """The voice may finish what it has."""
    context.order(FinishSpeech(event.epoch))


def is_model(_context: Context, event: BackendFailed) -> bool:
    """Is it the model that failed?"""
    return event.backend is Backend.LLM


def can_be_heard(context: Context, _event: GenerationFinished) -> bool:
    """Is there anything to say, or something said in its place?"""
    return context.has_something_to_hear


def is_dry(context: Context, _event: TimerFired) -> bool:
    """Is it for want of audio that playout stands still?"""
    return context.is_dry


_OVER: Row[Generation] = Row(ReplyEnded, to=Generation.NONE)
_ENDS: tuple[Row[Generation], ...] = (
    Row(GenerationFinished, when=(can_be_heard,), to=Generation.DONE, do=(finish,)),
    Row(GenerationFinished, to=Generation.FAILED, because="It wrote nothing for the ear."),
    Row(BackendFailed, when=(is_model,), to=Generation.FAILED),
    Row(BackendFailed, because="The voice failed, not the model."),
    Row(Timer.FIRST_SENTENCE, to=Generation.FAILED, because="It is too slow."),
    Row(Timer.PLAYOUT, when=(is_dry,), to=Generation.FAILED, because="It is too slow."),
    Row(Timer.PLAYOUT, because="There is audio enough: the client is stuck."),
    _OVER,
)

ROWS: dict[Generation, tuple[Row[Generation], ...]] = {
    Generation.NONE: (Row(ReplyStarted, to=Generation.WAITING),),
    Generation.WAITING: (
        Row(TokenArrived, to=Generation.WRITING),
        Row(SentenceReady, to=Generation.WRITING, do=(speak,)),
        *_ENDS,
    ),
    Generation.WRITING: (
        *stays(TokenArrived, because="Only the first is news."),
        Row(SentenceReady, do=(speak,)),
        *_ENDS,
    ),
    Generation.DONE: (
        *stays(TokenArrived, SentenceReady, GenerationFinished, BackendFailed, because="The model has finished."),
        _OVER,
    ),
    Generation.FAILED: (
        *stays(TokenArrived, SentenceReady, GenerationFinished, BackendFailed, because="Late news of an attempt that is over."),
        Row(Timer.RETRY_MODEL, to=Generation.WAITING),
        _OVER,
    ),
}

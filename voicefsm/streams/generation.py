"""Generation: the model's part in the live reply."""

from __future__ import annotations

from voicefsm.bargein import normal
from voicefsm.context import SAID_CHARS_MAX, Context, Generation
from voicefsm.effects import FinishSpeech, SpeakText
from voicefsm.events import BackendFailed, GenerationFinished, ReplyEnded, ReplyStarted, SentenceReady, TokenArrived
from voicefsm.table import Row, stays
from voicefsm.values import Backend


def speak(context: Context, event: SentenceReady) -> None:
    """Every sentence goes to the voice at once, so that there is no gap between two."""
    context.sentences += 1
    context.said = f"{context.said} {normal(event.text)}"[-SAID_CHARS_MAX:]
    context.order(SpeakText(event.epoch, event.index, event.text))


def finish(context: Context, event: GenerationFinished | BackendFailed) -> None:
    """The voice may finish what it has."""
    context.order(FinishSpeech(event.epoch))


def is_model(_context: Context, event: BackendFailed) -> bool:
    """Is it the model that failed?"""
    return event.backend is Backend.LLM


_OVER: Row[Generation] = Row(ReplyEnded, to=Generation.NONE)
_ENDS: tuple[Row[Generation], ...] = (
    Row(GenerationFinished, to=Generation.DONE, do=(finish,)),
    Row(BackendFailed, when=(is_model,), to=Generation.DONE, do=(finish,), because="What was written is still spoken."),
    Row(BackendFailed, because="The voice failed, not the model."),
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
}

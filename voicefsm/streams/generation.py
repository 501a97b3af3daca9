"""Generation: the model's part in the live reply. What a failure means is the turn machine's business.

A model that asks for tools has stopped writing. The client carries the calls out, all at once, and within one deadline; what it
does not answer has failed, and the model is told so. Then the model goes on, with what it asked for in the history. It may ask a
limited number of times, and make one mistake in asking.
"""

from __future__ import annotations

from voicefsm.bargein import remember
from voicefsm.context import Context, Excuse, Generation, NearEnd, Playout
from voicefsm.effects import CallTools, CancelTools, ContinueGeneration, FinishSpeech, KeepToolResult, ReportFailure, SpeakText
from voicefsm.events import (
    BackendFailed,
    Fact,
    GenerationFinished,
    GenerationResumed,
    PlayoutAdvanced,
    ReplyEnded,
    ReplyStarted,
    SentenceReady,
    SpeechEnded,
    Timer,
    TimerFired,
    TokenArrived,
    ToolAnswered,
    ToolsCalled,
)
from voicefsm.table import Row, stays
from voicefsm.values import Backend, Epoch


def speak(context: Context, event: SentenceReady) -> None:
    """Every sentence goes to the voice at once, so that there is no gap between two."""
    context.order(SpeakText(event.epoch, context.sentences, event.text))
    remember(context, event.text)


def finish(context: Context, event: GenerationFinished) -> None:
    """The voice may finish what it has."""
    context.order(FinishSpeech(event.epoch))


def is_model(_context: Context, event: BackendFailed) -> bool:
    """Is it the model that failed?"""
    return event.backend is Backend.LLM


def can_be_heard(context: Context, _event: GenerationFinished) -> bool:
    """Is there anything to say, or something said in its place?"""
    return context.has_something_to_hear


def is_filler_all(context: Context, _event: GenerationFinished) -> bool:
    """Was the user told to wait, and is told nothing more?"""
    return context.has_filler and context.sentences == 1


def blame_silence(context: Context, event: GenerationFinished) -> None:
    """Whoever was told to wait waits for something: an answer that does not come has failed."""
    remedy = "Ask again, or check the system prompt and the token limit."
    message = "The model wrote nothing that can be spoken."
    context.raised.append(BackendFailed(event.at_ms, event.epoch, Backend.LLM, message, remedy, retryable=False))


def is_dry(context: Context, _event: TimerFired) -> bool:
    """Is it for want of audio that playout stands still?"""
    return context.is_dry


# --- tools -------------------------------------------------------------------------------------------------------------------

BAD_ROUNDS_MAX = 1
"""How often the model may ask for something that cannot be called before it has to answer without tools."""


def forget_calls(context: Context, _event: ReplyStarted) -> None:
    """It has asked for nothing."""
    context.open_calls = ()
    context.rounds = context.bad_rounds = 0
    context.has_filler = False


def may_ask(context: Context, _event: ToolsCalled) -> bool:
    """May the model ask for tools once more?"""
    return context.rounds < context.settings.tool_rounds_max and context.bad_rounds <= BAD_ROUNDS_MAX


def can_be_called(_context: Context, event: ToolsCalled) -> bool:
    """Is there anything for the client to do?"""
    return not all(call.problem for call in event.calls)


def call(context: Context, event: ToolsCalled) -> None:
    """What can be called is; of the rest the model learns at once why not."""
    context.rounds += 1
    context.order(CallTools(event.epoch, event.calls))
    bad = [call for call in event.calls if call.problem]
    context.bad_rounds += bool(bad)
    context.order(*(KeepToolResult(event.epoch, call.id, f"Error: {call.problem}") for call in bad))
    context.open_calls = tuple(call.id for call in event.calls if not call.problem)


def expect_answers(context: Context, event: ToolsCalled) -> None:
    """The client has its time, and the user is told when it takes long."""
    context.arm(Timer.TOOLS, event.at_ms + context.settings.tool_ms_max)
    if may_fill(context, event):
        fill_later(context, event)


def blame_endless_calls(context: Context, event: ToolsCalled) -> None:
    """A model that was told to answer without tools, and asks for them all the same, has failed."""
    message = f"The model asked for tools {context.rounds + 1} times in one reply, and was told not to."
    remedy = "Check the descriptions of the tools, or allow more rounds."
    context.raised.append(BackendFailed(event.at_ms, event.epoch, Backend.LLM, message, remedy, retryable=False))


def is_open(context: Context, event: ToolAnswered) -> bool:
    """Is this call waited for?"""
    return event.call_id in context.open_calls


def is_last(context: Context, _event: ToolAnswered) -> bool:
    """Is no other call waited for?"""
    return len(context.open_calls) == 1


def take_answer(context: Context, event: ToolAnswered) -> None:
    """The model may know."""
    context.open_calls = tuple(call_id for call_id in context.open_calls if call_id != event.call_id)
    context.order(KeepToolResult(event.epoch, event.call_id, f"Error: {event.error}" if event.error else event.output))


def refuse_answer(context: Context, event: ToolAnswered) -> None:
    """The client has answered twice, too late, or what nobody asked."""
    message = f"There is no open call {event.call_id!r}."
    remedy = "Answer each call once, and not after its `tool_call_cancelled`."
    context.order(ReportFailure(None, event.epoch, message, remedy))


def give_up_calls(context: Context, _event: TimerFired) -> None:
    """The model is told that what is still open has failed, and the client that nobody waits."""
    late, context.open_calls = context.open_calls, ()
    text = f"Error: no answer within {context.settings.tool_ms_max} ms. It may have been carried out or not."
    context.order(*(KeepToolResult(context.epoch, call_id, text) for call_id in late))
    context.order(CancelTools(context.epoch, late, is_late=True))


def let_go_on(context: Context, event: Fact) -> None:
    """The model has what it asked for."""
    context.disarm(Timer.TOOLS, Timer.FILLER)
    may_call = context.rounds < context.settings.tool_rounds_max and context.bad_rounds <= BAD_ROUNDS_MAX
    context.order(ContinueGeneration(context.epoch, may_call))
    context.raised.append(GenerationResumed(event.at_ms, context.epoch))


def drop_calls(context: Context, event: ReplyEnded) -> None:
    """The reply is over: nobody waits any more."""
    _drop_calls(context, event.epoch)


def abandon_calls(context: Context, _event: TimerFired) -> None:
    """The model was given up: nobody waits any more."""
    _drop_calls(context, context.epoch)


def _drop_calls(context: Context, epoch: Epoch) -> None:
    dropped, context.open_calls = context.open_calls, ()
    context.disarm(Timer.TOOLS, Timer.FILLER)
    context.order(CancelTools(epoch, dropped))


def is_silent(context: Context, _event: TimerFired) -> bool:
    """Does nobody speak, is nothing left to hear, and is the voice well?"""
    is_heard = context.playout is Playout.AUDIBLE and context.is_dry
    is_well = context.excuse is Excuse.NONE and not context.is_armed(Timer.RETRY_VOICE)
    return context.near_end is NearEnd.QUIET and (is_heard or not context.sentences) and is_well


def fill(context: Context, event: TimerFired) -> None:
    """Tell the user to wait. To everybody else that is a sentence like others."""
    context.has_filler = True
    context.raised.append(SentenceReady(event.at_ms, context.epoch, context.sentences, context.filler()))


def may_fill(context: Context, _event: Fact) -> bool:
    """Will the user be told to wait?"""
    return bool(context.filler()) and not context.has_filler


def fill_later(context: Context, event: Fact) -> None:
    """Silence counts from its beginning."""
    context.arm(Timer.FILLER, event.at_ms + context.settings.filler_ms)


_ASKS: tuple[Row[Generation], ...] = (
    Row(ToolsCalled, when=(may_ask, can_be_called), to=Generation.CALLING, do=(call, expect_answers)),
    Row(ToolsCalled, when=(may_ask,), to=Generation.WAITING, do=(call, let_go_on), because="Nothing of it can be called."),
    Row(ToolsCalled, do=(blame_endless_calls,)),
)
_UNASKED: Row[Generation] = Row(ToolAnswered, do=(refuse_answer,), because="Answered before, too late, or never asked for.")
_OVER: Row[Generation] = Row(ReplyEnded, to=Generation.NONE)
_ENDS: tuple[Row[Generation], ...] = (
    Row(GenerationFinished, when=(is_filler_all,), do=(blame_silence,)),
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
    Generation.NONE: (Row(ReplyStarted, to=Generation.WAITING, do=(forget_calls,)),),
    Generation.WAITING: (
        Row(TokenArrived, to=Generation.WRITING),
        Row(SentenceReady, to=Generation.WRITING, do=(speak,)),
        *_ASKS,
        _UNASKED,
        *_ENDS,
    ),
    Generation.WRITING: (
        *stays(TokenArrived, because="Only the first is news."),
        Row(SentenceReady, do=(speak,)),
        *_ASKS,
        _UNASKED,
        *_ENDS,
    ),
    Generation.CALLING: (
        Row(ToolAnswered, when=(is_open, is_last), to=Generation.WAITING, do=(take_answer, let_go_on)),
        Row(ToolAnswered, when=(is_open,), do=(take_answer,)),
        _UNASKED,
        Row(Timer.TOOLS, to=Generation.WAITING, do=(give_up_calls, let_go_on)),
        Row(Timer.FILLER, when=(is_silent,), do=(fill,)),
        *stays(Timer.FILLER, because="The user speaks, or will hear something: its end counts."),
        Row(PlayoutAdvanced, when=(may_fill,), do=(fill_later,), because="There was something to hear."),
        Row(SpeechEnded, when=(may_fill,), do=(fill_later,), because="The user spoke."),
        *stays(PlayoutAdvanced, SpeechEnded, because="Nobody is told to wait, or is so already."),
        Row(SentenceReady, do=(speak,), because="What the user is told meanwhile."),
        *stays(TokenArrived, ToolsCalled, GenerationFinished, because="The model has stopped writing."),
        *stays(BackendFailed, because="The voice failed, not the model."),
        Row(Timer.FIRST_SENTENCE, to=Generation.FAILED, do=(abandon_calls,), because="It is too slow."),
        Row(Timer.PLAYOUT, when=(is_dry,), to=Generation.FAILED, do=(abandon_calls,), because="It is too slow."),
        *stays(Timer.PLAYOUT, because="There is audio enough: the client is stuck."),
        Row(ReplyEnded, to=Generation.NONE, do=(drop_calls,)),
    ),
    Generation.DONE: (
        *stays(TokenArrived, SentenceReady, ToolsCalled, GenerationFinished, BackendFailed, because="The model has finished."),
        _UNASKED,
        _OVER,
    ),
    Generation.FAILED: (
        *stays(
            TokenArrived,
            SentenceReady,
            ToolsCalled,
            GenerationFinished,
            BackendFailed,
            because="Late news of an attempt that is over.",
        ),
        _UNASKED,
        Row(Timer.RETRY_MODEL, to=Generation.WAITING),
        _OVER,
    ),
}

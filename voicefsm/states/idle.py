"""IDLE: nobody speaks. The ears are open. Bounded by the idle limit of the session."""

from __future__ import annotations

from voicefsm.context import NEVER, Context, State
from voicefsm.events import (
    ClientCancelled,
    DrainRequested,
    EvidenceChanged,
    FinalHeard,
    PartialHeard,
    SessionOpened,
    SpeechEnded,
    SpeechFinished,
    SpeechStarted,
    TextReceived,
    Timer,
)
from voicefsm.states.common import (
    ENDS,
    answer_text,
    begin_reply,
    expect_final,
    forget_words,
    has_words,
    listen,
    rest,
    shut_down,
    time_out,
    user_is_speaking,
)
from voicefsm.table import Row, stays

STATE = State.IDLE
DEADLINES = (Timer.IDLE,)


def hear_missed_words(context: Context, event: PartialHeard | FinalHeard) -> None:
    """The recogniser hears what the detector missed: its words count as voiced."""
    context.last_voiced_ms = event.at_ms
    listen(context, event)


def may_be_ours(context: Context, event: PartialHeard | FinalHeard) -> bool:
    """Could these be the last words of our own reply, come back from a loudspeaker? Without a sign of the user since, they are."""
    is_users = user_is_speaking(context, event) or context.last_voiced_ms > context.reply_ended_ms
    if context.reply_ended_ms == NEVER or is_users:
        return False
    return context.is_overheard or event.at_ms - context.reply_ended_ms <= context.settings.final_ms_max


def disown(context: Context, event: FinalHeard) -> None:
    """They were ours: nobody said them to us."""
    forget_words(context, event)
    context.is_overheard = False


def has_question(_context: Context, event: SessionOpened) -> bool:
    """Was a turn being answered where the conversation began?"""
    return bool(event.question)


def open_session(context: Context, event: SessionOpened) -> None:
    """The clock of the session starts."""
    context.arm(Timer.AGE, event.at_ms + context.settings.session_ms_max)
    context.last_epoch = max(context.last_epoch, event.last_epoch)
    rest(context, event)


def go_on_answering(context: Context, event: SessionOpened) -> None:
    """The answer that was lost on the way is given here, under a new number. What was partly heard cannot be taken back."""
    begin_reply(context, event, event.question)
    if event.is_begun:
        context.asked = ""


ROWS: tuple[Row[State], ...] = (
    Row(SessionOpened, when=(has_question,), to=State.PROCESSING, do=(open_session, go_on_answering)),
    Row(SessionOpened, do=(open_session,)),
    Row(SpeechStarted, to=State.LISTENING, do=(listen,)),
    Row(PartialHeard, when=(may_be_ours,), because="The tail of our own reply, perhaps; the detector heard nobody."),
    Row(PartialHeard, when=(has_words,), to=State.LISTENING, do=(hear_missed_words,)),
    *stays(PartialHeard, because="An empty hypothesis."),
    Row(FinalHeard, when=(may_be_ours,), do=(disown,)),
    Row(
        FinalHeard,
        when=(has_words,),
        to=State.LISTENING,
        do=(hear_missed_words,),
        because="The user may go on: silence ends a turn.",
    ),
    *stays(FinalHeard, because="An empty final, or one that was answered already."),
    Row(TextReceived, to=State.PROCESSING, do=(answer_text,)),
    Row(Timer.IDLE, to=State.CLOSED, do=(time_out,)),
    *stays(EvidenceChanged, SpeechEnded, because="The tail of a stretch of speech that held no words."),
    Row(
        SpeechFinished,
        to=State.LISTENING,
        do=(listen, expect_final),
        because="The recogniser may have heard what the detector missed, or has been slow.",
    ),
    *stays(ClientCancelled, because="There is nothing to cancel."),
    Row(DrainRequested, to=State.CLOSED, do=(shut_down,), because="Nobody speaks, and nobody waits for an answer."),
    *ENDS,
)

"""INTERRUPTING: speech over our voice. Playout is paused, the decision pending.

Every new piece of evidence asks the one rule (`bargein.decide`): confirm cancels the reply and gives the user the floor; reject
resumes at the exact sample. Bounded by the decision's deadline.
"""

from __future__ import annotations

from voicefsm.bargein import Verdict, judge
from voicefsm.context import Context, State
from voicefsm.effects import FinalizeUtterance, ResumePlayout
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
    complete,
    expect_decision,
    follow_playout,
    is_confirmed,
    is_rejected,
    listen,
    names_live_reply,
    note_failure,
    yield_to_client,
    yield_to_speech,
    yield_to_text,
)
from voicefsm.table import Row, stays

STATE = State.INTERRUPTING
DEADLINES = (Timer.DECISION,)


def is_confirmed_late(context: Context, _event: TimerFired) -> bool:
    """Out of time: does the evidence, as it stands, make this the user's turn?"""
    return judge(context, is_late=True).verdict is Verdict.CONFIRM


def resume(context: Context, event: SpeechEnded | PartialHeard | FinalHeard) -> None:
    """It was nobody's turn as far as we know: the reply goes on where it stopped. Late words may still say otherwise."""
    _resume(context, event, judge(context).why)


def resume_late(context: Context, event: TimerFired) -> None:
    """Out of time, and not enough evidence."""
    _resume(context, event, judge(context, is_late=True).why)


def _resume(context: Context, event: SpeechEnded | PartialHeard | FinalHeard | TimerFired, why: str) -> None:
    context.order(ResumePlayout(context.epoch, why))
    follow_playout(context, event)


def hurry(context: Context, event: SpeechEnded) -> None:
    """The speech is over: its words are asked for, and have little time."""
    context.order(FinalizeUtterance())
    context.arm(Timer.DECISION, min(context.deadlines[Timer.DECISION], event.at_ms + context.settings.verdict_ms_max))


ROWS: tuple[Row[State], ...] = (
    Row(EvidenceChanged, when=(is_confirmed,), to=State.LISTENING, do=(yield_to_speech, listen)),
    *stays(EvidenceChanged, because="Not clear yet."),
    Row(SpeechEnded, when=(is_confirmed,), to=State.LISTENING, do=(yield_to_speech, listen)),
    Row(SpeechEnded, when=(is_rejected,), to=State.SPEAKING, do=(resume,)),
    Row(SpeechEnded, do=(hurry,)),
    Row(SpeechStarted, do=(expect_decision,), because="A second burst: the same candidate, no need to hurry."),
    Row(PartialHeard, when=(is_confirmed,), to=State.LISTENING, do=(yield_to_speech, listen)),
    Row(PartialHeard, when=(is_rejected,), to=State.SPEAKING, do=(resume,)),
    *stays(PartialHeard, because="Not clear yet."),
    Row(FinalHeard, when=(is_confirmed,), to=State.LISTENING, do=(yield_to_speech, listen)),
    Row(FinalHeard, when=(is_rejected,), to=State.SPEAKING, do=(resume,)),
    *stays(FinalHeard, because="Not clear yet."),
    Row(Timer.DECISION, when=(is_confirmed_late,), to=State.LISTENING, do=(yield_to_speech, listen)),
    Row(Timer.DECISION, to=State.SPEAKING, do=(resume_late,)),
    Row(PlayoutFinished, to=State.LISTENING, do=(complete, listen), because="The reply was at its end: nothing is left to cut."),
    *stays(PlayoutStarted, PlayoutAdvanced, because="Reports from before the pause."),
    *stays(TokenArrived, SentenceReady, GenerationFinished, FirstAudio, because="The reply is made on; it may be resumed."),
    Row(TextReceived, to=State.PROCESSING, do=(yield_to_text, answer_text)),
    Row(ClientCancelled, when=(names_live_reply,), to=State.LISTENING, do=(yield_to_client, listen)),
    *stays(ClientCancelled, because="An earlier reply is meant."),
    *stays(SpeechFinished, because="The decision comes first; the release is remembered."),
    Row(BackendFailed, do=(note_failure,), because="What is synthesised may still be resumed."),
    *ENDS,
)

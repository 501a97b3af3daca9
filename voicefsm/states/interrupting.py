"""INTERRUPTING: speech over our voice. Playout is paused, or ducked, the decision pending.

Every new piece of evidence asks the one rule (`bargein.decide`): confirm cancels the reply and gives the user the floor; reject
resumes at the exact sample. Words are the best evidence, so they are asked for whenever the speech pauses. A pause of playout is
short unless speech goes on: the verdict's deadline moves on with every voiced frame that sounds like the user, and playout resumes
when it passes. Bounded by the decision's deadline.
"""

from __future__ import annotations

from voicefsm.bargein import account, is_alien, is_clear, judge
from voicefsm.context import Context, State
from voicefsm.effects import ResumePlayout
from voicefsm.events import (
    BackendFailed,
    ClientCancelled,
    EvidenceChanged,
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
    PAUSES_MAX,
    answer_text,
    ask_for_words,
    complete,
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
DEADLINES = (Timer.VERDICT, Timer.DECISION, Timer.LULL)


def go_on(context: Context, event: EvidenceChanged | SpeechStarted) -> None:
    """Speech goes on: if it sounds like the user it has the time it needs. Its words are wanted when it pauses."""
    context.arm(Timer.LULL, event.at_ms + context.settings.barge_in_lull_ms)
    if is_clear(context):
        quiet_ms = event.at_ms + context.settings.barge_in_quiet_ms
        context.arm(Timer.VERDICT, max(context.deadlines[Timer.VERDICT], quiet_ms))


def resume(context: Context, event: SpeechEnded | PartialHeard | FinalHeard | TimerFired) -> None:
    """It was nobody's turn as far as we know: the reply goes on where it stopped. What comes later may still say otherwise."""
    context.is_doubted = not is_clear(context)
    context.order(ResumePlayout(context.epoch, account(context, judge(context, event).why)))
    follow_playout(context, event)


def resume_for_good(context: Context, event: TimerFired) -> None:
    """There was time enough: from now on only what confirms it stops the reply."""
    context.pauses = PAUSES_MAX
    resume(context, event)


def may_be_words(context: Context, _event: TimerFired) -> bool:
    """Is it speech, and long enough for a word?"""
    return context.evidence.voiced_ms >= context.settings.barge_in_onset_ms_min and not is_alien(context)


ROWS: tuple[Row[State], ...] = (
    Row(EvidenceChanged, when=(is_confirmed,), to=State.LISTENING, do=(yield_to_speech, listen)),
    Row(EvidenceChanged, do=(go_on,), because="Not clear yet."),
    Row(SpeechEnded, when=(is_confirmed,), to=State.LISTENING, do=(yield_to_speech, listen)),
    Row(SpeechEnded, when=(is_rejected,), to=State.SPEAKING, do=(resume,)),
    Row(SpeechEnded, do=(ask_for_words,)),
    Row(SpeechStarted, do=(go_on,), because="A second burst: the same candidate."),
    Row(Timer.LULL, when=(may_be_words,), do=(ask_for_words,), because="Words tell a barge-in from a listener's uh-huh."),
    *stays(Timer.LULL, because="Too short, or nobody."),
    Row(PartialHeard, when=(is_confirmed,), to=State.LISTENING, do=(yield_to_speech, listen)),
    Row(PartialHeard, when=(is_rejected,), to=State.SPEAKING, do=(resume,)),
    *stays(PartialHeard, because="Not clear yet."),
    Row(FinalHeard, when=(is_confirmed,), to=State.LISTENING, do=(yield_to_speech, listen)),
    Row(FinalHeard, when=(is_rejected,), to=State.SPEAKING, do=(resume,)),
    *stays(FinalHeard, because="Not clear yet."),
    Row(Timer.VERDICT, when=(is_confirmed,), to=State.LISTENING, do=(yield_to_speech, listen)),
    Row(Timer.VERDICT, to=State.SPEAKING, do=(resume,), because="It does not go on, or does not sound like the user."),
    Row(Timer.DECISION, when=(is_confirmed,), to=State.LISTENING, do=(yield_to_speech, listen)),
    Row(Timer.DECISION, to=State.SPEAKING, do=(resume_for_good,)),
    Row(PlayoutFinished, to=State.LISTENING, do=(complete, listen), because="The reply was at its end: nothing is left to cut."),
    *stays(PlayoutStarted, PlayoutAdvanced, because="Reports from before the pause, or of ducked playout."),
    *stays(TokenArrived, SentenceReady, GenerationFinished, FirstAudio, because="The reply is made on; it may be resumed."),
    *stays(ToolsCalled, GenerationResumed, because="The tools are at work for a reply that may be resumed."),
    Row(TextReceived, to=State.PROCESSING, do=(yield_to_text, answer_text)),
    Row(ClientCancelled, when=(names_live_reply,), to=State.LISTENING, do=(yield_to_client, listen)),
    *stays(ClientCancelled, because="An earlier reply is meant."),
    *stays(SpeechFinished, because="The decision comes first; the release is remembered."),
    Row(BackendFailed, do=(note_failure,), because="What is synthesised may still be resumed."),
    *FINISHES_FIRST,
    *ENDS,
)

"""LISTENING: the user has the floor.

Silence, counted from the last voiced sample, ends the turn. If the recogniser's last word is still out then, it is asked for
and waited for. A stretch of speech without words gives the floor back; so does nothing at all. Bounded by the longest utterance.
"""

from __future__ import annotations

from voicefsm.context import Context, NearEnd, State
from voicefsm.events import (
    ClientCancelled,
    EvidenceChanged,
    FinalHeard,
    PartialHeard,
    SpeechEnded,
    SpeechFinished,
    SpeechStarted,
    TextReceived,
    Timer,
    TimerFired,
)
from voicefsm.states.common import (
    ENDS,
    FINISHES_FIRST,
    answer,
    answer_text,
    expect_end_of_turn,
    expect_final,
    expect_more_words,
    has_words,
    rest,
    silence_counts,
)
from voicefsm.table import Row, stays

STATE = State.LISTENING
DEADLINES = (Timer.WORDS, Timer.END_OF_TURN, Timer.FINAL, Timer.UTTERANCE, Timer.WORDLESS)


def is_awaited(context: Context, _event: FinalHeard | SpeechFinished) -> bool:
    """Is the turn over but for the recogniser's last word?"""
    return context.is_armed(Timer.FINAL)


def is_quiet(context: Context, _event: PartialHeard | FinalHeard | SpeechFinished) -> bool:
    """Does the detector hear nothing?"""
    return context.near_end is NearEnd.QUIET


def is_complete(context: Context, _event: TimerFired | SpeechFinished) -> bool:
    """Are all words in: the last stretch transcribed, nothing open but what the recogniser's first pass calls final?"""
    is_final = not context.partial or context.partial_is_stable
    return bool(context.heard_so_far()) and context.is_transcribed and is_final


def go_on(context: Context, event: SpeechStarted) -> None:
    """The turn is not over after all, unless the talk button says so. Speech without words is bounded as before."""
    context.disarm(Timer.END_OF_TURN)
    if not context.settings.push_to_talk:
        context.disarm(Timer.FINAL)
    if not has_words(context, event):
        context.arm(Timer.WORDS, event.at_ms + context.settings.words_ms_max)


def note_words(context: Context, event: PartialHeard | FinalHeard) -> None:
    """There are words: the floor is the user's."""
    if has_words(context, event):
        context.disarm(Timer.WORDS)
    expect_more_words(context, event)


def note_late_words(context: Context, event: PartialHeard | FinalHeard) -> None:
    """Words in what the detector calls silence.

    Either the recogniser lags, or the detector is deaf to this voice. Half the usual silence from now is enough for the first, and
    keeps a turn open for the second, since partials keep coming. Words that are final, or announced to be, prolong nothing.
    """
    if not (has_words(context, event) and silence_counts(context)) or context.is_armed(Timer.FINAL):
        return
    silence_ms = context.settings.silence_ms
    if not context.is_armed(Timer.END_OF_TURN):
        context.arm(Timer.END_OF_TURN, event.at_ms + silence_ms)
    elif context.partial and not context.partial_is_stable:
        context.arm(Timer.END_OF_TURN, max(context.deadlines[Timer.END_OF_TURN], event.at_ms + silence_ms // 2))


ROWS: tuple[Row[State], ...] = (
    Row(SpeechStarted, do=(go_on,)),
    *stays(EvidenceChanged, because="Only a decision needs it."),
    Row(SpeechEnded, do=(expect_end_of_turn,)),
    Row(PartialHeard, when=(is_quiet,), do=(note_words, note_late_words)),
    Row(PartialHeard, do=(note_words,)),
    Row(FinalHeard, when=(is_awaited, has_words), to=State.PROCESSING, do=(answer,)),
    Row(FinalHeard, when=(is_awaited,), to=State.IDLE, do=(rest,), because="There were no words in it."),
    Row(FinalHeard, when=(is_quiet,), do=(note_words, note_late_words)),
    Row(FinalHeard, do=(note_words,)),
    Row(Timer.END_OF_TURN, when=(is_complete,), to=State.PROCESSING, do=(answer,)),
    Row(Timer.END_OF_TURN, do=(expect_final,)),
    Row(SpeechFinished, when=(is_awaited,), because="Said already."),
    Row(SpeechFinished, when=(is_quiet, is_complete), to=State.PROCESSING, do=(answer,), because="All its words are here."),
    Row(SpeechFinished, do=(expect_final,), because="The talk button was released; a final is on its way."),
    Row(Timer.FINAL, when=(has_words,), to=State.PROCESSING, do=(answer,), because="The recogniser is late: the partial must do."),
    Row(Timer.FINAL, to=State.IDLE, do=(rest,)),
    Row(Timer.WORDS, to=State.IDLE, do=(rest,), because="Speech without words is not a turn."),
    Row(Timer.WORDLESS, to=State.PROCESSING, do=(answer,), because="What the detector hears since then has no words."),
    Row(Timer.UTTERANCE, when=(has_words,), to=State.PROCESSING, do=(answer,)),
    Row(Timer.UTTERANCE, to=State.IDLE, do=(rest,)),
    Row(TextReceived, to=State.PROCESSING, do=(answer_text,)),
    *stays(ClientCancelled, because="There is nothing to cancel."),
    *FINISHES_FIRST,
    *ENDS,
)

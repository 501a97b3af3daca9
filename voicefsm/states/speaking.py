"""SPEAKING: the client hears us.

The state follows the client's playout, not the moment the bytes were sent. An onset of speech pauses playout and leaves the
decision to INTERRUPTING. Bounded by the longest time the client's playout may stand still.
"""

from __future__ import annotations

from voicefsm.context import Context, Generation, State
from voicefsm.effects import ReportFailure
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
    complete,
    fail,
    follow_playout,
    forget_words,
    is_confirmed,
    listen,
    may_interrupt,
    names_live_reply,
    note_failure,
    rest,
    user_is_speaking,
    yield_to_client,
    yield_to_speech,
    yield_to_text,
)
from voicefsm.table import Row, stays
from voicefsm.values import Backend

STATE = State.SPEAKING
DEADLINES = (Timer.PLAYOUT,)

AUDIBLE_MS_MIN = 200
"""With this much left to render it is not for want of audio that playout stands still; positions are told in steps of 100 ms."""


def blame_stalled_playout(context: Context, event: TimerFired) -> None:
    """The ear stands still: the client is stuck, or the model or the voice has dried up."""
    message = f"Playout stood still for {context.settings.playout_stall_ms_max} ms in mid-reply."
    if context.left_ms >= AUDIBLE_MS_MIN:
        culprit, remedy = None, "Check that the client renders and reports its playout."
    elif context.generation is not Generation.DONE:
        culprit, remedy = Backend.LLM, "Check the load of the LLM server."
    else:
        culprit, remedy = Backend.TTS, "Check the load of the TTS server."
    fail(context, event, ReportFailure(culprit, context.epoch, message, remedy))


def is_recent(context: Context, event: PartialHeard | FinalHeard) -> bool:
    """May these be words of the last stretch of speech, as far as a recogniser lags? Later ones may be our own."""
    return user_is_speaking(context, event) or event.at_ms <= context.last_voiced_ms + context.settings.final_ms_max


_CONFIRMED = (may_interrupt, is_confirmed)
_LATE = "Late words of speech that was rejected, or that came before the reply."
_WORDS_CONFIRMED = (may_interrupt, is_recent, is_confirmed)

ROWS: tuple[Row[State], ...] = (
    Row(PlayoutAdvanced, do=(follow_playout,)),
    Row(PlayoutFinished, when=(user_is_speaking,), to=State.LISTENING, do=(complete, listen)),
    Row(PlayoutFinished, to=State.IDLE, do=(complete, rest)),
    *stays(
        TokenArrived, SentenceReady, GenerationFinished, FirstAudio, PlayoutStarted, because="The reply is being made as planned."
    ),
    Row(SpeechStarted, when=(may_interrupt,), to=State.INTERRUPTING, do=(forget_words, await_decision)),
    *stays(SpeechStarted, because="This session lets only the client interrupt."),
    Row(
        EvidenceChanged, when=_CONFIRMED, to=State.LISTENING, do=(yield_to_speech, listen), because="It went on after a rejection."
    ),
    *stays(EvidenceChanged, because="Rejected already, and still not enough."),
    *stays(SpeechEnded, because="Rejected already."),
    Row(PartialHeard, when=_WORDS_CONFIRMED, to=State.LISTENING, do=(yield_to_speech, listen), because=_LATE),
    *stays(PartialHeard, because="Words without enough speech are no evidence: they may be our own."),
    Row(FinalHeard, when=_WORDS_CONFIRMED, to=State.LISTENING, do=(yield_to_speech, listen), because=_LATE),
    *stays(FinalHeard, because="Words without enough speech are no evidence: they may be our own."),
    Row(TextReceived, to=State.PROCESSING, do=(yield_to_text, forget_words, answer_text)),
    Row(ClientCancelled, when=(names_live_reply,), to=State.LISTENING, do=(yield_to_client, forget_words, listen)),
    *stays(ClientCancelled, because="An earlier reply is meant."),
    *stays(SpeechFinished, because="There is no utterance to finish; the release is remembered."),
    Row(BackendFailed, do=(note_failure,), because="What is synthesised is still heard."),
    Row(Timer.PLAYOUT, to=State.IDLE, do=(blame_stalled_playout, rest)),
    *ENDS,
)

"""SPEAKING: the client hears us.

The state follows the client's playout, not the moment the bytes were sent. An onset of speech pauses playout and leaves the
decision to INTERRUPTING. A rejected candidate stays open: its words, and speech that goes on, may still cancel, or pause once more.
Bounded by the longest time the client's playout may stand still.
"""

from __future__ import annotations

from voicefsm.bargein import is_clear
from voicefsm.context import Context, Excuse, Generation, NearEnd, State
from voicefsm.effects import CancelGeneration, ReportFailure
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
    await_decision,
    complete,
    fail,
    follow_playout,
    forget_words,
    give_up_model,
    give_up_voice,
    is_confirmed,
    listen,
    may_be_cut,
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


def is_models_fault(context: Context, _event: TimerFired) -> bool:
    """Has the model dried up, and does the user not know yet?"""
    return context.generation is Generation.FAILED and context.excuse is Excuse.NONE


def is_voices_fault(context: Context, _event: TimerFired) -> bool:
    """Has the voice dried up, and does the user not know yet?"""
    return context.is_dry and context.excuse is not Excuse.TONE


def apologise(context: Context, event: TimerFired) -> None:
    """The model has dried up: what there is was heard, and an apology follows."""
    context.order(_stall(context, Backend.LLM, "Check the load of the LLM server."), CancelGeneration(context.epoch))
    give_up_model(context)
    follow_playout(context, event)


def sound_tone(context: Context, event: TimerFired) -> None:
    """The voice has dried up: what there is was heard, and a tone follows."""
    context.order(_stall(context, Backend.TTS, "Check the load of the TTS server."))
    give_up_voice(context)
    follow_playout(context, event)


def blame_stalled_playout(context: Context, event: TimerFired) -> None:
    """The client is stuck; or the user has heard what there is, and that it is not all, and the model's text does not end."""
    if context.is_dry:
        fail(context, event, _stall(context, Backend.LLM, "Check the load of the LLM server."))
    else:
        fail(context, event, _stall(context, None, "Check that the client renders and reports its playout."))


def _stall(context: Context, culprit: Backend | None, remedy: str) -> ReportFailure:
    message = f"Playout stood still for {context.settings.playout_stall_ms_max} ms in mid-reply."
    return ReportFailure(culprit, context.epoch, message, remedy)


def are_nobodys(context: Context, event: FinalHeard) -> bool:
    """Are these words of no speech that the detector heard, as far as a recogniser lags?"""
    lag_ms = event.at_ms - context.last_voiced_ms
    return context.near_end is NearEnd.QUIET and lag_ms > context.settings.final_ms_max


def disown(context: Context, _event: FinalHeard) -> None:
    """They are no evidence for what comes."""
    context.user_text = ""


def may_pause(context: Context, _event: SpeechStarted | EvidenceChanged) -> bool:
    """Is it worth a pause? Of a rejected candidate only what sounds like the user, once; over the last words nothing."""
    if context.is_made and context.left_ms <= context.settings.last_words_ms:
        return False
    return context.pauses == 0 or (context.pauses < PAUSES_MAX and is_clear(context))


def forget_other_words(context: Context, _event: SpeechStarted) -> None:
    """Words from before a candidate are no evidence for it. A repeated edge begins nothing: the words of its stretch stay."""
    if context.pauses == 0 and not context.is_transcribed:
        context.user_text = context.partial = context.agreed = ""
        context.partial_is_stable = context.is_released = False


def may_be_meant(context: Context, _event: SpeechEnded) -> bool:
    """Was there speech enough for words that would make a difference?"""
    return context.evidence.voiced_ms >= context.settings.barge_in_onset_ms_min and is_clear(context)


_CONFIRMED = (may_be_cut, is_confirmed)
_LATE = "Late words of speech that was rejected, or that came before the reply; or of speech that the detector missed."

ROWS: tuple[Row[State], ...] = (
    Row(PlayoutAdvanced, do=(follow_playout,)),
    Row(PlayoutFinished, when=(user_is_speaking,), to=State.LISTENING, do=(complete, listen)),
    Row(PlayoutFinished, to=State.IDLE, do=(complete, rest)),
    *stays(
        TokenArrived, SentenceReady, GenerationFinished, FirstAudio, PlayoutStarted, because="The reply is being made as planned."
    ),
    Row(SpeechStarted, when=(may_be_cut, may_pause), to=State.INTERRUPTING, do=(forget_other_words, await_decision)),
    Row(SpeechStarted, when=(may_interrupt,), do=(forget_other_words,), because="Paused for this already, or nothing to pause."),
    *stays(SpeechStarted, because="This session lets only the client interrupt."),
    Row(
        EvidenceChanged, when=_CONFIRMED, to=State.LISTENING, do=(yield_to_speech, listen), because="It went on after a rejection."
    ),
    Row(
        EvidenceChanged, when=(may_be_cut, may_pause), to=State.INTERRUPTING, do=(await_decision,), because="It goes on after all."
    ),
    *stays(EvidenceChanged, because="Rejected already, and still not enough."),
    Row(
        SpeechEnded, when=_CONFIRMED, to=State.LISTENING, do=(yield_to_speech, listen), because="Its last frames were what it took."
    ),
    Row(
        SpeechEnded,
        when=(may_be_cut, may_be_meant),
        do=(ask_for_words,),
        because="Rejected, but its words may tell.",
    ),
    *stays(SpeechEnded, because="Rejected already."),
    Row(PartialHeard, when=_CONFIRMED, to=State.LISTENING, do=(yield_to_speech, listen), because=_LATE),
    *stays(PartialHeard, because="Words without enough speech are no evidence while they may be our own."),
    Row(FinalHeard, when=_CONFIRMED, to=State.LISTENING, do=(yield_to_speech, listen), because=_LATE),
    Row(FinalHeard, when=(are_nobodys,), do=(disown,), because="Nobody was heard to say them: they may be our own."),
    *stays(FinalHeard, because="Not enough to be a turn."),
    Row(TextReceived, to=State.PROCESSING, do=(yield_to_text, forget_words, answer_text)),
    Row(ClientCancelled, when=(names_live_reply,), to=State.LISTENING, do=(yield_to_client, forget_words, listen)),
    *stays(ClientCancelled, because="An earlier reply is meant."),
    *stays(SpeechFinished, because="There is no utterance to finish; the release is remembered."),
    Row(BackendFailed, do=(note_failure,), because="What is synthesised is still heard."),
    Row(ToolsCalled, do=(follow_playout,), because="When all is heard there is nothing to hear until the tools are done."),
    Row(GenerationResumed, do=(follow_playout,), because="The model has its time anew."),
    Row(Timer.PLAYOUT, when=(is_models_fault,), do=(apologise,)),
    Row(Timer.PLAYOUT, when=(is_voices_fault,), do=(sound_tone,)),
    Row(Timer.PLAYOUT, to=State.IDLE, do=(blame_stalled_playout, rest)),
    *FINISHES_FIRST,
    *ENDS,
)

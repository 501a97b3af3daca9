"""Verbs and questions that several states share, and the rows that hold in every live state."""

from __future__ import annotations

from voicefsm.bargein import Verdict, account, judge, remember
from voicefsm.context import Context, Excuse, Interruption, NearEnd, Playout, State
from voicefsm.effects import (
    CancelGeneration,
    CancelTts,
    CloseRecognition,
    CompleteTurn,
    DuckPlayout,
    EndSession,
    FinalizeUtterance,
    FinishSpeech,
    Outcome,
    PausePlayout,
    ReportFailure,
    RetractUserTurn,
    SoundEarcon,
    SpeakText,
    StartGeneration,
)
from voicefsm.events import (
    UNKNOWN_DB,
    BackendFailed,
    ClientCancelled,
    ClientClosed,
    DrainRequested,
    Evidence,
    Fact,
    FinalHeard,
    PartialHeard,
    RecognitionLost,
    ReplyEnded,
    ReplyStarted,
    SessionEnded,
    ShutdownRequested,
    SpeechEnded,
    TextReceived,
    Timer,
    TimerFired,
)
from voicefsm.table import Row, stays
from voicefsm.values import NO_EPOCH, Backend, CancelReason, EndReason, Epoch

# --- the floor ---------------------------------------------------------------------------------------------------------------


def listen(context: Context, event: Fact) -> None:
    """The user has the floor. What is known already decides which deadline comes first."""
    context.arm(Timer.UTTERANCE, event.at_ms + context.settings.utterance_ms_max)
    if not has_words(context, event):
        context.arm(Timer.WORDS, event.at_ms + context.settings.words_ms_max)
    elif context.near_end is NearEnd.QUIET:
        expect_end_of_turn(context, event)
    if isinstance(event, FinalHeard):
        expect_more_words(context, event)


def expect_more_words(context: Context, event: PartialHeard | FinalHeard) -> None:
    """All words are final: what the detector takes for more speech needs words soon, or it is noise and the turn is over."""
    if context.user_text and not context.partial and silence_counts(context):
        context.arm(Timer.WORDLESS, event.at_ms + context.settings.wordless_ms_max)
    else:
        context.disarm(Timer.WORDLESS)


def expect_end_of_turn(context: Context, event: Fact) -> None:
    """Silence, counted from the last voiced sample, ends the turn, if it counts."""
    if silence_counts(context):
        context.disarm(Timer.WORDS)
        context.arm(Timer.END_OF_TURN, max(event.at_ms, context.last_voiced_ms + context.settings.silence_ms))


def silence_counts(context: Context) -> bool:
    """While the talk button is held, silence ends nothing. It may be released before the user has the floor."""
    return context.is_released or not context.settings.push_to_talk


def expect_final(context: Context, event: Fact) -> None:
    """The turn is over, but the recogniser has not said its last word."""
    context.order(FinalizeUtterance())
    context.arm(Timer.FINAL, event.at_ms + context.settings.final_ms_max)


def rest(context: Context, event: Fact) -> None:
    """Nobody has the floor; what was heard and not answered is nobody's turn."""
    forget_words(context, event)
    context.arm(Timer.IDLE, event.at_ms + context.settings.idle_ms_max)


def forget_words(context: Context, _event: Fact) -> None:
    """Start with a clean slate: earlier words and speech are no evidence for what comes."""
    context.user_text = context.partial = context.agreed = ""
    context.partial_is_stable = context.is_released = False
    context.evidence = Evidence()
    context.turn_voiced_ms, context.turn_db = 0, UNKNOWN_DB


# --- a reply -----------------------------------------------------------------------------------------------------------------


def has_words(context: Context, _event: Fact) -> bool:
    """Has the user said anything that nobody answered?"""
    return bool(context.heard_so_far())


def answer(context: Context, event: Fact) -> None:
    """The user's turn is over: let the model answer what was heard."""
    _learn_level(context)
    _take_partial(context)
    begin_reply(context, event, context.heard_so_far())


def _learn_level(context: Context) -> None:
    """What gets an answer was said to us, at the user's usual level. It follows a louder voice faster than a softer one."""
    if context.turn_db == UNKNOWN_DB:
        return
    usual_db = context.turn_db if context.usual_db == UNKNOWN_DB else context.usual_db
    context.usual_db = usual_db + (context.turn_db - usual_db) // (2 if context.turn_db > usual_db else 4)


def answer_text(context: Context, event: TextReceived) -> None:
    """Typed words end the turn; what was said before them belongs to it."""
    _take_partial(context)
    begin_reply(context, event, f"{context.heard_so_far()} {event.text}".strip())


def _take_partial(context: Context) -> None:
    """Its final will repeat it, and whatever was taken of the same utterance before."""
    context.taken = f"{context.taken} {context.partial}".strip()


def begin_reply(context: Context, event: Fact, user_text: str) -> None:
    """Give out the next epoch and ask the model."""
    context.last_epoch = context.epoch = Epoch(context.last_epoch + 1)
    forget_words(context, event)
    context.asked = context.clipped(user_text)
    context.sentences, context.retries, context.pauses = 0, 0, 0
    context.excuse = Excuse.NONE
    context.said, context.is_doubted = "", False
    context.order(StartGeneration(context.epoch, context.asked))
    context.disarm(Timer.FIRST_HEARD, Timer.RETRY_MODEL, Timer.RETRY_VOICE)  # of a reply that this one replaces
    context.arm(Timer.FIRST_SENTENCE, event.at_ms + context.settings.first_sentence_ms_max)
    context.raised.append(ReplyStarted(event.at_ms, context.epoch))


def follow_playout(context: Context, event: Fact) -> None:
    """The client's playout has to move on; while tools are at work there may be nothing to move for."""
    since_ms = max(event.at_ms, context.deadlines[Timer.TOOLS])
    context.arm(Timer.PLAYOUT, since_ms + context.settings.playout_stall_ms_max)


def begin_to_be_heard(context: Context, event: Fact) -> None:
    """The turn that is answered is history now, and cannot be taken back."""
    context.asked = context.taken = ""
    follow_playout(context, event)


def user_is_speaking(context: Context, _event: Fact) -> bool:
    """Does the detector hear the user right now?"""
    return context.near_end is NearEnd.SPEECH


def names_live_reply(context: Context, event: ClientCancelled) -> bool:
    """Does the client mean the reply that is alive?"""
    return event.epoch in (NO_EPOCH, context.epoch)


def silence(context: Context, reason: CancelReason, why: str = "") -> None:
    """Stop the voice, then the model. In this order: the ear comes first."""
    context.order(CancelTts(context.epoch, reason, why), CancelGeneration(context.epoch))


def close_reply(context: Context, event: Fact) -> None:
    """No reply is alive: all that still comes from it is stale."""
    ended, context.epoch = context.epoch, NO_EPOCH
    if context.playout is Playout.AUDIBLE:
        context.reply_ended_ms = event.at_ms
    context.raised.append(ReplyEnded(event.at_ms, ended))


def complete(context: Context, event: Fact) -> None:
    """The reply was heard to its end, as far as it was made."""
    outcome = Outcome.COMPLETED if context.excuse is Excuse.NONE else Outcome.FAILED
    context.order(CompleteTurn(context.epoch, outcome))
    close_reply(context, event)


def yield_to_client(context: Context, event: ClientCancelled) -> None:
    """The user pressed stop."""
    _interrupt(context, event, CancelReason.CLIENT)


def yield_to_speech(context: Context, event: Fact) -> None:
    """The user's speech over the reply was confirmed."""
    _interrupt(context, event, CancelReason.BARGE_IN, account(context, judge(context, event).why))


def yield_to_text(context: Context, event: TextReceived) -> None:
    """The user typed over the reply."""
    _interrupt(context, event, CancelReason.NEW_INPUT)


def _interrupt(context: Context, event: Fact, reason: CancelReason, why: str = "") -> None:
    silence(context, reason, why)
    context.order(CompleteTurn(context.epoch, Outcome.INTERRUPTED))
    close_reply(context, event)


def retract(context: Context, event: Fact) -> None:
    """Nobody heard the reply, and the user goes on: the turn was not over. Its words come back."""
    decision = judge(context)
    silence(context, CancelReason.NEW_INPUT, account(context, decision.why) if decision.verdict is Verdict.CONFIRM else "")
    context.order(RetractUserTurn(context.epoch))
    _reopen_utterance(context)
    context.user_text = context.clipped(f"{context.asked.strip()} {context.user_text}")
    close_reply(context, event)


def _reopen_utterance(context: Context) -> None:
    """What was taken for an utterance is a partial again, so that its final replaces it."""
    if context.taken and context.asked.endswith(context.taken):
        context.asked = context.asked.removesuffix(context.taken)
        context.partial = f"{context.taken} {context.partial}".strip()
        context.taken = ""


def fail(context: Context, event: Fact, failure: ReportFailure) -> None:
    """The reply cannot be made: say so, and keep what was heard of it."""
    context.order(failure)
    silence(context, CancelReason.FAILURE)
    context.order(CompleteTurn(context.epoch, Outcome.FAILED))
    close_reply(context, event)


def note_failure(context: Context, event: BackendFailed) -> None:
    """A backend gave up on the reply: tell the client, and let the user hear what there is, and that it is not all."""
    context.order(ReportFailure(event.backend, event.epoch, event.message, event.remedy))
    if event.backend is Backend.LLM:
        give_up_model(context)
    else:
        give_up_voice(context)


def give_up_model(context: Context) -> None:
    """The model writes no more: an apology is the last sentence. Where there are no words for it a tone stands for the answer."""
    context.disarm(Timer.RETRY_MODEL)
    if context.excuse is Excuse.NONE:
        _apologise(context)
    context.order(FinishSpeech(context.epoch))


def _apologise(context: Context) -> None:
    if apology := context.apology():
        context.order(SpeakText(context.epoch, context.sentences, apology))
        remember(context, apology)
    elif not context.sentences:
        context.order(SoundEarcon(context.epoch))
    context.excuse = Excuse.WORDS if context.sentences else Excuse.TONE


def give_up_voice(context: Context) -> None:
    """The voice speaks no more: a tone says so. What the model still writes can be read; it is not asked again."""
    context.disarm(Timer.RETRY_VOICE)
    if context.excuse is not Excuse.TONE:
        context.excuse = Excuse.TONE
        context.order(SoundEarcon(context.epoch))
    if context.is_armed(Timer.RETRY_MODEL):
        context.disarm(Timer.RETRY_MODEL)
        context.order(FinishSpeech(context.epoch))


# --- the decision ------------------------------------------------------------------------------------------------------------


def may_interrupt(context: Context, _event: Fact) -> bool:
    """Does this session let speech cut a reply?"""
    return context.settings.interruption is Interruption.ENABLED


PAUSES_MAX = 2
"""How often playout is paused for one candidate: the second time makes up for an early rejection, a third would stutter."""


def may_be_cut(context: Context, event: Fact) -> bool:
    """Does this session let speech cut this part of a reply?"""
    return may_interrupt(context, event) and context.heard_ms >= context.settings.uninterruptible_ms


def await_decision(context: Context, event: Fact) -> None:
    """Stage one of a barge-in: playout falls silent, or quieter, at once, and the decision has its deadlines."""
    settings = context.settings
    context.order(DuckPlayout(context.epoch, settings.duck_db) if settings.duck_db else PausePlayout(context.epoch))
    context.pauses += 1
    context.arm(Timer.VERDICT, event.at_ms + settings.verdict_ms_max)
    context.arm(Timer.DECISION, event.at_ms + settings.decision_ms_max)


def is_confirmed(context: Context, event: Fact) -> bool:
    """Does the rule say that this is the user's turn?"""
    return judge(context, event).verdict is Verdict.CONFIRM


def is_rejected(context: Context, event: Fact) -> bool:
    """Does the rule say that this is nobody's turn?"""
    return judge(context, event).verdict is Verdict.REJECT


def ask_for_words(context: Context, _event: SpeechEnded | TimerFired) -> None:
    """The speech is over, or pauses: what it said may decide, and is wanted now."""
    context.order(FinalizeUtterance())


# --- the session -------------------------------------------------------------------------------------------------------------


def _end(context: Context, event: Fact, reason: EndReason, message: str = "") -> None:
    if context.epoch != NO_EPOCH:
        _interrupt(context, event, CancelReason.SESSION_END)
    context.order(CloseRecognition(), EndSession(reason, message))
    context.raised.append(SessionEnded(event.at_ms))


def hang_up(context: Context, event: ClientClosed) -> None:
    """The client is gone."""
    _end(context, event, EndReason.CLIENT)


def shut_down(context: Context, event: DrainRequested | ShutdownRequested) -> None:
    """The process stops."""
    _end(context, event, EndReason.SHUTDOWN, "The server is shutting down.")


def expire(context: Context, event: Fact) -> None:
    """The session is too old."""
    _end(context, event, EndReason.AGE, "The session reached its longest duration.")


def time_out(context: Context, event: Fact) -> None:
    """Nobody says anything any more."""
    _end(context, event, EndReason.IDLE, "Nobody said anything for too long.")


def lose_ears(context: Context, event: RecognitionLost) -> None:
    """The recogniser is gone for good."""
    _end(context, event, EndReason.FAILURE, event.message)


ENDS: tuple[Row[State], ...] = (
    Row(ClientClosed, to=State.CLOSED, do=(hang_up,)),
    Row(ShutdownRequested, to=State.CLOSED, do=(shut_down,)),
    Row(RecognitionLost, to=State.CLOSED, do=(lose_ears,)),
    Row(Timer.AGE, to=State.CLOSED, do=(expire,)),
)
"""What ends a session, from every live state."""

FINISHES_FIRST: tuple[Row[State], ...] = stays(DrainRequested, because="A turn is live: nothing of it is cut.")
"""What a drain means while somebody has the floor, or an answer is on its way."""

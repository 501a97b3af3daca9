"""Near-end speech: is the user's microphone voiced, since when, and what is known about it. The talk button belongs to it."""

from __future__ import annotations

from voicefsm.context import Context, NearEnd, State
from voicefsm.events import UNKNOWN_DB, Evidence, EvidenceChanged, SpeechEnded, SpeechFinished, SpeechStarted
from voicefsm.table import Row, stays


def note_onset(context: Context, event: SpeechStarted) -> None:
    """A new stretch of speech begins; what was known about the last one is void. Long after a rejected one it may pause anew."""
    if context.state is State.SPEAKING and event.onset_ms - context.last_voiced_ms > context.settings.candidate_ms:
        context.pauses, context.is_doubted = 0, False
    context.onset_ms = event.onset_ms
    context.last_voiced_ms = event.at_ms
    context.evidence = event.evidence
    context.is_transcribed = False


def note_evidence(context: Context, event: EvidenceChanged) -> None:
    """More is known about the stretch in progress."""
    context.last_voiced_ms = event.at_ms
    context.evidence = event.evidence


def note_end(context: Context, event: SpeechEnded) -> None:
    """The stretch is over; its evidence stays for the decision."""
    context.last_voiced_ms = event.last_voiced_ms
    context.evidence = event.evidence
    if context.state is State.LISTENING:
        _note_level(context, event.evidence)


def _note_level(context: Context, evidence: Evidence) -> None:
    """The user has the floor: the longest stretch of the turn says how loud they are."""
    if evidence.near_db != UNKNOWN_DB and evidence.voiced_ms > context.turn_voiced_ms:
        context.turn_voiced_ms, context.turn_db = evidence.voiced_ms, evidence.near_db


def note_release(context: Context, _event: SpeechFinished) -> None:
    """With push to talk, silence counts from here on."""
    context.is_released = True


ROWS: dict[NearEnd, tuple[Row[NearEnd], ...]] = {
    NearEnd.QUIET: (
        Row(SpeechStarted, to=NearEnd.SPEECH, do=(note_onset,)),
        *stays(EvidenceChanged, SpeechEnded, because="Nothing is open: a repeated edge."),
        Row(SpeechFinished, do=(note_release,)),
    ),
    NearEnd.SPEECH: (
        Row(EvidenceChanged, do=(note_evidence,)),
        Row(SpeechEnded, to=NearEnd.QUIET, do=(note_end,)),
        *stays(SpeechStarted, because="Already open: a repeated edge."),
        Row(SpeechFinished, do=(note_release,)),
    ),
}

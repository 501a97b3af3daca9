"""Playout: the client's part in the live reply.

Until the client hears the first sample, near-end speech holds unsent audio back: the assistant must not start to speak into the
user's words. Whether the reply is dropped is the turn machine's decision.
"""

from __future__ import annotations

from voicefsm.context import Context, Interruption, NearEnd, Playout
from voicefsm.effects import HoldPlayout, ReleasePlayout
from voicefsm.events import FirstAudio, PlayoutAdvanced, PlayoutStarted, ReplyEnded, ReplyStarted, SpeechEnded, SpeechStarted
from voicefsm.table import Row, stays


def user_is_speaking(context: Context, _event: ReplyStarted) -> bool:
    """Does near-end speech already hold the floor?"""
    return context.near_end is NearEnd.SPEECH and context.settings.interruption is Interruption.ENABLED


def speech_may_hold(context: Context, _event: SpeechStarted) -> bool:
    """Does this session let speech get in the way of a reply?"""
    return context.settings.interruption is Interruption.ENABLED


def begin(context: Context, _event: ReplyStarted) -> None:
    """Nothing of it was heard."""
    context.heard_ms = context.left_ms = 0
    context.has_audio = context.is_made = False


def hold(context: Context, _event: SpeechStarted | ReplyStarted) -> None:
    """Send nothing yet."""
    context.order(HoldPlayout(context.epoch))


def release(context: Context, _event: SpeechEnded) -> None:
    """Send after all."""
    context.order(ReleasePlayout(context.epoch))


def note_audio(context: Context, _event: FirstAudio) -> None:
    """The voice is at work: from now on it is the client's turn to render."""
    context.has_audio = True


def note_position(context: Context, event: PlayoutAdvanced) -> None:
    """Positions only grow; a late report changes nothing."""
    if event.heard_ms >= context.heard_ms:
        context.heard_ms = event.heard_ms
        context.left_ms = event.left_ms
        context.is_made = event.is_made


_OVER: Row[Playout] = Row(ReplyEnded, to=Playout.NONE)

ROWS: dict[Playout, tuple[Row[Playout], ...]] = {
    Playout.NONE: (
        Row(ReplyStarted, when=(user_is_speaking,), to=Playout.HELD, do=(begin, hold)),
        Row(ReplyStarted, to=Playout.SILENT, do=(begin,)),
        *stays(SpeechStarted, SpeechEnded, because="There is nothing to play."),
    ),
    Playout.SILENT: (
        Row(SpeechStarted, when=(speech_may_hold,), to=Playout.HELD, do=(hold,)),
        *stays(SpeechStarted, SpeechEnded, because="Speech holds nothing in this session."),
        Row(FirstAudio, do=(note_audio,)),
        Row(PlayoutStarted, to=Playout.AUDIBLE),
        Row(PlayoutAdvanced, do=(note_position,)),
        _OVER,
    ),
    Playout.HELD: (
        *stays(SpeechStarted, because="Held already."),
        Row(SpeechEnded, to=Playout.SILENT, do=(release,)),
        Row(FirstAudio, do=(note_audio,)),
        Row(PlayoutStarted, to=Playout.AUDIBLE, because="Samples were on their way when speech began."),
        Row(PlayoutAdvanced, do=(note_position,)),
        _OVER,
    ),
    Playout.AUDIBLE: (
        *stays(SpeechStarted, SpeechEnded, because="The turn machine pauses and resumes what is heard."),
        *stays(FirstAudio, PlayoutStarted, because="Only the first sample is news."),
        Row(PlayoutAdvanced, do=(note_position,)),
        _OVER,
    ),
}

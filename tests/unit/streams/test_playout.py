"""The client's part in a reply."""

from __future__ import annotations

import pytest

from voicefsm.context import Context, Interruption, Playout, TurnSettings
from voicefsm.effects import HoldPlayout, ReleasePlayout
from voicefsm.events import (
    PlayoutAdvanced,
    PlayoutFinished,
    PlayoutStarted,
    SentenceReady,
    SessionOpened,
    SpeechEnded,
    SpeechStarted,
    TextReceived,
)
from voicefsm.machine import step
from voicefsm.values import Epoch

ONE = Epoch(1)


def session(interruption: Interruption = Interruption.ENABLED) -> Context:
    context = Context(settings=TurnSettings(interruption=interruption))
    step(context, SessionOpened(0))
    return context


def test_speech_holds_unsent_audio_and_its_end_releases_it():
    """Otherwise the assistant would begin to speak into the user's words."""
    context = session()
    step(context, TextReceived(10, "hello"))
    assert step(context, SpeechStarted(20, 20)) == (HoldPlayout(ONE),)
    assert step(context, SpeechStarted(30, 30)) == ()
    assert step(context, SpeechEnded(40, 35)) == (ReleasePlayout(ONE),)
    assert context.playout is Playout.SILENT


@pytest.mark.parametrize("interruption", Interruption)
def test_a_reply_that_begins_while_the_user_speaks_is_held(interruption):
    """Otherwise typing while talking would make the assistant talk into it, or a deaf session would be held up."""
    context = session(interruption)
    step(context, SpeechStarted(10, 10))
    effects = step(context, TextReceived(20, "hello"))
    assert (HoldPlayout(ONE) in effects) is (interruption is Interruption.ENABLED)


def test_positions_only_grow_and_begin_anew():
    """Otherwise a late report would make the reply unheard again, or a reply begin with what was heard of the last."""
    context = session()
    step(context, TextReceived(10, "hello"))
    step(context, SentenceReady(20, ONE, 0, "Hi."))
    step(context, PlayoutStarted(30, ONE))
    step(context, PlayoutStarted(31, ONE))
    step(context, PlayoutAdvanced(40, ONE, 500, 900))
    step(context, PlayoutAdvanced(41, ONE, 400, 1000))
    assert (context.heard_ms, context.left_ms) == (500, 900)
    step(context, PlayoutFinished(50, ONE))
    assert context.playout is Playout.NONE
    step(context, TextReceived(60, "again"))
    assert (context.heard_ms, context.left_ms, context.playout) == (0, 0, Playout.SILENT)

"""What must never happen ends the session that does it."""

from __future__ import annotations

import numpy as np
import pytest

from voicefsm.context import Context, State
from voicefsm.events import SessionOpened, Timer
from voicefsm.machine import next_deadline, step
from voicefsm.runtime.invariants import OVERDUE_MS_MAX, Broken, Invariants
from voicefsm.runtime.messages import AudioOutput, CancelTts
from voicefsm.values import NO_EPOCH, CancelReason, Epoch, SampleIndex

AHEAD = 3200


def audio(epoch: int, first: int, count: int = 320) -> AudioOutput:
    return AudioOutput(Epoch(epoch), SampleIndex(first), np.zeros(count, np.int16), last=False)


def cancel(epoch: int) -> CancelTts:
    return CancelTts(Epoch(epoch), SampleIndex(0), CancelReason.BARGE_IN)


def leave(watch: Invariants, message: AudioOutput | CancelTts, *, live: int = 1, heard: int = 0) -> None:
    watch.leaving(message, live=Epoch(live), heard_sample=heard)


def test_a_reply_in_order_breaks_nothing() -> None:
    """If this fails healthy sessions are ended."""
    watch = Invariants(AHEAD)
    for first in range(0, AHEAD, 320):
        leave(watch, audio(1, first))
    leave(watch, cancel(1))
    leave(watch, audio(2, AHEAD), live=2, heard=640)  # what was cut is never heard: it counts no longer


def test_the_empty_end_of_a_reply_may_come_late() -> None:
    """Otherwise a voice that ends a moment after its last sample ends the session."""
    watch = Invariants(AHEAD)
    leave(watch, audio(1, 0))
    leave(watch, audio(1, 320, 0), live=NO_EPOCH)


@pytest.mark.parametrize(
    ("before", "message", "live", "rule"),
    [
        ([cancel(1)], audio(1, 0), 1, "silence after cancel"),
        ([], audio(1, 0), 2, "one audible reply"),
        ([], audio(1, 0), NO_EPOCH, "one audible reply"),
        ([audio(1, 0)], audio(1, 160), 1, "samples in order"),
        ([audio(1, 0, AHEAD)], audio(1, AHEAD), 1, "bounded playout"),
    ],
)
def test_what_must_not_leave(before: list[AudioOutput | CancelTts], message: AudioOutput, live: int, rule: str) -> None:
    """Otherwise a user hears two replies, or one that was cut, or cannot cut it for seconds."""
    watch = Invariants(AHEAD)
    for one in before:
        leave(watch, one)
    with pytest.raises(Broken, match=rule) as broken:
        leave(watch, message, live=live)
    assert broken.value.rule == rule


def test_every_live_state_is_bounded() -> None:
    """Otherwise a session could hang in a state for ever."""
    watch, context = Invariants(AHEAD), Context()
    step(context, SessionOpened(0))
    watch.stepped(context, 0, next_deadline(context))
    due_ms = context.deadlines[Timer.IDLE]
    watch.stepped(context, due_ms + OVERDUE_MS_MAX, next_deadline(context))
    with pytest.raises(Broken, match="IDLE is overdue"):
        watch.stepped(context, due_ms + OVERDUE_MS_MAX + 1, next_deadline(context))
    context.disarm(Timer.IDLE)
    with pytest.raises(Broken, match="no deadline"):
        watch.stepped(context, 0, next_deadline(context))
    context.state = State.CLOSED
    watch.stepped(context, 0, next_deadline(context))

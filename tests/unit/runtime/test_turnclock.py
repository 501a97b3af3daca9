"""Where the time of a turn went."""

from __future__ import annotations

from voicefsm.context import Context, State
from voicefsm.effects import CancelTts, PausePlayout, StartGeneration
from voicefsm.events import Fact, FirstAudio, PlayoutStarted, TextReceived, Timer, TimerFired, TokenArrived
from voicefsm.runtime.messages import Latencies
from voicefsm.runtime.turnclock import TurnClock
from voicefsm.values import CancelReason, Epoch

ONE, TWO = Epoch(1), Epoch(2)


def begun(fact: Fact | None = None) -> tuple[TurnClock, Context]:
    """A turn that was over at 2500 ms, 500 ms after the last voiced sample."""
    clock, context = TurnClock(), Context(state=State.PROCESSING, epoch=ONE, last_voiced_ms=2000)
    clock.note(context, fact or TimerFired(2500, Timer.END_OF_TURN), (StartGeneration(ONE, "hi"),), 0)
    return clock, context


def test_stamps_of_a_turn() -> None:
    """Otherwise the report of a conversation says nothing about what was slow."""
    clock, context = begun()
    clock.note(context, TokenArrived(2600, ONE), (), 0)
    clock.note(context, FirstAudio(2700, ONE), (), 0)
    context.state = State.SPEAKING
    clock.note(context, PlayoutStarted(2800, ONE), (), 0)
    clock.note(context, TimerFired(5100, Timer.DECISION), (PausePlayout(ONE),), 5040)
    cancel = CancelTts(ONE, CancelReason.BARGE_IN)
    clock.note(context, TimerFired(5500, Timer.DECISION), (cancel,), 5040)
    assert clock.latencies == Latencies(500, 100, 200, 300, 60, 460)


def test_what_did_not_happen_has_no_time() -> None:
    """Otherwise zeros are averaged into somebody's latency."""
    clock, context = begun(TextReceived(2500, "typed"))
    assert clock.latencies == Latencies()
    clock.note(context, TimerFired(2600, Timer.FINAL), (CancelTts(ONE, CancelReason.CLIENT),), 100)
    assert clock.latencies.onset_to_cancel_ms is None


def test_only_the_first_token_counts() -> None:
    """Otherwise a repeated fact moves the time to first token."""
    clock, context = begun()
    clock.note(context, TokenArrived(2600, ONE), (), 0)
    clock.note(context, TokenArrived(2900, ONE), (), 0)
    assert clock.latencies.first_token_ms == 100


def test_late_news_of_an_earlier_reply_leave_no_stamp() -> None:
    """Otherwise the first audio of a cancelled reply counts as that of the next."""
    clock, context = begun()
    context.epoch = TWO
    clock.note(context, TimerFired(4000, Timer.END_OF_TURN), (StartGeneration(TWO, "and"),), 0)
    context.state = State.SPEAKING
    for late in (TokenArrived(4010, ONE), FirstAudio(4010, ONE), PlayoutStarted(4010, ONE)):
        clock.note(context, late, (), 0)
    assert clock.latencies == Latencies(endpointing_ms=2000)


def test_a_new_turn_starts_with_no_stamps() -> None:
    """Otherwise a turn inherits the pause of the one before."""
    clock, context = begun()
    clock.note(context, TimerFired(2600, Timer.DECISION), (PausePlayout(ONE),), 2560)
    clock.note(context, TimerFired(2700, Timer.END_OF_TURN), (StartGeneration(TWO, "x"),), 0)
    assert clock.latencies.onset_to_pause_ms is None

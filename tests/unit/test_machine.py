"""The only door to the core, and the table behind it."""

from __future__ import annotations

import copy
import dataclasses

import pytest
from transitions import MachineError

from voicefsm import machine
from voicefsm.context import NEVER, Context, Playout, State
from voicefsm.effects import CancelGeneration, CancelTts, CompleteTurn, HoldPlayout, Outcome, RetractUserTurn, StartGeneration
from voicefsm.errors import LocalProtocolError
from voicefsm.events import (
    FACTS,
    ClientClosed,
    FinalHeard,
    RecognitionLost,
    ReplyFact,
    SentenceReady,
    SessionOpened,
    SpeechStarted,
    TextReceived,
    Timer,
    TimerFired,
    TokenArrived,
)
from voicefsm.machine import (
    CELLS,
    DEADLINES,
    KEYS,
    ROWS,
    SMALL_STATES,
    STATES,
    STREAMS,
    TURN_KEYS,
    is_stale,
    next_deadline,
    registered_models,
    step,
)
from voicefsm.table import LASTING, Key, cells, name_of
from voicefsm.values import CancelReason, Epoch

ALL_CELLS = {**CELLS, **{cell: rows for table in STREAMS.values() for cell, rows in cells(table).items()}}
IDS = [f"{state}-{name_of(key)}" for state, key in ALL_CELLS]


def snapshot(context: Context) -> dict[str, object]:
    return {field.name: copy.copy(getattr(context, field.name)) for field in dataclasses.fields(context)}


def opened() -> Context:
    context = Context()
    step(context, SessionOpened(0))
    return context


# --- the table ---------------------------------------------------------------------------------------------------------------


def test_every_state_has_its_file():
    """Otherwise a state would have no rows, and refuse everything."""
    assert [module.STATE for module in STATES] == list(State)
    assert set(ROWS) == set(DEADLINES) == set(State)
    for name, states in SMALL_STATES.items():
        assert set(STREAMS[name]) == set(states)


def test_columns():
    """Otherwise something could happen that no table has a column for."""
    assert len(KEYS) == len(set(KEYS)) == len(FACTS) - 1 + len(Timer)
    used = {key for _, key in ALL_CELLS}
    assert used <= set(KEYS)
    assert set(KEYS) - used == set(), "nobody cares about these"


@pytest.mark.parametrize("rows", ALL_CELLS.values(), ids=IDS)
def test_every_cell_is_decided_by_its_last_row_and_no_row_is_out_of_reach(rows):
    """Otherwise a fact could fall through a cell, or a row on the page would never run."""
    assert not rows[-1].when
    assert all(row.when for row in rows[:-1])
    assert len({row.when for row in rows}) == len(rows)


@pytest.mark.parametrize("rows", ALL_CELLS.values(), ids=IDS)
def test_a_row_that_does_nothing_says_why(rows):
    """Otherwise a reader could not tell a decision from an oversight."""
    assert all(row.because or row.to or row.do or row.when for row in rows)


REFUSED: dict[Key, set[State]] = {
    # What only the open session can do, it cannot do twice.
    SessionOpened: set(State) - {State.IDLE},
    # Facts of a reply are stale in states where none is alive; they come with NO_EPOCH nowhere.
    **{
        key: {State.IDLE, State.LISTENING, State.CLOSED}
        for key in TURN_KEYS
        if isinstance(key, type) and issubclass(key, ReplyFact)
    },
    # Deadlines die with the state that sets them.
    **{key: {state for state in State if key not in DEADLINES[state]} for key in TURN_KEYS if isinstance(key, Timer)},
    Timer.AGE: {State.CLOSED},
    # The recognition machine, which raises it, is closed with the session.
    RecognitionLost: {State.CLOSED},
}


@pytest.mark.parametrize("key", TURN_KEYS, ids=name_of)
def test_what_is_refused_is_refused_on_purpose(key):
    """Otherwise a forgotten row would end sessions with INTERNAL."""
    assert {state for state in State if (state, key) not in CELLS} == REFUSED.get(key, set())


@pytest.mark.parametrize("state", State)
def test_timers_belong_to_their_states(state):
    """Otherwise a deadline would outlive what it bounds, or a state would set one that it does not know."""
    known = {key for at, key in CELLS if at is state and isinstance(key, Timer)}
    lasting = set() if state is State.CLOSED else {Timer.AGE}
    assert known == set(DEADLINES[state]) | lasting
    assert not set(DEADLINES[state]) & LASTING


def test_every_state_is_reachable_and_closed_is_the_only_end():
    """Otherwise a state would be dead code, or a session could never end."""
    edges = {(state, row.to) for state, rows in ROWS.items() for row in rows if row.to is not None}
    reached = {State.IDLE}
    while more := {target for source, target in edges if source in reached} - reached:
        reached |= more
    assert reached == set(State)
    assert {source for source, target in edges if target is State.CLOSED} == set(State) - {State.CLOSED}
    assert not any(source is State.CLOSED for source, _ in edges)


def test_the_library_holds_exactly_the_rows():
    """Otherwise the program would run on something else than the page: the library accepts duplicates silently."""
    built = machine.build()
    for state, rows in ROWS.items():
        for key in {row.on for row in rows}:
            transitions = built.events[name_of(key)].transitions[state.name]
            cell = [row for row in rows if row.on is key]
            assert [one.dest for one in transitions] == [row.to.name if row.to else None for row in cell]
            assert [one.row for one in transitions if isinstance(one, machine.RowTransition)] == cell
            assert not any(one.conditions or one.before or one.after or one.prepare for one in transitions)
    assert set(built.events) == {name_of(key) for key in TURN_KEYS}


def test_a_context_is_never_registered():
    """Otherwise a session would cost 12 kB, and two equal contexts would be one."""
    assert machine.build().models == []
    assert machine.registered_models() == 0


def test_nothing_waits_in_the_library():
    """Otherwise an error in one session would empty the queue of all, and a step that moved nothing would pass for one that did."""
    assert not machine.build().has_queue


# --- step --------------------------------------------------------------------------------------------------------------------


def test_a_refused_fact_changes_nothing():
    """Otherwise a defect would leave half a step behind, and its journal could not be replayed."""
    context = opened()
    step(context, SpeechStarted(1000, 1000))
    before = snapshot(context)
    with pytest.raises(LocalProtocolError, match="SessionOpened cannot happen in LISTENING") as error:
        step(context, SessionOpened(1100))
    assert error.value.remedy
    assert snapshot(context) == before
    assert step(context, ClientClosed(1200))


@pytest.mark.parametrize(
    "fact",
    [
        TokenArrived(2000, Epoch(1)),
        SentenceReady(2000, Epoch(3), 0, "From the future."),
        TimerFired(2000, Timer.FINAL),
        TimerFired(599_999, Timer.IDLE),
        TimerFired(2000, Timer.FIRST_SENTENCE),
    ],
)
def test_a_stale_fact_changes_nothing_but_the_counter(fact):
    """Otherwise the ghost of a reply, or a timer that was moved, would speak in the next turn."""
    context = opened()
    before = snapshot(context)
    assert is_stale(context, fact)
    assert step(context, fact) == ()
    assert snapshot(context) == {**before, "stale_dropped": 1}


def test_a_timer_fires_once_and_dies_with_its_state():
    """Otherwise the idle limit would close a session that is talking."""
    context = opened()
    step(context, SpeechStarted(1000, 1000))
    assert not context.is_armed(Timer.IDLE)
    assert context.is_armed(Timer.AGE)
    step(context, TimerFired(5000, Timer.WORDS))
    assert context.state is State.IDLE
    armed = {timer for timer in Timer if context.is_armed(timer)}
    assert armed == {Timer.IDLE, Timer.AGE}
    step(context, TimerFired(605_000, Timer.IDLE))
    assert context.deadlines == [NEVER] * len(Timer)


def test_orders_come_in_order_and_what_is_raised_is_drained():
    """Otherwise the model would be told to stop before the ear was silenced, or a machine would wait for another for ever."""
    context = opened()
    step(context, TextReceived(1000, "hello"))
    step(context, SpeechStarted(1100, 1050))
    effects = step(context, TextReceived(1200, "there"))
    assert effects == (
        CancelTts(Epoch(1), CancelReason.NEW_INPUT),
        CancelGeneration(Epoch(1)),
        RetractUserTurn(Epoch(1)),
        StartGeneration(Epoch(2), "hello there"),
        HoldPlayout(Epoch(2)),
    )
    assert not context.raised
    assert not context.effects
    assert context.playout is Playout.HELD


def test_small_machines_are_fed_first():
    """Otherwise guards would decide on yesterday's evidence: the final's own words would not count."""
    context = opened()
    step(context, FinalHeard(1000, "hello"))
    assert context.state is State.LISTENING


def test_a_reply_that_ends_with_the_session_is_told_before_the_end():
    """Otherwise the history would miss what was heard of the last reply."""
    context = opened()
    step(context, TextReceived(1000, "hello"))
    effects = step(context, ClientClosed(1100))
    assert CompleteTurn(Epoch(1), Outcome.INTERRUPTED) in effects[:-1]
    assert (context.state, context.epoch) == (State.CLOSED, 0)


@pytest.mark.parametrize("raised", [MachineError("undefined"), None])
def test_a_table_that_does_not_decide_is_our_defect(monkeypatch, raised):
    """Otherwise a hole in the table would pass silently, or blame a library."""

    class Event:
        def trigger(self, context, fact):
            if raised:
                raise raised
            return False

    monkeypatch.setitem(machine._TRIGGERS, TextReceived, Event())
    with pytest.raises(LocalProtocolError):
        step(opened(), TextReceived(1000, "hello"))


def test_next_deadline():
    """Otherwise the runtime would wake up too late, or two journals of one session would differ in a tie."""
    context = Context()
    assert next_deadline(context) is None
    context.arm(Timer.AGE, 50)
    context.arm(Timer.IDLE, 50)
    assert next_deadline(context) == (50, Timer.IDLE)
    context.arm(Timer.REOPEN, 0)
    assert next_deadline(context) == (0, Timer.REOPEN)


def test_the_library_keeps_no_book_of_sessions():
    """Otherwise every session would cost memory in the library, and two equal ones would collide there."""
    step(Context(), SessionOpened(0))
    assert registered_models() == 0

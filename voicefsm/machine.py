"""The machine of one session: the only door to the core, and the only file that knows the `transitions` library.

Theory of operation
-------------------
`step(context, fact)` is the only way to change a context:

1. A fact about a reply that is over, or of a timer that is not due, is *stale*: it is dropped and counted.
2. A fact that cannot happen in this state is *refused*: `LocalProtocolError`, and nothing has changed.
3. The small machines are fed first, so that the turn machine's guards see the newest evidence.
4. The turn machine moves, by the rows of the state's file.
5. What the machines raised for each other is fed in the same way, until nothing is left.
6. All orders come back, in order. They have to be carried out before the next fact.

Deadlines die with the state that set them; `next_deadline` is the one moment the runtime has to wake up at.

The turn machine is ONE `transitions.Machine` for the whole process; a context is its model but is never registered with it,
which costs nothing per session (docs/adr/0002-state-machine.md). The small machines run on plain tables of the same rows.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, cast

from transitions import Event, EventData, Machine, MachineError, Transition
from transitions import State as LibraryState

from voicefsm.context import NEVER, Context, Generation, NearEnd, Playout, Recognition, State
from voicefsm.effects import Effect
from voicefsm.errors import LocalProtocolError
from voicefsm.events import FACTS, Fact, ReplyFact, Timer, TimerFired
from voicefsm.states import closed, idle, interrupting, listening, processing, speaking
from voicefsm.streams import generation, near_end, playout, recognition
from voicefsm.table import LASTING, Cells, Key, Row, cells, fire, key_of, name_of

STATES: tuple[ModuleType, ...] = (idle, listening, processing, speaking, interrupting, closed)
"""The files of the turn machine."""

ROWS: Mapping[State, tuple[Row[State], ...]] = {module.STATE: module.ROWS for module in STATES}
DEADLINES: Mapping[State, tuple[Timer, ...]] = {module.STATE: module.DEADLINES for module in STATES}
CELLS: Cells[State] = cells(ROWS)
"""The turn machine's table."""

STREAMS: Mapping[str, Mapping[Any, tuple[Row[Any], ...]]] = {
    "near_end": near_end.ROWS,
    "recognition": recognition.ROWS,
    "generation": generation.ROWS,
    "playout": playout.ROWS,
}
"""The small machines, by the field of the context that holds their state, in the order in which they are fed."""

KEYS: tuple[Key, ...] = (*(fact for fact in FACTS if fact is not TimerFired), *Timer)
"""All that can happen: the columns."""


def _keys(table: Cells[Any]) -> frozenset[Key]:
    return frozenset(key for _, key in table)


TURN_KEYS = _keys(CELLS)
"""The columns of the turn machine; the rest are the small machines' own."""
_TABLES: tuple[tuple[str, Cells[Any]], ...] = tuple((field, cells(rows)) for field, rows in STREAMS.items())
_LISTENERS: Mapping[Key, tuple[tuple[str, Cells[Any]], ...]] = {
    key: tuple((field, table) for field, table in _TABLES if key in _keys(table)) for key in KEYS
}
_TIMERS_TO_CLEAR: Mapping[State, tuple[Timer, ...]] = {
    state: tuple(timer for timer in Timer if timer not in deadlines and (timer not in LASTING or state is State.CLOSED))
    for state, deadlines in DEADLINES.items()
}


class RowTransition(Transition):
    """A row, as the library's transition.

    The library's own asks and does the same, and besides runs hooks that we have none of and tells its log about each row it
    tries: more than half the time of a step.
    """

    def __init__(self, source: str, dest: str | None, *_hooks: None, row: Row[State]) -> None:
        super().__init__(source, cast("str", dest))  # None is "stay", which the library's types forget
        self.row = row

    def execute(self, event_data: EventData) -> bool:
        """See the library. A row that stays has no `dest`."""
        context, (fact,) = cast("tuple[Context, tuple[Fact]]", (event_data.model, event_data.args))
        if not self.row.holds(context, fact):
            return False
        for act in self.row.do:
            act(context, fact)
        if self.dest is not None:
            self._change_state(event_data)
        return True


class NamedState(LibraryState):
    """A state, as the library's. The library asks for its name several times a step, and its own asks the enumeration each time."""

    name = ""

    def __init__(self, state: State, **options: Any) -> None:
        super().__init__(state, **options)
        self.name = state.name


class TurnMachine(Machine):
    """The library's machine on our rows."""

    transition_cls = RowTransition
    state_cls = NamedState


def build() -> TurnMachine:
    """The turn machine, from the rows of the state files. Called once per process."""
    machine = TurnMachine(model=None, states=State, initial=State.IDLE, auto_transitions=False, queued=False)
    for state, rows in ROWS.items():
        for row in rows:
            machine.add_transition(trigger=name_of(row.on), source=state, dest=row.to, row=row)
    return machine


def triggers(machine: TurnMachine) -> dict[Key, Event]:
    """What the library calls an event, by the column that it is named after."""
    return {key: machine.events[name_of(key)] for key in TURN_KEYS}


_TURN_MACHINE = build()
_TRIGGERS = triggers(_TURN_MACHINE)


def registered_models() -> int:
    """How many contexts the library keeps book of: none, however many sessions there are."""
    return len(_TURN_MACHINE.models)


def step(context: Context, fact: Fact) -> tuple[Effect, ...]:
    """Tell the session one fact. Returns its orders, in order.

    Raises:
        LocalProtocolError: the fact cannot happen in this state; the context is as it was.

    """
    pending: Sequence[Fact] = (fact,)
    while pending:
        for one in pending:
            _take(context, one)
        pending = tuple(context.raised)
        context.raised.clear()
    effects = tuple(context.effects)
    context.effects.clear()
    return effects


def _take(context: Context, fact: Fact) -> None:
    key = key_of(fact)
    if is_stale(context, fact):
        context.stale_dropped += 1
        return
    if key in TURN_KEYS and (context.state, key) not in CELLS:
        raise LocalProtocolError(f"{name_of(key)} cannot happen in {context.state.name}.", remedy="Please report this journal.")
    if isinstance(fact, TimerFired):
        context.disarm(fact.timer)
    for field, table in _LISTENERS[key]:
        setattr(context, field, fire(table, getattr(context, field), context, key, fact))
    if key in TURN_KEYS:
        _move(context, key, fact)


def _move(context: Context, key: Key, fact: Fact) -> None:
    before = context.state
    try:
        moved = _TRIGGERS[key].trigger(context, fact)
    except MachineError as error:
        raise LocalProtocolError(str(error), remedy="Please report this journal.") from error
    if not moved:
        raise LocalProtocolError(f"{name_of(key)} in {before.name} is undecided.", remedy="Please report this journal.")
    if context.state is not before:
        context.disarm(*_TIMERS_TO_CLEAR[context.state])


def is_stale(context: Context, fact: Fact) -> bool:
    """Whether a fact comes too late to mean anything: its reply is over, or its deadline was moved or cleared."""
    if isinstance(fact, TimerFired):
        due_ms = context.deadlines[fact.timer]
        return due_ms == NEVER or fact.at_ms < due_ms
    return isinstance(fact, ReplyFact) and fact.epoch != context.epoch


def next_deadline(context: Context) -> tuple[int, Timer] | None:
    """The earliest deadline and its timer; None when none is set. Ties go to the first in `Timer`."""
    armed = [(at_ms, timer) for timer, at_ms in zip(Timer, context.deadlines, strict=True) if at_ms != NEVER]
    return min(armed, default=None)


SMALL_STATES: Mapping[str, type[enum.Enum]] = {
    "near_end": NearEnd,
    "recognition": Recognition,
    "generation": Generation,
    "playout": Playout,
}
"""The states of each small machine."""

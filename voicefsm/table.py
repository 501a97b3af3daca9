"""The form in which every machine is written down: rows.

A row says: in this file's state, `on` this fact, `when` all these questions are answered with yes, `do` these verbs in order and
go `to` that state. Rows of one fact are tried from top to bottom; the last one asks nothing, so that every cell is decided. A cell
with no row at all is *refused*: the fact cannot happen there, and if it does, we have a defect (`LocalProtocolError`).

A timer is a fact of its own, so each deadline has its own row. Deadlines die with the state that set them (`LASTING` ones apart):
a state need not mention the timers of others.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

from voicefsm.context import Context
from voicefsm.events import Fact, Timer, TimerFired

S = TypeVar("S", bound=enum.Enum)

Key: TypeAlias = type[Fact] | Timer
"""What a row can be about: a kind of fact, or one timer."""
Guard: TypeAlias = Callable[[Context, Any], bool]
"""A question about the context and the fact. Changes nothing."""
Action: TypeAlias = Callable[[Context, Any], None]
"""A verb: changes the context, gives orders. Never fires a transition."""

LASTING = frozenset({Timer.AGE, Timer.REOPEN, Timer.TOOLS, Timer.FILLER})
"""Deadlines of the session, or of a reply, rather than of a state."""


def key_of(fact: Fact) -> Key:
    """The table column of a fact."""
    return fact.timer if isinstance(fact, TimerFired) else type(fact)


def name_of(key: Key) -> str:
    """How the page, the journal and the wire call a column."""
    return f"Timer {key.name}" if isinstance(key, Timer) else key.__name__


@dataclasses.dataclass(frozen=True, slots=True)
class Row(Generic[S]):
    """One line of a table."""

    on: Key
    to: S | None = None
    """None: stay."""
    when: tuple[Guard, ...] = ()
    do: tuple[Action, ...] = ()
    because: str = ""
    """Why, where the row does not say it by itself."""

    def holds(self, context: Context, fact: Fact) -> bool:
        """Whether every question is answered with yes."""
        for guard in self.when:  # noqa: SIM110  # it runs several times a step, and all() takes twice as long
            if not guard(context, fact):
                return False
        return True


def stays(*keys: Key, because: str) -> tuple[Row[Any], ...]:
    """Rows that change nothing."""
    return tuple(Row(key, because=because) for key in keys)


Cells: TypeAlias = Mapping[tuple[S, Key], tuple[Row[S], ...]]


def cells(rows_by_state: Mapping[S, Sequence[Row[S]]]) -> Cells[S]:
    """Group the rows of one machine by (state, key), in order."""
    grouped: dict[tuple[S, Key], tuple[Row[S], ...]] = {}
    for state, rows in rows_by_state.items():
        for row in rows:
            grouped[state, row.on] = (*grouped.get((state, row.on), ()), row)
    return grouped


def fire(table: Cells[S], state: S, context: Context, key: Key, fact: Fact) -> S:
    """Run the first row that holds and return the new state; a cell without rows changes nothing."""
    for row in table.get((state, key), ()):
        if row.holds(context, fact):
            for act in row.do:
                act(context, fact)
            return state if row.to is None else row.to
    return state

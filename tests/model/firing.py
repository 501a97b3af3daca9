"""Which rows fire: the machine's own firing, listened to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from voicefsm import machine
from voicefsm.context import Context
from voicefsm.events import Fact
from voicefsm.table import Key, Row, fire

RowName = tuple[str, str, int]
"""The machine, its state, and the place of the row among the state's rows."""


def declared() -> dict[RowName, Row[Any]]:
    """Every row of every machine."""
    machines: dict[str, Any] = {"turn": machine.ROWS, **machine.STREAMS}
    return {
        (name, state.name, place): row
        for name, rows in machines.items()
        for state, listed in rows.items()
        for place, row in enumerate(listed)
    }


@contextmanager
def fired() -> Iterator[set[RowName]]:
    """The rows that fire while this is open."""
    seen: set[RowName] = set()
    shared = {id(rows): field for field, rows in machine._TABLES}
    move = machine._move

    def listening_fire(table: Any, state: Any, context: Context, key: Key, fact: Fact) -> Any:
        held = next((place for place, row in enumerate(table.get((state, key), ())) if row.holds(context, fact)), None)
        if held is not None:
            seen.add(_name(machine.STREAMS[shared[id(table)]], shared[id(table)], state, key, held))
        return fire(table, state, context, key, fact)

    def listening_move(context: Context, key: Key, fact: Fact) -> None:
        held = next((place for place, row in enumerate(machine.CELLS[context.state, key]) if row.holds(context, fact)), None)
        if held is not None:
            seen.add(_name(machine.ROWS, "turn", context.state, key, held))
        move(context, key, fact)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "fire", listening_fire)
        patch.setattr(machine, "_move", listening_move)
        yield seen


def _name(rows: Any, field: str, state: Any, key: Key, held: int) -> RowName:
    """One row object may stand in several states: the place tells them apart."""
    places = [place for place, row in enumerate(rows[state]) if row.on == key]
    return field, state.name, places[held]

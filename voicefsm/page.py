"""The page: every cell of every machine, rendered from the very rows the program runs on. `docs/state-machine.md` is its output."""

from __future__ import annotations

import enum
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from voicefsm.context import State
from voicefsm.events import Timer
from voicefsm.machine import CELLS, DEADLINES, KEYS, ROWS, STATES, STREAMS, TURN_KEYS
from voicefsm.table import LASTING, Key, Row, cells, name_of

_INTRO = """\
# The state machine

This page is generated (`voicefsm table`) from the rows that the program runs on; CI fails when it is stale.

A session is one *turn machine*, which decides whose turn it is, and four *small machines*, which keep book of one stream of
facts each and are fed first. A fact enters through `machine.step`, the only door; orders leave through it. Read a row as: on
this fact, if all these questions are answered with yes, do this in order, and go there. Rows of one fact are tried from top to
bottom.

Three rules stand before every table:

1. A fact about a reply that is over, or of a deadline that was moved, is **stale**: dropped and counted.
2. A fact that a state does not list is **refused** there: it cannot happen, and if it does, the session ends with INTERNAL.
3. Deadlines **die with the state** that set them; only {lasting} last.
"""


def render(form: str) -> str:
    """The page as "md", the diagram alone as "mermaid", or all rows as "json"."""
    return {"md": _markdown, "mermaid": _mermaid, "json": _json}[form]()


# --- markdown ----------------------------------------------------------------------------------------------------------------


def _markdown() -> str:
    lasting = " and ".join(f"`{timer.name}`" for timer in sorted(LASTING))
    parts = [_INTRO.format(lasting=lasting), f"```mermaid\n{_mermaid()}\n```\n", _overview()]
    parts += [_state_section(state) for state in State]
    parts += ["## The small machines\n", *(_stream_section(name, rows) for name, rows in STREAMS.items())]
    parts.append(_summary())
    return "\n".join(parts)


def _overview() -> str:
    """Every cell in one table: where each fact leads from each state."""
    head = ["fact", *(state.name for state in State)]
    rows = ([f"`{name_of(key)}`", *(_cell(state, key) for state in State)] for key in KEYS if key in TURN_KEYS)
    return f"## Every cell\n\n{_table(head, rows)}\n· stays   — refused: it cannot happen there\n"


def _cell(state: State, key: Key) -> str:
    rows = CELLS.get((state, key))
    if rows is None:
        return "—"
    targets = dict.fromkeys("·" if row.to is None else row.to.name for row in rows)
    return " / ".join(targets)


def _state_section(state: State) -> str:
    module = next(module for module in STATES if state is module.STATE)
    meaning = _doc(module).partition(": ")[2]
    deadlines = "".join(f"- `{timer.name}`: {_timer_docs()[timer]}\n" for timer in DEADLINES[state])
    bounds = f"Deadlines:\n\n{deadlines}\n" if deadlines else ""
    return f"## {state.name}\n\n{meaning[:1].upper()}{meaning[1:]}\n\n{bounds}{_rows(ROWS[state])}"


def _stream_section(name: str, rows_by_state: Mapping[Any, Sequence[Row[Any]]]) -> str:
    module = sys.modules[f"voicefsm.streams.{name}"]
    body = "\n".join(f"#### {state.name}\n\n{_rows(rows)}" for state, rows in rows_by_state.items())
    return f"### {name.replace('_', ' ')}\n\n{_doc(module)}\n\n{body}"


def _rows(rows: Iterable[Row[Any]]) -> str:
    head = ["on", "when", "does", "goes to", "because"]
    return _table(
        head,
        ([f"`{name_of(row.on)}`", _names(row.when), _names(row.do), row.to.name if row.to else "·", row.because] for row in rows),
    )


def _names(callables: Sequence[Callable[..., Any]]) -> str:
    return ", ".join(_name(one) for one in callables)


def _name(one: Callable[..., Any]) -> str:
    return one.__name__.replace("_", " ")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _doc(module: Any) -> str:
    return inspect.cleandoc(module.__doc__ or "")


def _timer_docs() -> dict[Timer, str]:
    """The sentence under each member of `Timer`, which Python itself does not keep."""
    lines = inspect.getsource(Timer).splitlines()
    docs = {}
    for number, line in enumerate(lines):
        name = line.strip().partition(" = ")[0]
        if name in Timer.__members__:
            docs[Timer[name]] = lines[number + 1].strip().strip('"')
    return docs


def _summary() -> str:
    turn = sum(1 for _ in _turn_cells())
    refused = sum((state, key) not in CELLS for state, key in _turn_cells())
    rows = sum(len(rows) for rows in ROWS.values())
    small = sum(len(cells(rows)) for rows in STREAMS.values())
    return (
        f"---\n\n{turn} cells of the turn machine, all decided: {turn - refused} by {rows} rows, {refused} refused; "
        f"{small} cells of the small machines."
    )


def _turn_cells() -> Iterator[tuple[State, Key]]:
    return ((state, key) for state in State for key in KEYS if key in TURN_KEYS)


# --- the other forms ---------------------------------------------------------------------------------------------------------


def _mermaid() -> str:
    edges: dict[tuple[State, State], dict[str, None]] = {}
    for state, rows in ROWS.items():
        for row in rows:
            if row.to is not None and row.to is not State.CLOSED:
                edges.setdefault((state, row.to), {})[name_of(row.on)] = None
    lines = [f"    {a.name} --> {b.name}: {', '.join(names)}" for (a, b), names in edges.items()]
    closing = sorted({name_of(row.on) for rows in ROWS.values() for row in rows if row.to is State.CLOSED})
    notes = [
        "    CLOSED --> [*]",
        f"    note right of CLOSED: from every live state on {', '.join(closing)} (Timer IDLE from IDLE alone)",
    ]
    live = [f"    {state.name} --> CLOSED" for state in State if state is not State.CLOSED]
    return "\n".join(["stateDiagram-v2", "    [*] --> IDLE", *lines, *live, *notes])


def _json() -> str:
    machines: dict[str, Mapping[Any, Sequence[Row[Any]]]] = {"turn": ROWS, **STREAMS}
    return json.dumps({name: _json_rows(rows) for name, rows in machines.items()}, indent=2)


def _json_rows(rows_by_state: Mapping[enum.Enum, Sequence[Row[Any]]]) -> list[dict[str, Any]]:
    return [
        {
            "state": state.name,
            "on": name_of(row.on),
            "when": [guard.__name__ for guard in row.when],
            "do": [act.__name__ for act in row.do],
            "to": row.to.name if row.to else None,
            "because": row.because,
        }
        for state, rows in rows_by_state.items()
        for row in rows
    ]

"""The page: every cell of every machine, rendered from the very rows the program runs on. `docs/state-machine.md` is its output."""

from __future__ import annotations

import enum
import inspect
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import CodeType
from typing import Any, TypeAlias

from voicefsm.context import State, TurnSettings
from voicefsm.effects import Effect
from voicefsm.events import Timer
from voicefsm.machine import CELLS, DEADLINES, KEYS, ROWS, STATES, STREAMS, TURN_KEYS
from voicefsm.table import LASTING, Action, Guard, Key, Row, cells, name_of

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
3. Deadlines **die with the state** that set them. These alone last:

{lasting}
What a row may order stands beside its verbs, not in the order of time; whether it does may depend on what the verb finds.
[Questions](#the-questions) and [verbs](#the-verbs) are explained below.
"""

_ALWAYS = """\
## What always holds

- A reply is alive in PROCESSING, SPEAKING and INTERRUPTING, and in no other state. Two are never alive.
- A reply ends once: in `CompleteTurn`, or, when nobody heard it and the user goes on, in `RetractUserTurn`. Unless it was heard to
  its end, `CancelTts` comes first, then `CancelGeneration`, and nothing is ordered for it afterwards.
- Playout is paused, or ducked, in INTERRUPTING alone. Who leaves it for SPEAKING resumes; nothing else does.
- The assistant does not begin to speak while the user is speaking, and does not go on when speech is confirmed, where speech may
  interrupt.
- Every state but CLOSED has a deadline of its own, and deadlines alone end every session.
- A client that hangs up, and the longest session, end it from everywhere. `EndSession` is ordered once, on the way into CLOSED,
  where no deadline is set and no recogniser listens.
- Every fact is decided. What comes late changes nothing.
- When every message has arrived, the client plays, or has paused, the reply that the engine believes it to.

The [model checker](model.md) looks for a counter-example in everything that can happen, within bounds that it names. What this
means to a user: [what must never happen](invariants.md).
"""


def render(form: str) -> str:
    """The page as "md", the diagram alone as "mermaid", or all rows as "json"."""
    return {"md": _markdown, "mermaid": _mermaid, "json": _json}[form]()


# --- markdown ----------------------------------------------------------------------------------------------------------------


def _markdown() -> str:
    parts = [_INTRO.format(lasting=_deadlines(sorted(LASTING))), f"```mermaid\n{_mermaid()}\n```\n", _overview(), _ALWAYS]
    parts += [_state_section(state) for state in State]
    parts += ["## The small machines\n", *(_stream_section(name, rows) for name, rows in STREAMS.items())]
    parts += [_questions(), _verbs(), _summary()]
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
    bounds = f"Deadlines:\n\n{_deadlines(DEADLINES[state])}\n" if DEADLINES[state] else ""
    return f"## {state.name}\n\n{meaning[:1].upper()}{meaning[1:]}\n\n{bounds}{_rows(ROWS[state])}"


def _stream_section(name: str, rows_by_state: Mapping[Any, Sequence[Row[Any]]]) -> str:
    module = sys.modules[f"voicefsm.streams.{name}"]
    body = "\n".join(f"#### {state.name}\n\n{_rows(rows)}" for state, rows in rows_by_state.items())
    return f"### {name.replace('_', ' ')}\n\n{_doc(module)}\n\n{body}"


def _rows(rows: Iterable[Row[Any]]) -> str:
    head = ["on", "when", "does", "orders", "goes to", "because"]
    return _table(
        head,
        (
            [
                f"`{name_of(row.on)}`",
                _names(row.when),
                _names(row.do),
                _code(orders_of(*row.do)),
                row.to.name if row.to else "·",
                row.because,
            ]
            for row in rows
        ),
    )


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _names(callables: Sequence[Callable[..., Any]]) -> str:
    return ", ".join(_name(one) for one in callables)


def _name(one: Callable[..., Any]) -> str:
    return one.__name__.replace("_", " ")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _doc(module: Any) -> str:
    return inspect.cleandoc(module.__doc__ or "")


def _deadlines(timers: Iterable[Timer]) -> str:
    """What each is for, and how long it is unless it is set otherwise."""
    return "".join(f"- `{timer.name}`: {_SETTING.sub(_with_default, _timer_docs()[timer])}\n" for timer in timers)


_SETTING = re.compile(r"`(\w+_ms\w*)`")


def _with_default(name: re.Match[str]) -> str:
    return f"{name[0]}: {getattr(TurnSettings(), name[1])} ms"


def _timer_docs() -> dict[Timer, str]:
    """The sentence under each member of `Timer`, which Python itself does not keep."""
    lines = inspect.getsource(Timer).splitlines()
    docs = {}
    for number, line in enumerate(lines):
        name = line.strip().partition(" = ")[0]
        if name in Timer.__members__:
            docs[Timer[name]] = lines[number + 1].strip().strip('"')
    return docs


# --- questions and verbs -----------------------------------------------------------------------------------------------------

Asked: TypeAlias = Guard | Action


def orders_of(*verbs: Asked) -> list[str]:
    """Names of the orders that these verbs may give, by themselves or through what they call, as their code names them."""
    return [effect.__name__ for effect in dict.fromkeys(_named(verbs, set())) if issubclass(effect, Effect)]


def _named(functions: Iterable[Asked], seen: set[Asked]) -> Iterator[type]:
    """Classes that functions name, and that those name which they call."""
    for function in functions:
        if function in seen:
            continue
        seen.add(function)
        for name in _names_in(function.__code__):
            one = function.__globals__.get(name)
            if isinstance(one, type):
                yield one
            elif inspect.isfunction(one):
                yield from _named([one], seen)


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _questions() -> str:
    rows = ([name, _first_words(guard)] for name, guard in _used(lambda row: row.when))
    return f"## The questions\n\n{_table(['question', 'asks'], rows)}"


def _verbs() -> str:
    rows = ([name, _first_words(act), _code(orders_of(act))] for name, act in _used(lambda row: row.do))
    return f"## The verbs\n\n{_table(['verb', 'means', 'may order'], rows)}"


def _used(part: Callable[[Row[Any]], Sequence[Asked]]) -> list[tuple[str, Asked]]:
    """By name, each once; where several states use a name differently they are named with it."""
    places: dict[Asked, dict[str, None]] = {}
    for rows_by_state in (ROWS, *STREAMS.values()):
        for state, rows in rows_by_state.items():
            for one in (one for row in rows for one in part(row)):
                places.setdefault(one, {})[state.name] = None
    names = Counter(map(_name, places))
    used = [(_name(one) + (f" ({', '.join(where)})" if names[_name(one)] > 1 else ""), one) for one, where in places.items()]
    return sorted(used, key=lambda pair: pair[0])


def _first_words(one: Asked) -> str:
    """The first paragraph of what it says about itself."""
    return " ".join(_doc(one).partition("\n\n")[0].split())


# --- how much it is ----------------------------------------------------------------------------------------------------------


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

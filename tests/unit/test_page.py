"""The printed page."""

from __future__ import annotations

import json

import pytest

from voicefsm.context import State
from voicefsm.machine import CELLS, DEADLINES, KEYS, ROWS, SMALL_STATES, STREAMS, TURN_KEYS
from voicefsm.page import render
from voicefsm.table import name_of

PAGE = render("md")


def section(title: str) -> str:
    level = title.partition(" ")[0] + " "
    lines = PAGE.partition(f"\n{title}\n")[2].splitlines()
    end = next((n for n, line in enumerate(lines) if line.startswith(level)), len(lines))
    return "\n".join(lines[:end])


@pytest.mark.parametrize("key", [key for key in KEYS if key in TURN_KEYS], ids=name_of)
def test_every_cell_is_on_the_page(key):
    """Otherwise the page would not be the whole behaviour."""
    line = next(line for line in section("## Every cell").splitlines() if line.startswith(f"| `{name_of(key)}` |"))
    shown = [cell.strip() for cell in line.strip("|").split("|")][1:]
    for state, cell in zip(State, shown, strict=True):
        rows = CELLS.get((state, key), ())
        assert (cell == "—") is (not rows)
        assert set(cell.split(" / ")) == ({row.to.name if row.to else "·" for row in rows} or {"—"})


@pytest.mark.parametrize("state", State)
def test_every_row_is_on_the_page(state):
    """Otherwise a rule of the program could not be read."""
    text = section(f"## {state.name}")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == len(ROWS[state])
    for timer in DEADLINES[state]:
        assert f"- `{timer.name}`: " in text
    for line, row in zip(rows, ROWS[state], strict=True):
        assert row.because in line
        assert all(guard.__name__.replace("_", " ") in line for guard in row.when)
        assert all(act.__name__.replace("_", " ") in line for act in row.do)


@pytest.mark.parametrize("name", STREAMS)
def test_the_small_machines_are_on_the_page(name):
    """Otherwise a third of the behaviour would be hidden."""
    text = section(f"### {name.replace('_', ' ')}")
    assert all(f"#### {state.name}" in text for state in SMALL_STATES[name])
    assert len([line for line in text.splitlines() if line.startswith("| `")]) == sum(map(len, STREAMS[name].values()))


def test_the_summary_counts():
    """Otherwise 'all decided' would be a claim."""
    summary = PAGE.splitlines()[-1]
    total = len(State) * len(TURN_KEYS)
    assert summary.startswith(f"{total} cells of the turn machine, all decided: {len(CELLS)} by ")
    assert f"{total - len(CELLS)} refused" in summary


def test_the_diagram_has_every_move():
    """Otherwise the picture would show another machine."""
    diagram = render("mermaid")
    assert diagram.startswith("stateDiagram-v2")
    assert diagram in PAGE
    for state, rows in ROWS.items():
        for row in rows:
            if row.to not in (None, State.CLOSED):
                edge = next(line for line in diagram.splitlines() if line.strip().startswith(f"{state.name} --> {row.to.name}:"))
                assert name_of(row.on) in edge


def test_json_has_every_row():
    """Otherwise other programs would read another machine."""
    data = json.loads(render("json"))
    assert set(data) == {"turn", *STREAMS}
    assert len(data["turn"]) == sum(map(len, ROWS.values()))
    assert data["turn"][0] == {
        "state": "IDLE", "on": "SessionOpened", "when": [], "do": ["open_session"], "to": None, "because": "",
    }  # fmt: skip


def test_an_unknown_form_is_an_error():
    """Otherwise a mistyped form would print nothing."""
    with pytest.raises(KeyError):
        render("pdf")

"""The printed page."""

from __future__ import annotations

import json

import pytest

from voicefsm import effects
from voicefsm.context import State
from voicefsm.events import Timer
from voicefsm.machine import CELLS, DEADLINES, KEYS, ROWS, SMALL_STATES, STREAMS, TURN_KEYS
from voicefsm.page import orders_of, render
from voicefsm.states import common, idle, interrupting, listening, processing, speaking
from voicefsm.streams import generation, recognition
from voicefsm.table import name_of

MODULES = (idle, listening, processing, speaking, interrupting)
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


def test_every_question_and_verb_is_explained():
    """Otherwise a name on the page has to be looked up in the source; or two that differ are explained as one."""
    for title, part in (("## The questions", "when"), ("## The verbs", "do")):
        rows = (row for machine in (ROWS, *STREAMS.values()) for rows in machine.values() for row in rows)
        used = {one for row in rows for one in getattr(row, part)}
        lines = [line.split(" | ") for line in section(title).splitlines() if line.startswith("| ")][2:]
        assert len(lines) == len(used)
        assert len({name for name, *_ in lines}) == len(used)
        for one in used:
            meaning = " ".join(one.__doc__.partition("\n\n")[0].split())
            name = one.__name__.replace("_", " ")
            assert any(line[0].removeprefix("| ").partition(" (")[0] == name and meaning in line[1] for line in lines)


def test_orders_are_found_wherever_a_verb_gives_them():
    """Otherwise the page hides what happens: in a helper, in a branch, or in a helper's helper."""
    assert orders_of(common.listen) == []
    assert set(orders_of(common.await_decision)) == {"DuckPlayout", "PausePlayout"}
    assert set(orders_of(common.retract, common.answer_text)) == {
        "CancelTts", "CancelGeneration", "RetractUserTurn", "StartGeneration",
    }  # fmt: skip
    assert set(orders_of(processing.sound_tone)) == {"ReportFailure", "SoundEarcon", "FinishSpeech"}
    row = next(line for line in section("## INTERRUPTING").splitlines() if "resume for good" in line)
    assert "| resume for good | `ResumePlayout` | SPEAKING |" in row


def test_no_order_is_missing():
    """Otherwise there is an order that, by the page, nobody gives."""
    verbs = {act for machine in (ROWS, *STREAMS.values()) for rows in machine.values() for row in rows for act in row.do}
    orders = {name for name, one in vars(effects).items() if isinstance(one, type) and issubclass(one, effects.Effect)}
    assert set(orders_of(*verbs)) == orders - {"Effect"}


def test_every_deadline_names_the_setting_that_it_is_armed_with():
    """Otherwise the page sends the reader to the wrong setting."""
    page = PAGE.splitlines()
    for timer in Timer:
        line = next(line for line in page if line.startswith(f"- `{timer.name}`: "))
        setting = line.partition("(`")[2].partition("`")[0]
        verbs = [*vars(common).values(), *(one for module in (*MODULES, generation, recognition) for one in vars(module).values())]
        arming = [one for one in verbs if {"arm", timer.name} <= set(getattr(getattr(one, "__code__", None), "co_names", ()))]
        assert any(setting in one.__code__.co_names for one in arming), (timer, setting)


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
    assert data["turn"][1] == {
        "state": "IDLE", "on": "SessionOpened", "when": [], "do": ["open_session"], "to": None, "because": "",
    }  # fmt: skip


def test_an_unknown_form_is_an_error():
    """Otherwise a mistyped form would print nothing."""
    with pytest.raises(KeyError):
        render("pdf")

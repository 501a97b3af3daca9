"""The model checker's searches. `tox -e model` runs all of them; `make test` leaves out what is marked `exhaustive`."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Sequence

import pytest

from tests.model import world
from tests.model.abstraction import LEFT_OUT, NOW_MS, USUAL_DB, Core, Speech, freeze, stimuli
from tests.model.checker import Report, deadlines_to_the_end, search, search_core
from tests.model.firing import RowName, declared, fired
from tests.model.invariants import check_move
from tests.model.scopes import FINALS, PRODUCT, PRODUCT_WITH_TOOLS, SESSIONS, WORDLESS
from tests.model.story import tell
from voicefsm.context import Context, State
from voicefsm.machine import step

TRANSITIONS_MIN = 10_000_000


def core_of(name: str) -> Core:
    settings, speech = SESSIONS[name]
    return Core(settings, speech, check_move)


def test_share_of_the_product(capsys):
    """Otherwise gateway, wire and client can be brought out of step with the core within eleven moves."""
    for is_faulty in (False, True):
        report = search("share", Core(PRODUCT, FINALS, check_move), is_faulty=is_faulty, levels_max=11)
        with capsys.disabled():
            print(f"\n{report}")
        assert not report.violation, tell(report, PRODUCT)


def test_share_of_the_product_with_tools(capsys, monkeypatch):
    """Otherwise a tool that is called, answered, late or given up brings gateway, wire and client out of step with the core."""
    monkeypatch.setattr(world, "WITH_TOOLS", True)
    report = search("share with tools", Core(PRODUCT_WITH_TOOLS, FINALS, check_move), is_faulty=False, levels_max=9)
    with capsys.disabled():
        print(f"\n{report}")
    assert not report.violation, tell(report, PRODUCT_WITH_TOOLS)


@pytest.mark.parametrize("name", [name for name in SESSIONS if name not in {"tools", "partials"}])  # finals alone are like "words"
def test_share_of_the_core(name, capsys):
    """Otherwise such a session can refuse a fact, be stuck, or talk over the user, even when the recogniser sends finals alone."""
    core = Core(SESSIONS[name][0], share_of(name), check_move)
    report = search_core(name, core)
    with capsys.disabled():
        print(f"\n{report}")
    assert not report.violation, tell(report, core.settings, core.speech.opening)
    assert report.is_exhausted
    assert deadlines_to_the_end(core) <= 8


def share_of(name: str) -> Speech:
    """Less to say: finals alone, of one kind of words. What a recogniser that fails does is left to the kinds that are about it."""
    speech = SESSIONS[name][1]
    failing = () if name == "client only" else speech.failing
    return Speech(speech.kinds[-1:], with_partials=not speech.kinds, failing=failing, question=speech.question)


@functools.cache
def exhausted(name: str) -> tuple[Report, Core, frozenset[RowName]]:
    """One kind of session, searched to the end, and the rows that fired."""
    with fired() as rows:
        core = core_of(name)
        return search_core(name, core), core, frozenset(rows)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", SESSIONS)
def test_the_core_is_exhausted(name, capsys):
    """Otherwise something can happen to such a session that breaks an invariant."""
    report, core, _ = exhausted(name)
    with capsys.disabled():
        print(f"\n{report}")
    assert not report.violation, tell(report, core.settings, core.speech.opening)
    assert report.is_exhausted
    assert deadlines_to_the_end(core) <= 8


@pytest.mark.exhaustive
def test_every_row_fires():
    """Otherwise a row on the page tells of something that never happens."""
    rows = set[RowName]().union(*(exhausted(name)[2] for name in SESSIONS))
    assert sorted(declared().keys() - rows) == []


@pytest.mark.exhaustive
def test_the_product_is_exhausted(capsys):
    """Otherwise some interleaving of core, backends, gateway, wire and client breaks an invariant."""
    report = search("product, wire as gRPC keeps it", Core(PRODUCT, FINALS, check_move), is_faulty=False)
    with capsys.disabled():
        print(f"\n{report}")
    assert not report.violation, tell(report, PRODUCT)
    assert report.is_exhausted
    assert report.transitions > TRANSITIONS_MIN


@pytest.mark.exhaustive
@pytest.mark.parametrize(("in_flight_max", "levels_max"), [(2, 10_000), (3, 20)])
def test_the_product_on_a_faulty_wire(capsys, monkeypatch, in_flight_max, levels_max):
    """Otherwise a lost, doubled or overtaken message breaks what must hold even then.

    With two messages in flight everything is looked at; with three everything within twenty transitions of the beginning.
    """
    monkeypatch.setattr(world, "IN_FLIGHT_MAX", in_flight_max)
    core = Core(PRODUCT, WORDLESS, check_move)
    report = search(f"product, faulty wire, {in_flight_max} in flight", core, is_faulty=True, levels_max=levels_max)
    with capsys.disabled():
        print(f"\n{report}")
    assert not report.violation, tell(report, PRODUCT)
    assert report.is_exhausted == (in_flight_max == 2)
    assert report.transitions > TRANSITIONS_MIN


_RARE = ("ClientClosed", "DrainRequested", "ShutdownRequested", "Timer AGE", "Timer IDLE", "RecognitionFailed")


def walk(core: Core, seed: int, steps: int) -> int:
    """A real session, with real times, numbers and words, and the table beside it. Returns how many steps were compared."""
    chance = random.Random(seed)
    context, now_ms, number = Context(settings=core.settings, usual_db=USUAL_DB), 0, core.initial
    step(context, core.speech.opening)
    for count in range(steps):
        if context.state is State.CLOSED:
            return count
        now_ms += chance.randrange(1, 40)
        facts = stimuli(context, now_ms, core.speech)
        name = chance.choice([n for n in facts if not n.startswith("late") or chance.random() < 0.05])
        if name.startswith(_RARE) and chance.random() < 0.97:
            continue
        fact = facts[name]
        now_ms = fact.at_ms
        effects = step(context, fact)
        move = core.move(number, name)
        assert core.contexts[move.after] == freeze(context), (seed, count, name, context)
        assert [type(effect) for effect in effects] == [type(effect) for effect in move.effects], (seed, count, name)
        number = move.after
    return steps


@pytest.mark.parametrize("name", SESSIONS)
def test_table_and_step_are_equal(name):
    """Otherwise the checker searched another machine than the one that runs."""
    core = core_of(name)
    assert sum(walk(core, seed, 300) for seed in range(20)) > 2000


@pytest.mark.exhaustive
def test_table_and_step_are_equal_on_every_row(capsys):
    """Otherwise a row does in a real session what the table does not know: a way to every row there is is walked for real."""
    left = set(declared())
    for name in SESSIONS:
        rows = exhausted(name)[2]
        core, ways = ways_to_rows(name, rows)
        for row, path in ways.items():
            assert row in follow(core, path)
        left -= rows
        with capsys.disabled():
            print(f"\n{name}: ways to all {len(rows)} rows that fire were walked for real")
    assert sorted(left) == []


def ways_to_rows(name: str, wanted: frozenset[RowName]) -> tuple[Core, dict[RowName, tuple[str, ...]]]:
    """A shortest way to each of these rows, as names of facts, the last of which fires it; a session opens by itself."""
    ways: dict[RowName, tuple[str, ...]] = {}
    with fired() as rows:
        core = core_of(name)
        paths: dict[int, tuple[str, ...]] = {core.initial: ()}
        ways |= dict.fromkeys(rows & wanted, ())
        for number in range(10**9):
            if wanted <= ways.keys():
                return core, ways
            for fact_name, fact in stimuli(core.context(number), NOW_MS, core.speech).items():
                rows.clear()
                after = core.moves(number, {fact_name: fact})[fact_name].after
                paths.setdefault(after, (*paths[number], fact_name))
                for row in rows & wanted:
                    ways.setdefault(row, (*paths[number], fact_name))
    raise AssertionError


def follow(core: Core, path: Sequence[str]) -> set[RowName]:
    """Walk a way for real, the table beside it. Returns the rows that fired at its end."""
    context, now_ms, number = Context(settings=core.settings, usual_db=USUAL_DB), 0, core.initial
    with fired() as rows:
        step(context, core.speech.opening)
        for name in path:
            rows.clear()
            fact = stimuli(context, now_ms + 1, core.speech)[name]
            now_ms = fact.at_ms
            effects = step(context, fact)
            move = core.move(number, name)
            assert core.contexts[move.after] == freeze(context), path
            assert [type(effect) for effect in effects] == [type(effect) for effect in move.effects], path
            number = move.after
        return set(rows)


def test_no_field_is_forgotten():
    """Otherwise a field that somebody adds could decide something the table does not know."""
    kept = {
        "state", "near_end", "recognition", "generation", "playout", "user_text", "partial", "agreed", "partial_is_stable", "taken",
        "asked", "evidence", "is_transcribed", "sentences", "heard_ms", "reopen_attempts", "is_released", "is_mid_utterance",
        "is_overheard", "pauses", "is_made", "excuse", "retries", "has_audio", "open_calls", "rounds", "has_filler",
    }  # fmt: skip
    assert {field.name for field in dataclasses.fields(Context)} == kept | LEFT_OUT

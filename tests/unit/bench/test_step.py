"""The benchmark of a step: what it counts. How fast it is depends on the machine, and is no test's business."""

from __future__ import annotations

import gc

import pytest
from typer.testing import CliRunner

from voicefsm.bench.step import CONTEXT_BYTES_MAX, LIBRARY_BYTES_MAX, litter, time_steps, weigh
from voicefsm.cli.bench import bench
from voicefsm.context import TurnSettings
from voicefsm.events import ClientClosed, SessionOpened, TextReceived, TokenArrived
from voicefsm.machine import registered_models
from voicefsm.values import Epoch

FACTS = (SessionOpened(0), TextReceived(10, "hello"), TokenArrived(20, Epoch(1)), TokenArrived(30, Epoch(1)), ClientClosed(40))


def test_every_step_is_counted_by_its_fact():
    """Otherwise a slow kind of fact hides behind the others."""
    times = time_steps(FACTS, TurnSettings(), rounds=3)
    assert times.all.count == 3 * len(FACTS)
    assert {name: spread.count for name, spread in times.by_fact.items()} == {
        "TokenArrived": 6,
        "SessionOpened": 3,
        "TextReceived": 3,
        "ClientClosed": 3,
    }
    assert next(iter(times.by_fact)) == "TokenArrived"
    assert 0 < times.all.median_ns <= times.all.p95_ns
    assert times.calibration_ns > 0
    assert gc.isenabled()


def test_a_session_weighs_nothing_in_the_library():
    """Otherwise a thousand sessions cost the memory of a thousand machines, or never leave the one that knows them."""
    memory = weigh(FACTS, TurnSettings(), sessions=20)
    assert memory.library <= LIBRARY_BYTES_MAX
    assert 0 < memory.context <= CONTEXT_BYTES_MAX
    assert memory.registered == registered_models() == 0


def test_garbage_is_what_only_the_collector_frees():
    """Otherwise the count is of something else, or what was found stays for ever."""

    class Ring:
        def __init__(self) -> None:
            self.me = self

    garbage = litter(Ring, sessions=5)
    assert [count for name, count in garbage.by_type.items() if name.endswith("Ring")] == [1.0]
    assert litter(object, sessions=5).objects == 0
    assert gc.isenabled()
    assert not gc.garbage


@pytest.mark.parametrize("journal", [[], ["tests/journals/demo.jsonl"]], ids=["built-in", "journal"])
def test_command(journal, pytestconfig, monkeypatch):
    """Otherwise the figures of the documentation cannot be had on another machine."""
    monkeypatch.chdir(pytestconfig.rootpath)
    done = CliRunner().invoke(bench, ["step", "--rounds", "1", "--sessions", "2", *journal], catch_exceptions=False)
    assert done.exit_code == 0
    lines = done.output.strip().splitlines()
    assert lines[0].split() == ["fact", "steps", "median", "p95"]
    assert lines[1].startswith("all steps")
    assert any(line.startswith("calibration loop") for line in lines)
    assert lines[-1].startswith("bench step: ok, median ")

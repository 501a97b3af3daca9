"""What the gateway adds: measured in virtual time, where nothing but its own waiting counts."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from voicefsm.app import running
from voicefsm.bench import overhead
from voicefsm.bench.overhead import Overhead, Round, told
from voicefsm.bench.turns import clock
from voicefsm.config import Settings


@asynccontextmanager
async def gateway(riva: str, llm: str) -> AsyncGenerator[int]:
    settings, replace = Settings(), dataclasses.replace
    placed = replace(
        settings,
        server=replace(settings.server, port=0, drain_ms_max=0),
        riva=replace(settings.riva, target=riva),
        llm=replace(settings.llm, base_url=llm, warm_up=False),
    )
    async with running(placed) as port:
        yield port


def test_gateway_waits_for_nothing_of_its_own(monkeypatch):
    """Otherwise each answer comes later than it could; or texts of a cancelled reply still reach the server."""
    monkeypatch.setattr(overhead, "HEARD_S", 0.1)
    found = clock.run(overhead.measure(gateway, 2))
    assert found.overhead_ms < 3
    assert found.cancelled_ms < 5
    assert found.late_texts == 0
    assert all(r.sentence_ms >= overhead.FIRST_TOKEN_MS and r.audio_ms >= 60 for r in found.rounds)


ROUND = Round(sentence_ms=50, audio_ms=70, whole_ms=125, cancelled_ms=4, late_texts=0)


@pytest.mark.parametrize(
    ("changes", "is_good"),
    [({}, True), ({"whole_ms": 131}, False), ({"cancelled_ms": 51}, False), ({"late_texts": 1}, False)],
)
def test_each_goal_counts(changes, is_good):
    """Otherwise the benchmark is green whatever it measures."""
    found = Overhead((dataclasses.replace(ROUND, **changes),))
    assert found.is_good is is_good
    assert told(found).splitlines()[-1].startswith(f"bench overhead: {'ok' if is_good else 'TOO SLOW'}, the gateway adds ")


async def test_stopwatch_reads_what_passed(monkeypatch):
    """Otherwise a busy machine's figures look like a quiet one's."""
    waited_ns, used_s = iter([1_000_000, 31_000_000]), iter([1.0, 1.002])
    monkeypatch.setattr(overhead, "_waited_ns", lambda: next(waited_ns))
    monkeypatch.setattr(time, "process_time", lambda: next(used_s))
    watch = overhead.Stopwatch()
    monkeypatch.setattr(watch._loop, "time", lambda: watch._began[0] / 1000 + 0.05)
    watch.stop()
    monkeypatch.undo()
    assert [round(ms, 3) for ms in (watch.ms, watch.processor_ms, watch.starved_ms)] == [50, 2, 30]


def test_system_tells_how_long_a_thread_waited():
    """Otherwise nothing is taken off, on the systems this is for. Elsewhere it tells 0."""
    if sys.platform == "linux":
        assert overhead._waited_ns() > 0

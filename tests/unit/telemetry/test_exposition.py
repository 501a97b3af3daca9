"""What is sampled, and what workers come to together."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from prometheus_client import CollectorRegistry

from voicefsm.context import State
from voicefsm.ports import Vitals
from voicefsm.telemetry import families as fam
from voicefsm.telemetry.exposition import MetricsSettings, Sampler, Sources, sampled, together
from voicefsm.telemetry.families import FAMILIES
from voicefsm.telemetry.metrics import Metrics

IDLE = Vitals(State.IDLE, 1, 20, 300, 0, 0, 0, 0, 0, None)


@dataclasses.dataclass
class World:
    """What there is to be seen."""

    sessions: list[Vitals] = dataclasses.field(default_factory=list)
    is_draining: bool = False
    is_ready: bool = True
    breaker: str = "closed"

    def sources(self) -> Sources:
        return Sources(
            sessions=lambda: self.sessions,
            sessions_max=lambda: 7,
            is_draining=lambda: self.is_draining,
            is_ready=lambda: self.is_ready,
            busy_pct=lambda: 42.0,
            breakers=lambda: [("asr", "riva:50051", self.breaker)],
        )


def test_sessions_move_to_draining_and_queues_are_the_fullest():
    """Otherwise an autoscaler counts pods that take nobody any more as capacity."""
    registry, world = CollectorRegistry(), World([IDLE, dataclasses.replace(IDLE, state=State.SPEAKING, inbox_facts=9)])
    sampler = Sampler(Metrics(registry), world.sources())

    def value(family: fam.Family, *labels: str) -> float | None:
        return registry.get_sample_value(family.name, dict(zip(family.labels, labels, strict=True)))

    sampler.sample()
    assert (value(fam.SESSIONS, "idle", "false"), value(fam.SESSIONS, "speaking", "false")) == (1, 1)
    assert [value(fam.QUEUE, queue) for queue in ("inbox", "outbox", "ears")] == [9, 20, 300]
    assert (value(fam.READY), value(fam.SESSIONS_MAX), value(fam.LOOP_BUSY)) == (1, 7, 0.42)
    assert value(fam.BREAKER, "asr", "riva:50051", "closed") == 1
    world.is_draining, world.is_ready, world.breaker, world.sessions = True, False, "open", [IDLE]
    sampler.sample()
    assert (value(fam.SESSIONS, "idle", "false"), value(fam.SESSIONS, "idle", "true")) == (0, 1)
    assert (value(fam.SESSIONS, "speaking", "false"), value(fam.SESSIONS, "speaking", "true")) == (0, 0)
    assert value(fam.READY) == 0
    assert (value(fam.BREAKER, "asr", "riva:50051", "closed"), value(fam.BREAKER, "asr", "riva:50051", "open")) == (0, 1)
    world.sessions = []
    sampler.sample()
    assert value(fam.QUEUE, "inbox") == 0


@pytest.mark.looptime
async def test_a_loop_that_is_held_up_is_seen():
    """Otherwise one slow call makes every voice stutter, and no number says so."""
    registry = CollectorRegistry()
    async with sampled(Metrics(registry), World().sources(), 100):
        await asyncio.sleep(1.05)
    assert registry.get_sample_value(f"{fam.LOOP_LAG.name}_count") == 10
    assert registry.get_sample_value(f"{fam.LOOP_LAG.name}_bucket", {"le": "0.001"}) == 10
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "sampler" and not task.done() and not task.cancelling()]


async def test_nobody_samples_when_nothing_is_kept():
    """Otherwise what is switched off still costs."""
    async with sampled(None, World().sources(), 10):
        assert [task.get_name() for task in asyncio.all_tasks()].count("sampler") == 0


def test_nothing_is_kept_without_a_port():
    """Otherwise every gateway of a test writes files, or opens ports that nobody asked for."""
    assert not MetricsSettings().is_on
    assert not MetricsSettings(port=1, enabled=False).is_on
    assert MetricsSettings(port=1).is_on
    with together(MetricsSettings()) as directory:
        assert directory == ""


def test_every_family_makes_a_collector():
    """Otherwise a name in the page is not there when it is scraped."""
    registry = CollectorRegistry()
    Metrics(registry)
    kinds = {metric.name: metric.type for metric in registry.collect()}
    assert kinds == {
        (family.name.removesuffix("_total") if family.kind is fam.Kind.COUNTER else family.name): family.kind.value
        for family in FAMILIES
    }

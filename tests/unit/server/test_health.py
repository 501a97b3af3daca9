"""Watching the backends, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from voicefsm.errors import BackendError
from voicefsm.runtime.breaker import Breaker, BreakerSettings
from voicefsm.runtime.timers import LoopClock
from voicefsm.server.health import HealthSettings, Steady, Watch, Watched
from voicefsm.values import Backend

SETTINGS = HealthSettings(check_ms=5000, thorough_checks=3, check_down_ms=500, failures_min=3, successes_min=2)


@pytest.mark.parametrize(
    ("checks", "verdicts"),
    [
        ("+", "+"),
        ("-", "-"),
        ("+--+--+", "+++++++"),
        ("+---", "+++-"),
        ("-+-+-++", "------+"),
        ("+----++--+---", "+++---++++++-"),
    ],
)
def test_a_verdict_needs_several_checks_in_a_row(checks: str, verdicts: str) -> None:
    """Otherwise one slow answer takes a pod out of service, and the next puts it back: all day long."""
    steady, told = Steady(SETTINGS), []
    for check in checks:
        before = steady.is_up
        assert steady.told(is_well=check == "+") == (steady.is_up is not before)
        told.append("+" if steady.is_up else "-")
    assert "".join(told) == verdicts[: len(told)]


class World:
    """Servers that are well or not, and what the watch tells of them."""

    def __init__(self) -> None:
        self.ill: set[str] = set()
        self.broken: set[str] = set()
        self.checks: list[tuple[int, str]] = []
        self.told: list[tuple[int, set[Backend]]] = []
        self.clock = LoopClock()
        self.breakers: dict[str, Breaker] = {}

    def watched(self, name: str) -> Watched:
        async def check() -> None:
            self.checks.append((self.clock.now_ms(), name))
            if name in self.broken:
                raise ValueError("sesame")
            if name in self.ill:
                raise BackendError(Backend.ASR, f"{name} is ill.")

        self.breakers[name] = Breaker(BreakerSettings(failures_max=2, rest_ms_max=60000))
        return Watched(name, check, check, self.breakers[name])

    async def changed(self, down: frozenset[Backend], _problem: str) -> None:
        self.told.append((self.clock.now_ms(), set(down)))


async def watching(world: World, watch: Watch, *acts: tuple[int, set[str]]) -> None:
    """Let servers fall ill and get well at their times; one second more, and the end."""
    start_ms = world.clock.now_ms()
    task = asyncio.create_task(watch.run())
    for at_ms, ill in acts:
        await asyncio.sleep((start_ms + at_ms - world.clock.now_ms()) / 1000)
        world.ill = ill
    task.cancel()
    await asyncio.wait([task])
    world.told = [(at_ms - start_ms, down) for at_ms, down in world.told]


@pytest.mark.looptime
async def test_readiness_follows_and_does_not_flap() -> None:
    """Otherwise traffic is sent to a gateway whose recogniser is gone; or is not sent to one that had a bad second."""
    world = World()
    watch = Watch({Backend.ASR: [world.watched("asr")], Backend.LLM: [world.watched("llm")]}, SETTINGS, world.clock, world.changed)
    await watching(world, watch, (4000, {"asr"}), (5600, set()), (14000, {"asr"}), (25000, set()), (30000, set()))
    (first, nobody), (down_ms, asr), (up_ms, nobody_again) = world.told
    assert (first, nobody, asr, nobody_again) == (0, set(), {Backend.ASR}, set())
    assert 14000 < down_ms <= 14000 + SETTINGS.check_ms + 2 * SETTINGS.check_down_ms
    assert 25000 < up_ms <= 25000 + 2 * SETTINGS.check_down_ms + 1


@pytest.mark.looptime
async def test_a_check_that_is_broken_does_not_blind_the_watch() -> None:
    """Otherwise one odd answer of a server stops the watch for ever, and the gateway's readiness says what was true then."""
    world = World()
    watch = Watch({Backend.ASR: [world.watched("asr")], Backend.LLM: [world.watched("llm")]}, SETTINGS, world.clock, world.changed)
    world.broken = {"asr"}
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(3)
    world.broken = set()
    await asyncio.sleep(3)
    task.cancel()
    assert [down for _, down in world.told] == [{Backend.ASR}, set()]
    assert world.breakers["asr"].wait_ms(world.clock.now_ms()) == 0, "a defect of ours is nothing against the server"


@pytest.mark.looptime
async def test_one_server_that_is_up_will_do() -> None:
    """Otherwise the second server is of no use."""
    world = World()
    watch = Watch({Backend.ASR: [world.watched("one"), world.watched("two")]}, SETTINGS, world.clock, world.changed)
    await watching(world, watch, (1000, {"one"}), (20000, {"one", "two"}), (40000, {"one"}), (50000, {"one"}))
    assert [down for _, down in world.told] == [set(), {Backend.ASR}, set()]


@pytest.mark.looptime
async def test_a_check_opens_and_closes_the_breaker() -> None:
    """Otherwise the first user after an outage at night is the one who finds out; or a server that is back is not used."""
    world = World()
    watch = Watch({Backend.ASR: [world.watched("asr")]}, SETTINGS, world.clock, world.changed)
    await watching(world, watch, (0, {"asr"}), (2600, set()))
    assert world.breakers["asr"].wait_ms(world.clock.now_ms()) > 0
    assert world.breakers["asr"].problem == "asr is ill."
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(0.1)
    assert world.breakers["asr"].wait_ms(world.clock.now_ms()) == 0
    task.cancel()


@pytest.mark.looptime
async def test_a_check_leaves_a_breaker_alone_that_calls_have_opened() -> None:
    """Otherwise a server that answers its checks and no question is asked again each second, by everybody."""
    world = World()
    watch = Watch({Backend.LLM: [world.watched("llm")]}, SETTINGS, world.clock, world.changed)
    world.breakers["llm"].failed(world.clock.now_ms(), retry_after_ms=8000)
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(7.9)
    task.cancel()
    assert len(world.checks) == 2
    assert world.breakers["llm"].wait_ms(world.clock.now_ms()) > 0

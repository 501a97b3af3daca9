"""How fast one client may send."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from voicefsm.errors import TooMuch
from voicefsm.runtime.timers import LoopClock
from voicefsm.server.pace import (
    BURST_S,
    LATE_TEXTS_APART_MS,
    LATE_TEXTS_MAX,
    Texts,
    of_beginnings,
    of_late_texts,
    of_messages,
    of_sessions,
)


class Clock:
    at_ms = 0

    def now_ms(self) -> int:
        return self.at_ms


def test_a_steady_client_may_go_on_for_ever() -> None:
    """Otherwise an honest client is thrown out after a while."""
    clock = Clock()
    pace = of_messages(clock, 50)
    for _ in range(10_000):
        clock.at_ms += 20
        pace.note()


def test_a_burst_is_forgiven_and_a_flood_is_not() -> None:
    """Otherwise a network that stood still costs a conversation; or one client has the loop to itself."""
    clock = Clock()
    pace = of_messages(clock, 50)
    for _ in range(50 * BURST_S):
        pace.note()
    with pytest.raises(TooMuch, match=r"More than 50 messages a second.*pieces of 20 ms"):
        pace.note()
    clock.at_ms += 1000
    for _ in range(50):
        pace.note()
    with pytest.raises(TooMuch):
        pace.note()
    clock.at_ms += 10**9
    for _ in range(50 * BURST_S):
        pace.note()
    with pytest.raises(TooMuch):
        pace.note()


def test_what_is_refused_costs_nothing_more() -> None:
    """Otherwise who knocks again and again is kept out for ever, and everybody with them."""
    clock = Clock()
    pace = of_sessions(clock, 1)
    for _ in range(BURST_S):
        pace.note()
    for _ in range(1000):
        with pytest.raises(TooMuch, match=r"More than 1 sessions a second.*another replica"):
            pace.note()
    clock.at_ms += 1000
    pace.note()


def texts_of(clock: LoopClock) -> Texts:
    return Texts(clock, 60, 3, of_late_texts(clock))


@pytest.mark.looptime
async def test_typed_texts_that_come_too_fast_wait_and_then_are_refused() -> None:
    """Otherwise a client that types in a flood has the model, the voice and the loop to itself; or is refused for typing twice."""
    clock = LoopClock()
    texts, times = texts_of(clock), []
    for _ in range(3 + LATE_TEXTS_MAX):
        await texts.turn()
        times.append(clock.now_ms())
    apart = [after - before for before, after in pairwise(times)]
    assert apart == [0, 0, *[1000] * LATE_TEXTS_MAX]
    with pytest.raises(TooMuch, match=r"More than 60 texts a minute.*not while they type"):
        await texts.turn()


@pytest.mark.looptime
async def test_who_types_no_faster_than_is_allowed_never_waits() -> None:
    """Otherwise a talkative person is slowed down, or thrown out in the end."""
    clock = LoopClock()
    texts = texts_of(clock)
    for nth in range(300):
        await texts.turn()
        assert clock.now_ms() == nth * 1000
        await asyncio.sleep(1)


@pytest.mark.looptime
async def test_clients_that_type_too_fast_have_one_turn_after_the_other() -> None:
    """Otherwise a crowd of them, each within its own limit, takes the loop from everybody once a second."""
    clock = LoopClock()
    late, times = of_late_texts(clock), []

    async def flood() -> None:
        texts = Texts(clock, 60, 3, late)
        for _ in range(4):
            await texts.turn()
        times.append(clock.now_ms())

    await asyncio.gather(*(flood() for _ in range(8)))
    assert times == [1000 + nth * LATE_TEXTS_APART_MS for nth in range(8)]


@pytest.mark.looptime
async def test_sessions_that_begin_at_once_are_spread_over_a_second() -> None:
    """Otherwise the callers of a replica that is drained all begin here in one moment, and everybody who speaks is interrupted."""
    clock = LoopClock()
    spread, times = of_beginnings(clock, 50), []
    for _ in range(3):
        await spread.turn()
        times.append(clock.now_ms())
    assert times == [0, 5, 10]
    await asyncio.sleep(1)
    await spread.turn()
    assert clock.now_ms() == 1010

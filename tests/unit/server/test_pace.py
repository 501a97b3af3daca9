"""How fast one client may send."""

from __future__ import annotations

import asyncio

import pytest

from voicefsm.errors import TooMuch
from voicefsm.runtime.timers import LoopClock
from voicefsm.server.pace import (
    BURST_S,
    LATE_TEXTS_APART_MS,
    Spread,
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


WAITING_MAX = 20


def texts_of(clock: LoopClock, late: Spread | None = None) -> Texts:
    return Texts(clock, 60, 3, WAITING_MAX, late or of_late_texts(clock))


@pytest.mark.looptime
async def test_typed_texts_that_come_too_fast_wait_and_then_are_refused() -> None:
    """Otherwise a client that types in a flood has the model, the voice and the loop to itself; or is refused for typing twice."""
    clock = LoopClock()
    texts = texts_of(clock)
    assert [texts.take(str(nth)) for nth in range(3 + WAITING_MAX)] == [True] * 3 + [False] * WAITING_MAX
    with pytest.raises(TooMuch, match=r"More than 60 texts a minute.*not while they type"):
        texts.take("one more")
    told = [(await texts.late(), clock.now_ms()) for _ in range(WAITING_MAX)]
    assert told == [(str(3 + nth), 1000 * (nth + 1)) for nth in range(WAITING_MAX)]


@pytest.mark.looptime
async def test_a_text_does_not_overtake_those_that_wait() -> None:
    """Otherwise what was typed last is answered first."""
    clock = LoopClock()
    texts = texts_of(clock)
    for nth in range(4):
        texts.take(str(nth))
    await asyncio.sleep(60)
    assert not texts.take("4")
    assert [await texts.late(), await texts.late()] == ["3", "4"]
    assert clock.now_ms() == 60_000 + LATE_TEXTS_APART_MS
    assert texts.take("5")


@pytest.mark.looptime
async def test_who_types_no_faster_than_is_allowed_never_waits() -> None:
    """Otherwise a talkative person is slowed down, or thrown out in the end."""
    texts = texts_of(LoopClock())
    for _ in range(300):
        assert texts.take("hello")
        await asyncio.sleep(1)


@pytest.mark.looptime
async def test_a_text_that_waits_is_told_as_soon_as_there_is_one() -> None:
    """Otherwise the first text that waits is told with the second."""
    clock = LoopClock()
    texts = texts_of(clock)
    typist = asyncio.create_task(texts.late())
    await asyncio.sleep(0)
    for nth in range(4):
        texts.take(str(nth))
    assert (await typist, clock.now_ms()) == ("3", 1000)


@pytest.mark.looptime
async def test_clients_that_type_too_fast_have_one_turn_after_the_other() -> None:
    """Otherwise a crowd of them, each within its own limit, takes the loop from everybody once a second."""
    clock = LoopClock()
    late, times = of_late_texts(clock), []

    async def flood() -> None:
        texts = texts_of(clock, late)
        for nth in range(4):
            texts.take(str(nth))
        await texts.late()
        times.append(clock.now_ms())

    await asyncio.gather(*(flood() for _ in range(8)))
    assert times == [1000 + nth * LATE_TEXTS_APART_MS for nth in range(8)]


@pytest.mark.looptime
async def test_who_hangs_up_gives_the_turn_back() -> None:
    """Otherwise callers who are gone make an honest one wait, longer and longer."""
    clock = LoopClock()
    spread = of_late_texts(clock)
    for _ in range(100):
        gone = [asyncio.create_task(spread.turn()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await asyncio.wait(gone)
    await spread.turn()
    assert clock.now_ms() <= 100 * LATE_TEXTS_APART_MS


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

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from voicefsm.errors import TooMuch
from voicefsm.server.admission import Admission
from voicefsm.server.busy import FEW_SESSIONS, SESSION_PCT, WINDOW_S, Busy

pytestmark = pytest.mark.looptime

NOBODY: Any = None
"""Is not asked."""


class Thread:
    """Uses this share of a core; its loop is virtual."""

    def __init__(self, share: float) -> None:
        self.share, self._used, self._at = share, 0.0, 0.0

    def used_s(self) -> float:
        now = asyncio.get_running_loop().time()
        self._used += (now - self._at) * self.share
        self._at = now
        return self._used


@asynccontextmanager
async def watched(thread: Thread, pct_max: int = 90) -> AsyncIterator[Busy]:
    busy = Busy(pct_max, thread.used_s)
    looks = asyncio.create_task(busy.run())
    try:
        yield busy
    finally:
        looks.cancel()


@pytest.mark.parametrize(("share", "is_full"), [(0.5, False), (0.85, False), (0.95, True)])
async def test_a_full_core_takes_nobody(share, is_full):
    """Otherwise one conversation too many makes all of them late."""
    async with watched(Thread(share)) as busy:
        await asyncio.sleep(2 * WINDOW_S)
        assert busy.pct == pytest.approx(100 * share, abs=1)
        if is_full:
            with pytest.raises(TooMuch, match="95 % of its core with 60 sessions"):
                busy.check(60)
        else:
            busy.check(60)


async def test_a_few_are_always_taken_and_anybody_where_it_is_not_wanted():
    """Otherwise a neighbour that takes the core makes a gateway refuse its first caller."""
    async with watched(Thread(1)) as busy, watched(Thread(1), 100) as never:
        await asyncio.sleep(2 * WINDOW_S)
        busy.check(FEW_SESSIONS - 1)
        never.check(1000)
        with pytest.raises(TooMuch):
            busy.check(FEW_SESSIONS)


async def test_there_is_room_again_when_it_is_quiet():
    """Otherwise a gateway that was full once refuses for ever."""
    thread = Thread(1)
    async with watched(thread) as busy:
        await asyncio.sleep(2 * WINDOW_S)
        thread.share = 0.3
        await asyncio.sleep(WINDOW_S + 0.5)
        busy.check(60)


async def test_a_burst_of_sessions_counts_before_its_cost_is_seen():
    """Otherwise all callers of a gateway that died are let into the next one, which is then too late for each of them."""
    async with watched(Thread(0.3)) as busy:
        await asyncio.sleep(2 * WINDOW_S)
        taken = int((90 - 30) / SESSION_PCT)
        for sessions in range(taken):
            busy.check(FEW_SESSIONS + sessions)
            busy.note_session()
        busy.note_session()
        with pytest.raises(TooMuch):
            busy.check(FEW_SESSIONS + taken)
        await asyncio.sleep(WINDOW_S)
        busy.check(FEW_SESSIONS + taken)


async def test_it_remembers_no_more_than_it_looks_at():
    """Otherwise it grows with every session there ever was."""
    async with watched(Thread(0.3), 100) as busy:
        for _ in range(200):
            busy.note_session()
            await asyncio.sleep(0.1)
        assert len(busy._begun) <= WINDOW_S / 0.1 + 1


async def test_a_loop_that_gets_no_time_is_full():
    """Otherwise a container at its quota, which uses half of a core at the most, takes sessions until nobody can speak."""
    async with watched(Thread(0.5)) as busy:
        loop = asyncio.get_running_loop()
        for _ in range(12):
            due = loop.time() + 0.01
            await asyncio.sleep(0.25)
            busy._note(due)
        with pytest.raises(TooMuch):
            busy.check(60)


async def test_who_comes_is_refused_at_the_door():
    """Otherwise the check is there and nobody asks it."""
    async with watched(Thread(1)) as busy:
        admission = Admission(100, NOBODY, NOBODY, busy=busy)
        for _ in range(FEW_SESSIONS):
            admission.enter()
        await asyncio.sleep(2 * WINDOW_S)
        with pytest.raises(TooMuch, match="of its core"), admission.at_the_door():
            pass
        await admission.begin()
        assert busy._unseen_pct() == pytest.approx(SESSION_PCT)

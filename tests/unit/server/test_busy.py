from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from voicefsm.errors import TooMuch
from voicefsm.server.admission import Admission
from voicefsm.server.busy import FEW_SESSIONS, SESSION_PCT, WINDOW_S, Busy, wanted_s

pytestmark = pytest.mark.looptime

NOBODY: Any = None
"""Is not asked."""


class Thread:
    """Wants this share of a core; its loop is virtual."""

    def __init__(self, share: float) -> None:
        self.share, self.sessions = share, 0
        self._wanted, self._at = 0.0, 0.0

    def wanted_s(self) -> float:
        now = asyncio.get_running_loop().time()
        self._wanted += (now - self._at) * self.share
        self._at = now
        return self._wanted


@asynccontextmanager
async def watched(thread: Thread, pct_max: int = 90) -> AsyncIterator[Busy]:
    busy = Busy(pct_max, thread.wanted_s)
    looks = asyncio.create_task(busy.run(lambda: thread.sessions))
    try:
        yield busy
    finally:
        looks.cancel()


async def held(thread: Thread, sessions: int) -> None:
    """So many sessions, for long enough."""
    thread.sessions = sessions
    await asyncio.sleep(2 * WINDOW_S)


def let_in(busy: Busy, sessions: int, most: int = 200) -> int:
    """How many come in at once beside so many."""
    for more in range(most):
        try:
            busy.check(sessions + more)
        except TooMuch:
            return more
    return most


@pytest.mark.parametrize(
    ("share", "sessions", "gather_ms"), [(0.5, 60, 0), (0.8, 60, 0), (0.84, 60, 1.5), (0.99, 60, 3), (0.99, FEW_SESSIONS, 0)]
)
async def test_wakes_gather_where_little_is_left(share, sessions, gather_ms):
    """Before that they would only make somebody wait."""
    thread, told = Thread(share), list[float]()
    thread.sessions = sessions
    looks = asyncio.create_task(Busy(90, thread.wanted_s).run(lambda: thread.sessions, told.append))
    await held(thread, sessions)
    assert told[-1] == pytest.approx(gather_ms, abs=0.1)
    thread.share = 0.3
    await held(thread, sessions)
    assert told[-1] == 0, "it is over when there is time again"
    looks.cancel()


@pytest.mark.parametrize(("share", "is_full"), [(0.5, False), (0.85, False), (0.95, True)])
async def test_a_full_core_takes_nobody(share, is_full):
    """Otherwise one conversation too many makes all of them late."""
    thread = Thread(share)
    async with watched(thread) as busy:
        await held(thread, 60)
        assert busy.pct == pytest.approx(100 * share, abs=1)
        if is_full:
            with pytest.raises(TooMuch, match="95 % of its core with 60 sessions"):
                busy.check(60)
        else:
            busy.check(60)


async def test_a_few_are_always_taken_and_anybody_where_it_is_not_wanted():
    """Otherwise a neighbour that takes the core makes a gateway refuse its first caller."""
    thread = Thread(1)
    async with watched(thread) as busy, watched(thread, 100) as never:
        await held(thread, 0)
        busy.check(FEW_SESSIONS - 1)
        never.check(1000)
        with pytest.raises(TooMuch):
            busy.check(FEW_SESSIONS)


async def test_there_is_room_again_when_it_is_quiet():
    """Otherwise a gateway that was full once refuses for ever."""
    thread = Thread(1)
    async with watched(thread) as busy:
        await held(thread, 60)
        thread.share = 0.3
        await held(thread, 60)
        busy.check(60)


async def test_a_burst_counts_before_its_cost_is_seen():
    """Otherwise all callers of a gateway that died are let into the next one, which is then too late for each of them."""
    thread = Thread(0.1)
    async with watched(thread) as busy:
        await held(thread, 0)
        assert let_in(busy, 0) == pytest.approx((90 - 10) / SESSION_PCT, abs=1)
        thread.share = 0.6
        await held(thread, 50)  # 1.2 % each
        assert let_in(busy, 50) == pytest.approx((90 - 60) / 1.2, abs=1)


async def test_those_that_drop_and_come_back_are_no_burst():
    """Otherwise a network that breaks ends the conversations of a gateway that has room for them: it held them a second ago."""
    thread = Thread(0.8)
    async with watched(thread) as busy:
        await held(thread, 50)
        thread.sessions, thread.share = 0, 0.0
        await asyncio.sleep(WINDOW_S / 2)
        assert let_in(busy, 0) >= 50
        thread.sessions, thread.share = 50, 0.8
        await asyncio.sleep(WINDOW_S / 4)
        busy.check(49)


async def test_muted_callers_are_believed_to_cost_little():
    """Otherwise a gateway takes no more of them in a second than it could hold if they spoke."""
    thread = Thread(0.1)
    async with watched(thread) as busy:
        await held(thread, 200)
        assert let_in(busy, 200, 150) == 150


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="NOT TESTED: the system does not tell")
def test_a_thread_that_gets_no_processor_wants_one():
    """Otherwise a container at its quota, which uses half of a core at the most, takes sessions until nobody can speak."""
    stop = threading.Event()
    mine = min(os.sched_getaffinity(0))

    def burn() -> None:
        os.sched_setaffinity(0, {mine})
        while not stop.is_set():
            hashlib.sha256(bytes(1 << 20))  # without the lock

    shares: list[float] = []

    def work() -> None:
        os.sched_setaffinity(0, {mine})
        began_s, wanted, ran = time.monotonic(), wanted_s(), time.thread_time()
        while time.monotonic() < began_s + 0.5:
            hashlib.sha256(bytes(1 << 20))
        elapsed_s = time.monotonic() - began_s
        shares.extend([(wanted_s() - wanted) / elapsed_s, (time.thread_time() - ran) / elapsed_s])

    threads = [threading.Thread(target=burn), threading.Thread(target=work)]
    for thread in threads:
        thread.start()
    threads[1].join()
    stop.set()
    threads[0].join()
    wanted_share, ran_share = shares
    assert wanted_share > 0.85
    assert ran_share < wanted_share - 0.2


async def test_who_comes_is_refused_at_the_door():
    """Otherwise the check is there and nobody asks it."""
    thread = Thread(1)
    async with watched(thread) as busy:
        admission = Admission(100, NOBODY, NOBODY, busy=busy)
        for _ in range(FEW_SESSIONS):
            admission.enter()
        await held(thread, FEW_SESSIONS)
        with pytest.raises(TooMuch, match="of its core"), admission.at_the_door():
            pass
        with pytest.raises(TooMuch, match="of its core"):
            admission.enter()

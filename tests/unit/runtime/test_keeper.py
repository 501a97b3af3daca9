"""A session is kept while it is held, and never holds it up."""

from __future__ import annotations

import asyncio
from typing import Self

import pytest

from voicefsm.errors import StoreError
from voicefsm.ports import Kept
from voicefsm.runtime.checkpoint import Checkpoint
from voicefsm.runtime.keeper import Keeper, Keeping, ResumeSettings

pytestmark = pytest.mark.looptime
SETTINGS = ResumeSettings(keep_ms=30_000, store_ms_max=1000, commit_ms_max=250, retry_ms_min=500)


class Store:
    """Slow, and remembers what it was told."""

    def __init__(self, took_s: float = 0.05) -> None:
        self.took_s, self.error, self.is_ours = took_s, "", True
        self.saved: list[tuple[float, int]] = []
        """When, and the age of what."""
        self.forgot = 0

    async def find(self, token: str) -> bytes | None:
        raise NotImplementedError

    async def claim(self, token: str) -> tuple[int, bytes] | None:
        raise NotImplementedError

    async def save(self, token: str, owner: int, data: bytes, *, keep_ms: int) -> bool:
        assert (token, owner, keep_ms) == ("t", 3, 30_000)
        await asyncio.sleep(self.took_s)
        if self.error:
            raise StoreError(self.error)
        self.saved.append((asyncio.get_running_loop().time(), int(data.split(b'"age_ms":')[1].split(b",")[0])))
        return self.is_ours

    async def forget(self, token: str, owner: int) -> None:
        await asyncio.sleep(self.took_s)
        self.forgot += 1

    async def aclose(self) -> None:
        raise NotImplementedError


class Bench:
    def __init__(self, store: Store) -> None:
        self.store, self.age_ms, self.lost = store, 0, 0
        self.told: list[Kept] = []
        self.keeper = Keeper(Keeping(store, SETTINGS, "t", 3), self.look, told=self.told.append, lost=self.lose)

    def look(self) -> Checkpoint:
        return Checkpoint("s", "i", age_ms=self.age_ms)

    def lose(self) -> None:
        self.lost += 1

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self.keeper.run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


async def test_notes_that_come_fast_are_one_write_and_the_last_counts() -> None:
    """Otherwise a slow store has a queue that grows; or the newest words are lost."""
    async with Bench(Store()) as bench:
        for age_ms in range(1, 100):
            bench.age_ms = age_ms
            bench.keeper.note()
            await asyncio.sleep(0.001)
        await bench.keeper.settled()
        assert bench.store.saved[-1][1] == 99
        assert len(bench.store.saved) <= 4
        assert {kept.outcome for kept in bench.told} == {"saved"}


async def test_nothing_is_written_of_which_there_is_no_news_but_it_does_not_expire() -> None:
    """Otherwise idle sessions load the store; or cannot be resumed after a while of silence."""
    async with Bench(Store(0)) as bench:
        bench.keeper.note()
        await asyncio.sleep(25)
        assert [round(at) for at, _ in bench.store.saved] == [0, 10, 20]


async def test_who_waits_gets_what_was_noted_before() -> None:
    """Otherwise a client is told of a turn that is lost with the process."""
    async with Bench(Store(0.1)) as bench:
        loop = asyncio.get_running_loop()
        bench.keeper.note()
        await asyncio.sleep(0.05)
        bench.age_ms = 7
        bench.keeper.note()  # while an older one is being written
        await bench.keeper.settled()
        assert bench.store.saved[-1][1] == 7
        assert round(loop.time(), 3) == 0.2
        await bench.keeper.settled()
        assert round(loop.time(), 3) == 0.2


async def test_nobody_waits_for_a_slow_store_for_long() -> None:
    """Otherwise a slow Redis is heard in the conversation."""
    async with Bench(Store(0.8)) as bench:
        bench.keeper.note()
        await bench.keeper.settled()
        assert round(asyncio.get_running_loop().time(), 3) == 0.25


@pytest.mark.parametrize("store", [Store(2.0), Store()], ids=["silent", "refusing"])
async def test_a_store_that_fails_is_told_of_and_tried_again(store: Store) -> None:
    """Otherwise sessions of the time of an outage can never be resumed; or each turn waits for a store that is away."""
    async with Bench(store) as bench:
        store.error = "Away."
        bench.keeper.note()
        await asyncio.sleep(1.2)
        before_s = asyncio.get_running_loop().time()
        await bench.keeper.settled()
        assert asyncio.get_running_loop().time() - before_s <= 0.25
        store.error, store.took_s = "", 0
        await asyncio.sleep(3)
        assert store.saved
        assert bench.told[0].outcome == "failed"
        assert bench.told[0].problem in {"Away.", "The store did not answer within 1000 ms."}
        assert bench.told[-1].outcome == "saved"
        assert bench.lost == 0


async def test_nobody_waits_for_a_store_that_is_failing() -> None:
    """Otherwise each turn of an outage that takes an hour is told a quarter of a second late."""
    async with Bench(Store(0)) as bench:
        loop, bench.store.error = asyncio.get_running_loop(), "Away."
        waited_s = []
        for _ in range(6):
            bench.keeper.note()
            before_s = loop.time()
            await bench.keeper.settled()
            waited_s.append(loop.time() - before_s)
            await asyncio.sleep(0.2)
        assert waited_s == [0.0] * 6
        bench.store.error, bench.store.took_s = "", 0.1
        await asyncio.sleep(1)
        bench.keeper.note()
        await bench.keeper.settled()
        assert bench.store.saved[-1][0] == loop.time(), "it works again: it is waited for"


async def test_who_was_succeeded_ends_and_says_nothing_more() -> None:
    """Otherwise two sessions hold one conversation."""
    async with Bench(Store()) as bench:
        bench.store.is_ours = False
        bench.keeper.note()
        await asyncio.sleep(1)
        assert (bench.lost, [kept.outcome for kept in bench.told]) == (1, ["taken over"])
        bench.keeper.note()
        await bench.keeper.settled()
        bench.keeper.finish(None)
        await bench.keeper.close()
        assert (len(bench.store.saved), bench.store.forgot) == (1, 0)


async def test_the_end_of_a_conversation_is_forgotten_and_of_a_session_kept() -> None:
    """Otherwise what users said outlives the conversation; or dies with a process that was told to stop."""
    bench = Bench(Store())
    bench.keeper.finish(None)
    await bench.keeper.close()
    assert (bench.store.saved, bench.store.forgot) == ([], 1)
    bench = Bench(Store())
    bench.keeper.finish(Checkpoint("s", "i", age_ms=5))
    await bench.keeper.settled()
    await bench.keeper.close()
    assert ([age for _, age in bench.store.saved], bench.store.forgot) == ([5], 0)
    bench = Bench(Store())
    await bench.keeper.close()
    assert (bench.store.saved, bench.store.forgot) == ([], 0), "a session that failed: what was kept of it stays"


async def test_a_store_that_hangs_does_not_hold_the_end_up() -> None:
    """Otherwise a process that is to stop does not."""
    for last in (None, Checkpoint("s", "i")):
        bench, before_s = Bench(Store(60)), asyncio.get_running_loop().time()
        bench.keeper.finish(last)
        await bench.keeper.close()
        assert asyncio.get_running_loop().time() - before_s <= 1.001

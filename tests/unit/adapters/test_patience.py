"""One timer for all waits of a task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from voicefsm.adapters.patience import Patience

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
async def patience() -> AsyncIterator[Patience]:
    one = Patience()
    yield one
    one.close()


async def test_a_wait_ends_in_time(patience: Patience) -> None:
    """Otherwise a server that has died keeps its caller for ever."""
    began = now()
    patience.until(began + 2)
    with pytest.raises(TimeoutError):
        await patience.wait(asyncio.sleep(60))
    assert now() == pytest.approx(began + 2)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0, "else the caller takes itself for cancelled"


async def test_each_wait_has_its_own_time(patience: Patience) -> None:
    """Otherwise a long reply is cut off although every token came in time; or the last wait has the time of the first."""
    for _ in range(10):
        patience.until(now() + 2)
        assert await patience.wait(asyncio.sleep(1, "token")) == "token"
    await asyncio.sleep(5)  # nobody waits meanwhile
    began = now()
    patience.until(began + 2)
    with pytest.raises(TimeoutError):
        await patience.wait(asyncio.sleep(60))
    assert now() == pytest.approx(began + 2)


@pytest.mark.parametrize(("first", "then"), [(None, 3), (30, 3), (1, 3)])
async def test_the_time_may_change_during_the_wait(patience: Patience, first: float | None, then: float) -> None:
    """Otherwise a voice that was sent text while we listened may take for ever, or is given up although it owed nothing."""
    began = now()
    patience.until(None if first is None else began + first)
    asyncio.get_running_loop().call_later(0.5, patience.until, began + then)
    with pytest.raises(TimeoutError):
        await patience.wait(asyncio.sleep(60))
    assert now() == pytest.approx(began + then)


async def test_without_an_end_it_waits(patience: Patience) -> None:
    """Otherwise a voice that owes nothing is given up."""
    patience.until(now() + 1)
    await patience.wait(asyncio.sleep(0.5))
    patience.until(None)
    await patience.wait(asyncio.sleep(100))


async def test_it_can_be_ended(patience: Patience) -> None:
    """Otherwise a caller on a dead connection waits for its deadline."""
    patience.end()  # nobody waits: nothing happens
    asyncio.get_running_loop().call_later(1, patience.end)
    with pytest.raises(TimeoutError):
        await patience.wait(asyncio.sleep(60))
    assert await patience.wait(asyncio.sleep(1, "well")) == "well"


async def test_who_is_cancelled_is_cancelled(patience: Patience) -> None:
    """Otherwise a reply that the user has cut off goes on as if its server were slow."""

    async def work() -> None:
        patience.until(now() + 5)
        await patience.wait(asyncio.sleep(60))

    task = asyncio.create_task(work())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_and_too_late_at_once_is_cancelled(patience: Patience) -> None:
    """Otherwise a cancellation is swallowed by a timeout that comes in the same moment."""

    async def work() -> None:
        await patience.wait(asyncio.sleep(60))

    task = asyncio.create_task(work())
    await asyncio.sleep(1)
    patience.end()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_errors_come_through(patience: Patience) -> None:
    """Otherwise what went wrong is lost."""

    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await patience.wait(fail())


async def test_a_thousand_waits_need_a_handful_of_timers(patience: Patience, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise there was no need for it."""
    loop, made = asyncio.get_running_loop(), 0
    call_at = loop.call_at

    def counted(*args, **kwargs):
        nonlocal made
        made += 1
        return call_at(*args, **kwargs)

    for _ in range(1000):
        patience.until(now() + 5)
        await patience.wait(asyncio.sleep(0))
    monkeypatch.setattr(loop, "call_at", counted)
    for _ in range(1000):
        patience.until(now() + 5)
        await patience.wait(asyncio.sleep(0))
    assert made == 0

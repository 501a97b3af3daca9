"""Virtual time: it passes at once, in order, and stands still for whoever waits for nothing."""

from __future__ import annotations

import asyncio

import pytest

from voicefsm.simulation import virtual


def test_a_day_takes_no_time() -> None:
    """Otherwise hours of simulation take hours."""

    async def sleep() -> float:
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    assert virtual.run(sleep()) == pytest.approx(86_400)


def test_everything_happens_in_the_order_of_its_time() -> None:
    """Otherwise a simulated network delivers before it was sent."""
    happened: list[tuple[str, float]] = []

    async def note(name: str, *waits: float) -> None:
        for wait in waits:
            await asyncio.sleep(wait)
            happened.append((name, round(asyncio.get_running_loop().time(), 6)))

    async def main() -> None:
        await asyncio.gather(note("a", 0.3, 0.3), note("b", 0.1, 0.1, 0.1, 0.2))

    virtual.run(main())
    assert sorted(happened, key=lambda entry: entry[1]) == happened
    assert [at for name, at in happened if name == "b"] == [0.1, 0.2, 0.3, 0.5]


def test_timeouts_are_virtual() -> None:
    """Otherwise a deadline of an hour is waited for."""

    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert virtual.run(main()) == pytest.approx(3600)


def test_waiting_for_nothing_is_told() -> None:
    """Otherwise a wedged session hangs the simulator instead of being found by it."""

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(virtual.Stuck):
        virtual.run(main())

"""One timer for all deadlines of a session."""

from __future__ import annotations

import asyncio

import pytest

from voicefsm.context import Context
from voicefsm.events import Timer, TimerFired
from voicefsm.machine import next_deadline
from voicefsm.runtime.timers import DeadlineTimer, LoopClock

pytestmark = pytest.mark.looptime


async def fired_by(context: Context, moves: dict[int, tuple[Timer, int]], until_ms: int) -> list[TimerFired]:
    """What a timer says while deadlines are moved at some moments; each is disarmed as it fires."""
    clock, fired = LoopClock(), []
    start_ms = clock.now_ms()

    def fire(fact: TimerFired) -> None:
        fired.append(TimerFired(fact.at_ms - start_ms, fact.timer))
        context.disarm(fact.timer)
        timer.arm(next_deadline(context))

    class SinceStart:
        def now_ms(self) -> int:
            return clock.now_ms()

    timer = DeadlineTimer(SinceStart(), fire)
    for at_ms, (name, due_ms) in sorted(moves.items()):
        await asyncio.sleep((start_ms + at_ms - clock.now_ms()) / 1000)
        context.arm(name, start_ms + due_ms) if due_ms >= 0 else context.disarm(name)
        timer.arm(next_deadline(context))
    await asyncio.sleep((start_ms + until_ms - clock.now_ms()) / 1000)
    timer.close()
    await asyncio.sleep(1000)
    return fired


async def test_every_deadline_fires_once_at_its_time_in_order() -> None:
    """Otherwise a state has no way out, or leaves it early."""
    moves = {0: (Timer.IDLE, 900), 1: (Timer.WORDS, 300), 2: (Timer.FINAL, 600)}
    fired = await fired_by(Context(), moves, 2000)
    assert fired == [TimerFired(300, Timer.WORDS), TimerFired(600, Timer.FINAL), TimerFired(900, Timer.IDLE)]


async def test_moved_and_cleared_deadlines() -> None:
    """Otherwise a turn ends by a silence that was interrupted long ago."""
    moves = {0: (Timer.IDLE, 500), 100: (Timer.IDLE, 800), 200: (Timer.WORDS, 400), 300: (Timer.WORDS, -1)}
    assert await fired_by(Context(), moves, 2000) == [TimerFired(800, Timer.IDLE)]


async def test_a_deadline_in_the_past_fires_at_once() -> None:
    """Otherwise a machine that was late once waits for ever."""
    assert await fired_by(Context(), {500: (Timer.WORDS, 100)}, 600) == [TimerFired(500, Timer.WORDS)]


async def test_a_closed_timer_is_silent() -> None:
    """Otherwise a session that is over is woken."""
    assert await fired_by(Context(), {0: (Timer.IDLE, 900)}, 500) == []

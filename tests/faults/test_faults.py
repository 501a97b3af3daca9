"""Servers that are killed, frozen, restarted, slow to start or swallowed by the network, as real processes, under live sessions.

Each case is one fault of one process and one session that lives through it. What is asserted: the session survives, and has an
answer (or a transcript) within two seconds of the backend's return, on top of what that takes without a fault, measured in the
same run; and a sentence in whose middle the recogniser fails is transcribed word for word.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.faults.lane import KINDS, Lane
from tests.faults.life import Lived, live, without_a_fault
from voicefsm.client import State

STATES = (State.IDLE, State.LISTENING, State.PROCESSING, State.SPEAKING, State.INTERRUPTING)
FAULTS = ("kill", "stop", "term", "slow", "hole")
EACH = 8
"""Of each fault, backend and state: 600 in all."""
LANES = 6
RECOVERED_MS_MAX = 2000
IN_TIME_SHARE_MIN = 0.95
"""This machine has other things to do: now and then it does nothing for us for longer than that."""

Case = tuple[str, str, State]


def cases(faults: Sequence[str], each: int) -> list[Case]:
    """In an order that mixes them, always the same."""
    return [case for _ in range(each) for case in itertools.product(faults, KINDS, STATES)]


async def run(directory: Path, all_cases: Sequence[Case]) -> list[Lived]:
    """All of them, in lanes; black holes have lanes of their own, with a proxy before each backend."""
    direct = [case for case in all_cases if case[0] != "hole"]
    holes = [case for case in all_cases if case[0] == "hole"]
    lanes = max(1, round(LANES * len(holes) / len(all_cases))) if holes else 0
    work = [(False, iter(direct))] * min(LANES - lanes, len(direct)) + [(True, iter(holes))] * lanes
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(ride(directory / f"lane{number}", queue, is_proxied=is_proxied))
            for number, (is_proxied, queue) in enumerate(work)
        ]
    return [lived for task in tasks for lived in task.result()]


async def ride(directory: Path, queue: Iterator[Case], *, is_proxied: bool) -> list[Lived]:
    """One lane: cases from the queue until there are none."""
    directory.mkdir()  # noqa: ASYNC240 (once)
    lane = Lane(directory, is_proxied=is_proxied)
    try:
        await lane.start()
        usual_ms = await without_a_fault(lane)
        return [await live(lane, backend, fault, state, usual_ms) for fault, backend, state in queue]
    finally:
        await lane.end()


def table(lives: Sequence[Lived]) -> str:
    """What became of them, by fault, backend and state."""
    cells: dict[tuple[str, str, str], list[Lived]] = defaultdict(list)
    for lived in lives:
        cells[lived.fault, lived.backend, lived.state].append(lived)
        cells[lived.fault, lived.backend, "all"].append(lived)
        cells["all", lived.backend, "all"].append(lived)
    head = f"{'fault':6}{'backend':9}{'state':14}{'n':>4}{'survived':>10}{'p50 ms':>8}{'p95 ms':>8}{'max ms':>8}  word for word"
    return "\n".join([head, *(_line(*key, cell) for key, cell in cells.items())])


def _line(fault: str, backend: str, state: str, cell: Sequence[Lived]) -> str:
    times = sorted(lived.recovered_ms for lived in cell if lived.recovered_ms is not None)
    figures = [statistics.median(times), times[int(0.95 * (len(times) - 1))], times[-1]] if times else [-1.0] * 3
    exact = [lived.is_word_for_word for lived in cell if lived.is_word_for_word is not None]
    words = f"  {sum(exact)} of {len(exact)}" if exact else ""
    survived = sum(lived.survived for lived in cell)
    return f"{fault:6}{backend:9}{state:14}{len(cell):4}{survived:10}{figures[0]:8.0f}{figures[1]:8.0f}{figures[2]:8.0f}{words}"


def check(lives: Sequence[Lived]) -> None:
    """All survived, and recovered in time."""
    assert not [lived for lived in lives if not lived.survived]
    in_time = [lived for lived in lives if lived.recovered_ms is not None and lived.recovered_ms <= RECOVERED_MS_MAX]
    assert len(in_time) >= IN_TIME_SHARE_MIN * len(lives), [lived for lived in lives if lived not in in_time]
    assert not [lived for lived in lives if lived.is_word_for_word is False]


async def test_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise a backend that dies takes its sessions along, or they do not find it when it is back. Thirty of six hundred."""
    places = list(itertools.product(KINDS, STATES))
    others = itertools.cycle(FAULTS[1:])
    lives = await run(tmp_path, [*(("kill", *place) for place in places), *((next(others), *place) for place in places)])
    with capsys.disabled():
        print(f"\n{table(lives)}")
    check(lives)


@pytest.mark.all_faults
async def test_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise one fault in one state does what the share above does not show."""
    lives = await run(tmp_path, cases(FAULTS, EACH))
    with capsys.disabled():
        print(f"\n{table(lives)}\n{len(lives)} faults, {sum(lived.survived for lived in lives)} sessions survived")
    assert len(lives) == len(FAULTS) * len(KINDS) * len(STATES) * EACH
    check(lives)

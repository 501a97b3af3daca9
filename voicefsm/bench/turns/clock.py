"""Virtual time over real sockets: gRPC and HTTP run as they are, and an hour of waiting takes as long as the work in it.

Theory of operation. asyncio asks its selector to wait until the next timer is due. Ours first waits a moment of real time for the
sockets; as long as something arrives, or another thread of this process (gRPC has some) is at work, what is in flight belongs to
the present and the clock stands still. Only when all is calm does the clock jump to the next timer. So a machine that is busy with
other things makes a run longer, and not its latencies.

What is exact on a loop without sockets is nearly so here: calm is seen from outside, by the state of the threads (Linux; elsewhere
by a longer silence of the sockets), and two messages in flight at one instant may arrive in either order.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import sys
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_GRACE_S = 0.0001 if sys.platform == "linux" else 0.001
"""Real time between two looks."""
_CALM_MIN = 3
"""Looks in a row that must find all calm before the clock moves."""
_TICK_S = 0.02
"""A jump that is longer than this is a leap: no call is going on, so somebody is connecting or leaving …"""
_CALM_BEFORE_A_LEAP = 200
"""… and that takes real time in places we cannot see."""
_LOOKS_MAX = 5000
"""A second or more: whatever is still at work then has nothing to do with us."""
_TASKS = Path("/proc/self/task")
_STAT_BYTES = 512


class VirtualSelector(selectors.DefaultSelector):
    """Waits in virtual time once nothing more happens in real time."""

    now_s = 0.0

    def __init__(self) -> None:
        super().__init__()
        self._threads = _Threads()

    def close(self) -> None:
        """See `selectors.BaseSelector`."""
        self._threads.close()
        super().close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors.BaseSelector`."""
        if timeout is not None and timeout <= 0:
            return super().select(0)
        calm, wanted = 0, _CALM_MIN
        if timeout is None or timeout > _TICK_S:
            wanted = _CALM_BEFORE_A_LEAP
        for _ in range(_LOOKS_MAX):
            if arrived := super().select(0):
                return arrived
            calm = 0 if self._threads.are_at_work() else calm + 1
            if calm == wanted:
                break
            time.sleep(_GRACE_S)  # epoll counts in whole milliseconds
        if timeout is None:
            return super().select(1.0)  # no timer: only a socket can go on
        self.now_s += timeout
        return []


class _Threads:
    """The other threads of this process. They are looked at thousands of times a second, so their files stay open."""

    def __init__(self) -> None:
        self._states: list[int] = []
        """Descriptors of the files that tell the states."""
        self._links = 0
        """Of the directory of threads: it changes with their number."""

    def are_at_work(self) -> bool:
        """Whether one of them runs or could run. False where the system does not tell."""
        try:
            if self._links != (links := _TASKS.stat().st_nlink):
                self._open()
                self._links = links
            return any(_state(descriptor) in b"RD" for descriptor in self._states)
        except FileNotFoundError:  # no such directory here, or a thread ended while it was listed
            return False
        except ProcessLookupError:  # one has just ended
            self.close()
            return True

    def close(self) -> None:
        """Close the files. Harmless twice."""
        while self._states:
            os.close(self._states.pop())
        self._links = 0

    def _open(self) -> None:
        self.close()
        own = str(threading.get_native_id())
        for task in _TASKS.iterdir():
            if task.name != own:
                self._states.append(os.open(task / "stat", os.O_RDONLY))


def _state(descriptor: int) -> bytes:
    """The letter after the name of the thread, which stands in parentheses and may hold any."""
    stat = os.pread(descriptor, _STAT_BYTES, 0)
    return stat[(at := stat.rfind(b")") + 2) : at + 1]


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, with sockets; it begins at 0."""

    def __init__(self) -> None:
        self._virtual = VirtualSelector()
        super().__init__(self._virtual)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual.now_s


def run(main: Coroutine[Any, Any, T], *, is_virtual: bool = True) -> T:
    """`asyncio.run`, in virtual time unless told otherwise."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop if is_virtual else None) as runner:
        return runner.run(main)

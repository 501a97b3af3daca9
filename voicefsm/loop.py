"""The event loop of processes that serve: uvloop where there is one, asyncio's own elsewhere (Windows).

What it saves is in docs/performance.md. Tests run on asyncio's own loop, because virtual time needs it.

Theory of operation of `Gathers`. gRPC works in threads of its own, and tells the loop of each message that was read or written by
a byte in a pipe. On a core that all of them share, each byte is a change of threads, and who is woken has lost its caches. Where
little time is left it pays to let bytes gather for a few milliseconds, and to handle what they stand for at one go. A first audio
comes later by more than that: what leads to it crosses the pipe several times.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import socket
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_QUEUE = "PollerCompletionQueue"
"""The class of gRPC's that reads the pipe. One of another name, or whose pipe is no socket, does without gathering; then
`tests/unit/test_loop.py` fails."""
_PIPE_BYTES = 4096
"""What is taken out of it at a look; more than ever gather."""
_WAIT_S_MIN = 0.0005
"""Less than this is no time for uvloop, which counts in whole milliseconds."""

GC_THRESHOLD = (50_000, 50, 50)
"""Allocations until the youngest generation is looked at, and how many of those until an older one is. Sessions leave nothing to
the collector (`voicefsm bench step`): it is there for what libraries leave, and need not be quick."""


class Gathers(asyncio.AbstractEventLoop):
    """Of a loop: it may look at what gRPC's threads completed at intervals, instead of at each as it comes.

    One such loop a process: gRPC has one queue, and two that take bytes out of its pipe could lose one that the other needs.
    """

    gather_ms = 0.0
    """The interval from one look to the next, give or take what the loop's clock cannot tell; 0: none."""

    def __init__(self) -> None:
        super().__init__()
        self._pipes: dict[int, _Pipe] = {}

    def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override] # tuples of types
        """Call `callback` while `fd` is readable, and where that is gRPC's pipe, no more often than it gathers."""
        owner = getattr(getattr(callback, "func", callback), "__self__", None)
        if type(owner).__name__ == _QUEUE and isinstance(fd, socket.socket):
            self.remove_reader(fd)
            pipe = self._pipes[fd.fileno()] = _Pipe(self, fd, functools.partial(callback, *args))
            self.watch(fd, pipe.ready)
        else:
            super().add_reader(fd, callback, *args)

    def remove_reader(self, fd: Any) -> bool:
        """Whether there was one."""
        pipe = self._pipes.pop(fd if isinstance(fd, int) else fd.fileno(), None)
        if pipe is not None:
            pipe.close()
        return super().remove_reader(fd) or pipe is not None

    def watch(self, pipe: socket.socket, callback: Callable[[], object] | None) -> None:
        """For `_Pipe`: call this when it is readable; None: do not look at it for now."""
        if callback is None:
            super().remove_reader(pipe)
        else:
            super().add_reader(pipe, callback)


class _Pipe:
    """By which gRPC's threads wake a loop. `handle` takes one byte out of it, and handles all that was completed."""

    def __init__(self, loop: Gathers, pipe: socket.socket, handle: Callable[[], object]) -> None:
        self._loop, self._pipe, self._handle = loop, pipe, handle
        self._looked = loop.time()
        self._bytes = bytearray(_PIPE_BYTES)
        self._wait: asyncio.TimerHandle | None = None

    def ready(self) -> None:
        """There is a byte: look now, or when it is time."""
        wait_s = self._looked + self._loop.gather_ms / 1000 - self._loop.time()
        if wait_s < _WAIT_S_MIN:
            self._look()
        else:
            self._loop.watch(self._pipe, None)
            self._wait = self._loop.call_later(wait_s, self._look_late)

    def close(self) -> None:
        """It is not looked at any more."""
        if self._wait is not None:
            self._wait.cancel()

    def _look_late(self) -> None:
        self._wait = None
        self._loop.watch(self._pipe, self.ready)
        self._look()

    def _look(self) -> None:
        self._looked = self._loop.time()
        if self._loop.gather_ms:  # the other bytes would each wake the loop for nothing
            waiting = self._pipe.recv_into(self._bytes, len(self._bytes), socket.MSG_PEEK)
            if waiting > 1:
                self._pipe.recv_into(self._bytes, waiting - 1)
        self._handle()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the loop."""
    try:
        import uvloop  # noqa: PLC0415  # not everywhere
    except ModuleNotFoundError:
        return asyncio.new_event_loop

    class Loop(Gathers, uvloop.Loop):  # type: ignore[misc] # both say what a loop is
        pass

    return Loop


def gather(interval_ms: float) -> None:
    """From now on the running loop looks at what gRPC completed so often at the most; 0: at each as it comes."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, Gathers):
        loop.gather_ms = interval_ms


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, on that loop."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


def settle_memory() -> None:
    """Once everything is imported and started: what lives now lives on, and is not looked at again by the garbage collector."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from voicefsm.loop import Gathers, gather, loop_factory

TURNS = 10
"""Of the loop: more than anything here takes."""


class PollerCompletionQueue:
    """As gRPC's: each byte is something that was completed; whoever reads the first one handles all of it."""

    def __init__(self) -> None:
        self.theirs, self.ours = socket.socketpair()
        self.theirs.setblocking(False)
        self.looks = 0

    def handle_events(self) -> None:
        assert self.theirs.recv(1), "readable, and nothing in it"
        self.looks += 1

    def complete(self, things: int = 1) -> None:
        self.ours.send(b"1" * things)


class Loop(Gathers, asyncio.SelectorEventLoop):  # type: ignore[misc] # as in voicefsm/loop.py
    """Its clock stands."""

    now = 100.0

    def time(self) -> float:
        return self.now

    async def after(self, ms: float = 0) -> None:
        """So much later, with everything done that was due then."""
        self.now += ms / 1000
        for _ in range(TURNS):
            await asyncio.sleep(0)


@contextmanager
def queue_on(loop: asyncio.AbstractEventLoop) -> Iterator[PollerCompletionQueue]:
    queue = PollerCompletionQueue()
    loop.add_reader(queue.theirs, queue.handle_events)
    try:
        yield queue
    finally:
        loop.remove_reader(queue.theirs)
        queue.theirs.close()
        queue.ours.close()


def on_a_loop(test):
    """Runs it there; it is given the loop."""

    def run() -> None:
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(test(runner.get_loop()))

    run.__doc__ = test.__doc__
    return run


@on_a_loop
async def test_each_is_looked_at_as_it_comes(loop):
    with queue_on(loop) as queue:
        for looks in range(1, 4):
            queue.complete()
            await loop.after()
            assert queue.looks == looks


@on_a_loop
async def test_what_gathers_is_looked_at_once(loop):
    """Also what came while it gathered, and nothing is left in the pipe that would wake the loop for nothing."""
    gather(3)
    with queue_on(loop) as queue:
        for _ in range(2):
            queue.complete(5)
            await loop.after(1)
            queue.complete(2)
            await loop.after(1)
        assert queue.looks == 1
        await loop.after(1)
        assert queue.looks == 1, "whoever was looked at 2 ms ago waits"
        await loop.after(1)
        assert queue.looks == 2
        await loop.after(10)
        assert queue.looks == 2


@on_a_loop
async def test_who_was_not_looked_at_for_long_does_not_wait(loop):
    gather(3)
    with queue_on(loop) as queue:
        await loop.after(10)
        queue.complete()
        await loop.after()
        assert queue.looks == 1


@on_a_loop
async def test_gathering_ends(loop):
    gather(1000)
    with queue_on(loop) as queue:
        queue.complete(3)
        await loop.after(500)
        assert queue.looks == 0
        gather(0)
        await loop.after(500)
        assert queue.looks == 3, "one a byte, as ever"


@on_a_loop
async def test_a_queue_that_is_closed_is_not_looked_at(loop):
    gather(3)
    with queue_on(loop) as queue:
        queue.complete()
        await loop.after(1)
        assert loop.remove_reader(queue.theirs.fileno())
        assert not loop.remove_reader(queue.theirs)
        await loop.after(10)
        assert queue.looks == 0


@on_a_loop
async def test_a_queue_that_is_added_again_is_looked_at_once(loop):
    gather(3)
    with queue_on(loop) as queue:
        queue.complete()
        await loop.after(1)
        loop.add_reader(queue.theirs, queue.handle_events)
        await loop.after(10)
        assert queue.looks == 1


@on_a_loop
async def test_what_the_loop_cannot_wait_for_is_looked_at_now(loop):
    """Otherwise each look would cost a timer that is due at once."""
    gather(3)
    with queue_on(loop) as queue:
        await loop.after(2.6)
        queue.complete()
        await loop.after()
        assert queue.looks == 1


@on_a_loop
async def test_other_readers_do_not_wait(loop):
    gather(1000)
    ours, theirs = socket.socketpair()
    heard = []
    loop.add_reader(theirs, lambda word: heard.append(theirs.recv(1) + word), b"!")
    ours.send(b"ab")
    await loop.after()
    assert heard == [b"a!", b"b!"]
    assert loop.remove_reader(theirs)
    ours.close()
    theirs.close()


@pytest.mark.parametrize("gather_ms", [0, 20])
def test_calls_of_grpc_work(gather_ms, monkeypatch):
    """And are found to be gRPC's: a release that calls its class something else would do without gathering, unnoticed."""
    watch, waited = Gathers.watch, []

    def noted(loop, pipe, callback):
        waited.append(callback is None)
        watch(loop, pipe, callback)

    monkeypatch.setattr(Gathers, "watch", noted)

    async def main():
        gather(gather_ms)
        server, servicer = grpc.aio.server(), health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for status in ("SERVING", "NOT_SERVING", "SERVING"):
                await servicer.set("", health_pb2.HealthCheckResponse.ServingStatus.Value(status))
                answer = await stub.Check(health_pb2.HealthCheckRequest())
                assert answer.status == health_pb2.HealthCheckResponse.ServingStatus.Value(status)
        await server.stop(grace=None)

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        assert isinstance(runner.get_loop(), Gathers), "without uvloop nothing gathers"
        runner.run(main())
    assert waited, "gRPC's pipe was not found"
    assert any(waited) is (gather_ms > 0)


def test_a_loop_that_cannot_gather_goes_on():
    async def main():
        gather(3)

    asyncio.run(main())

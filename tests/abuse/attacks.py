"""Attacks on a gateway on this machine, each in a process of its own: `python -m tests.abuse.attacks NAME HOST:PORT SECONDS`.

Bounded: by seconds, by a number of calls, and to loopback. The last line printed is how many times it was done.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress

import grpc
import grpc.aio

from tests.abuse.backends import ordinary_priority
from voicefsm.client import SessionOptions, wire
from voicefsm.v1 import conversation_pb2 as pb

CALLS = 8
"""At once, where an attack needs a session each."""
DOORS = 100
"""Calls, or connections, that say nothing."""
METHOD = "/voicefsm.v1.ConversationService/Converse"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
OF_ITS_OWN = (("grpc.use_local_subchannel_pool", 1),)

Attack = Callable[[str, float], Coroutine[None, None, int]]


async def _again(attempt: Callable[[], Awaitable[int]], seconds: float) -> int:
    """Again and again until the time is over, whatever the gateway says to it."""
    until, done = asyncio.get_running_loop().time() + seconds, 0
    while asyncio.get_running_loop().time() < until:
        with suppress(Exception):  # refused, reset, cut off: an attacker does not mind
            async with asyncio.timeout(max(0.05, until - asyncio.get_running_loop().time())):
                done += await attempt()
        await asyncio.sleep(0)
    return done


async def _all(attempt: Callable[[], Awaitable[int]], seconds: float, calls: int = CALLS) -> int:
    return sum(await asyncio.gather(*(_again(attempt, seconds) for _ in range(calls))))


async def _talked(target: str, seconds: float, say: Callable[[wire.Call, int], Awaitable[None]]) -> int:
    """Sessions that say one thing after another and read nothing; thrown out, they come back."""
    sent = 0

    async def attempt() -> int:
        nonlocal sent
        async with grpc.aio.insecure_channel(target, OF_ITS_OWN) as channel:
            call = wire.open_call(channel)
            await call.write(wire.config(SessionOptions()))
            for nth in range(10**9):
                await say(call, nth)
                sent += 1
        return 0

    await _all(attempt, seconds)
    return sent


async def flood_of_reports(target: str, seconds: float) -> int:
    """Small messages, as fast as they go."""

    async def say(call: wire.Call, nth: int) -> None:
        await call.write(pb.ConverseRequest(playout_progress=pb.PlayoutProgress(far_end_sample=nth)))

    return await _talked(target, seconds, say)


async def flood_of_audio(target: str, seconds: float) -> int:
    """Audio, much faster than real time."""

    async def say(call: wire.Call, nth: int) -> None:
        await call.write(wire.audio(bytes(6400), capture_sample=nth * 3200, far_end_sample=0))

    return await _talked(target, seconds, say)


async def flood_of_sessions(target: str, seconds: float) -> int:
    """Sessions beyond what the gateway holds, one after the other."""

    async def attempt() -> int:
        async with grpc.aio.insecure_channel(target, OF_ITS_OWN) as channel:
            call = wire.open_call(channel)
            await call.write(wire.config(SessionOptions()))
            await call.read()
        return 1

    return await _all(attempt, seconds)


async def oversized_messages(target: str, seconds: float) -> int:
    """Sixteen times what is allowed."""

    async def attempt() -> int:
        async with grpc.aio.insecure_channel(target, OF_ITS_OWN) as channel:
            call = wire.open_call(channel)
            await call.write(pb.ConverseRequest(text=pb.TextInput(text="x" * (1 << 20))))
            with suppress(grpc.aio.AioRpcError):
                await call.read()
        return 1

    return await _all(attempt, seconds)


async def slow_loris(target: str, seconds: float) -> int:
    """Calls that never say what they want, and connections that never finish their greeting."""
    host, _, port = target.rpartition(":")
    async with grpc.aio.insecure_channel(target, OF_ITS_OWN) as channel:
        calls = [wire.open_call(channel) for _ in range(DOORS)]
        writers = []
        for _ in range(DOORS):
            _, writer = await asyncio.open_connection(host, int(port))
            writers.append(writer)
        for byte in PREFACE[:20]:
            for writer in writers:
                writer.write(bytes([byte]))
            await asyncio.sleep(seconds / 20)
        for writer in writers:
            writer.close()
        for call in calls:
            call.cancel()
    return len(calls) + len(writers)


async def never_reading(target: str, seconds: float) -> int:
    """Asks for long answers, and reads none of them."""

    async def say(call: wire.Call, _: int) -> None:
        await call.write(pb.ConverseRequest(text=pb.TextInput(text="a long story")))
        await asyncio.sleep(0.05)

    return await _talked(target, seconds, say)


async def reset_storm(target: str, seconds: float) -> int:
    """Calls that are reset as soon as they have begun."""
    async with grpc.aio.insecure_channel(target, OF_ITS_OWN) as channel:

        async def attempt() -> int:
            calls = [wire.open_call(channel) for _ in range(50)]
            await asyncio.sleep(0)
            for call in calls:
                call.cancel()
            await asyncio.sleep(0.001)
            return len(calls)

        return await _all(attempt, seconds, 2)


async def garbage_messages(target: str, seconds: float) -> int:
    """Random bytes where a message should be, first and later."""
    chance = random.Random(1)
    good = wire.config(SessionOptions()).SerializeToString()

    async def attempt() -> int:
        async with grpc.aio.insecure_channel(target, OF_ITS_OWN) as channel:
            call = channel.stream_stream(METHOD, request_serializer=bytes, response_deserializer=bytes)()
            for message in [good] * chance.randrange(2) + [chance.randbytes(chance.randrange(300)) for _ in range(5)]:
                await call.write(message)
            with suppress(Exception):
                async with asyncio.timeout(0.2):
                    while await call.read() is not grpc.aio.EOF:
                        pass
        return 5

    return await _all(attempt, seconds)


async def garbage_frames(target: str, seconds: float) -> int:
    """Random bytes where HTTP/2 should be, with and without its greeting."""
    host, _, port = target.rpartition(":")
    chance = random.Random(2)

    async def attempt() -> int:
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(PREFACE * chance.randrange(2) + chance.randbytes(chance.randrange(1, 4096)))
        with suppress(OSError):
            await writer.drain()
        writer.close()
        return 1

    return await _all(attempt, seconds)


ATTACKS: Mapping[str, Attack] = {
    attack.__name__.replace("_", " "): attack
    for attack in (
        flood_of_reports, flood_of_audio, flood_of_sessions, oversized_messages, slow_loris, never_reading, reset_storm,
        garbage_messages, garbage_frames,
    )
}  # fmt: skip


def main(name: str, target: str, seconds: str) -> None:
    """Run one."""
    host = target.rpartition(":")[0]
    if host != "127.0.0.1":
        raise SystemExit(f"{host}: only this machine is attacked")
    ordinary_priority()
    print(asyncio.run(ATTACKS[name](target, float(seconds))))


if __name__ == "__main__":
    main(*sys.argv[1:])

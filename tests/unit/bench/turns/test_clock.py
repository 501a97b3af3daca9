"""Virtual time over real sockets: waiting takes no time, and what is under way belongs to the present."""

from __future__ import annotations

import asyncio
import time

from voicefsm.bench.turns import clock

HOUR_S = 3600.0
BLOCK_BYTES = 200_000
ROUNDS = 20


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def there_and_back() -> list[float]:
    """When each of many blocks came back, in virtual time; a timer of a millisecond ticks beside it and tempts the clock."""
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    times = []
    for _ in range(ROUNDS):
        begun = loop.time()
        writer.write(bytes(BLOCK_BYTES))
        asked = asyncio.ensure_future(asyncio.sleep(0.001))
        await reader.readexactly(BLOCK_BYTES)
        times.append(loop.time() - begun)
        asked.cancel()
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    return times


def test_what_is_under_way_arrives_in_the_present():
    """Otherwise a message over a socket takes as long as the next timer is away, and every latency is made up."""
    assert clock.run(there_and_back()) == [0.0] * ROUNDS


def test_an_hour_of_sleep_takes_no_time():
    """Otherwise a run takes as long as the conversations in it."""

    async def sleep() -> float:
        await asyncio.sleep(HOUR_S)
        return asyncio.get_running_loop().time()

    begun = time.monotonic()
    assert clock.run(sleep()) >= HOUR_S
    assert time.monotonic() - begun < HOUR_S / 2

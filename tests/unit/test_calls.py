"""The status with which a server ends a call, seen by a client that was writing just then: a real server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from google.protobuf.wrappers_pb2 import StringValue

from tests.servers import listening
from voicefsm.calls import half_close, write

METHOD = "/test.Refuses/Call"
CALLS = 100


async def _refuse(_requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    await context.write(StringValue(value="the last words"))
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")


@asynccontextmanager
async def refusing() -> AsyncIterator[str]:
    """HOST:PORT of a server that ends each call at once, without a look at what it is told."""
    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(_refuse, StringValue.FromString, StringValue.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Refuses", {"Call": handler}),))
    async with listening(server) as target:
        yield target


async def _talk_on(channel: grpc.aio.Channel) -> tuple[str, grpc.StatusCode]:
    call = channel.stream_stream(METHOD, StringValue.SerializeToString, StringValue.FromString)()

    async def talk() -> None:
        is_taken = True
        while is_taken:
            is_taken = await write(call, StringValue(value="and another thing"))
        await half_close(call)

    talking = asyncio.create_task(talk())
    heard = (await call.read()).value
    await asyncio.wait([talking])
    talking.result()
    return heard, await call.code()


async def test_the_last_words_and_the_status_are_the_servers() -> None:
    """Otherwise a client that is refused while it speaks is told INTERNAL, and neither why nor what to do."""
    async with refusing() as target, grpc.aio.insecure_channel(target) as channel:
        told = await asyncio.gather(*(_talk_on(channel) for _ in range(CALLS)))
    assert set(told) == {("the last words", grpc.StatusCode.RESOURCE_EXHAUSTED)}

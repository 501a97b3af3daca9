"""Writing to a streaming gRPC call so that the server's last words are kept, as both ends need it that call others."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from grpc._cython import cygrpc


async def write(call: grpc.aio.StreamStreamCall[Any, Any], message: Message) -> bool:
    """Hand one message to gRPC. False when the call takes no more: its reader gets what is left, and then the status."""
    return await write_bytes(call, message.SerializeToString())


async def write_bytes(call: grpc.aio.StreamStreamCall[Any, Any], data: bytes) -> bool:
    """The same for a message that is bytes already.

    Not `call.write`: when the server ends the call in that moment, it overwrites the server's status, even OK, with INTERNAL
    "Internal error from Core", and the responses that were not read yet are lost with it (grpc issue 36066).
    """
    if call.done():
        return False
    try:
        await call.wait_for_connection()
        await call._cython_call.send_serialized_message(data)  # noqa: SLF001, see above
    except (cygrpc.InternalError, grpc.aio.AioRpcError):
        return False
    except asyncio.CancelledError:
        call.cancel()
        raise
    return True


async def half_close(call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
    """No more messages. Harmless when the call is over."""
    with contextlib.suppress(cygrpc.InternalError):
        await call.done_writing()

"""A server in this process that speaks the real protocol and does what the test's script says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest

from tests.servers import listening
from voicefsm.v1 import conversation_pb2 as pb
from voicefsm.v1.conversation_pb2_grpc import ConversationServiceServicer, add_ConversationServiceServicer_to_server


class Call:
    """The server's end of one conversation."""

    def __init__(self, context: grpc.aio.ServicerContext) -> None:
        self.context = context
        self.config = pb.SessionConfig()
        self.received: list[pb.ConverseRequest] = []

    async def receive(self) -> pb.ConverseRequest | None:
        """The next request; None when the client half-closed."""
        request: Any = await self.context.read()
        if request is grpc.aio.EOF:
            return None
        self.received.append(request)
        return self.received[-1]

    async def receive_until(self, kind: str) -> pb.ConverseRequest:
        """The next request of that kind."""
        while (request := await self.receive()) is not None:
            if request.WhichOneof("request") == kind:
                return request
        raise AssertionError(f"the client half-closed before it sent {kind}")

    async def send(self, **fields: Any) -> None:
        """Answer."""
        await self.context.write(pb.ConverseResponse(**fields))


Script = Callable[[Call], Awaitable[None]]


class _Servicer(ConversationServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def Converse(self, request_iterator, context):  # noqa: N802 - the name is in the protocol
        call = Call(context)
        await self._script(call)


@contextlib.asynccontextmanager
async def serving(script: Script) -> AsyncIterator[str]:
    """A server that runs `script` for every call; yields its target."""
    server = grpc.aio.server()
    add_ConversationServiceServicer_to_server(_Servicer(script), server)
    async with listening(server) as target:
        yield target


@contextlib.asynccontextmanager
async def serving_bytes(*responses: bytes) -> AsyncIterator[str]:
    """A server that answers every call with these bytes, which need not be the protocol, and keeps it open; yields its target."""

    async def converse(_: object, context: grpc.aio.ServicerContext) -> None:
        for response in responses:
            await context.write(response)
        await asyncio.Event().wait()

    server = grpc.aio.server()
    methods = {"Converse": grpc.stream_stream_rpc_method_handler(converse)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("voicefsm.v1.ConversationService", methods)])
    async with listening(server) as target:
        yield target


async def open_session(call: Call) -> None:
    """Take the configuration and say that the session is ready."""
    request = await call.receive_until("config")
    call.config = request.config
    ready = pb.SessionReady(session_id="s-1", echo_canceller="speex", limits=pb.SessionLimits(playout_ahead_ms_max=200))
    await call.send(session_ready=ready)


@pytest.fixture
def serve():
    return serving


@pytest.fixture
def ready():
    return open_session


@pytest.fixture
def serve_bytes():
    return serving_bytes


@pytest.fixture
def ready_bytes():
    return pb.ConverseResponse(session_ready=pb.SessionReady(session_id="s-1")).SerializeToString()

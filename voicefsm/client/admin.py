"""What an operator asks of a gateway: its sessions, and how much it logs. `voicefsm admin` is made of this.

async with Admin.connect("127.0.0.1:50055", Access(key=…)) as admin:
for session in await admin.sessions(): ...
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio

from voicefsm.client.access import Access
from voicefsm.client.errors import ConversationFailed, NotSupported, failure_of
from voicefsm.v1 import admin_pb2 as pb
from voicefsm.v1.admin_pb2_grpc import AdminServiceStub

ANSWER_S_MAX = 10.0


@dataclasses.dataclass(frozen=True, slots=True)
class LiveSession:
    """One session of the process that answered."""

    session_id: str
    identity: str
    state: str
    """As docs/state-machine.md names it; "CLOSED" once it is over."""
    age_ms: int
    language_code: str
    inbox_facts: int
    outbox_messages: int
    ears_backlog_ms: int
    underruns: int


class Admin:
    """A connection. Every method raises `ConversationFailed`, as the gateway says."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
        self._stub: Any = AdminServiceStub(channel)  # type: ignore[no-untyped-call]
        self._metadata = metadata

    @classmethod
    @asynccontextmanager
    async def connect(cls, target: str, access: Access) -> AsyncIterator[Admin]:
        """To the gateway at `target` ("host:port")."""
        credentials, metadata = access.credentials(), access.metadata(target)
        channel = grpc.aio.insecure_channel(target) if credentials is None else grpc.aio.secure_channel(target, credentials)
        async with channel:
            yield cls(channel, metadata)

    async def sessions(self) -> list[LiveSession]:
        """Those that live, the oldest first."""
        answer = await self._ask(self._stub.ListSessions, pb.ListSessionsRequest())
        return [_session(one) for one in answer.sessions]

    async def watch(self) -> AsyncIterator[LiveSession]:
        """All of them, and then whatever changes, for as long as one asks."""
        try:
            async for answer in self._stub.WatchSessions(pb.WatchSessionsRequest(), metadata=self._metadata):
                yield _session(answer.session)
        except grpc.aio.AioRpcError as error:
            raise _failure_of(error) from error

    async def end(self, session_id: str) -> None:
        """End one; it cannot be resumed."""
        await self._ask(self._stub.EndSession, pb.EndSessionRequest(session_id=session_id))

    async def set_log_level(self, level: str) -> None:
        """From now on."""
        await self._ask(self._stub.SetLogLevel, pb.SetLogLevelRequest(level=level))

    async def _ask(self, method: Any, request: Any) -> Any:
        try:
            return await method(request, metadata=self._metadata, timeout=ANSWER_S_MAX)
        except grpc.aio.AioRpcError as error:
            raise _failure_of(error) from error


def _failure_of(error: grpc.aio.AioRpcError) -> ConversationFailed:
    """As for conversations; but a gateway without the service is told apart from what is no gateway."""
    if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
        return failure_of(error)
    return NotSupported(
        "This gateway cannot be administered.",
        code=error.code().name,
        remedy="Start it with server.admin = true (docs/operations/admin.md).",
    )


def _session(message: pb.LiveSession) -> LiveSession:
    return LiveSession(**{field.name: getattr(message, field.name) for field in dataclasses.fields(LiveSession)})

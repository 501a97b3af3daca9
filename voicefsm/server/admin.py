"""`AdminService`: what an operator may see and do while this process runs, and nobody else.

Asked for by `server.admin`, and open to identities that may administer: a key or a certificate whose entry says `admin = true`.
Where nobody is asked who they are, nobody may.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import grpc.aio
import structlog

from voicefsm.errors import InvalidMessage, NotPermitted, NotThere, TooMuch, VoiceFsmError
from voicefsm.runtime.session import Session
from voicefsm.server.callers import Callers
from voicefsm.server.servicer import ConversationServicer, status_of
from voicefsm.v1 import admin_pb2 as pb
from voicefsm.v1 import admin_pb2_grpc as pb_grpc

Call: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
LEVELS = ("debug", "info", "warning", "error")
WATCHERS_MAX = 10
"""Who may watch at once; each costs a look at all sessions, again and again."""


class AdminServicer(pb_grpc.AdminServiceServicer):
    """Of one process."""

    def __init__(
        self, conversations: ConversationServicer, callers: Callers, set_log_level: Callable[[str], None], watch_ms: int
    ) -> None:
        """`watch_ms`: how often a watcher is told what has changed."""
        self._conversations, self._callers = conversations, callers
        self._set_log_level, self._watch_ms = set_log_level, watch_ms
        self._watchers = 0
        self._log = structlog.get_logger("voicefsm")

    async def ListSessions(self, _request: pb.ListSessionsRequest, call: Call) -> pb.ListSessionsResponse:  # noqa: N802
        """See admin.proto."""
        async with self._operator(call):
            return pb.ListSessionsResponse(sessions=self._told())

    async def WatchSessions(  # noqa: N802
        self, _request: pb.WatchSessionsRequest, call: Call
    ) -> AsyncIterator[pb.WatchSessionsResponse]:
        """See admin.proto."""
        async with self._operator(call):
            if self._watchers >= WATCHERS_MAX:
                raise TooMuch(f"{WATCHERS_MAX} watch already.", remedy="Ask again when one has gone.")
            self._watchers += 1
            try:
                async for change in self._changes():
                    yield pb.WatchSessionsResponse(session=change)
            finally:
                self._watchers -= 1

    async def EndSession(self, request: pb.EndSessionRequest, call: Call) -> pb.EndSessionResponse:  # noqa: N802
        """See admin.proto."""
        async with self._operator(call) as operator:
            found = [session for session in self._conversations.live if session.session_id == request.session_id]
            if not found:
                raise NotThere(
                    f"There is no session {request.session_id[:100]!r} in this process.",
                    remedy="Ask for the list; ask the other workers.",
                )
            self._log.warning("session ended by an operator", session=request.session_id, operator=operator)
            found[0].hang_up(is_farewell=True)
            return pb.EndSessionResponse()

    async def SetLogLevel(self, request: pb.SetLogLevelRequest, call: Call) -> pb.SetLogLevelResponse:  # noqa: N802
        """See admin.proto."""
        async with self._operator(call) as operator:
            if request.level not in LEVELS:
                raise InvalidMessage(f"There is no level {request.level[:100]!r}.", remedy=f"Use one of {', '.join(LEVELS)}.")
            self._set_log_level(request.level)
            self._log.warning("log level set by an operator", level=request.level, operator=operator)
            return pb.SetLogLevelResponse()

    @asynccontextmanager
    async def _operator(self, call: Call) -> AsyncIterator[str]:
        """Who asks, if they may; what is refused ends the call with its status."""
        try:
            identity = await self._callers.identify(call)
            if not identity.may_administer:
                raise NotPermitted(f"{identity.name} may not administer.", remedy="Ask for `admin = true` in auth.identities_file.")
            yield identity.name
        except VoiceFsmError as error:
            self._log.warning("admin refused", problem=error.message)
            await call.abort(status_of(error), str(error))

    def _told(self) -> Iterator[pb.LiveSession]:
        """Every session, the oldest first."""
        yield from map(_told, sorted(self._conversations.live, key=lambda session: (-session.age_ms, session.session_id)))

    async def _changes(self) -> AsyncIterator[pb.LiveSession]:
        """All sessions, and then what changes."""
        known: dict[str, pb.LiveSession] = {}
        while True:
            now = {told.session_id: told for told in self._told()}
            for session_id, told in now.items():
                if session_id not in known or known[session_id].state != told.state:
                    yield told
            for session_id in known.keys() - now.keys():
                known[session_id].state = "CLOSED"
                yield known[session_id]
            known = now
            await asyncio.sleep(self._watch_ms / 1000)


def _told(session: Session) -> pb.LiveSession:
    vitals = session.vitals()
    return pb.LiveSession(
        session_id=session.session_id,
        identity=session.plan.identity,
        state=vitals.state.name,
        age_ms=session.age_ms,
        language_code=session.plan.language_code,
        inbox_facts=vitals.inbox_facts,
        outbox_messages=vitals.outbox_messages,
        ears_backlog_ms=vitals.ears_backlog_ms,
        underruns=vitals.underruns,
    )

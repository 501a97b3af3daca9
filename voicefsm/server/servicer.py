"""`ConversationService`: one session per call.

A call has three tasks: the reader takes the client's messages apart and feeds the session, the session runs, the writer writes
what the session's outbox holds, to the last message, also when the other two have failed. The reader's end, for whatever reason,
means that the client is gone: in grpc.aio a half-close, a cancelled call and a stopping server all look the same to it.

Every error ends exactly one call, with the status that says whose fault it is (errors.py).
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, TypeAlias, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from voicefsm.effects import EndSession as SessionEnded
from voicefsm.errors import (
    BackendError,
    Draining,
    InvalidMessage,
    NothingToResume,
    NotIdentified,
    NotOffered,
    NotPermitted,
    NotThere,
    OutOfOrder,
    StoreError,
    TooMuch,
    Unsupported,
    VoiceFsmError,
)
from voicefsm.ports import Clock, Identity, Journal, Observer, Traceparent, Vitals, untraced
from voicefsm.runtime import messages
from voicefsm.runtime.groups import first_error, raised
from voicefsm.runtime.keeper import Keeping, ResumeSettings
from voicefsm.runtime.plan import Senses, SessionPlan
from voicefsm.runtime.session import Session
from voicefsm.server import codec
from voicefsm.server.admission import Admission
from voicefsm.server.callers import Callers
from voicefsm.server.pace import Paces, of_client, of_late_texts
from voicefsm.server.resume import Resumption
from voicefsm.v1 import conversation_pb2 as pb
from voicefsm.v1 import conversation_pb2_grpc as pb_grpc
from voicefsm.values import EndReason

Call: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_STATUS: dict[type[VoiceFsmError], grpc.StatusCode] = {
    InvalidMessage: grpc.StatusCode.INVALID_ARGUMENT,
    OutOfOrder: grpc.StatusCode.FAILED_PRECONDITION,
    NotIdentified: grpc.StatusCode.UNAUTHENTICATED,
    NotPermitted: grpc.StatusCode.PERMISSION_DENIED,
    NotOffered: grpc.StatusCode.NOT_FOUND,
    NotThere: grpc.StatusCode.NOT_FOUND,
    NothingToResume: grpc.StatusCode.NOT_FOUND,
    Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    TooMuch: grpc.StatusCode.RESOURCE_EXHAUSTED,
    StoreError: grpc.StatusCode.UNAVAILABLE,
    Draining: grpc.StatusCode.UNAVAILABLE,
    BackendError: grpc.StatusCode.UNAVAILABLE,
}

_DETAILS_CHARS_MAX = 1000
"""Longest status message: what does not fit into the trailers of a call turns any status into RESOURCE_EXHAUSTED."""

_TRACEPARENT = re.compile(r"[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}(-.*)?")

_OUTLIVE = frozenset({messages.SessionReady, messages.TurnCompleted})
"""What a client is told only when it outlives this process: its token is good, and an exchange that is complete is not lost."""

_FAREWELL_S_MAX = 5.0
"""How long a client may take to read the last messages of a session that is over."""


def status_of(error: Exception) -> grpc.StatusCode:
    """Whose fault it is, as gRPC says it."""
    return next((code for kind, code in _STATUS.items() if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


class ConversationServicer(pb_grpc.ConversationServiceServicer):
    """Holds the sessions of this process."""

    def __init__(
        self,
        plan: SessionPlan,
        senses: Senses,
        admission: Admission,
        *,
        clock: Clock,
        observer: Observer,
        open_journal: Callable[[str], Journal],
        config_ms_max: int,
        traceparent: Traceparent = untraced,
        callers: Callers | None = None,
        resumption: Resumption | None = None,
    ) -> None:
        """Without `callers` everybody is let in, without `resumption` no session can be resumed.

        `plan` holds the server's settings, and may be exchanged for the sessions to come; the formats in it are replaced by
        each client's.
        """
        self.plan, self._senses, self._admission = plan, senses, admission
        self._clock, self._observer, self._open_journal = clock, observer, open_journal
        self._config_ms_max, self._traceparent = config_ms_max, traceparent
        self._callers = callers or Callers.open(clock)
        self._resumption = resumption or Resumption(None, ResumeSettings())
        self._late_texts = of_late_texts(clock)
        self._sessions: set[Session] = set()
        self._is_draining, self._drain_ms = False, 0

    async def Converse(self, requests: AsyncIterable[pb.ConverseRequest], call: Call) -> None:  # noqa: N802 (the protocol's name)
        """See conversation.proto."""
        status, details = await self._end_of(requests, call)
        if status is not grpc.StatusCode.OK:
            # gRPC keeps what `abort` raises in the call, and that keeps this frame: were the call in it, only the garbage collector
            # would part them, and whoever is refused would make work for everybody.
            aborts = [call.abort(status, details[:_DETAILS_CHARS_MAX])]
            del requests, call
            await aborts.pop()

    async def _end_of(self, requests: AsyncIterable[pb.ConverseRequest], call: Call) -> tuple[grpc.StatusCode, str]:
        """Hold the call to its end; how it ends."""
        session_id = secrets.token_hex(8)
        try:
            # What grpc.aio hands out is a generator; left open, the garbage collector closes it, on whatever loop there is then.
            async with aclosing(cast("AsyncGenerator[pb.ConverseRequest]", aiter(requests))) as opened:
                ended = await self._converse(session_id, opened, call)
        except asyncio.CancelledError as error:
            raise error.with_traceback(None)  # noqa: B904 (the same one, without the frames that keep it: see groups.py)
        except Exception as error:  # noqa: BLE001 (whatever it is, it ends this call and no other)
            status = status_of(error)
            if status is grpc.StatusCode.INTERNAL:
                self._observer.crashed(session_id, error)
                return status, f"A defect of the server ended session {session_id}. Please report it."
            return status, str(error)
        is_cut = ended.reason in (EndReason.FAILURE, EndReason.SHUTDOWN)
        return (grpc.StatusCode.UNAVAILABLE, ended.message) if is_cut else (grpc.StatusCode.OK, "")

    def shut_down(self) -> None:
        """Take no new sessions, and end those that live: the process stops."""
        self.drain()
        for session in self._sessions:
            session.shut_down()

    def drain(self, wait_ms: int = 0) -> None:
        """Take no new sessions, and tell those that live that in so much time they are ended; none is while a turn is live."""
        is_news, self._is_draining, self._drain_ms = not self._is_draining, True, wait_ms
        for session in self._sessions if is_news else ():
            session.drain(wait_ms)

    @property
    def live(self) -> frozenset[Session]:
        """The conversations being held."""
        return frozenset(self._sessions)

    @property
    def sessions(self) -> int:
        """How many conversations are being held."""
        return len(self._sessions)

    @property
    def is_draining(self) -> bool:
        """Whether no new ones are taken."""
        return self._is_draining

    def vitals(self) -> list[Vitals]:
        """How they are."""
        return [session.vitals() for session in self._sessions]

    async def _converse(self, session_id: str, requests: AsyncGenerator[pb.ConverseRequest], call: Call) -> SessionEnded:
        """One call, from the first message to the last."""
        with self._telling():
            self._refuse_if_draining()
            with self._admission.at_the_door():
                identity = await self._callers.identify(call)
                request = await self._first(requests)
        with self._telling(identity.name):
            self._callers.enter(identity)
        try:
            with self._telling(identity.name):
                self._admission.enter()
            try:
                with self._telling(identity.name):
                    plan, keeping = await self._admit(request, identity)
                plan = dataclasses.replace(plan, traceparent=_traceparent_in(call))
                return await self._hold(session_id, plan, keeping, requests, call)
            finally:
                self._admission.leave()
        finally:
            self._callers.leave(identity)

    @contextmanager
    def _telling(self, identity: str = "") -> Iterator[None]:
        """Around what turns a caller away: it is told."""
        try:
            yield
        except VoiceFsmError as error:
            self._observer.refused(error, identity)
            raise

    async def _admit(self, request: pb.ConverseRequest, identity: Identity) -> tuple[SessionPlan, Keeping | None]:
        """What the client wants, if it can be had; and how it is kept."""
        token = request.config.resume_token
        before = await self._resumption.find(token, identity)
        wishes = codec.wishes_of(request, before.wishes if before else b"") if codec.is_config(request) else request
        plan = codec.plan_of(wishes, self.plan)
        await self._admission.check(plan.language_code, plan.voice_name)
        self._refuse_if_draining()
        session_ms_max = min(plan.turns.session_ms_max, identity.allowance.session_ms_max) - (before.age_ms if before else 0)
        if session_ms_max <= 0:
            raise NothingToResume("The conversation has reached its longest duration.", remedy="Begin a new one.")
        turns = dataclasses.replace(plan.turns, session_ms_max=session_ms_max)
        await self._admission.begin()
        keeping = await self._resumption.keep(token, before)
        kept = wishes.config.SerializeToString() if keeping is not None else b""
        plan = dataclasses.replace(plan, turns=turns, identity=identity.name, is_known=identity.is_known, wishes=kept)
        return plan, keeping

    def _refuse_if_draining(self) -> None:
        if self._is_draining:
            raise Draining("The server is shutting down.", remedy="Connect to another replica.")

    async def _first(self, requests: AsyncGenerator[pb.ConverseRequest]) -> pb.ConverseRequest:
        try:
            async with asyncio.timeout(self._config_ms_max / 1000):
                with _refusing_garbage():
                    return await anext(requests)
        except TimeoutError:
            raise OutOfOrder(f"No `config` within {self._config_ms_max} ms.", remedy="Send `config` first.") from None
        except StopAsyncIteration:
            raise OutOfOrder("The call ended before `config` came.", remedy="Send `config` first.") from None

    async def _hold(
        self,
        session_id: str,
        plan: SessionPlan,
        keeping: Keeping | None,
        requests: AsyncGenerator[pb.ConverseRequest],
        call: Call,
    ) -> SessionEnded:
        session = Session(
            session_id,
            plan,
            self._senses,
            clock=self._clock,
            journal=self._open_journal(session_id),
            observer=self._observer,
            traceparent=self._traceparent,
            keeping=keeping,
        )
        self._sessions.add(session)
        if self._is_draining:  # it has begun while it was claimed
            session.drain(self._drain_ms)
        faults: list[Exception] = []
        try:
            return await _converse(session, requests, call, of_client(self._clock, plan.session, self._late_texts))
        except ExceptionGroup as group:
            faults.append(first_error(group))
        finally:
            self._sessions.discard(session)
        return raised(faults)


@contextmanager
def _refusing_garbage() -> Iterator[None]:
    """Around reading: gRPC hands on what protobuf makes of bytes that are no message of ours."""
    try:
        yield
    except DecodeError:
        raise InvalidMessage("These bytes are no `ConverseRequest`.", remedy="Send what conversation.proto describes.") from None


@contextmanager
def _blamed(session: Session) -> Iterator[None]:
    """Around what a client sends: what is wrong with it is why the session ends."""
    try:
        yield
    except Exception as error:
        session.fault = error
        raise


def _traceparent_in(call: Call) -> str:
    """The client's trace context; one that is malformed is none, as W3C wants it."""
    for name, value in call.invocation_metadata() or ():
        if name == "traceparent" and isinstance(value, str) and _TRACEPARENT.fullmatch(value):
            return value
    return ""


async def _converse(session: Session, requests: AsyncGenerator[pb.ConverseRequest], call: Call, paces: Paces) -> SessionEnded:
    """The session, its reader and its writer."""
    async with asyncio.TaskGroup() as tasks:
        writer = tasks.create_task(_write(session, call), name=f"writer {session.session_id}")
        try:
            return await _run(session, requests, paces)
        finally:
            await _farewell(writer)


async def _run(session: Session, requests: AsyncGenerator[pb.ConverseRequest], paces: Paces) -> SessionEnded:
    """The session and its reader: the end of one is the end of the other."""
    async with asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(_read(requests, session, paces), name=f"reader {session.session_id}")
        typist = tasks.create_task(_type(session, paces), name=f"typist {session.session_id}")
        ended = await session.run()
        reader.cancel()
        typist.cancel()
    return ended


async def _type(session: Session, paces: Paces) -> None:
    """Tell the session what was typed too fast, in its time."""
    with _blamed(session):
        while True:
            session.type_text(await paces.texts.late())


async def _read(requests: AsyncGenerator[pb.ConverseRequest], session: Session, paces: Paces) -> None:
    """Feed the session until the client is gone, or does something wrong."""
    with _blamed(session), _refusing_garbage():
        async for request in requests:
            paces.messages.note()
            message = codec.inbound_of(request, session.plan)
            if isinstance(message, codec.EndSession):
                session.hang_up(is_farewell=True)
                return
            if not isinstance(message, codec.TextInput) or paces.texts.take(message.text):
                _feed(session, message)
    session.hang_up()


def _feed(session: Session, message: codec.Inbound | None) -> None:
    match message:
        case codec.AudioInput():
            session.hear(message.samples, message.capture_sample, message.far_end_sample)
        case codec.PlayoutProgress():
            session.report_playout(message.far_end_sample, message.duck_db)
        case codec.CancelTts():
            session.cancel_tts(message.epoch, message.far_end_sample)
        case codec.TextInput():
            session.type_text(message.text)
        case codec.EndOfSpeech():
            session.finish_speech()
        case codec.ToolResult():
            session.answer_tool(message.epoch, message.call_id, output=message.output, error=message.error)


async def _write(session: Session, call: Call) -> None:
    """Write what the session says, in order, until it is over or the client is gone."""
    while (message := await session.outbox.get()) is not None:
        response = codec.response_of(message, session.plan)
        if type(message) in _OUTLIVE:
            await session.kept()
        try:
            await call.write(response)
        except grpc.aio.BaseError:
            session.hang_up()
            return
        if type(message) is messages.CancelTts:
            session.wrote_cancel(message.epoch)


async def _farewell(writer: asyncio.Task[None]) -> None:
    """Let the last messages be written, also when something went wrong.

    A write that is cancelled is still under way inside gRPC, which then refuses the status of the call, and its client waits for
    ever. Only a client that reads nothing is left to that: it must not hold its place.
    """
    await asyncio.wait([writer], timeout=_FAREWELL_S_MAX)
    writer.cancel()

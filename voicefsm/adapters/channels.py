"""gRPC channels to Riva: how one is opened, what its failures mean, and who may still be working when a call is left.

Theory of operation: one channel per backend and process, opened by its first call, because a channel belongs to the event loop
that runs then. A dead peer is noticed by keepalive at the latest; a live peer that fell silent is the business of the adapter's
own watchdog. gRPC's flow control lets a TTS server run minutes ahead of its reader; `run_ahead_bytes` bounds that from the
client's side.

Every status becomes a `BackendError` through one table (`_VERDICTS`), which says whether opening again can help and what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from grpc._cython import cygrpc

from voicefsm.errors import BackendError
from voicefsm.values import Backend, Shape, setting

ResponseT = TypeVar("ResponseT")


@dataclasses.dataclass(frozen=True, slots=True)
class RivaChannelSettings:
    """How to reach one Riva server."""

    target: str = setting("127.0.0.1:50051", unit="", shape=Shape.HOST_PORT, doc="Address of the Riva gRPC server.")
    open_ms_max: int = setting(3000, unit="ms", ge=50, le=60000, doc="How long a call may take to reach the server.")
    list_ms_max: int = setting(5000, unit="ms", ge=50, le=60000, doc="How long the server may take to list its models or voices.")
    keepalive_ms: int = setting(
        10000,
        unit="ms",
        ge=1000,
        le=600000,
        doc="How often a connection with calls on it is pinged; servers refuse less than their own limit.",
    )
    keepalive_timeout_ms: int = setting(
        3000, unit="ms", ge=500, le=60000, doc="How long a ping may stay unanswered before the connection counts as dead."
    )
    message_bytes_max: int = setting(
        16 << 20, unit="bytes", ge=1 << 16, le=1 << 28, doc="The largest message taken from the server."
    )


class RivaChannel:
    """A channel that opens itself on first use."""

    def __init__(self, backend: Backend, settings: RivaChannelSettings, *, run_ahead_bytes: int | None = None) -> None:
        self.backend = backend
        self.settings = settings
        self._run_ahead_bytes = run_ahead_bytes
        self._channel: grpc.aio.Channel | None = None

    def get(self) -> grpc.aio.Channel:
        """The channel, for a stub. Call it on the loop that makes the calls."""
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self.settings.target, options=self._options())
        return self._channel

    async def aclose(self) -> None:
        """Close the channel; calls on it end. Harmless twice."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _options(self) -> list[tuple[str, int]]:
        settings = self.settings
        options = [
            ("grpc.keepalive_time_ms", settings.keepalive_ms),
            ("grpc.keepalive_timeout_ms", settings.keepalive_timeout_ms),
            ("grpc.max_receive_message_length", settings.message_bytes_max),
            # A server that comes back is found at once, not after the default back-off of up to two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2000),
        ]
        if self._run_ahead_bytes is not None:
            options += [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", self._run_ahead_bytes)]
        return options

    async def ask(self, call: Awaitable[ResponseT]) -> ResponseT:
        """Await a unary call within `list_ms_max`; every failure is a `BackendError`."""
        try:
            async with asyncio.timeout(self.settings.list_ms_max / 1000):
                return await call
        except TimeoutError:
            raise self.silent(f"did not answer within {self.settings.list_ms_max} ms") from None
        except grpc.aio.AioRpcError as error:
            raise self.failed(error.code(), error.details()) from error

    def failed(self, code: grpc.StatusCode, details: str | None) -> BackendError:
        """What a status means, and what to do about it. OK is a failure where the call should have gone on."""
        if code is grpc.StatusCode.OK:
            return self.silent("closed the stream")
        details = details or "no details"
        retryable, remedy = _verdict(code, details)
        return BackendError(
            self.backend,
            f"{self._name} answered {code.name}: {details}.",
            remedy=remedy.format(target=self.settings.target),
            retryable=retryable,
        )

    def silent(self, what: str) -> BackendError:
        """The server did `what` instead of its work. Trying again may help."""
        remedy = _RUNNING.format(target=self.settings.target)
        return BackendError(self.backend, f"{self._name} {what}.", remedy=remedy, retryable=True)

    @property
    def _name(self) -> str:
        return f"Riva {self.backend.upper()} at {self.settings.target}"


async def write(call: grpc.aio.StreamStreamCall[Any, Any], message: Message) -> bool:
    """Hand one message to gRPC. False when the call takes no more: its reader gets what is left, and then the status.

    Not `call.write`: when the server ends the call in that moment, it overwrites the server's status, even OK, with INTERNAL
    "Internal error from Core", and the responses that were not read yet are lost with it (grpc issue 36066).
    """
    if call.done():
        return False
    try:
        await call.wait_for_connection()
        await call._cython_call.send_serialized_message(message.SerializeToString())  # noqa: SLF001, see above
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


# --- what a status means -----------------------------------------------------------------------------------------------------

_RUNNING = "Is Riva running at {target}? `voicefsm doctor` checks it."
_BUSY = "The server is at its capacity: add replicas or admit fewer sessions."
_SERVER_LOG = "Look into the log of the Riva server at {target}."
_REQUEST = "Check model, language and voice against `voicefsm doctor`."
_CREDENTIALS = "Check the credentials for {target}."

_VERDICTS: dict[grpc.StatusCode, tuple[bool, str]] = {
    grpc.StatusCode.UNAVAILABLE: (True, _RUNNING),
    grpc.StatusCode.DEADLINE_EXCEEDED: (True, _RUNNING),
    grpc.StatusCode.CANCELLED: (True, _RUNNING),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (True, _BUSY),
    grpc.StatusCode.UNKNOWN: (True, _SERVER_LOG),
    grpc.StatusCode.INTERNAL: (True, _SERVER_LOG),
    grpc.StatusCode.ABORTED: (True, _SERVER_LOG),
    grpc.StatusCode.DATA_LOSS: (True, _SERVER_LOG),
    grpc.StatusCode.INVALID_ARGUMENT: (False, _REQUEST),
    grpc.StatusCode.NOT_FOUND: (False, _REQUEST),
    grpc.StatusCode.ALREADY_EXISTS: (False, _REQUEST),
    grpc.StatusCode.FAILED_PRECONDITION: (False, _REQUEST),
    grpc.StatusCode.OUT_OF_RANGE: (False, _REQUEST),
    grpc.StatusCode.UNIMPLEMENTED: (False, "Is {target} a Riva server with this service? `voicefsm doctor` checks it."),
    grpc.StatusCode.UNAUTHENTICATED: (False, _CREDENTIALS),
    grpc.StatusCode.PERMISSION_DENIED: (False, _CREDENTIALS),
}

_SEQUENCE_EXPIRED = "must specify the START flag"
"""Riva's INVALID_ARGUMENT after a minute without audio: the sequence is gone, a new stream is all it takes."""

_NO_SUCH_MODEL = "Unavailable model requested"
"""Riva's answer to a language or model it does not have; which status it comes with differs between releases."""


def _verdict(code: grpc.StatusCode, details: str) -> tuple[bool, str]:
    """(retryable, remedy)."""
    if _SEQUENCE_EXPIRED in details:
        return True, "The stream was idle for too long; open it again and keep sending silence."
    if _NO_SUCH_MODEL in details:
        return False, _REQUEST
    return _VERDICTS.get(code, (True, _SERVER_LOG))


# --- work beside a call ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def beside(work: Coroutine[object, object, None]) -> AsyncGenerator[asyncio.Task[None]]:
    """Run `work` while the body runs, and end it with the body.

    Not a `TaskGroup`: what the body raises must reach the caller as it is, not wrapped in a group.
    """
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()):
            raise error


def is_cancelled_from_outside() -> bool:
    """Whether the running task itself was cancelled, not just the RPC it reads from: grpc.aio raises the same error for both."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

"""gRPC channels to Riva: how one is opened, what its failures mean, and who may still be working when a call is left.

Theory of operation: all sessions share a few connections per backend, opened by the calls that need them, because a channel
belongs to the event loop that runs then. A server takes so many calls on one connection and lets the others wait without a word;
so calls are counted, and beyond `calls_per_connection_max` a further connection is opened, up to `connections_max`; beyond that
too, the call is refused. A dead peer is noticed by keepalive at the latest; a live peer that fell silent is the business of the
adapter's own watchdog. gRPC's flow control lets a TTS server run minutes ahead of its reader; `run_ahead_bytes` bounds that from
the client's side.

A `Connection` adds the credentials to each of its calls, once, in the metadata: the key as its file says it now. When a
certificate's file changes, new calls go to new connections, and the old ones are closed after their last call.

Every status becomes a `BackendError` through one table (`_VERDICTS`), which says whether opening again can help and what to do.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from voicefsm.adapters.followed import Followed, text_of
from voicefsm.adapters.secrets import LOOPBACK, current, is_sendable
from voicefsm.errors import BackendError, Crowded, SettingsError
from voicefsm.values import Backend, Shape, setting

ResponseT = TypeVar("ResponseT")

GRACE_S = 0.1
"""How much later than a newer connection an older one may be answered. A server that stood still answers both at once."""


@dataclasses.dataclass(frozen=True, slots=True)
class RivaChannelSettings:
    """How to reach one Riva server."""

    target: str = setting("127.0.0.1:50051", unit="", shape=Shape.HOST_PORT, doc="Address of the Riva gRPC server.")
    tls: bool = setting(False, unit="", doc="Encrypt the connection, and check who answers.")
    tls_ca_file: str = setting(
        "", unit="", doc="Certificates (PEM) of the authorities that the server's is checked against; empty: the well-known ones."
    )
    tls_certificate_file: str = setting("", unit="", doc="Our own certificate (PEM), where the server asks for one (mTLS).")
    tls_key_file: str = setting("", unit="", doc="The private key (PEM) of our certificate.")
    api_key: str = setting("", unit="", secret=True, doc="Bearer token; empty sends none.")
    allow_insecure_key: bool = setting(
        False, unit="", doc="Send the key over a connection that is not encrypted, to a host that is not this one."
    )
    open_ms_max: int = setting(3000, unit="ms", ge=50, le=60000, doc="How long a call may take to reach the server.")
    list_ms_max: int = setting(5000, unit="ms", ge=50, le=60000, doc="How long the server may take to list its models or voices.")
    health_ms_max: int = setting(
        1000,
        unit="ms",
        ge=50,
        le=60000,
        doc="How long the server may take to say that it is well; after half of it, it is asked again over a new connection.",
    )
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
        4 << 20, unit="bytes", ge=1 << 16, le=1 << 28, doc="The largest message taken from the server."
    )
    calls_per_connection_max: int = setting(
        100,
        unit="calls",
        ge=1,
        le=10000,
        doc="Calls on one connection; servers let more wait. Further ones get another one.",
    )
    connections_max: int = setting(
        8, unit="connections", ge=1, le=1000, doc="Connections to the ASR, and as many to the TTS server; then calls are refused."
    )

    def __post_init__(self) -> None:
        """Refuse what no single field can."""
        if bool(self.tls_certificate_file) != bool(self.tls_key_file):
            raise ValueError("tls_certificate_file and tls_key_file belong together.")
        if not self.tls and (self.tls_ca_file or self.tls_certificate_file):
            raise ValueError("there are certificates, and tls is off.")
        if not is_sendable(self.api_key):
            raise ValueError("the key has characters that no header can carry: is it one line of plain ASCII?")
        if self.api_key and not self.may_tell_key:
            raise ValueError(
                f"the key would go to {self.target} for anybody to read: set tls, or allow_insecure_key if you trust the network."
            )

    @property
    def may_tell_key(self) -> bool:
        """Whether the key is safe on this connection, or declared so."""
        return self.tls or self.allow_insecure_key or self.target.removeprefix("dns:///").rpartition(":")[0] in LOOPBACK


@dataclasses.dataclass(frozen=True, slots=True)
class FunctionSettings:
    """Which function of a hosted service a call is for (NVCF)."""

    id: str = ""
    version_id: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be sent."""
        if not is_sendable(self.id + self.version_id):
            raise SettingsError(
                "A function id has characters that no header can carry.", remedy="Check asr.function_* and tts.function_*."
            )


# --- connections -------------------------------------------------------------------------------------------------------------

Metadata = tuple[tuple[str, str], ...]


class Connection:
    """One connection, as a channel for stubs. It adds the credentials to each call, and counts the calls that are open."""

    def __init__(self, channel: grpc.aio.Channel, credentials: Callable[[], Metadata]) -> None:
        self.channel, self.credentials = channel, credentials
        self.calls = 0
        """Calls that are open."""

    def unary_unary(self, *method: Any, **form: Any) -> Callable[..., Any]:
        """See `grpc.aio.Channel`."""
        return self._caller(self.channel.unary_unary(*method, **form))

    def unary_stream(self, *method: Any, **form: Any) -> Callable[..., Any]:
        """See `grpc.aio.Channel`."""
        return self._caller(self.channel.unary_stream(*method, **form))

    def stream_unary(self, *method: Any, **form: Any) -> Callable[..., Any]:
        """See `grpc.aio.Channel`."""
        return self._caller(self.channel.stream_unary(*method, **form))

    def stream_stream(self, *method: Any, **form: Any) -> Callable[..., Any]:
        """See `grpc.aio.Channel`."""
        return self._caller(self.channel.stream_stream(*method, **form))

    def _caller(self, make: Callable[..., Any]) -> Callable[..., Any]:
        def begin(*arguments: Any, metadata: Sequence[tuple[str, str]] | None = None, **options: Any) -> Any:
            call = make(*arguments, metadata=(*(metadata or ()), *self.credentials()), **options)
            self.calls += 1
            call.add_done_callback(self._ended)
            return call

        return begin

    def _ended(self, _: object) -> None:
        self.calls -= 1

    @property
    def is_idle(self) -> bool:
        """Whether no call is open."""
        return self.calls == 0


@dataclasses.dataclass(frozen=True, slots=True)
class _Check:
    """The question whether a server is well, on one of its connections."""

    connection: Connection
    call: Any
    answer: asyncio.Future[Any]


class RivaChannel:
    """The connections to one backend; they open themselves on first use."""

    def __init__(
        self,
        backend: Backend,
        settings: RivaChannelSettings,
        *,
        run_ahead_bytes: int | None = None,
        function: FunctionSettings | None = None,
    ) -> None:
        self.backend = backend
        self.settings = settings
        self._run_ahead_bytes, self._function = run_ahead_bytes, function or FunctionSettings()
        self._connections: list[Connection] = []
        self._retired: list[Connection] = []
        """Opened with certificates that were replaced since, or doubted, and still in use."""
        self._doubted: list[_Check] = []
        """On connections in use; their answers are owed."""
        self._followed: Followed[tuple[bytes | None, ...]] | None = None
        """Our certificates, from the first call on."""
        self._certificates: tuple[bytes | None, ...] = ()
        self._closing: set[asyncio.Task[None]] = set()

    def get(self) -> Connection:
        """A connection with room for a call, for a stub. Call it on the loop that makes the calls.

        Raises:
            BackendError: all connections are full, or a certificate's file cannot be read.

        """
        self._follow_certificates()
        self._close_idle()
        emptiest = min(self._connections, key=lambda connection: connection.calls, default=None)
        if emptiest is not None and emptiest.calls < self.settings.calls_per_connection_max:
            return emptiest
        if len(self._connections) >= self.settings.connections_max:
            raise Crowded(self.backend, f"All connections of the gateway to {self._name} are full.", remedy=_FULL)
        self._connections.append(Connection(self._open(), self._credentials))
        return self._connections[-1]

    async def aclose(self) -> None:
        """Close the connections; calls on them end. Harmless twice."""
        closing, self._connections, self._retired = [*self._connections, *self._retired], [], []
        for connection in closing:
            await connection.channel.close()

    def _open(self) -> grpc.aio.Channel:
        if not self.settings.tls:
            return grpc.aio.insecure_channel(self.settings.target, options=self._options())
        authorities, key, certificate = self._certificates
        credentials = grpc.ssl_channel_credentials(authorities, key, certificate)
        return grpc.aio.secure_channel(self.settings.target, credentials, options=self._options())

    def _follow_certificates(self) -> None:
        """Retire the connections whose certificates were replaced."""
        if not self.settings.tls:
            return
        if self._followed is None:
            self._followed = self._follow()
        self._followed.look()
        if self._followed.now != self._certificates:
            self._certificates = self._followed.now
            self._retire()

    def _follow(self) -> Followed[tuple[bytes | None, ...]]:
        names = ("tls_ca_file", "tls_key_file", "tls_certificate_file")
        files = {f"riva.{name}": getattr(self.settings, name) for name in names}
        try:
            return Followed(
                f"the certificates for {self._name}",
                [file for file in files.values() if file],
                lambda: tuple(text_of(file, name) if file else None for name, file in files.items()),
            )
        except SettingsError as bad:
            raise BackendError(self.backend, bad.message, remedy=bad.remedy, retryable=False) from bad

    def _retire(self) -> None:
        """New calls go to new connections."""
        self._retired += self._connections
        self._connections = []

    def _close_idle(self) -> None:
        """Let go of the retired ones that nobody uses any more."""
        idle = [connection for connection in self._retired if connection.is_idle]
        self._retired = [connection for connection in self._retired if not connection.is_idle]
        for connection in idle:
            closing = asyncio.get_running_loop().create_task(connection.channel.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _credentials(self) -> Metadata:
        """What identifies us, as it is now."""
        key = current(self.settings.api_key) if self.settings.may_tell_key else ""
        function = self._function
        named = {
            "authorization": f"Bearer {key}" if key else "",
            "function-id": function.id,
            "function-version-id": function.version_id,
        }
        return tuple((name, value) for name, value in named.items() if value)

    def _options(self) -> list[tuple[str, int]]:
        settings = self.settings
        options = [
            ("grpc.keepalive_time_ms", settings.keepalive_ms),
            ("grpc.keepalive_timeout_ms", settings.keepalive_timeout_ms),
            ("grpc.max_receive_message_length", settings.message_bytes_max),
            # A server that comes back is found at once, not after the default back-off of up to two minutes. The second is, by its
            # name, the shortest wait between two attempts, and in fact the least time that one attempt has.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 1000),
            ("grpc.max_reconnect_backoff_ms", 500),
            # Else two channels to one target are one connection.
            ("grpc.use_local_subchannel_pool", 1),
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

    async def check_health(self) -> None:
        """Return when the server calls itself healthy, or has no health service. Raises `BackendError`.

        After half of its time the server is asked again over a new connection. When that one is answered and the first still is
        not, the other end of the first is gone, and so are the calls on it: they end now, and not when keepalive finds out.
        """
        ms_max = self.settings.health_ms_max
        checks = [self._check()]
        try:
            if not await _answered(checks, ms_max / 2000):
                self._retire()
                checks.append(self._check())
                await _answered(checks, ms_max / 2000)
        except asyncio.CancelledError:
            for check in checks:
                check.call.cancel()
            raise
        answers = [check.answer for check in checks if check.answer.done()]
        self._doubt([check for check in checks if not check.answer.done()])
        if not answers:
            raise self.silent(f"did not answer within {ms_max} ms")
        await self._drop_dead()
        self._judge(answers[-1])

    def _check(self) -> _Check:
        """Ask the server whether it is well."""
        connection = self.get()
        call = health_pb2_grpc.HealthStub(connection).Check(health_pb2.HealthCheckRequest())
        answer = asyncio.ensure_future(_answer(call))
        answer.add_done_callback(_look_at)
        return _Check(connection, call, answer)

    def _judge(self, answer: asyncio.Future[Any]) -> None:
        """Is it well, by what it says?"""
        try:
            status = answer.result().status
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return
            raise self.failed(error.code(), error.details()) from error
        if status != health_pb2.HealthCheckResponse.SERVING:
            raise self.silent(f"says it is {health_pb2.HealthCheckResponse.ServingStatus.Name(status)}")

    def _doubt(self, checks: Sequence[_Check]) -> None:
        """These were not answered in time. Where nobody else is on the connection, there is nothing to find out."""
        for check in checks:
            if check.connection.calls > 1:
                self._doubted.append(check)
            else:
                check.call.cancel()

    async def _drop_dead(self) -> None:
        """The server answers: older connections that still owe an answer are dead. Those in use for new calls may just be young."""
        doubted = [check for check in self._doubted if check.connection not in self._connections]
        self._doubted = [check for check in self._doubted if check.connection in self._connections and not check.answer.done()]
        if owing := [check.answer for check in doubted if not check.answer.done()]:
            await asyncio.wait(owing, timeout=GRACE_S)
        for check in doubted:
            if not check.answer.done():
                await check.connection.channel.close()

    def failed(self, code: grpc.StatusCode, details: str | None) -> BackendError:
        """What a status means, and what to do about it. OK is a failure where the call should have gone on."""
        if code is grpc.StatusCode.OK:
            return self.silent("closed the stream")
        details = details or "no details"
        retryable, remedy = _verdict(code, details)
        return BackendError(
            self.backend,
            f"{self._name} answered {code.name}: {details.rstrip('.')}.",
            remedy=remedy.format(target=self.settings.target),
            retryable=retryable,
        )

    def silent(self, what: str, kind: type[BackendError] = BackendError) -> BackendError:
        """The server did `what` instead of its work. Trying again may help, on another connection.

        A connection whose other end is gone looks like a server that thinks, until keepalive finds out, or for ever.
        """
        self._retire()
        remedy = _RUNNING.format(target=self.settings.target)
        return kind(self.backend, f"{self._name} {what}.", remedy=remedy, retryable=True)

    def lacking(self, what: str, offered: Iterable[str]) -> BackendError:
        """The server works, and `what` is not among what it has: that is for an operator to put right."""
        remedy = f"It has: {', '.join(sorted(offered))}."
        return BackendError(self.backend, f"{self._name} has no {what}.", remedy=remedy, retryable=False)

    @property
    def _name(self) -> str:
        return f"Riva {self.backend.upper()} at {self.settings.target}"


async def _answered(checks: Sequence[_Check], s_max: float) -> bool:
    """Wait for the first answer; whether there is one."""
    done, _ = await asyncio.wait([check.answer for check in checks], timeout=s_max, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


async def _answer(check: Awaitable[ResponseT]) -> ResponseT:
    return await check


def _look_at(answering: asyncio.Future[Any]) -> None:
    """An error that nobody waits for any more is no defect."""
    if not answering.cancelled():
        answering.exception()


# --- what a status means -----------------------------------------------------------------------------------------------------

_RUNNING = "Is Riva running at {target}? `voicefsm doctor` checks it."
_BUSY = "The server is at its capacity: add replicas or admit fewer sessions."
_FULL = "Raise riva.connections_max or riva.calls_per_connection_max, or admit fewer sessions."
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

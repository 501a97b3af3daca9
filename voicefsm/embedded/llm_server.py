"""The HTTP server of the embedded "language model": OpenAI's chat completions, on h11 and asyncio.

Theory of operation: the answer is known at once (`responder.py`), and is written at the pace of a real model: the first token after
`first_token_ms`, the others at `tokens_per_second`, each at its own moment, so that delays do not add up. While an answer is being
written the connection is read as well: the end of the input means that the client left, and ends the generation at once, as vLLM
and NIM do. How many ended that way is counted and told by `/v1/metrics`.

Everything a client can make us wait for or keep has a limit of `LlmServerSettings`. Errors have OpenAI's shape.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import errno
import json
import logging
import re
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import h11

from voicefsm.embedded.responder import Message, respond
from voicefsm.values import setting

MODEL = "voicefsm-rules"
"""It is what it says: rules, no language model."""
READ_BYTES = 65536
DONE = b"data: [DONE]\n\n"
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
_TOKEN = re.compile(r" ?\w{1,6}| ?[^\w\s]+|\s+")
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class LlmServerSettings:
    """Where the rule-based responder listens, and how fast it pretends to think."""

    host: str = setting("127.0.0.1", unit="", doc="Address to listen on.")
    port: int = setting(8000, unit="", ge=0, le=65535, doc="Port to listen on; 0 takes any free one.")
    first_token_ms: int = setting(60, unit="ms", ge=0, le=60_000, doc="Time from a request to the first token of its answer.")
    tokens_per_second: float = setting(60.0, unit="tokens/s", ge=0.1, le=100_000, doc="How fast the answer is written after that.")
    connections_max: int = setting(256, unit="connections", ge=1, le=10_000, doc="Connections served at a time.")
    body_bytes_max: int = setting(4 << 20, unit="bytes", ge=1024, le=64 << 20, doc="Largest body of a request.")
    messages_max: int = setting(4096, unit="messages", ge=1, le=100_000, doc="Most messages in a request.")
    idle_ms_max: int = setting(
        75_000, unit="ms", ge=100, le=3_600_000, doc="How long a request may be awaited or may take to arrive."
    )
    send_ms_max: int = setting(
        10_000, unit="ms", ge=100, le=600_000, doc="How long a client may take to accept what is sent to it."
    )


# --- requests and answers ----------------------------------------------------------------------------------------------------


class Refusal(Exception):
    """The client asked for something that is not there or makes no sense."""

    def __init__(self, status: HTTPStatus, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


@dataclasses.dataclass(frozen=True, slots=True)
class CompletionRequest:
    """What is understood of the body of a request for a completion."""

    messages: tuple[Message, ...]
    is_stream: bool
    has_usage: bool
    """Whether a stream ends with a chunk of token counts."""
    tokens_max: int | None


def parse(body: bytes, messages_max: int) -> CompletionRequest:
    """Raises `Refusal`."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"The body is no JSON: {error}.") from None
    if not isinstance(found, Mapping):
        raise _invalid("The body must be a JSON object.")
    if found.get("model", MODEL) != MODEL:
        message = f"The model {found['model']!r} does not exist. This server has {MODEL!r}."
        raise Refusal(HTTPStatus.NOT_FOUND, message, param="model", code="model_not_found")
    if found.get("n", 1) not in (1, None):
        raise _invalid("This server writes one choice: n must be 1.", "n")
    options = found.get("stream_options")
    return CompletionRequest(
        messages=_messages(found.get("messages"), messages_max),
        is_stream=bool(found.get("stream")),
        has_usage=isinstance(options, Mapping) and bool(options.get("include_usage")),
        tokens_max=_tokens_max(found),
    )


def _invalid(message: str, param: str | None = None) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, message, param=param)


def _tokens_max(body: Mapping[str, Any]) -> int | None:
    name = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    most = body.get(name)
    if most is None or (isinstance(most, int) and not isinstance(most, bool) and most > 0):
        return most
    raise _invalid(f"{name} must be a whole number above zero.", name)


def _messages(found: object, messages_max: int) -> tuple[Message, ...]:
    if not isinstance(found, list) or not found:
        raise _invalid("messages is missing: it must be a list with at least one message.", "messages")
    if len(found) > messages_max:
        raise _invalid(f"{len(found)} messages are too many: this server takes {messages_max}.", "messages")
    return tuple(_message(message, f"messages[{place}]") for place, message in enumerate(found))


def _message(found: object, param: str) -> Message:
    if not isinstance(found, Mapping) or found.get("role") not in _ROLES:
        raise _invalid(f"{param} must be an object with a role: {', '.join(sorted(_ROLES))}.", param)
    return Message(found["role"], _text(found.get("content"), f"{param}.content"))


def _text(content: object, param: str) -> str:
    """Content is a text, nothing, or a list of parts; parts that are no text are not for us."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
        return " ".join(str(part["text"]) for part in content if part.get("type") == "text" and "text" in part)
    raise _invalid(f"{param} must be a text or a list of parts.", param)


def tokens(text: str) -> list[str]:
    """`text` cut as models cut it: pieces of words, with the blank in front."""
    return _TOKEN.findall(text)


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """A completion in both its forms: a stream of chunks, or one object."""

    tokens: Sequence[str]
    finish_reason: str
    usage: Mapping[str, int]
    id: str = dataclasses.field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = dataclasses.field(default_factory=lambda: int(time.time()))

    def head(self) -> bytes:
        """The chunk with the role."""
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, token: str) -> bytes:
        """The chunk with a token."""
        return self._chunk({"content": token})

    def tail(self, *, has_usage: bool) -> Iterator[bytes]:
        """Whatever follows the last token."""
        yield self._chunk({}, self.finish_reason)
        if has_usage:
            yield _event(self._frame("chat.completion.chunk", []) | {"usage": self.usage})
        yield DONE

    def whole(self) -> dict[str, Any]:
        """The answer of a request without streaming."""
        message = {"role": "assistant", "content": "".join(self.tokens)}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
        return self._frame("chat.completion", [choice]) | {"usage": self.usage}

    def _chunk(self, delta: Mapping[str, str], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _event(self._frame("chat.completion.chunk", [choice]))

    def _frame(self, kind: str, choices: list[Any]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": MODEL, "choices": choices}


def _event(body: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def reply_to(request: CompletionRequest, now: dt.datetime) -> Reply:
    """What the rules answer."""
    answer = tokens(respond(request.messages, now))
    written = answer[: request.tokens_max]
    read = sum(len(tokens(message.content)) for message in request.messages)
    usage = {"prompt_tokens": read, "completion_tokens": len(written), "total_tokens": read + len(written)}
    return Reply(written, "length" if len(written) < len(answer) else "stop", usage)


async def paced(pieces: Sequence[str], settings: LlmServerSettings) -> AsyncIterator[str]:
    """Each piece at its moment."""
    clock = asyncio.get_running_loop().time
    due = clock() + settings.first_token_ms / 1000
    for piece in pieces:
        await asyncio.sleep(max(0.0, due - clock()))
        yield piece
        due += 1 / settings.tokens_per_second


# --- the server --------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class Counts:
    """What `/v1/metrics` tells."""

    completed: int = 0
    """Answers written to their end."""
    aborted: int = 0
    """Answers whose client left, or did not read."""
    tokens: int = 0
    """Tokens written."""
    running: int = 0
    """Answers being written."""

    def text(self) -> str:
        """In the format of Prometheus."""
        return (
            "# HELP voicefsm_embedded_generations_total Answers by how they ended.\n"
            "# TYPE voicefsm_embedded_generations_total counter\n"
            f'voicefsm_embedded_generations_total{{outcome="completed"}} {self.completed}\n'
            f'voicefsm_embedded_generations_total{{outcome="aborted"}} {self.aborted}\n'
            "# HELP voicefsm_embedded_generations_running Answers being written.\n"
            "# TYPE voicefsm_embedded_generations_running gauge\n"
            f"voicefsm_embedded_generations_running {self.running}\n"
            "# HELP voicefsm_embedded_tokens_total Tokens written.\n"
            "# TYPE voicefsm_embedded_tokens_total counter\n"
            f"voicefsm_embedded_tokens_total {self.tokens}\n"
        )


def local_now() -> dt.datetime:
    """The time on the wall."""
    return dt.datetime.now().astimezone()


@contextlib.asynccontextmanager
async def llm_server(settings: LlmServerSettings, now: Callable[[], dt.datetime] = local_now) -> AsyncGenerator[LlmServer]:
    """Serve until the block is left; then every connection is cut. Raises `OSError` saying what to do when it cannot listen."""
    server = LlmServer(settings, now)
    listener = await _listen(server, settings)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        await server.cut()


async def _listen(server: LlmServer, settings: LlmServerSettings) -> asyncio.Server:
    try:
        return await asyncio.start_server(server.accept, settings.host, settings.port)
    except OSError as error:
        remedy = "Choose another port, or 0 for any free one"
        if error.errno == errno.EADDRINUSE:
            remedy = f"Something else listens there: stop it. {remedy}"
        message = f"The embedded language model cannot listen on {settings.host}, port {settings.port}. {remedy}."
        raise OSError(error.errno, message) from error


class LlmServer:
    """The running server; `llm_server` makes one."""

    def __init__(self, settings: LlmServerSettings, now: Callable[[], dt.datetime]) -> None:
        self.counts = Counts()
        self.port = settings.port
        """Where it really listens."""
        self._settings = settings
        self._now = now
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        """As clients of OpenAI want it."""
        host = self._settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/v1"

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection."""
        is_full = len(self._connections) >= self._settings.connections_max
        task = asyncio.create_task(self._serve(_Connection(reader, writer, self._settings), is_full=is_full))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def cut(self) -> None:
        """End every connection."""
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, connection: _Connection, *, is_full: bool) -> None:
        try:
            if is_full:
                await connection.send_json(HTTPStatus.SERVICE_UNAVAILABLE, _server_error("Too many connections: try again later."))
                return
            while (request := await connection.request()) is not None:
                await self._respond(connection, *request)
                if not connection.is_reusable():
                    return
        except h11.RemoteProtocolError as error:
            with contextlib.suppress(OSError, TimeoutError, h11.LocalProtocolError):
                await connection.send_json(HTTPStatus(error.error_status_hint), _invalid(f"Bad request: {error}.").body)
        except (OSError, TimeoutError, h11.LocalProtocolError):
            pass  # the client left, or does not read
        finally:
            await connection.close()

    async def _respond(self, connection: _Connection, head: h11.Request, body: bytes) -> None:
        try:
            await self._route(connection, head.method.decode(), head.target.decode().partition("?")[0], body)
        except Refusal as refusal:
            await connection.send_json(refusal.status, refusal.body)
        except (OSError, TimeoutError, h11.ProtocolError):
            raise
        except Exception:  # noqa: BLE001  # a defect ends one request, not the server
            _log.exception("a request to the embedded language model failed")
            await connection.send_json(HTTPStatus.INTERNAL_SERVER_ERROR, _server_error("A defect of this server; see its log."))

    async def _route(self, connection: _Connection, method: str, path: str, body: bytes) -> None:
        wanted = "POST" if path == "/v1/chat/completions" else "GET"
        if path == "/v1/chat/completions" and method == wanted:
            await self._complete(connection, parse(body, self._settings.messages_max))
        elif path == "/v1/metrics" and method == wanted:
            await connection.send(HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", self.counts.text().encode())
        elif path in _PAGES and method == wanted:
            await connection.send_json(HTTPStatus.OK, _PAGES[path])
        elif path in {"/v1/chat/completions", "/v1/metrics", *_PAGES}:
            raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} takes {wanted}, not {method}.")
        else:
            raise Refusal(HTTPStatus.NOT_FOUND, f"There is no {path} here. Completions are at /v1/chat/completions.")

    async def _complete(self, connection: _Connection, request: CompletionRequest) -> None:
        reply = reply_to(request, self._now())
        writing = self._stream(connection, reply, request) if request.is_stream else self._whole(connection, reply)
        self.counts.running += 1
        is_written = False
        try:
            is_written = await connection.while_client_stays(writing)
        finally:
            self.counts.running -= 1
            self.counts.completed += is_written
            self.counts.aborted += not is_written

    async def _stream(self, connection: _Connection, reply: Reply, request: CompletionRequest) -> None:
        await connection.begin_stream()
        is_begun = False
        async for token in paced(reply.tokens, self._settings):
            await connection.send_part(reply.piece(token) if is_begun else reply.head() + reply.piece(token))
            is_begun = True
            self.counts.tokens += 1
        for part in reply.tail(has_usage=request.has_usage):
            await connection.send_part(part)
        await connection.end_stream()

    async def _whole(self, connection: _Connection, reply: Reply) -> None:
        async for _ in paced(reply.tokens, self._settings):
            self.counts.tokens += 1
        await connection.send_json(HTTPStatus.OK, reply.whole())


_PAGES: Mapping[str, Mapping[str, Any]] = {
    "/v1/models": {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "voicefsm"}]},
    f"/v1/models/{MODEL}": {"id": MODEL, "object": "model", "created": 0, "owned_by": "voicefsm"},
    "/v1/health/ready": {"object": "health.response", "message": "Service is ready.", "status": "ready"},
    "/v1/health/live": {"object": "health.response", "message": "Service is live.", "status": "live"},
}


def _server_error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "server_error", "param": None, "code": None}}


# --- HTTP --------------------------------------------------------------------------------------------------------------------


class _Connection:
    """One HTTP/1.1 connection of a client: h11 on asyncio streams, every wait limited."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: LlmServerSettings) -> None:
        self._reader, self._writer, self._settings = reader, writer, settings
        self._http = h11.Connection(h11.SERVER)

    async def request(self) -> tuple[h11.Request, bytes] | None:
        """The next request and its body; None when the client is gone."""
        async with asyncio.timeout(self._settings.idle_ms_max / 1000):
            head = await self._next_event()
            if not isinstance(head, h11.Request):
                return None
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            body = bytearray()
            while isinstance(part := await self._next_event(), h11.Data):
                body += part.data
                if len(body) > self._settings.body_bytes_max:
                    message = f"a body of more than {self._settings.body_bytes_max} bytes"
                    raise h11.RemoteProtocolError(message, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return head, bytes(body)

    async def _next_event(self) -> h11.Event | type[h11.PAUSED]:
        while (happened := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(READ_BYTES))
        return happened  # type: ignore[return-value]

    async def while_client_stays(self, writing: Coroutine[None, None, None]) -> bool:
        """Run the coroutine `writing`; False when the client left before its end, and it was cancelled."""
        task = asyncio.create_task(writing)
        watch = asyncio.create_task(self._client_left())
        try:
            await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task  # its error, if it has one
            return task.done()
        finally:
            for one in (task, watch):
                one.cancel()
            await asyncio.gather(task, watch, return_exceptions=True)

    async def _client_left(self) -> None:
        """Return at the end of the input. A next request that comes early is kept, up to `body_bytes_max`."""
        early = 0
        with contextlib.suppress(OSError):
            while data := await self._reader.read(READ_BYTES):
                self._http.receive_data(data)
                early += len(data)
                if early > self._settings.body_bytes_max:
                    return

    async def send_json(self, status: HTTPStatus, body: Mapping[str, Any]) -> None:
        """A whole response."""
        await self.send(status, "application/json", json.dumps(body, ensure_ascii=False).encode())

    async def send(self, status: HTTPStatus, content_type: str, data: bytes) -> None:
        """A whole response."""
        headers = [("content-type", content_type), ("content-length", str(len(data)))]
        await self._send(h11.Response(status_code=status, headers=headers), h11.Data(data=data), h11.EndOfMessage())

    async def begin_stream(self) -> None:
        """The head of a response that comes in parts."""
        headers = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")]
        await self._send(h11.Response(status_code=HTTPStatus.OK, headers=headers))

    async def send_part(self, data: bytes) -> None:
        """A part of it."""
        await self._send(h11.Data(data=data))

    async def end_stream(self) -> None:
        """The end of it."""
        await self._send(h11.EndOfMessage())

    async def _send(self, *events: h11.Event) -> None:
        for happened in events:
            self._writer.write(self._http.send(happened) or b"")
        async with asyncio.timeout(self._settings.send_ms_max / 1000):
            await self._writer.drain()

    def is_reusable(self) -> bool:
        """Whether another request may come on this connection."""
        if self._http.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            return False
        self._http.start_next_cycle()
        return True

    async def close(self) -> None:
        """Close, whatever state it is in; a client that does not read is cut."""
        self._writer.close()
        try:
            async with asyncio.timeout(self._settings.send_ms_max / 1000):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self._writer.transport.abort()

"""An OpenAI-style server that answers what its script says.

Theory of operation: a reply is a list of steps, each a piece of text, an event, raw bytes, a wait or a fault, carried out one
after the other on the wire. A plain text as a reply is short for what vLLM and NIM send: a chunk with the role, a chunk for each
word, a chunk with the finish reason, `[DONE]`. A generation is a task of its own beside a watch on the connection, so that a
client that goes away ends it at once, as in vLLM.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import re
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Self

import h11

READ_BYTES = 65536
BODY_BYTES_MAX = 8 << 20
"""Largest request body."""
PROMPTS_MAX = 100
"""How many prompts are in the prefix cache."""

_TOKEN = re.compile(r"\s*\S+|\s+$")


# --- the script --------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Pause:
    """Send nothing for a while."""

    ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class Hang:
    """Send nothing ever after."""


@dataclasses.dataclass(frozen=True, slots=True)
class Drop:
    """Cut the connection, without the end of the body."""


@dataclasses.dataclass(frozen=True, slots=True)
class HttpError:
    """Answer with a status and a body instead of a stream."""

    status: int
    body: str | bytes | Mapping[str, Any]
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Further ones, such as `retry-after`."""


Step = str | bytes | Mapping[str, Any] | Pause | Hang | Drop
"""A delta with that content, those very bytes, an event with that JSON, or what goes wrong."""

Steps = Sequence[Step]
Reply = str | Steps | HttpError
Body = Mapping[str, Any]
"""A request, as it came."""


@dataclasses.dataclass(frozen=True, slots=True)
class ByRequest:
    """Makes a reply from the whole request."""

    make: Callable[[Body], Reply]


Answer = Reply | Callable[[Sequence[Mapping[str, Any]]], Reply] | ByRequest
"""A reply, or what makes one from the messages or the request."""


def chunk(delta: Mapping[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    """One event of a stream."""
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "scripted",
        "choices": [{"index": 0, "delta": dict(delta), "finish_reason": finish_reason}],
    }


def event(body: Mapping[str, Any]) -> bytes:
    """An event as vLLM writes it: raw UTF-8."""
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


ROLE = chunk({"role": "assistant", "content": ""})
FINISH = chunk({}, "stop")
DONE = b"data: [DONE]\n\n"


def written(text: str) -> list[Step]:
    """The steps of a whole, healthy reply."""
    return [ROLE, *_TOKEN.findall(text), FINISH, DONE]


def called(*calls: tuple[str, str], text: str = "", piece_chars: int = 7) -> list[Step]:
    """The steps of a reply that ends in tool calls, each of (name, arguments): as vLLM cuts them, all calls at the same time."""
    heads = [
        {"index": k, "id": f"chatcmpl-tool-{k}", "type": "function", "function": {"name": name, "arguments": ""}}
        for k, (name, _) in enumerate(calls)
    ]
    longest = max((len(arguments) for _, arguments in calls), default=0)
    pieces = [
        {"index": k, "function": {"arguments": arguments[start : start + piece_chars]}}
        for start in range(0, longest, piece_chars)
        for k, (_, arguments) in enumerate(calls)
        if start < len(arguments)
    ]
    deltas = [chunk({"tool_calls": [piece]}) for piece in [*heads, *pieces]]
    return [ROLE, *_TOKEN.findall(text), *deltas, chunk({}, "tool_calls"), DONE]


@dataclasses.dataclass(frozen=True, slots=True)
class LlmRequest:
    """One request for a completion, as the server received it."""

    messages: tuple[Mapping[str, Any], ...]
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    """Names in lower case."""
    cached_chars: int
    """How much of the prompt, from its start, was in an earlier one: what a prefix cache saves."""


def _common_chars(one: str, other: str) -> int:
    """How long the beginning is that two texts share."""
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


# --- the server --------------------------------------------------------------------------------------------------------------


class ScriptedLlm:
    """`async with ScriptedLlm(["Hi there.", HttpError(429, …)]) as llm:` serves at `llm.base_url` until the block is left.

    Replies are given in order, and the last one for ever after.
    """

    def __init__(
        self,
        replies: Sequence[Answer] = ("Hello there.",),
        *,
        first_token_ms: int = 0,
        token_ms: int = 0,
        prefill_us_per_char: int = 0,
        headers: Mapping[str, str] | None = None,
        runs_on: bool = False,
        models: Sequence[str] = ("scripted",),
        is_ready: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`prefill_us_per_char` delays the first token by what is not cached of the prompt; `headers` come with every reply.

        `runs_on`: a generation whose client has left goes on, or so `/metrics` says.
        """
        self.requests: list[LlmRequest] = []
        """Every request for a completion."""
        self.paths: list[str] = []
        """Every path asked for."""
        self.completed = 0
        """Replies sent to their end."""
        self.aborted = 0
        """Replies whose client went away."""
        self.connections = 0
        """Connections accepted."""
        self.running = 0
        """Generations at work, as `/metrics` tells."""
        self._runs_on = runs_on
        self.is_ready = is_ready
        """What `/v1/health/ready` says."""
        self.models = list(models)
        self._replies, self._first_token_ms, self._token_ms = replies, first_token_ms, token_ms
        self._prefill_us_per_char, self._headers = prefill_us_per_char, dict(headers or {})
        self._prompts: deque[str] = deque(maxlen=PROMPTS_MAX)
        self._host, self._port, self._tls = host, port, tls
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.Task[None], _Connection] = {}

    @property
    def base_url(self) -> str:
        """As `LlmSettings.base_url` wants it."""
        return f"http{'s' if self._tls else ''}://{self._host}:{self._port}/v1"

    async def start(self) -> None:
        """Listen. The port stays the same after the first time."""
        self._server = await asyncio.start_server(self._accept, self._host, self._port, ssl=self._tls)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection. Harmless twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        serving = dict(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        for connection in serving.values():
            await connection.close()  # again: a task that was cancelled before it began has closed nothing
        await server.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer)
        task = asyncio.create_task(self._serve(connection))
        self.connections += 1
        self._serving[task] = connection
        task.add_done_callback(self._serving.pop)

    async def _serve(self, connection: _Connection) -> None:
        try:
            while (request := await connection.request()) is not None:
                await self._respond(connection, *request)
                if not connection.reusable():
                    return
        except (ConnectionError, h11.ProtocolError):
            pass  # the client's affair
        finally:
            await connection.close()

    async def _respond(self, connection: _Connection, head: h11.Request, body: bytes) -> None:
        path = head.target.decode().partition("?")[0]
        self.paths.append(path)
        match head.method, path:
            case b"POST", "/v1/chat/completions":
                await self._complete(connection, head, json.loads(body))
            case b"GET", "/v1/models":
                listing = {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
                await connection.send_json(200, listing)
            case b"GET", "/metrics" | "/v1/metrics":
                await connection.send_json(200, f'vllm:num_requests_running{{engine="0"}} {float(self.running)}\n')
            case b"GET", "/v1/health/ready":
                await connection.send_json(200 if self.is_ready else 503, {"status": "ready" if self.is_ready else "loading"})
            case _:
                await connection.send_json(404, {"error": {"message": f"no {path} here", "type": "NotFoundError", "code": 404}})

    async def _complete(self, connection: _Connection, head: h11.Request, body: Mapping[str, Any]) -> None:
        headers = {name.decode(): value.decode() for name, value in head.headers}
        prompt = json.dumps(body["messages"], ensure_ascii=False)
        cached = max((_common_chars(prompt, earlier) for earlier in self._prompts), default=0)
        self._prompts.append(prompt)
        self.requests.append(LlmRequest(tuple(body["messages"]), body, headers, cached))
        answer = self._replies[min(len(self.requests), len(self._replies)) - 1]
        if isinstance(answer, ByRequest):
            answer = answer.make(body)
        reply = answer(body["messages"]) if callable(answer) else answer
        if isinstance(reply, HttpError):
            await connection.send_json(reply.status, reply.body, {**self._headers, **reply.headers})
            return
        first_token_ms = self._first_token_ms + (len(prompt) - cached) * self._prefill_us_per_char / 1000
        steps = self._carry_out(written(reply) if isinstance(reply, str) else reply, first_token_ms)
        self.running += 1
        is_whole = False
        try:
            is_whole = await connection.stream(steps, self._headers)
        finally:
            self.running -= is_whole or not self._runs_on
        self.completed += is_whole
        self.aborted += not is_whole

    async def _carry_out(self, steps: Steps, first_token_ms: float) -> AsyncIterator[bytes | Drop]:
        """The bytes of a reply, at their time."""
        texts = 0
        for step in steps:
            match step:
                case Pause(ms):
                    await asyncio.sleep(ms / 1000)
                case Hang():
                    await asyncio.Event().wait()
                case Drop() | bytes():
                    yield step
                case str():
                    await asyncio.sleep((self._token_ms if texts else first_token_ms) / 1000)
                    texts += 1
                    yield event(chunk({"content": step}))
                case _:
                    yield event(step)


# --- HTTP --------------------------------------------------------------------------------------------------------------------


class _Connection:
    """One HTTP/1.1 connection of a client: h11 on asyncio streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.SERVER)

    async def request(self) -> tuple[h11.Request, bytes] | None:
        """The next request and its body; None when the client is gone."""
        head = await self._next_event()
        if not isinstance(head, h11.Request):
            return None
        body = bytearray()
        while isinstance(part := await self._next_event(), h11.Data):
            body += part.data
            if len(body) > BODY_BYTES_MAX:
                raise h11.RemoteProtocolError(f"a body of more than {BODY_BYTES_MAX} bytes")
        return head, bytes(body)

    async def _next_event(self) -> h11.Event | type[h11.PAUSED]:
        while (happened := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(READ_BYTES))
        return happened  # type: ignore[return-value]

    async def send_json(self, status: int, body: str | bytes | Mapping[str, Any], further: Mapping[str, str] | None = None) -> None:
        """A whole response. Text and bytes go out as they are."""
        data = json.dumps(body) if isinstance(body, Mapping) else body
        data = data.encode() if isinstance(data, str) else data
        headers = [("content-type", "application/json"), ("content-length", str(len(data))), *(further or {}).items()]
        await self._send(h11.Response(status_code=status, headers=headers), h11.Data(data=data), h11.EndOfMessage())

    async def stream(self, body: AsyncIterator[bytes | Drop], further: Mapping[str, str]) -> bool:
        """A streamed response; False when the client left before its end."""
        sending = asyncio.create_task(self._send_stream(body, further))
        watching = asyncio.create_task(self._reader.read(1))
        try:
            await asyncio.wait({sending, watching}, return_when=asyncio.FIRST_COMPLETED)
            is_done = sending.done() and sending.exception() is None
        finally:
            for task in (sending, watching):
                task.cancel()
            await asyncio.gather(sending, watching, return_exceptions=True)
        return is_done

    async def _send_stream(self, body: AsyncIterator[bytes | Drop], further: Mapping[str, str]) -> None:
        headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", **further}
        await self._send(h11.Response(status_code=200, headers=list(headers.items())))
        async for part in body:
            if isinstance(part, Drop):
                self._writer.transport.abort()
                return
            await self._send(h11.Data(data=part))
        await self._send(h11.EndOfMessage())

    async def _send(self, *events: h11.Event) -> None:
        for happened in events:
            self._writer.write(self._http.send(happened) or b"")
        await self._writer.drain()

    def reusable(self) -> bool:
        """Whether another request may come on this connection."""
        if self._http.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            return False
        self._http.start_next_cycle()
        return True

    async def close(self) -> None:
        """Close, whatever state it is in."""
        self._writer.close()
        await asyncio.gather(self._writer.wait_closed(), return_exceptions=True)

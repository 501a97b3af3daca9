"""NIM, or any other OpenAI-compatible server (vLLM, Ollama, llama.cpp), over httpx.

Theory of operation: one POST for each reply, its server-sent events taken apart here. `EventParser` works on bytes, because
`aiter_lines()` of httpx splits at U+2028 and U+0085, which models do write. `SpeechFilter` lets through what is to be said:
reasoning comes in a field of its own, or between `<think>` and `</think>` in the text, cut anywhere. Tool calls come in a field of
their own as well, in pieces that `WantedCalls` puts together. That a model's replies begin with reasoning nobody opened is known
from the setting or learned in the warm-up, whose prompt is ours: were it learned from the replies of sessions, one user who asks
for the closing tag would silence all the others.

A stream is whole when a choice carried a finish reason or `[DONE]` came; an error may come inside an HTTP 200, and a connection
that just ends has lost the rest. Closing the stream closes the connection, and the server drops the generation. Which connections
are alive is the business of `http.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import json
import math
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import httpx

from voicefsm.adapters.followed import Followed
from voicefsm.adapters.http import Connections, Exchange, Lost, Tls, liveness, tls_context
from voicefsm.adapters.secrets import LOOPBACK, current, is_sendable
from voicefsm.errors import BackendError, ContextOverflow, Crowded, SettingsError
from voicefsm.ports import GenerationRequest, Message, Tool, WantedCall
from voicefsm.values import Backend, Shape, setting

T = TypeVar("T")

EVENT_BYTES_MAX = 1 << 20
"""Largest server-sent event taken from a server."""
ERROR_BYTES_MAX = 1 << 16
"""How much of an error's body is read."""
ERROR_CHARS_MAX = 300
"""How much of it is told."""
CALLS_MAX = 32
"""Most tool calls of one reply."""
ARGUMENTS_CHARS_MAX = 1 << 16
"""Longest arguments of all of them together."""
DONE = "[DONE]"
"""The event after which nothing comes."""
RETRY_AFTER_MS_MAX = 3_600_000
"""The longest time a server may ask to be left alone; what is longer counts as this."""
EVENTS_AT_ONCE = 4
"""Of a reply that comes faster than it is taken: then others have their turn on the loop."""
TAIL_MS_MAX = 50
"""How long to wait for the end of the body after it."""
IDLE_S_MAX = 5.0
"""How long an idle connection is kept. The servers that are known close theirs after this, so it is not worth more."""
WARM_UP_TOKENS_MAX = 512
"""Length of the reply nobody hears; a model that reasons needs some."""


class Reasoning(enum.StrEnum):
    """Where a model that reasons in the text begins."""

    TAGGED = "tagged"
    """Reasoning stands between <think> and </think>."""
    UNOPENED = "unopened"
    """Each reply begins with reasoning and only </think> ends it: the chat template has written <think> already."""


@dataclasses.dataclass(frozen=True, slots=True)
class LlmSettings:
    """Which language model answers, and how long it may take."""

    base_url: str = setting(
        "http://127.0.0.1:8000/v1",
        unit="",
        shape=Shape.URL,
        doc="Base URL of the OpenAI-compatible server, with its version (/v1).",
    )
    model: str = setting("", unit="", doc="Name of the model; empty takes the first one the server lists.")
    api_key: str = setting("", unit="", secret=True, doc="Bearer token; empty sends none.")
    allow_insecure_key: bool = setting(
        False, unit="", doc="Send the key over a connection that is not encrypted, to a host that is not this one."
    )
    headers: tuple[str, ...] = setting((), unit="headers", le=20, doc="More headers of each request, NAME=VALUE.")
    tls_ca_file: str = setting(
        "", unit="", doc="Certificates (PEM) of the authorities that the server's is checked against; empty: the well-known ones."
    )
    tls_certificate_file: str = setting("", unit="", doc="Our own certificate (PEM), where the server asks for one (mTLS).")
    tls_key_file: str = setting("", unit="", doc="The private key (PEM) of our certificate.")
    reasoning: Reasoning = setting(
        Reasoning.TAGGED, unit="", doc="tagged, or unopened for a model whose replies begin with reasoning that only </think> ends."
    )
    disable_thinking: bool = setting(
        False, unit="", doc="Send chat_template_kwargs.enable_thinking=false; vLLM and NIM know it, OpenAI refuses it."
    )
    warm_up: bool = setting(
        True,
        unit="",
        doc="Have one short reply written at start that nobody hears: shows if llm.reasoning is unopened, loads what loads late.",
    )
    connect_ms_max: int = setting(3000, unit="ms", ge=50, le=60000, doc="How long the connection may take.")
    first_token_ms_max: int = setting(10000, unit="ms", ge=100, le=120000, doc="How long the first event of a reply may take.")
    token_ms_max: int = setting(5000, unit="ms", ge=100, le=60000, doc="How long each later event of a reply may take.")
    list_ms_max: int = setting(5000, unit="ms", ge=50, le=60000, doc="How long the server may take to list its models.")
    health_ms_max: int = setting(
        1000,
        unit="ms",
        ge=50,
        le=60000,
        doc="How long the server may take to say that it is well; after half of it, it is asked again over a new connection.",
    )
    unacknowledged_ms_max: int = setting(
        3000,
        unit="ms",
        ge=1000,
        le=60000,
        doc="How long its host may acknowledge nothing, not even a probe, before a connection counts as dead (by the kernel).",
    )
    connections_max: int = setting(1000, unit="connections", ge=1, le=100000, doc="Most connections at a time; one for each reply.")

    def __post_init__(self) -> None:
        """Refuse what no single field can."""
        url = urlsplit(self.base_url)
        if bool(self.tls_certificate_file) != bool(self.tls_key_file):
            raise ValueError("tls_certificate_file and tls_key_file belong together.")
        if url.scheme != "https" and (self.tls_ca_file or self.tls_certificate_file):
            raise ValueError("there are certificates, and base_url does not begin with https.")
        if url.username or url.password:
            raise ValueError("base_url holds a name or a password, and is told in messages: use api_key_file, or headers.")
        if not is_sendable(self.api_key):
            raise ValueError("the key has characters that no header can carry: is it one line of plain ASCII?")
        if self.api_key and url.scheme != "https" and not self.allow_insecure_key and url.hostname not in LOOPBACK:
            raise ValueError(
                f"the key would go to {url.netloc} for anybody to read: use https, or allow_insecure_key if you trust the network."
            )
        if wrong := [header for header in self.headers if not _HEADER.fullmatch(header)]:
            name = wrong[0].partition("=")[0]  # the value may be a key
            raise ValueError(f"headers: {name!r} and what follows do not look like NAME=VALUE.")


_HEADER = re.compile(r"([\w-]+)=([\x20-\x7e]+)")


def http_client(settings: LlmSettings, tls: Tls) -> httpx.AsyncClient:
    """A client with the server's base URL, and the key as its file says it at each request."""

    def authorize(request: httpx.Request) -> httpx.Request:
        if key := current(settings.api_key):
            request.headers["authorization"] = f"Bearer {key}"
        return request

    return httpx.AsyncClient(
        base_url=settings.base_url.rstrip("/") + "/",
        headers=dict(header.split("=", 1) for header in settings.headers),
        auth=authorize,
        transport=httpx.AsyncHTTPTransport(
            verify=tls or False,
            limits=httpx.Limits(max_connections=settings.connections_max, keepalive_expiry=IDLE_S_MAX),
            socket_options=liveness(settings.unacknowledged_ms_max),
            trust_env=False,  # settings come from config.py alone
        ),
        timeout=httpx.Timeout(None, connect=settings.connect_ms_max / 1000, pool=settings.connect_ms_max / 1000),
        trust_env=False,
    )


def tls_of(settings: LlmSettings) -> Tls:
    """How the server is talked to. Raises `SettingsError` when a certificate cannot be used."""
    if not settings.base_url.startswith("https"):
        return None
    try:
        return tls_context(settings.tls_ca_file, settings.tls_certificate_file, settings.tls_key_file)
    except OSError as unreadable:  # ssl.SSLError is one
        what = f"The certificates for {settings.base_url} cannot be used: {unreadable}."
        raise SettingsError(what, remedy="Check llm.tls_ca_file, llm.tls_certificate_file and llm.tls_key_file.") from unreadable


# --- the adapter -------------------------------------------------------------------------------------------------------------


class NimLanguageModel:
    """`ports.LanguageModel` over HTTP. One per process; `aclose()` it at the end."""

    def __init__(self, settings: LlmSettings) -> None:
        self._settings = settings
        self._model = settings.model
        self.begins_with_reasoning = settings.reasoning is Reasoning.UNOPENED
        """Whether each reply is taken to begin with reasoning; by the settings, or since the warm-up showed it."""
        files = (settings.tls_ca_file, settings.tls_certificate_file, settings.tls_key_file)
        tls = Followed(f"the certificates for {settings.base_url}", [file for file in files if file], partial(tls_of, settings))
        self._connections = Connections(partial(http_client, settings), tls)

    async def aclose(self) -> None:
        """Close every connection. Harmless twice."""
        await self._connections.aclose()

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[str | WantedCall]:
        """See `ports.LanguageModel`."""
        completion = Completion(self._error)
        speech = SpeechFilter(begins_with_reasoning=self.begins_with_reasoning)
        async with aclosing(self._spoken(request, completion, speech)) as pieces:
            async for piece in pieces:
                yield piece
        if request.tools and request.may_call:
            for call in completion.calls.all():
                yield call

    async def _spoken(self, request: GenerationRequest, completion: Completion, speech: SpeechFilter) -> AsyncGenerator[str]:
        """What `speech` lets through of the reply."""
        async with aclosing(self._events(request)) as events:
            try:
                async for event in events:
                    if text := speech.feed(completion.take(event)):
                        yield text
            except BackendError:
                if not (completion.finish_reason or completion.is_done):
                    raise  # else the reply is written, whatever became of its envelope
        completion.check()
        if text := speech.finish(is_whole=completion.finish_reason != "length"):
            yield text

    async def warm_up(self) -> None:
        """Have one short reply written and forget it.

        The server loads what it loads late, and a model that reasons without an opening <think> is known before anybody hears it.
        Raises `BackendError`.
        """
        request = GenerationRequest((Message("user", "Say: ready."),), temperature=0.0, tokens_max=WARM_UP_TOKENS_MAX)
        speech = SpeechFilter(begins_with_reasoning=self.begins_with_reasoning)
        async with aclosing(self._spoken(request, Completion(self._error), speech)) as reply:
            async for _ in reply:
                pass
        self.begins_with_reasoning |= speech.closed_unopened

    async def models(self) -> tuple[str, ...]:
        """The models the server lists, in its order. Raises `BackendError`."""
        with self._connections.exchange() as exchange:
            return await self._models(exchange, _Deadline(self._settings.list_ms_max))

    async def check_health(self) -> None:
        """Return when the server says that it is well, or at least answers. Raises `BackendError`.

        Replies that wait on a connection that turns out to be dead fail now, and not at their deadline.
        """
        ms_max = self._settings.health_ms_max
        try:
            health = await self._connections.ask(lambda client: _get(client, "health/ready"), ms_max)
        except TimeoutError:
            raise self._error(f"did not answer within {ms_max} ms.", _RUNNING, retryable=True) from None
        except httpx.HTTPError as error:
            raise self._broken(error) from error
        if health.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise self._error("is still loading its model.", "Wait for it.", retryable=True)
        if health.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:  # servers other than NIM have no such page: that says nothing
            raise self._refused(health, health.content)

    async def ready(self) -> None:
        """Return when the server would answer now. Raises `BackendError` saying why it would not."""
        await self.check_health()
        models = await self.models()  # a server that is well may have no model
        if not models:
            raise self._error("has no model.", "Load one there.", retryable=True)
        if self._settings.model not in {"", *models}:
            raise self._error(f"has no model {self._settings.model!r}.", f"It has: {', '.join(models)}.", retryable=False)

    # --- one request ---

    async def _events(self, request: GenerationRequest) -> AsyncGenerator[str]:
        """The data of each event of the reply, each within its time."""
        with self._connections.exchange() as exchange:
            deadline = _Deadline(self._settings.first_token_ms_max)
            response = await self._post(exchange, deadline, request)
            if response.status_code == httpx.codes.NOT_FOUND and not (request.model or self._settings.model):
                self._model = ""  # found in the server's list, which may have changed since: ask once more
                await _let_go(response)
                response = await self._post(exchange, deadline, request)
            try:
                if response.status_code != httpx.codes.OK:
                    raise self._refused(response, await self._within(exchange, deadline, _head(response)))
                parser, taken = EventParser(), 0
                async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_bytes())) as body:
                    while (data := await self._within(exchange, deadline, anext(body, None))) is not None:
                        for event in self._parsed(parser, data):
                            yield event
                            if event == DONE:
                                await _read_to_end(body)
                                return
                            deadline = _Deadline(self._settings.token_ms_max)
                            taken += 1
                            if taken % EVENTS_AT_ONCE == 0:  # none of these waits need ever have been one
                                await asyncio.sleep(0)
            finally:
                await _let_go(response)

    def _parsed(self, parser: EventParser, data: bytes) -> Iterator[str]:
        try:
            yield from parser.feed(data)
        except ValueError as error:
            raise self._error(f"sent something that is no event stream: {error}.", _IS_IT_ONE, retryable=False) from error

    async def _post(self, exchange: Exchange, deadline: _Deadline, request: GenerationRequest) -> httpx.Response:
        body = self._body(request, request.model or await self._model_name(exchange, deadline))
        headers = {"accept": "text/event-stream"} | ({"traceparent": request.traceparent} if request.traceparent else {})
        post = exchange.client.build_request("POST", "chat/completions", json=body, headers=headers)
        return await self._within(exchange, deadline, exchange.client.send(post, stream=True))

    def _body(self, request: GenerationRequest, model: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model,
            "messages": [_message_of(message) for message in request.messages],
            "temperature": request.temperature,
            "max_tokens": request.tokens_max,
            "stream": True,
        }
        if request.tools:
            body["tools"] = [_tool_of(tool) for tool in request.tools]
            body["tool_choice"] = "auto" if request.may_call else "none"
        if self._settings.disable_thinking:
            body["chat_template_kwargs"] = {"enable_thinking": False}
        return body

    async def _model_name(self, exchange: Exchange, deadline: _Deadline) -> str:
        if not self._model:
            models = await self._models(exchange, deadline)
            if not models:
                raise self._error("has no model.", "Load one there.", retryable=True)
            self._model = models[0]
        return self._model

    async def _models(self, exchange: Exchange, deadline: _Deadline) -> tuple[str, ...]:
        response = await self._within(exchange, deadline, _get(exchange.client, "models"))
        if response.status_code != httpx.codes.OK:
            raise self._refused(response, response.content)
        try:
            return tuple(str(model["id"]) for model in response.json()["data"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            remedy = "The base URL should end with the API's version, such as /v1."
            raise self._error("answered its list of models with something else.", remedy, retryable=False) from error

    async def _within(self, exchange: Exchange, deadline: _Deadline, wait: Awaitable[T]) -> T:
        """Await `wait` until `deadline`; whatever goes wrong is a `BackendError`, and casts doubt on the connection."""
        try:
            return await exchange.within(deadline.at, wait)
        except TimeoutError:
            exchange.doubt()
            raise self._error(f"sent nothing for {deadline.ms} ms.", _RUNNING, retryable=True) from None
        except Lost:
            what = "answers on a new connection, and no more on the one that the reply was to come over."
            raise self._error(what, "Look for what cuts connections between here and there.", retryable=True) from None
        except httpx.HTTPError as error:
            if not isinstance(error, httpx.PoolTimeout):
                exchange.doubt()
            raise self._broken(error) from error

    def _broken(self, error: httpx.HTTPError) -> BackendError:
        told = str(error) or type(error).__name__
        if isinstance(error, httpx.PoolTimeout):
            message = f"All {self._settings.connections_max} connections of the gateway to {self._settings.base_url} are in use."
            return Crowded(Backend.LLM, message, remedy="Raise llm.connections_max, or admit fewer sessions.")
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return self._error(f"cannot be reached: {told}.", _RUNNING, retryable=True)
        return self._error(f"broke the connection: {told}.", _RUNNING, retryable=True)

    # --- errors ---

    def _refused(self, response: httpx.Response, body: bytes) -> BackendError:
        status = response.status_code
        if _NO_TOOLS in body:
            remedy = "Start the server with a tool call parser, or declare no tools."
            return self._error(f"answered HTTP {status}: {error_text(body)}.", remedy, retryable=False)
        remedy = _REMEDIES.get(status, _ITS_LOG if status >= httpx.codes.INTERNAL_SERVER_ERROR else _IS_IT_ONE)
        return self._error(
            f"answered HTTP {status}: {error_text(body)}.",
            remedy,
            retryable=is_retryable(status),
            is_overflow=is_overflow(status, body),
            retry_after_ms=retry_after_ms(response.headers),
        )

    def _error(
        self, what: str, remedy: str, *, retryable: bool, is_overflow: bool = False, retry_after_ms: int = 0
    ) -> BackendError:
        kind, remedy = (ContextOverflow, _TOO_LONG) if is_overflow else (BackendError, remedy)
        message = f"The language model at {self._settings.base_url} {what}"
        return kind(Backend.LLM, message, remedy=remedy, retryable=retryable, retry_after_ms=retry_after_ms)


def _message_of(message: Message) -> dict[str, Any]:
    written: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        written["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.calls
        ]
    return written | ({"tool_call_id": message.call_id} if message.call_id else {})


def _tool_of(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": json.loads(tool.parameters)}
    return {"type": "function", "function": function}


class _Deadline:
    """The end of a wait that begins now."""

    __slots__ = ("at", "ms")

    def __init__(self, ms: int) -> None:
        self.ms = ms
        self.at = asyncio.get_running_loop().time() + ms / 1000
        """On the clock of the running loop, in seconds."""


async def _read_to_end(body: AsyncGenerator[bytes]) -> None:
    """What follows [DONE]: a body that was read to its end leaves the connection to the next reply."""
    with contextlib.suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(TAIL_MS_MAX / 1000):
            async for _ in body:
                pass


async def _get(client: httpx.AsyncClient, path: str) -> httpx.Response:
    """The whole answer, closed."""
    response = await client.get(path)
    _part(response)
    return response


async def _let_go(response: httpx.Response) -> None:
    try:
        await response.aclose()
    finally:
        _part(response)


def _part(response: httpx.Response) -> None:
    """In httpx a response and its stream hold each other: parted, they need no garbage collector."""
    response.stream = _NO_BODY


async def _head(response: httpx.Response) -> bytes:
    """The first `ERROR_BYTES_MAX` or so of a body."""
    head = bytearray()
    async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_bytes())) as body:
        async for data in body:
            head += data
            if len(head) >= ERROR_BYTES_MAX:
                break
    return bytes(head)


_NO_BODY = httpx.ByteStream(b"")
_RUNNING = "Is it running? `voicefsm doctor` checks it."
_ITS_LOG = "Look into its log."
_IS_IT_ONE = "Is it an OpenAI-compatible server, and does the base URL end with the API's version, such as /v1?"
_TOO_LONG = "Serve the model with more context, or lower session.history_chars_max."
_REMEDIES: Mapping[int, str] = {
    400: "Check the model's limits and its chat template against the settings.",
    401: "Check the API key.",
    403: "Check the API key and what it is allowed to use.",
    404: "Check the base URL and the model's name against `voicefsm doctor`.",
    422: "Check the settings of the language model: the server does not know one of them.",
    429: "The server is at its capacity or quota: add replicas or admit fewer sessions.",
    503: "Is it still loading its model? `voicefsm doctor` checks it.",
}


def is_retryable(status: int) -> bool:
    """Whether asking again can help."""
    return status in {408, 409, 425, 429} or status >= httpx.codes.INTERNAL_SERVER_ERROR


_NO_TOOLS = b"--enable-auto-tool-choice"
"""What vLLM and NIM say when they were started without tools."""


def retry_after_ms(headers: Mapping[str, str]) -> int:
    """How long a server wants to be left alone: `retry-after-ms` of OpenAI, seconds or a date of RFC 9110; 0 when it does not say.

    A date is compared with the server's own `date`: our clock may be wrong.
    """
    with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError):  # the last two: dates without a zone, or of no year
        if text := headers.get("retry-after-ms"):
            return _bounded_ms(float(text))
        if text := headers.get("retry-after"):
            return _bounded_ms(float(text) * 1000 if _NUMBER.fullmatch(text.strip()) else _until_ms(text, headers["date"]))
    return 0


def _until_ms(date: str, now: str) -> float:
    return (parsedate_to_datetime(date) - parsedate_to_datetime(now)).total_seconds() * 1000


def _bounded_ms(ms: float) -> int:
    if not math.isfinite(ms):
        raise ValueError
    return round(min(max(0.0, ms), RETRY_AFTER_MS_MAX))


_NUMBER = re.compile(r"\d+(\.\d+)?")
_OVERFLOW = re.compile(rb"context[_ ](?:length|size|window)|maximum (?:context|model length)", re.IGNORECASE)
"""What vLLM, NIM, OpenAI and llama.cpp say of a prompt that is too long; they have no status of its own for it."""


def is_overflow(status: int, body: bytes) -> bool:
    """Whether an error says that the prompt is longer than the model's context. Status 0: none was given."""
    return status in {0, 400, 413} and _OVERFLOW.search(body) is not None


def error_text(body: bytes) -> str:
    """What an error's body says: OpenAI's nested shape, the flat one of older servers, a problem document, or plain text."""
    text = body.decode(errors="replace").strip()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text[:ERROR_CHARS_MAX] or "nothing"
    told = _message(found) or text
    return _clean(told)[:ERROR_CHARS_MAX].rstrip(".")


def _message(body: object) -> str:
    if not isinstance(body, Mapping):
        return str(body)
    error = body.get("error")
    if isinstance(error, Mapping):
        return str(error.get("message") or dict(error))
    return str(error or body.get("message") or body.get("detail") or body.get("title") or "")


# --- server-sent events ------------------------------------------------------------------------------------------------------

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"
_STATUS = re.compile(r"[1-9][0-9]{2}", re.ASCII)


class EventParser:
    """Takes an event stream apart, however it is cut: LF, CRLF or CR, comments, data of several lines, split characters."""

    def __init__(self) -> None:
        self._line = bytearray()
        """The line in progress."""
        self._data: list[bytes] = []
        """The data lines of the event in progress."""
        self._size = 0
        self._is_after_cr = False
        self._is_first_line = True

    def feed(self, data: bytes) -> list[str]:
        """The data of each event that is now complete. Raises `ValueError` for one beyond `EVENT_BYTES_MAX`."""
        if self._is_after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._is_after_cr = False
        if not data:
            return []
        self._is_after_cr = data.endswith(b"\r")
        *lines, rest = _LINE_END.split(bytes(self._line) + data)
        self._line[:] = rest
        events = [event for line in lines if (event := self._take(line)) is not None]
        if self._size + len(self._line) > EVENT_BYTES_MAX:
            raise ValueError(f"an event of more than {EVENT_BYTES_MAX} bytes")
        return events

    def _take(self, line: bytes) -> str | None:
        """Take one line; the data of the event it ends."""
        if self._is_first_line:
            self._is_first_line, line = False, line.removeprefix(_BOM)
        if line:
            field, _, value = line.partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" "))
                self._size += len(value)
            return None
        data, self._data, self._size = self._data, [], 0
        return b"\n".join(data).decode(errors="replace") if data else None


# --- a completion ------------------------------------------------------------------------------------------------------------


class Completion:
    """What the events of one reply add up to."""

    def __init__(self, error: Callable[..., BackendError]) -> None:
        self._error = error
        self._has_text = False
        self.calls = WantedCalls()
        """The tools it asks for."""
        self.finish_reason = ""
        """Why the model stopped; empty as long as it has not."""
        self.is_done = False
        """Whether the server said that nothing more comes."""

    def take(self, event: str) -> str:
        """The text in one event; often none. Raises `BackendError` for an error that comes as an event."""
        if event == DONE:
            self.is_done = True
            return ""
        body = self._parse(event)
        choices = body.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, Mapping):
            return ""  # usage, and whatever else servers put there
        self.finish_reason = str(choice.get("finish_reason") or self.finish_reason)
        delta = choice.get("delta")
        if not isinstance(delta, Mapping):
            return ""
        if not self.calls.take(delta.get("tool_calls")):
            raise self._error("asks for more tool calls than anybody could mean.", _ITS_LOG, retryable=True)
        text = delta.get("content")
        if not isinstance(text, str):
            return ""
        self._has_text |= bool(text)
        return _clean(text)

    def _parse(self, event: str) -> Mapping[str, Any]:
        try:
            body = json.loads(event)
        except (ValueError, RecursionError) as error:
            raise self._error(f"sent an event that is no JSON: {event[:80]!r}.", _IS_IT_ONE, retryable=True) from error
        if not isinstance(body, Mapping):
            raise self._error(f"sent an event that is no object: {event[:80]!r}.", _IS_IT_ONE, retryable=True)
        if body.get("error") or body.get("object") == "error":
            code = _code(body)
            raise self._error(
                f"failed in mid-reply: {error_text(event.encode())}.",
                _REMEDIES.get(code, _ITS_LOG),
                retryable=code == 0 or is_retryable(code),
                is_overflow=is_overflow(code, event.encode()),
            )
        return body

    def check(self) -> None:
        """The events are over. Raises `BackendError` when the reply is not."""
        if self.finish_reason or (self.is_done and (self._has_text or self.calls.all())):
            return
        raise self._error("broke off the reply before its end.", _ITS_LOG, retryable=True)


def _code(body: Mapping[str, Any]) -> int:
    """The HTTP status in an error's body; 0 when it has none."""
    error = body.get("error")
    code = error.get("code") if isinstance(error, Mapping) else body.get("code")
    return int(code) if isinstance(code, int | str) and _STATUS.fullmatch(str(code)) else 0


# --- tool calls --------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class _CallInPieces:
    """One call, as far as it has come."""

    index: int
    id: str
    name: str = ""
    arguments: str = ""


class WantedCalls:
    """Puts tool calls together that come in pieces.

    A piece names its call by an index; some servers leave that out or give every call the same, and tell calls apart by their ids
    alone. Name and id come once, or again with every piece; the arguments are cut anywhere.
    """

    def __init__(self) -> None:
        self._calls: list[_CallInPieces] = []

    def take(self, pieces: object) -> bool:
        """Take the `tool_calls` of one delta, whatever it is. False beyond `CALLS_MAX` or `ARGUMENTS_CHARS_MAX`."""
        for piece in pieces if isinstance(pieces, list) else ():
            if isinstance(piece, Mapping) and not self._take(piece):
                return False
        return len(self._calls) <= CALLS_MAX

    def _take(self, piece: Mapping[str, Any]) -> bool:
        index, call_id = piece.get("index"), str(piece.get("id") or "")
        call = self._call(index if isinstance(index, int) else None, call_id)
        function = piece.get("function")
        if isinstance(function, Mapping):
            call.name = call.name or str(function.get("name") or "")
            arguments = function.get("arguments") or ""
            call.arguments += arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        return sum(len(call.arguments) for call in self._calls) <= ARGUMENTS_CHARS_MAX

    def _call(self, index: int | None, call_id: str) -> _CallInPieces:
        for call in reversed(self._calls):
            is_same_id = not call_id or call_id == call.id or not call.id
            if index in (None, call.index) and is_same_id:
                call.id = call.id or call_id
                return call
        call = _CallInPieces(len(self._calls) if index is None else index, call_id)
        self._calls.append(call)
        return call

    def all(self) -> list[WantedCall]:
        """Those that name a tool, in order."""
        return [WantedCall(name, _clean(call.arguments)) for call in self._calls if (name := _clean(call.name))]


def _clean(text: str) -> str:
    """Without halves of surrogate pairs, which come escaped in JSON and cannot be sent on."""
    return text.encode(errors="ignore").decode()


# --- reasoning ---------------------------------------------------------------------------------------------------------------

_TAG = re.compile(r"</?think>")
_TAG_BEGUN = re.compile(r"<(?:/?(?:t(?:h(?:i(?:nk?)?)?)?)?)?\Z")
HELD_CHARS_MAX = 1 << 16
"""Longest beginning of a reply that is kept to be said after all, if it was no reasoning."""


class SpeechFilter:
    """Lets through what is to be said of a text that comes in pieces, and nothing the model thinks."""

    def __init__(self, *, begins_with_reasoning: bool = False) -> None:
        self.closed_unopened = False
        """Whether the first tag was a </think>: all before it was reasoning that nobody had opened."""
        self._is_tagged = False
        """Whether a tag came."""
        self._is_reasoning = begins_with_reasoning
        self._is_presumed = begins_with_reasoning
        """Whether reasoning was presumed and not seen to begin; `_held` then keeps it."""
        self._held: list[str] = []
        self._held_chars = 0
        self._tail = ""
        """What may be the beginning of a tag."""
        self._is_fresh = False
        """Whether nothing was said since reasoning ended."""

    def feed(self, text: str) -> str:
        """What is to be said of it; may be empty."""
        text, said = self._tail + text, []
        while found := _TAG.search(text):
            said.append(self._pass(text[: found.start()]))
            if self._turn(opens=found[0] == "<think>"):
                said.clear()
            text = text[found.end() :]
        begun = _TAG_BEGUN.search(text)
        end = begun.start() if begun else len(text)
        self._tail = text[end:]
        said.append(self._pass(text[:end]))
        return "".join(said)

    def finish(self, *, is_whole: bool = True) -> str:
        """The rest. A whole reply in which presumed reasoning never ended was none: all of it is to be said."""
        tail, self._tail = self._tail, ""
        said = self._pass(tail)
        if self._is_presumed and is_whole:
            return "".join(self._held).lstrip()
        return said

    def _turn(self, *, opens: bool) -> bool:
        """Take a tag. Whether it turns what came before it in this reply into reasoning; what was let through stays so."""
        is_lone = not opens and not self._is_tagged
        self.closed_unopened |= is_lone
        self._is_tagged, self._is_presumed = True, False
        self._is_reasoning, self._is_fresh = opens, not opens
        return is_lone

    def _pass(self, text: str) -> str:
        if self._is_presumed and self._held_chars < HELD_CHARS_MAX:
            self._held.append(text)
            self._held_chars += len(text)
        if self._is_reasoning:
            return ""
        if self._is_fresh:
            text = text.lstrip()
            self._is_fresh = not text
        return text

"""The embedded language model's server, over loopback, as the official client and as rude clients see it."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicefsm.embedded import llm_server as module
from voicefsm.embedded.llm_server import MODEL, LlmServer, LlmServerSettings, Refusal, llm_server, paced, parse, tokens
from voicefsm.embedded.responder import Message

NOW = dt.datetime(2026, 11, 23, 16, 5, tzinfo=dt.UTC)
TIME: list[Any] = [{"role": "user", "content": "what time is it"}]
STORY: list[Any] = [{"role": "user", "content": "tell me a long story"}]
ANSWER = "It is four oh five in the afternoon."


@asynccontextmanager
async def serving(**changes: Any) -> AsyncGenerator[tuple[LlmServer, httpx.AsyncClient]]:
    settings = LlmServerSettings(**({"port": 0, "first_token_ms": 0, "tokens_per_second": 100_000} | changes))
    async with llm_server(settings, lambda: NOW) as server, httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client:
        yield server, client


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110, it happens on the other side of a socket
            await asyncio.sleep(0.002)


def events(response: httpx.Response) -> list[Any]:
    parts = [part.removeprefix("data: ") for part in response.text.split("\n\n") if part]
    return [part if part == "[DONE]" else json.loads(part) for part in parts]


async def test_official_client_streams() -> None:
    """Otherwise this is no OpenAI-compatible server."""
    async with serving() as (server, _), openai.AsyncOpenAI(base_url=server.base_url, api_key="k") as client:
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=TIME,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == ANSWER
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert chunks[-1].choices == []
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == len(chunks) - 3
        assert len({chunk.id for chunk in chunks}) == 1


async def test_official_client_gets_a_whole_answer_models_and_errors() -> None:
    """Otherwise requests without streaming, or wrong ones, are not understood."""
    async with serving() as (server, _), openai.AsyncOpenAI(base_url=server.base_url, api_key="k", max_retries=0) as client:
        whole = await client.chat.completions.create(model=MODEL, messages=TIME)
        assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (ANSWER, "stop")
        assert whole.usage is not None
        assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
        assert [model.id async for model in client.models.list()] == [MODEL]
        assert (await client.models.retrieve(MODEL)).id == MODEL
        with pytest.raises(openai.NotFoundError, match="gpt-9") as unknown:
            await client.chat.completions.create(model="gpt-9", messages=TIME)
        assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.BadRequestError, match="messages is missing") as empty:
            await client.chat.completions.create(model=MODEL, messages=[])
        assert (empty.value.type, empty.value.param) == ("invalid_request_error", "messages")


async def test_stream_on_the_wire() -> None:
    """Otherwise clients that are stricter than ours do not understand it: role first, DONE last, no usage unless asked for."""
    async with serving() as (_, client):
        response = await client.post("chat/completions", json={"messages": TIME, "stream": True})
        assert response.headers["content-type"].startswith("text/event-stream")
        first, *others, finish, done = events(response)
        assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert all(list(other["choices"][0]["delta"]) == ["content"] for other in others)
        assert (finish["choices"][0]["delta"], finish["choices"][0]["finish_reason"], done) == ({}, "stop", "[DONE]")


async def test_answer_is_cut_at_the_limit() -> None:
    """Otherwise the gateway's limit of tokens is not kept, or the cut goes untold."""
    async with serving() as (_, client):
        for name in ("max_tokens", "max_completion_tokens"):
            body = (await client.post("chat/completions", json={"messages": TIME, name: 3})).json()
            assert body["choices"][0] | {"index": 0} == {
                "index": 0,
                "message": {"role": "assistant", "content": "It is four"},
                "logprobs": None,
                "finish_reason": "length",
            }
            assert body["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("is_stream", [True, False])
async def test_client_that_leaves_ends_the_generation(is_stream: bool) -> None:
    """Otherwise every barge-in leaves the model writing for nobody."""
    async with serving(tokens_per_second=1.0) as (server, _):
        async with httpx.AsyncClient(base_url=server.base_url, trust_env=False) as client:
            asking = asyncio.create_task(client.post("chat/completions", json={"messages": STORY, "stream": is_stream}))
            await until(lambda: server.counts.tokens > 0)
            assert server.counts.running == 1
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await until(lambda: server.counts.aborted == 1)
        assert (server.counts.running, server.counts.completed) == (0, 0)


async def test_metrics_count_generations() -> None:
    """Otherwise nobody sees from outside whether generations are aborted."""
    async with serving() as (server, client):
        await client.post("chat/completions", json={"messages": TIME})
        await until(lambda: server.counts.completed == 1)
        text = (await client.get("metrics")).text
        assert 'voicefsm_embedded_generations_total{outcome="completed"} 1\n' in text
        assert 'voicefsm_embedded_generations_total{outcome="aborted"} 0\n' in text
        assert f"voicefsm_embedded_tokens_total {server.counts.tokens}\n" in text


async def test_pages() -> None:
    """Otherwise doctor cannot tell whether the server is there."""
    async with serving() as (_, client):
        assert (await client.get("health/ready")).status_code == 200
        assert (await client.get("health/live")).status_code == 200
        assert (await client.get("models")).json()["data"][0]["id"] == MODEL
        for method, path, status in (("GET", "nothing", 404), ("GET", "chat/completions", 405), ("POST", "models", 405)):
            response = await client.request(method, path)
            assert response.status_code == status
            assert response.json()["error"]["type"] == "invalid_request_error"


async def test_connection_serves_many_requests_even_early_ones() -> None:
    """Otherwise every turn pays for a connection, or a request sent early is lost."""
    async with serving() as (server, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = json.dumps({"messages": TIME}).encode()
        request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        writer.write(request * 3)
        for _ in range(3):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            length = int(head.lower().split(b"content-length:")[1].split()[0])
            assert ANSWER.encode() in await reader.readexactly(length)
        writer.close()
        await writer.wait_closed()
        await until(lambda: server.counts.completed == 3)


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"nonsense\r\n\r\n", b"400"), (b"POST /v1/models HTTP/1.1\r\nhost: x\r\ncontent-length: 2000\r\n\r\n" + b"x" * 2000, b"413")],
)
async def test_what_is_no_request_is_refused(sent: bytes, status: bytes) -> None:
    """Otherwise a client in error hangs, or fills the memory."""
    async with serving(body_bytes_max=1024) as (server, client):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        assert (await reader.read()).startswith(b"HTTP/1.1 " + status)
        writer.close()
        await writer.wait_closed()
        assert (await client.get("health/live")).status_code == 200


async def test_idle_connections_end_and_too_many_are_refused() -> None:
    """Otherwise clients that never ask keep others out for ever."""
    async with serving(connections_max=1, idle_ms_max=100) as (server, client):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        refused = await client.get("health/live")
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "server_error")
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        answered = [(await client.get("health/live")).status_code for _ in range(2)]
        assert 200 in answered


async def test_defect_ends_one_request_only(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise one sentence takes the whole server down."""

    def broken(*_: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "respond", broken)
    async with serving() as (_, client):
        failed = await client.post("chat/completions", json={"messages": TIME})
        assert (failed.status_code, failed.json()["error"]["type"]) == (500, "server_error")
        assert (await client.get("health/live")).status_code == 200
    assert "ZeroDivisionError" in caplog.text


async def test_end_of_the_server_cuts_connections() -> None:
    """Otherwise the process does not stop while somebody listens to a story."""
    async with asyncio.timeout(20), serving(tokens_per_second=1.0) as (server, client):
        asking = asyncio.create_task(client.post("chat/completions", json={"messages": STORY, "stream": True}))
        await until(lambda: server.counts.running == 1)
    assert isinstance((await asyncio.gather(asking, return_exceptions=True))[0], httpx.HTTPError)
    assert server.counts.aborted == 1


async def test_taken_port_is_named() -> None:
    """Otherwise the user sees an error number."""
    async with serving() as (server, _):
        with pytest.raises(OSError, match=f"port {server.port}.*Something else listens there"):
            async with llm_server(LlmServerSettings(port=server.port)):
                pass


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"{", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "JSON object"),
        (b"{}", "messages is missing"),
        (b'{"messages": [{"role": "king", "content": "x"}]}', "role"),
        (b'{"messages": [{"role": "user", "content": 7}]}', "text or a list"),
        (b'{"messages": [{"role": "user", "content": "x"}], "n": 2}', "n must be 1"),
        (b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 0}', "max_tokens"),
        (b'{"messages": [{"role": "user"}, {"role": "user"}, {"role": "user"}]}', "too many"),
        (b'{"model": "llama", "messages": []}', "'llama' does not exist"),
    ],
)
def test_nonsense_is_refused(body: bytes, complaint: str) -> None:
    """Otherwise the client does not learn what is wrong with its request."""
    with pytest.raises(Refusal, match=complaint):
        parse(body, messages_max=2)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)))
def test_any_json_is_parsed_or_refused(value: object) -> None:
    """Otherwise a body nobody thought of is a defect of ours."""
    for body in (value, {"messages": value}, {"messages": [{"role": "user", "content": value}], "max_tokens": value}):
        with suppress(Refusal):
            assert parse(json.dumps(body).encode(), messages_max=8).messages


def test_content_may_come_in_parts() -> None:
    """Otherwise clients that send lists of parts are refused, or not heard."""
    parts = [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "there"}]
    body = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": None}]}
    assert parse(json.dumps(body).encode(), messages_max=2).messages == (Message("user", "hello there"), Message("assistant", ""))


@given(st.text())
def test_tokens_are_the_text(text: str) -> None:
    """Otherwise the answer changes on its way."""
    assert "".join(tokens(text)) == text


def test_tokens_are_pieces_of_words() -> None:
    """Otherwise clients are never tested with words that come in pieces."""
    assert tokens("The lighthouse, lit.") == ["The", " lighth", "ouse", ",", " lit", "."]


@pytest.mark.looptime
async def test_each_token_has_its_moment() -> None:
    """Otherwise the delays of slow clients add up, or the model cannot be made as slow as a real one."""
    clock = asyncio.get_running_loop().time
    start, moments = clock(), []
    async for _ in paced(["a", "b", "c"], LlmServerSettings(first_token_ms=500, tokens_per_second=10)):
        moments.append(round(clock() - start, 3))
        await asyncio.sleep(0.03)
    assert moments == [0.5, 0.6, 0.7]

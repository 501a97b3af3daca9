"""The language model, against a scripted server over loopback, and its parsers on their own."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicefsm.adapters.nim import (
    ARGUMENTS_CHARS_MAX,
    CALLS_MAX,
    EVENT_BYTES_MAX,
    EventParser,
    LlmSettings,
    NimLanguageModel,
    Reasoning,
    SpeechFilter,
    WantedCalls,
    error_text,
)
from voicefsm.errors import BackendError, ContextOverflow
from voicefsm.events import ToolCall
from voicefsm.ports import GenerationRequest, Message, Tool, WantedCall
from voicefsm.scripted import DONE, FINISH, ROLE, Drop, Hang, HttpError, Pause, ScriptedLlm, called, chunk, event
from voicefsm.scripted.llm import Answer, Step

REQUEST = GenerationRequest((Message("system", "Be brief."), Message("user", "Hello?")), temperature=0.3, tokens_max=64)


@asynccontextmanager
async def model(*replies: Answer, **settings: Any) -> AsyncGenerator[tuple[NimLanguageModel, ScriptedLlm]]:
    async with ScriptedLlm(replies) as llm:
        adapter = NimLanguageModel(LlmSettings(**({"base_url": llm.base_url} | settings)))
        async with aclosing(adapter):
            yield adapter, llm


async def pieces_of(adapter: NimLanguageModel) -> list[str]:
    pieces = [piece async for piece in adapter.stream(REQUEST)]
    assert not any(isinstance(piece, WantedCall) for piece in pieces), "nobody declared a tool"
    return [str(piece) for piece in pieces]


async def answer(*steps: Step, **settings: Any) -> str:
    async with model(steps, **settings) as (adapter, _):
        return "".join(await pieces_of(adapter))


async def test_reply_comes_in_pieces_and_the_request_says_what_was_asked() -> None:
    """Otherwise nothing is spoken before the model has finished, or the model answers something else."""
    async with model("Hello there, you.", api_key="secret") as (adapter, llm):
        assert await pieces_of(adapter) == ["Hello", " there,", " you."]
        asked = llm.requests[0]
        assert asked.messages == ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"})
        assert asked.body == {
            "model": "scripted",
            "messages": list(asked.messages),
            "temperature": 0.3,
            "max_tokens": 64,
            "stream": True,
        }
        assert asked.headers["authorization"] == "Bearer secret"
        await until(lambda: llm.completed == 1)
        assert llm.aborted == 0


async def test_model_is_asked_for_once() -> None:
    """Otherwise each turn pays for a list of models."""
    async with model("Hello.") as (adapter, llm):
        await pieces_of(adapter)
        await pieces_of(adapter)
        assert llm.paths == ["/v1/models", "/v1/chat/completions", "/v1/chat/completions"]


async def test_model_that_is_gone_is_looked_for_again_once() -> None:
    """Otherwise a server that was given another model refuses every reply until the gateway is restarted."""
    gone = HttpError(404, {"object": "error", "message": "The model `scripted` does not exist.", "code": 404})
    async with model("Hello.", gone, "Hello.", gone) as (adapter, llm):
        await pieces_of(adapter)
        llm.models = ["other"]
        assert await pieces_of(adapter) == ["Hello."]
        assert [asked.body["model"] for asked in llm.requests] == ["scripted", "scripted", "other"]
        with pytest.raises(BackendError, match="does not exist"):
            await pieces_of(adapter)
        assert len(llm.requests) == 5
    async with model(gone, model="mine") as (adapter, llm):
        with pytest.raises(BackendError, match="does not exist"):
            await pieces_of(adapter)
        assert len(llm.requests) == 1


async def test_replies_leave_nothing_of_theirs_to_the_garbage_collector() -> None:
    """Otherwise memory grows by some megabytes, thousands of requests and responses, before it is freed at once."""
    replies: list[Answer] = ["Hello there, you."] * 8
    async with model(*replies, HttpError(404, {"message": "no"}), model="scripted") as (adapter, _):
        await pieces_of(adapter)
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(3):
                await adapter.ready()
                await pieces_of(adapter)
                async with aclosing(adapter.stream(REQUEST)) as reply:  # broken off
                    await anext(reply)
            await pieces_of(adapter)
            with pytest.raises(BackendError):
                await pieces_of(adapter)
            gc.collect()
            left = {type(one).__qualname__ for one in gc.garbage if type(one).__module__.startswith(("httpx", "httpcore"))}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    assert left == set()


async def test_named_model_and_thinking_are_sent_as_set() -> None:
    """Otherwise a setting is a wish."""
    async with model("Hello.", model="mine", disable_thinking=True) as (adapter, llm):
        await pieces_of(adapter)
        assert llm.requests[0].body["model"] == "mine"
        assert llm.requests[0].body["chat_template_kwargs"] == {"enable_thinking": False}
        assert "/v1/models" not in llm.paths


@pytest.mark.parametrize(
    "steps",
    [
        [ROLE, chunk({}), "Hello", chunk({"content": None}), " there", FINISH, DONE],
        [ROLE, "Hello", chunk({"content": " there"}, "stop"), DONE],
        ["Hello", " there", FINISH, {"choices": [], "usage": {"prompt_tokens": 1}}, DONE],
        ["Hello", " there", FINISH],
        ["Hello", " there", DONE],
        ["Hello", " there", chunk({}, "length"), DONE],
        [b": keep-alive\r\n\r\n", "Hello", b"event: x\rid: 7\r\r", " there", FINISH, DONE],
        ["Hello", " there", chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a'}}]}), FINISH, DONE],
        [chunk({"reasoning": "Well"}), chunk({"reasoning_content": "hm", "content": ""}), "Hello", " there", FINISH, DONE],
        ["<thi", "nk>Well</th", "ink>\n\n", "Hello", " there", FINISH, DONE],
        [*"<think>Well</think>\n\nHello there", FINISH, DONE],
        ["Hello", " there", FINISH, Drop()],
        [event(chunk({"content": "Hello"})) + event(chunk({"content": " there"})) + event(FINISH) + DONE],
        [b"data: {\ndata: " + json.dumps(chunk({"content": "Hello there"}))[1:].encode() + b"\n\n", FINISH, DONE],
    ],
)
async def test_everything_servers_put_in_a_stream_leaves_the_text(steps: Sequence[Step]) -> None:
    """Otherwise one server's habit breaks the reply, or something is spoken that nobody should hear."""
    assert await answer(*steps) == "Hello there"


async def test_unicode_separators_and_split_characters_survive() -> None:
    """Otherwise one odd character in a token is a failed reply (httpx splits lines at U+2028)."""
    text = "a\u2028b\u0085c नमस्ते 🙂"
    raw = event(chunk({"content": text}))
    assert await answer(*[part for byte in raw for part in (bytes([byte]),)], FINISH, DONE) == text


async def test_half_a_character_is_dropped() -> None:
    """Otherwise one broken token cannot be written into the history, the log or the next request, and ends the session."""
    raw = event(chunk({"content": "@"})).replace(b"@", rb"a\ud83d b\ud83d\ude42")
    assert await answer(raw, FINISH, DONE) == "a b🙂"


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["Hel"], "broke off the reply"),
        ([], "broke off the reply"),
        ([DONE], "broke off the reply"),
        (["Hel", Drop()], "broke the connection"),
        (["Hel", {"error": {"message": "CUDA error", "code": 500}}, DONE], "failed in mid-reply: CUDA error"),
        (["Hel", {"object": "error", "message": "KV cache", "code": 500}, DONE], "failed in mid-reply: KV cache"),
        (["Hel", b"data: {nonsense\n\n"], "no JSON"),
        (["Hel", b"data: 7\n\n"], "no object"),
        (["Hel", Hang()], "sent nothing for 100 ms"),
        ([Hang()], "sent nothing for 200 ms"),
        ([b": ping\n\n", Pause(150), b": ping\n\n", Hang()], "sent nothing for 200 ms"),
        ([b"data: " + b"x" * (EVENT_BYTES_MAX + 1)], "no event stream"),
    ],
)
async def test_reply_that_breaks_off_is_a_failure_after_its_text(steps: Sequence[Step], message: str) -> None:
    """Otherwise half an answer passes for a whole one, or the session waits for ever."""
    heard: list[str] = []
    async with model(steps, first_token_ms_max=200, token_ms_max=100) as (adapter, _):
        await adapter.models()
        with pytest.raises(BackendError, match=message):
            await collect(adapter, heard)
    assert "".join(heard) == "".join(step for step in steps if isinstance(step, str))


async def collect(adapter: NimLanguageModel, heard: list[str]) -> None:
    async for piece in adapter.stream(REQUEST):
        heard.append(str(piece))  # noqa: PERF401, what came before a failure counts


@pytest.mark.parametrize(
    ("status", "body", "told", "retryable"),
    [
        (400, {"error": {"message": "maximum context length is 10 tokens.", "code": 400}}, "maximum context length", False),
        (404, {"object": "error", "message": "The model `x` does not exist.", "code": 404}, "does not exist", False),
        (401, "Unauthorized", "Unauthorized", False),
        (422, {"detail": [{"loc": ["body"]}]}, "loc", False),
        (429, {"status": 429, "title": "Too Many Requests"}, "Too Many Requests", True),
        (500, b"", "nothing", True),
        (503, {"error": "loading"}, "loading", True),
        (302, "", "nothing", False),
    ],
)
async def test_refusal_says_what_the_server_said(status: int, body: Any, told: str, retryable: bool) -> None:
    """Otherwise the operator learns a number and not what to do."""
    async with model(HttpError(status, body)) as (adapter, _):
        with pytest.raises(BackendError, match=rf"HTTP {status}: .*{told}") as caught:
            await pieces_of(adapter)
    assert caught.value.retryable is retryable
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("headers", "wait_ms"),
    [
        ({}, 0),
        ({"retry-after": "2"}, 2000),
        ({"retry-after": "0.25"}, 250),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1500),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:07 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 7000),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:07 GMT", "date": "Wed, 21 Oct 2015 07:29:00 GMT"}, 0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:07 GMT"}, 0),
        ({"retry-after": "soon", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:07", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:07 -0000", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 21 Oct 99999999999999999999 07:28:07 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after-ms": "nan"}, 0),
        ({"retry-after": "999999999"}, 3_600_000),
    ],
)
async def test_server_that_wants_to_be_left_alone_is_believed(headers: dict[str, str], wait_ms: int) -> None:
    """Otherwise a server at its limit is asked again at once, by every session, and never recovers."""
    async with model(HttpError(429, {"status": 429, "title": "Too Many Requests"}, headers)) as (adapter, _):
        with pytest.raises(BackendError, match="Too Many Requests") as caught:
            await pieces_of(adapter)
    assert (caught.value.retry_after_ms, caught.value.retryable) == (wait_ms, True)


@pytest.mark.parametrize(
    ("failure", "is_overflow"),
    [
        (HttpError(400, {"message": "This model's maximum context length is 4096 tokens. However, you requested 5000."}), True),
        (HttpError(400, {"error": {"message": "Please shorten it.", "code": "context_length_exceeded"}}), True),
        (HttpError(400, {"error": {"message": "the request exceeds the available context size", "code": 400}}), True),
        (HttpError(400, "The decoder prompt (length 9) is longer than the maximum model length of 8."), True),
        (HttpError(400, {"error": {"message": "Conversation roles must alternate."}}), False),
        (HttpError(500, "context length"), False),
        ([{"error": {"message": "maximum context length is 10 tokens.", "code": 400}}, DONE], True),
        ([{"error": {"message": "CUDA error", "code": 400}}, DONE], False),
    ],
)
async def test_prompt_that_is_too_long_is_told_from_other_refusals(failure: Answer, is_overflow: bool) -> None:
    """Otherwise the session asks with the same prompt for ever, or forgets half the conversation for nothing."""
    async with model(failure) as (adapter, _):
        with pytest.raises(BackendError) as caught:
            await pieces_of(adapter)
    assert isinstance(caught.value, ContextOverflow) is is_overflow
    assert ("session.history_chars_max" in caught.value.remedy) is is_overflow


async def test_nobody_there_is_a_backend_error() -> None:
    """Otherwise a stopped server ends sessions with a traceback."""
    async with aclosing(NimLanguageModel(LlmSettings(base_url="http://127.0.0.1:1/v1"))) as adapter:
        for call in (pieces_of(adapter), adapter.models(), adapter.ready(), adapter.warm_up()):
            with pytest.raises(BackendError, match=r"127\.0\.0\.1:1/v1 cannot be reached.*`voicefsm doctor`"):
                await call


async def test_closing_aborts_the_generation() -> None:
    """Otherwise a barge-in leaves the model writing to nobody."""
    async with model(["Once", " upon", Hang()]) as (adapter, llm):
        async with aclosing(adapter.stream(REQUEST)) as reply:
            assert await anext(reply) == "Once"
        await until(lambda: llm.aborted == 1)
        waiting = asyncio.create_task(pieces_of(adapter))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until(lambda: llm.aborted == 2)


async def until(happened: Callable[[], bool]) -> None:
    """Wait for something on the other side of a socket."""
    async with asyncio.timeout(5):
        while not happened():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_connection_is_used_again() -> None:
    """Otherwise each turn pays for a new connection."""
    async with model("One.") as (adapter, llm):
        for _ in range(3):
            await pieces_of(adapter)
        assert (llm.connections, llm.aborted) == (1, 0)


async def test_every_way_out_gives_the_connection_back() -> None:
    """Otherwise replies that were cut or refused use up the pool, and the gateway falls silent after an hour."""
    replies: list[Answer] = [
        ["Once", Hang()],
        HttpError(500, "x" * 200_000),
        ["Hel", Drop()],
        ["Hel", b"data: 7\n\n", Hang()],
        "Hi.",
    ]
    async with model(*replies, connections_max=1, connect_ms_max=500) as (adapter, _):
        async with aclosing(adapter.stream(REQUEST)) as reply:
            await anext(reply)
        for _ in range(3):
            with pytest.raises(BackendError, match=r"HTTP 500|broke the connection|no object"):
                await pieces_of(adapter)
        assert await pieces_of(adapter) == ["Hi."]


async def test_environment_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a proxy meant for something else stands between the gateway and its model."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with model("Hi.") as (adapter, _):
        assert await pieces_of(adapter) == ["Hi."]


async def test_slow_listener_is_no_slow_server() -> None:
    """Otherwise back-pressure from the voice kills the reply."""
    async with model("one two three", first_token_ms_max=200, token_ms_max=100) as (adapter, _):
        heard = []
        async for piece in adapter.stream(REQUEST):
            heard.append(str(piece))
            await asyncio.sleep(0.15)
        assert "".join(heard) == "one two three"


async def test_lone_end_of_reasoning_is_learned_before_anybody_hears_it() -> None:
    """Otherwise a model whose template opens <think> itself has its thoughts spoken in every reply."""
    thinks: list[Step] = ["Hm, the user", " greets.</thi", "nk>\n\nHello", " there", FINISH, DONE]
    async with model(thinks) as (adapter, _):
        await adapter.warm_up()
        assert adapter.begins_with_reasoning
        assert "".join(await pieces_of(adapter)) == "Hello there"
    assert await answer(*thinks, reasoning=Reasoning.UNOPENED) == "Hello there"


async def test_a_user_who_has_the_tag_written_changes_no_reply_but_that_one() -> None:
    """Otherwise one caller who asks how thoughts end makes every later reply of the process wait for its last word."""
    async with model("The closing tag is </think> as you asked.", "One two.") as (adapter, _):
        await pieces_of(adapter)
        assert not adapter.begins_with_reasoning
        assert await pieces_of(adapter) == ["One", " two."]


async def test_presumed_reasoning_that_was_none_is_said() -> None:
    """Otherwise a model that skips its thoughts once falls silent; but thoughts cut off by the limit stay unsaid."""
    assert await answer("Hello", " there", FINISH, DONE, reasoning=Reasoning.UNOPENED) == "Hello there"
    assert await answer("Well, hm", chunk({}, "length"), DONE, reasoning=Reasoning.UNOPENED) == ""


async def test_ready_says_why_not() -> None:
    """Otherwise a gateway opens its doors on a model that is still loading."""
    async with model("x") as (adapter, llm):
        await adapter.ready()
        llm.is_ready = False
        with pytest.raises(BackendError, match="still loading"):
            await adapter.ready()
        llm.is_ready, llm.models = True, []
        with pytest.raises(BackendError, match="has no model"):
            await adapter.ready()
        with pytest.raises(BackendError, match="has no model"):
            await pieces_of(adapter)
    async with model("x", model="other") as (adapter, _):
        with pytest.raises(BackendError, match=r"no model 'other'. It has: scripted"):
            await adapter.ready()


# --- tools ---

WEATHER = Tool(
    "weather", "What the weather is like.", '{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}'
)
WITH_TOOLS = dataclasses.replace(REQUEST, tools=(WEATHER,))
PARIS, ROME = WantedCall("weather", '{"city": "Paris"}'), WantedCall("weather", '{"city": "Rome"}')


async def wanted(*steps: Step, request: GenerationRequest = WITH_TOOLS) -> list[str | WantedCall]:
    async with model(steps) as (adapter, _):
        return [piece async for piece in adapter.stream(request)]


def delta(**piece: Any) -> dict[str, Any]:
    return chunk({"tool_calls": [piece]})


def function(name: str = "", arguments: object = "") -> dict[str, object]:
    return ({"name": name} if name else {}) | {"arguments": arguments}


async def test_tools_are_declared_and_calls_and_their_answers_are_told() -> None:
    """Otherwise the model does not know what it may ask for, or what came of it."""
    call = ToolCall("000001000", "weather", '{"city": "Paris"}')
    messages = (
        Message("user", "Weather?"),
        Message("assistant", "Let me see.", calls=(call,)),
        Message("tool", "Sunny.", call_id=call.id),
    )
    async with model("Sunny.") as (adapter, llm):
        for may_call in (True, False):
            request = dataclasses.replace(WITH_TOOLS, messages=messages, may_call=may_call)
            assert [piece async for piece in adapter.stream(request)] == ["Sunny."]
    body, forbidden = llm.requests[0].body, llm.requests[1].body
    parameters = json.loads(WEATHER.parameters)
    assert body["tools"] == [
        {"type": "function", "function": {"name": "weather", "description": "What the weather is like.", "parameters": parameters}}
    ]
    assert (body["tool_choice"], forbidden["tool_choice"]) == ("auto", "none")
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {"id": "000001000", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
            ],
        },
        {"role": "tool", "content": "Sunny.", "tool_call_id": "000001000"},
    ]
    assert forbidden["tools"] == body["tools"], "or the prefix cache is cold for the last answer"


@pytest.mark.parametrize(
    "steps",
    [
        called(("weather", PARIS.arguments), ("weather", ROME.arguments)),
        called(("weather", PARIS.arguments), ("weather", ROME.arguments), piece_chars=1),
        [  # each call whole, all with the same index
            delta(index=0, id="a", function=function("weather", PARIS.arguments)),
            delta(index=0, id="b", function=function("weather", ROME.arguments)),
            chunk({}, "stop"),
        ],
        [  # no index at all, arguments as an object
            delta(id="a", function=function("weather", {"city": "Paris"})),
            delta(id="b", function=function("weather", {"city": "Rome"})),
            DONE,
        ],
        [  # name and id with every piece
            delta(index=0, id="a", function=function("weather", '{"city": ')),
            delta(index=0, id="a", function=function("weather", '"Paris"}')),
            delta(index=1, id="b", function=function("weather", ROME.arguments)),
            chunk({"tool_calls": None}, "tool_calls"),
        ],
        [  # without ids, and both in one delta
            chunk({"tool_calls": [{"index": k, "function": {"name": "weather"}} for k in range(2)]}),
            delta(index=1, function=function(arguments=ROME.arguments)),
            delta(index=0, function=function(arguments=PARIS.arguments)),
            delta(index=2, function=function()),
            chunk({"tool_calls": [7, {"index": 0, "function": 7}]}),
            FINISH,
        ],
    ],
)
async def test_calls_are_put_together(steps: Sequence[Step]) -> None:
    """Otherwise a call is made with half its arguments, or with another call's."""
    assert await wanted(*steps) == [PARIS, ROME]


async def test_text_before_a_call_is_said_and_the_call_is_not() -> None:
    """Otherwise the assistant reads JSON aloud, or swallows what it said before."""
    steps = called(("weather", PARIS.arguments), text="Let me see.")
    assert await wanted(*steps) == ["Let", " me", " see.", PARIS]
    assert await wanted(*steps, request=REQUEST) == ["Let", " me", " see."], "nobody asked for calls"
    assert await wanted(*steps, request=dataclasses.replace(WITH_TOOLS, may_call=False)) == ["Let", " me", " see."]


@given(st.text(st.characters(codec="utf-8"), max_size=30), st.integers(1, 5))
@settings(deadline=None)
def test_any_cut_of_the_arguments_gives_the_same_call(text: str, piece_chars: int) -> None:
    """Otherwise a token border in the wrong place breaks a call."""
    calls, arguments = WantedCalls(), json.dumps({"text": text})
    for step in called(("one", arguments), ("two", "{}"), piece_chars=piece_chars):
        if isinstance(step, dict):
            assert calls.take(step["choices"][0]["delta"].get("tool_calls"))
    assert calls.all() == [WantedCall("one", arguments), WantedCall("two", "{}")]


@pytest.mark.parametrize(
    "steps",
    [
        [delta(index=0, function=function("weather", "x" * (ARGUMENTS_CHARS_MAX + 1)))],
        [delta(index=k, function=function("weather", "{}")) for k in range(CALLS_MAX + 1)],
    ],
)
async def test_calls_without_end_are_a_failure(steps: Sequence[Step]) -> None:
    """Otherwise a model that repeats itself fills the memory."""
    with pytest.raises(BackendError, match="more tool calls than"):
        await wanted(*steps, FINISH, DONE)


async def test_server_without_tools_says_what_to_do() -> None:
    """Otherwise the operator of a NIM without a tool parser looks for the fault here."""
    told = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    async with model(HttpError(400, {"error": {"message": told, "code": 400}})) as (adapter, _):
        with pytest.raises(BackendError, match=r"auto-tool-choice.*declare no tools") as caught:
            _ = [piece async for piece in adapter.stream(WITH_TOOLS)]
    assert not caught.value.retryable


# --- on their own ---


@settings(deadline=None)
@given(st.data(), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_cut_of_the_bytes_gives_the_same_events(data: st.DataObject, end: bytes) -> None:
    """Otherwise a packet border in the wrong place breaks a reply, once in a thousand."""
    lines = [
        "data: a\u2028é",
        "data:b",
        "",
        ": comment",
        "data: {",
        "data:  }",
        "id: 3",
        "",
        "",
        "data",
        "",
        "event: e",
        "",
        "data: z",
        "",
    ]
    raw = b"\xef\xbb\xbf" + end.join(line.encode() for line in lines) + end
    parser, events, start = EventParser(), [], 0
    while start < len(raw):
        size = data.draw(st.integers(1, 20))
        events += parser.feed(raw[start : start + size])
        start += size
    assert events == ["a\u2028é\nb", "{\n }", "", "z"]


TEXTS = st.lists(st.sampled_from(["<think>", "</think>", "a", " b", "<", "/", "th", ">", "c<th", "\n"]), max_size=12)


@settings(deadline=None)
@given(TEXTS, st.booleans(), st.data())
def test_any_cut_of_the_text_lets_the_same_through(parts: list[str], presumed: bool, data: st.DataObject) -> None:
    """Otherwise a thought is spoken when its tag falls on a token border."""
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    whole, cut = SpeechFilter(begins_with_reasoning=presumed), SpeechFilter(begins_with_reasoning=presumed)
    expected = whole.feed(text) + whole.finish()
    said = "".join(cut.feed(text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)) + cut.finish()
    first, lone, _ = text.partition("</think>")
    if presumed or not lone or "<think>" in first:
        assert said == expected
    else:  # the cut decides what the tag comes too late for
        assert said.endswith(expected)
        assert first.startswith(said.removesuffix(expected))
    assert "<think>" not in said
    assert "</think>" not in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain", "plain"),
        ("a < b", "a < b"),
        ("ends with <thin", "ends with <thin"),
        ("<think>no</think>yes", "yes"),
        ("one <think>no</think> two", "one two"),
        ("<think>never closed", ""),
        ("<think>a<think>b</think>c", "c"),
        ("thoughts that nobody opened</think>\n\nyes", "yes"),
        ("<think>no</think>The tag is </think>, you know", "The tag is , you know"),
    ],
)
def test_reasoning_in_the_text_is_taken_out(text: str, said: str) -> None:
    """Otherwise the assistant thinks aloud."""
    speech = SpeechFilter()
    assert speech.feed(text) + speech.finish() == said


def test_what_a_model_says_can_be_sent_on() -> None:
    """Otherwise half a surrogate pair in an error, or in the name of a tool, ends the session as a defect of ours."""
    assert error_text(rb'{"error": {"message": "bad \ud800text"}}') == "bad text"
    calls = WantedCalls()
    assert calls.take(json.loads(r'[{"index": 0, "id": "a", "function": {"name": "we\ud800ather", "arguments": "{}"}}]'))
    assert calls.take(json.loads(r'[{"index": 1, "id": "b", "function": {"name": "\udc00", "arguments": "{}"}}]'))
    assert calls.all() == [WantedCall("weather", "{}")]


def test_error_text_is_short() -> None:
    """Otherwise a server's stack trace fills the log of each session."""
    assert len(error_text(b"x" * 10_000)) == 300

"""Tools of the client: made of functions, called, cancelled."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

import pytest

from voicefsm.client import Conversation, SessionOptions, Tool, ToolCallCancelled, ToolCalled, ToolCallFailed, ToolFailed, tool
from voicefsm.v1 import conversation_pb2 as pb
from voicefsm.values import Epoch


async def weather(city: str, days: int = 1, unit: Literal["C", "F"] = "C", places: list[str] | None = None) -> dict[str, Any]:
    """What the weather will be like."""
    return {"city": city, "days": days, "unit": unit, "places": places}


async def clock() -> str:
    return "noon"


async def nothing() -> None:
    return None


async def broken(what: str) -> str:
    raise ToolFailed(f"no {what}")


async def buggy() -> str:
    raise KeyError("x")


def test_a_function_is_a_tool() -> None:
    """Otherwise everybody writes schemas by hand, and they drift from the code."""
    made = tool(weather)
    assert (made.name, made.description) == ("weather", "What the weather will be like.")
    assert made.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "unit": {"enum": ["C", "F"]},
            "places": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["city"],
        "additionalProperties": False,
    }


def test_what_is_given_wins() -> None:
    """Otherwise a function whose name or types mean nothing to a model cannot be a tool."""

    async def f(x: object) -> None:
        """Ours."""

    made = tool(f, name="set_x", description="Sets x.", parameters={"type": "object", "properties": {"x": {}}})
    assert made == Tool("set_x", "Sets x.", {"type": "object", "properties": {"x": {}}}, f)


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (dict, {"type": "object"}),
        (list, {"type": "array"}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
    ],
)
def test_types_of_json(annotation: Any, schema: dict[str, Any]) -> None:
    """Otherwise the model gives what the function does not take."""

    async def f(x: Any) -> None: ...

    f.__annotations__["x"] = annotation
    assert tool(f).parameters["properties"] == {"x": schema}


def test_what_json_does_not_know_needs_a_schema() -> None:
    """Otherwise a tool is declared with a parameter that the model can only guess."""

    async def untyped(x) -> None: ...

    async def strange(x: bytes) -> None: ...

    async def open_ended(**x: str) -> None: ...

    for function in (untyped, strange, open_ended):
        with pytest.raises(TypeError, match="give `parameters`"):
            tool(function)


def called(name: str, arguments: object, call_id: str = "c1") -> pb.ToolCall:
    return pb.ToolCall(epoch=3, call_id=call_id, name=name, arguments=json.dumps(arguments), wait_ms_max=5000)


@pytest.mark.parametrize(
    ("name", "arguments", "answer"),
    [
        ("weather", {"city": "Paris"}, ('{"city": "Paris", "days": 1, "unit": "C", "places": null}', "")),
        ("clock", {}, ("noon", "")),
        ("nothing", {}, ("", "")),
        ("broken", {"what": "luck"}, ("", "no luck")),
        ("buggy", {}, ("", "KeyError: 'x'")),
        ("weather", {"town": "Paris"}, ("", "The arguments do not fit: missing a required argument: 'city'.")),
    ],
)
async def test_a_call_is_carried_out_and_answered(
    serve: Any, ready: Any, name: str, arguments: object, answer: tuple[str, str]
) -> None:
    """Otherwise the model waits for a tool until its deadline."""
    results = []

    async def script(call: Any) -> None:
        await ready(call)
        await call.send(tool_call=called(name, arguments))
        results.append((await call.receive_until("tool_result")).tool_result)
        await call.receive_until("end_session")

    tools = tuple(tool(function) for function in (weather, clock, nothing, broken, buggy))
    events: list[Any] = []
    async with serve(script) as target, Conversation.connect(target, SessionOptions(tools=tools)) as conversation:
        async with asyncio.timeout(5):
            while not results:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        await conversation.end()
        events = [event async for event in conversation]
    (result,) = results
    is_error = bool(answer[1])
    assert (result.epoch, result.call_id, (result.output, result.error)) == (3, "c1", answer)
    assert result.WhichOneof("result") == ("error" if is_error else "output")
    (seen,) = [event for event in events if isinstance(event, ToolCalled)]
    assert (seen.epoch, seen.name, seen.arguments, seen.wait_ms_max) == (Epoch(3), name, arguments, 5000)
    assert [event.name for event in events if isinstance(event, ToolCallFailed)] == ([name] if is_error else [])


async def test_tools_are_declared(serve: Any, ready: Any) -> None:
    """Otherwise the model does not know of them."""
    calls = []

    async def script(call: Any) -> None:
        await ready(call)
        calls.append(call)
        await call.receive_until("end_session")

    options = SessionOptions(tools=(tool(weather), Tool("plain")), tool_ms_max=3000, filler_ms=0, filler_text="Wait.")
    async with serve(script) as target, Conversation.connect(target, options):
        pass
    config = calls[0].config
    assert [declared.name for declared in config.tools] == ["weather", "plain"]
    assert json.loads(config.tools[0].parameters) == tool(weather).parameters
    assert json.loads(config.tools[1].parameters) == {"type": "object", "properties": {}}
    assert config.tool_options == pb.ToolOptions(call_ms_max=3000, filler_ms=0, filler_text="Wait.")


async def test_a_cancelled_call_stops_its_function_and_is_not_answered(serve: Any, ready: Any) -> None:
    """Otherwise a tool works on for a reply that is over, and the server complains about its answer."""
    started, stopped = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return ""

    received: list[str] = []

    async def script(call: Any) -> None:
        await ready(call)
        await call.send(tool_call=called("slow", {}))
        await started.wait()
        reason = pb.ToolCallCancelled.REASON_TIMEOUT
        await call.send(tool_call_cancelled=pb.ToolCallCancelled(epoch=3, call_id="c1", reason=reason))
        await call.receive_until("end_session")
        received.extend(request.WhichOneof("request") for request in call.received)

    async with serve(script) as target, Conversation.connect(target, SessionOptions(tools=(tool(slow),))) as conversation:
        async with asyncio.timeout(5):
            await stopped.wait()
        await conversation.end()
        events = [event async for event in conversation]
    assert "tool_result" not in received
    assert [event.is_late for event in events if isinstance(event, ToolCallCancelled)] == [True]


async def test_a_call_in_progress_ends_with_the_conversation(serve: Any, ready: Any) -> None:
    """Otherwise a task outlives the conversation it belongs to."""
    started, stopped = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return ""

    async def script(call: Any) -> None:
        await ready(call)
        await call.send(tool_call=called("slow", {}))
        await call.receive_until("end_session")

    async with serve(script) as target, Conversation.connect(target, SessionOptions(tools=(tool(slow),))):
        await started.wait()
    assert stopped.is_set()


async def test_a_tool_without_a_function_is_answered_by_hand(serve: Any, ready: Any) -> None:
    """Otherwise an application that asks its user cannot have tools."""
    results = []

    async def script(call: Any) -> None:
        await ready(call)
        await call.send(tool_call=called("ask", {"what": "size"}, "c1"))
        await call.send(tool_call=called("ask", {"what": "colour"}, "c2"))
        results.append((await call.receive_until("tool_result")).tool_result)
        results.append((await call.receive_until("tool_result")).tool_result)
        await call.receive_until("end_session")

    async with serve(script) as target, Conversation.connect(target, SessionOptions(tools=(Tool("ask"),))) as conversation:
        async for event in conversation:
            if isinstance(event, ToolCalled) and event.call_id == "c1":
                await conversation.answer_tool(event, "large")
            elif isinstance(event, ToolCalled):
                await conversation.answer_tool(event, error="never asked")
                break
    assert [(result.call_id, result.output, result.error) for result in results] == [("c1", "large", ""), ("c2", "", "never asked")]

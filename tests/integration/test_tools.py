"""Tools through everything there is: client library, gRPC, gateway, the model's adapter, and a server on the model's protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from voicefsm.client import (
    AssistantText,
    InvalidRequest,
    Outcome,
    ServerError,
    SessionOptions,
    Tool,
    ToolCallCancelled,
    ToolCalled,
    ToolFailed,
    TurnCompleted,
    tool,
)
from voicefsm.scripted import called

WorldOf: TypeAlias = Callable[..., contextlib.AbstractAsyncContextManager[Any]]
PARIS = '{"city": "Paris"}'


def is_turn(event: object) -> bool:
    return isinstance(event, TurnCompleted)


def roles(messages: Any) -> list[str]:
    return [message["role"] for message in messages]


async def weather(city: str) -> str:
    """What the weather is like."""
    return f"sunny in {city}"


async def test_a_tool_is_called_and_its_result_is_spoken(world: WorldOf) -> None:
    """Otherwise the parts work and the whole does not; or the next turn forgets what was called."""
    replies = (
        called(("weather", PARIS), ("weather", '{"city": "Rome"}'), text="Let me see."),
        "Sunny in both.",
        "You are welcome.",
    )
    options = SessionOptions(tools=(tool(weather),))
    async with world(replies=replies) as w, w.connect(options) as conversation:
        seen = await w.turn(conversation, "How is the weather?")
        assert [event.arguments for event in seen if isinstance(event, ToolCalled)] == [{"city": "Paris"}, {"city": "Rome"}]
        assert [event.text for event in seen if isinstance(event, AssistantText)] == ["Let me see.", "Sunny in both."]
        assert (seen[-1].heard_text, seen[-1].outcome) == ("Let me see. Sunny in both.", Outcome.COMPLETED)
        await w.turn(conversation, "Thanks.")
    first, second, third = (request.body for request in w.llm.requests)
    assert first["tools"][0]["function"]["parameters"] == tool(weather).parameters
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert third["messages"][: len(second["messages"])] == second["messages"], "the prefix cache stays warm"
    asked, *results = second["messages"][2:]
    assert (asked["role"], asked["content"]) == ("assistant", "Let me see.")
    assert [result["content"] for result in results] == ["sunny in Paris", "sunny in Rome"]
    assert [result["tool_call_id"] for result in results] == [call["id"] for call in asked["tool_calls"]]
    assert (third["messages"][5]["role"], third["messages"][5]["content"]) == ("assistant", "Sunny in both.")


async def test_a_tool_that_fails_and_a_model_that_stammers(world: WorldOf) -> None:
    """Otherwise one broken tool, or one comma too many, ends in silence."""

    async def broken(city: str) -> str:
        raise ToolFailed(f"{city} is not on the map")

    replies = (called(("broken", '{"city": "Par')), called(("broken", PARIS)), "I cannot tell.")
    async with world(replies=replies) as w, w.connect(SessionOptions(tools=(tool(broken),))) as conversation:
        seen = await w.turn(conversation, "How is the weather?")
        assert seen[-1].heard_text == "I cannot tell."
        assert len([event for event in seen if isinstance(event, ToolCalled)]) == 1
    told = [message["content"] for message in w.llm.requests[-1].messages if message["role"] == "tool"]
    assert told == ['Error: The arguments are no JSON object: {"city": "Par', "Error: Paris is not on the map"]
    arguments = [call["function"]["arguments"] for m in w.llm.requests[-1].messages for call in m.get("tool_calls", ())]
    assert [json.loads(text) for text in arguments] == [{}, {"city": "Paris"}]


async def test_nobody_answers(world: WorldOf) -> None:
    """Otherwise a client that forgets a call stops the conversation; or its late answer is taken for something."""
    async with world(replies=(called(("slow", "{}")), "No luck.")) as w:
        options = SessionOptions(tools=(Tool("slow"),), tool_ms_max=200, filler_ms=0)
        async with w.connect(options) as conversation:
            await conversation.send_text("Hello?")
            seen = await w.listen(conversation, until=lambda event: isinstance(event, ToolCallCancelled))
            assert seen[-1].is_late
            (call,) = [event for event in seen if isinstance(event, ToolCalled)]
            await conversation.answer_tool(call, "here")
            seen = await w.listen(conversation, until=is_turn)
            assert seen[-1].heard_text == "No luck."
            assert any(isinstance(event, ServerError) and "no open call" in event.message for event in seen)
        assert "no answer within 200 ms" in w.llm.requests[-1].messages[-1]["content"]


async def test_a_stop_cancels_the_tool_and_the_user_was_told_to_wait(world: WorldOf) -> None:
    """Otherwise a slow tool sounds like a dead line, or works on for nobody."""
    stopped = asyncio.Event()

    async def slow() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return ""

    async with world(replies=(called(("slow", "{}")), "Never heard.", "Hello.")) as w:
        options = SessionOptions(tools=(tool(slow),), filler_ms=100, filler_text="Just a second.")
        async with w.connect(options) as conversation:
            await conversation.send_text("Hello?")
            seen = await w.listen(conversation, until=lambda event: isinstance(event, AssistantText))
            assert seen[-1].text == "Just a second."
            await conversation.cancel()
            await w.listen(conversation, until=lambda event: isinstance(event, ToolCallCancelled) and not event.is_late)
            await stopped.wait()
            assert len(w.llm.requests) == 1
            await w.turn(conversation, "Still there?")
        messages = w.llm.requests[-1].messages
        assert roles(messages) == ["system", "user", "assistant", "tool", "assistant", "user"]
        assert "given up" in messages[3]["content"]


async def test_a_bad_tool_is_refused_before_the_session_begins(world: WorldOf) -> None:
    """Otherwise the model's server refuses every reply, and the client does not know why."""
    async with world() as w:
        with pytest.raises(InvalidRequest, match=r"tools\[0\].parameters.*properties.city"):
            async with w.connect(SessionOptions(tools=(Tool("t", "", {"type": "object", "properties": {"city": 7}}),))):
                pass

"""The items of the language model: a healthy server passes them, and each behaviour broken on purpose fails its own item alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from voicefsm.conformance import Outcome
from voicefsm.conformance import llm as llm_items
from voicefsm.conformance.llm import CHECKS, COUNT, FEW_TOKENS, HELLO, LONG, SCRIPTS, STORY, WEATHER
from voicefsm.embedded.llm_server import LlmServerSettings, llm_server
from voicefsm.scripted import DONE, FINISH, ROLE, Hang, HttpError, ScriptedLlm, called, chunk
from voicefsm.scripted import __main__ as by_hand
from voicefsm.scripted.llm import Body, ByRequest, Reply, Step

UNSEEN = {"L6", "L7", "L13"}
"""What no client can provoke."""
IDS = {check.id for check in CHECKS} - UNSEEN
Answers = Mapping[str, Callable[[Body], Reply]]
NO_TOOLS = {"error": {"message": '"auto" tool choice requires --enable-auto-tool-choice'}}


def counts(cached: int = 32, **changes: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": cached}}
    return {"choices": [], "usage": usage | changes}


def hello(*steps: Step, text: Sequence[Step] = ("Hello", " there."), end: Step = FINISH) -> list[Step]:
    return [ROLE, *text, end, *(steps or (counts(), DONE))]


HEALTHY: Answers = {
    HELLO: lambda _: hello(),
    STORY: lambda _: hello(text=("The", " sea", " is", " wide", ".")),
    COUNT: lambda body: hello(text=("One",), end=chunk({}, "length")) if body["max_tokens"] == FEW_TOKENS else ["One", Hang()],
    WEATHER: lambda _: called(("get_weather", '{"city": "Paris"}')),
    SCRIPTS: lambda _: hello(text=("नमस्ते", " 🙂", " façade")),
    LONG: lambda _: hello(),
    "": lambda _: HttpError(404, {"object": "error", "message": "The model does not exist.", "code": 404}),
}
"""By the question; none is asked of a model that is not there."""


def serving(answers: Answers, **settings: Any) -> ScriptedLlm:
    """A server that answers each question as is said, and knows one model."""

    def answer(body: Body) -> Reply:
        question = body["messages"][-1]["content"] if body["model"] == "scripted" else ""
        return answers[question](body)

    return ScriptedLlm([ByRequest(answer)], **settings)


async def test_healthy_server_passes(outcomes):
    """Otherwise a report about a good server frightens its owner."""
    async with serving(HEALTHY) as llm:
        assert (await outcomes(CHECKS, llm=llm.base_url))[Outcome.PASS] == IDS


async def test_embedded_server_passes_what_it_has(outcomes):
    """Otherwise a local conversation goes over another wire than a real one."""
    async with llm_server(LlmServerSettings(port=0, first_token_ms=0)) as server:
        found = await outcomes(CHECKS, llm=server.base_url)
    assert found[Outcome.FAIL] == set()
    assert found[Outcome.NOT_SUPPORTED] <= {"L10", "L12", "L14"} | UNSEEN


async def test_scripted_server_to_be_started_by_hand_passes_what_it_has(outcomes):
    """Otherwise whoever tries the list on it is told that a healthy server is broken."""
    async with ScriptedLlm([ByRequest(by_hand.reply)], models=[by_hand.MODEL]) as server:
        assert (await outcomes(CHECKS, llm=server.base_url))[Outcome.FAIL] == set()


def text(*steps: Step) -> Callable[[Body], Reply]:
    return lambda _: hello(text=steps)


BROKEN: dict[str, tuple[Answers, dict[str, Any]]] = {
    "L1": ({HELLO: lambda _: hello()[1:]}, {}),
    "L2": ({HELLO: text("Hello.", {"choices": [{"index": 0}]})}, {}),
    "L3": ({HELLO: lambda _: hello(chunk({"content": " Late."}), counts(), DONE)}, {}),
    "L4": ({HELLO: lambda _: hello(counts(prompt_tokens=None), DONE)}, {}),
    "L5": ({HELLO: lambda _: hello(counts())}, {}),
    "L8": ({"": lambda _: HttpError(500, "")}, {}),
    "L9": ({HELLO: text("They greet.", "</think>", "Hello.")}, {}),
    "L10": ({WEATHER: lambda _: called(("get_weather", '{"city": "Par'))}, {}),
    "L11": ({SCRIPTS: text(b"data: \xff\xfe\n\n")}, {}),
    "L12": ({}, {"runs_on": True}),
    "L14": ({LONG: lambda _: hello(counts(cached=0), DONE)}, {}),
    "L15": ({COUNT: lambda body: hello() if body["max_tokens"] == FEW_TOKENS else ["One", Hang()]}, {}),
    "L16": ({}, {"is_ready": False}),
    "L17": ({STORY: text("The sea is wide. " * 5)}, {}),
    "L18": ({}, {"headers": {"content-type": "text/plain"}}),
}


def test_every_item_can_fail():
    """Otherwise an item says nothing."""
    assert set(BROKEN) == IDS


@pytest.mark.parametrize("broken", BROKEN)
async def test_broken_behaviour_fails_its_item(outcomes, monkeypatch, broken):
    """Otherwise the item cannot fail, or a report blames the wrong thing."""
    if broken == "L12":
        monkeypatch.setattr(llm_items, "STOP_S_MAX", 0.5)
    answers, settings = BROKEN[broken]
    async with serving({**HEALTHY, **answers}, **settings) as llm:
        assert (await outcomes(CHECKS, llm=llm.base_url))[Outcome.FAIL] == {broken}


@pytest.mark.parametrize(
    ("item", "answers"),
    [
        ("L4", {HELLO: lambda _: hello(DONE)}),
        ("L10", {WEATHER: text("I cannot know.")}),
        (
            "L10",
            {WEATHER: lambda _: HttpError(400, NO_TOOLS)},
        ),
        ("L14", {LONG: lambda _: hello(counts(prompt_tokens_details=None), DONE)}),
    ],
)
async def test_what_a_server_lacks_is_no_fault(outcomes, item, answers):
    """Otherwise a server without tools or cache counts fails."""
    async with serving({**HEALTHY, **answers}) as llm:
        found = await outcomes([check for check in CHECKS if check.id == item], llm=llm.base_url)
    assert found[Outcome.NOT_SUPPORTED] == {item}


async def test_a_call_that_comes_as_text_is_a_fault(outcomes):
    """Otherwise nobody is told that the server's tool parser is another model's, and calls are read aloud."""
    said = '<tool_call>{"name": "get_weather"}</tool_call>'
    async with serving({**HEALTHY, WEATHER: text(said)}) as llm:
        found = await outcomes([check for check in CHECKS if check.id == "L10"], llm=llm.base_url)
    assert found[Outcome.FAIL] == {"L10"}

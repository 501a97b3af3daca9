"""The tools that clients declare."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from voicefsm.errors import InvalidMessage
from voicefsm.runtime.plan import SessionSettings
from voicefsm.server.tools import problem_of, tools_of
from voicefsm.v1 import conversation_pb2 as pb

LIMITS = SessionSettings()
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def declared(parameters: object = CITY, name: str = "weather", description: str = "The weather.") -> pb.Tool:
    text = parameters if isinstance(parameters, str) else json.dumps(parameters)
    return pb.Tool(name=name, description=description, parameters=text)


def test_a_tool_is_taken_as_it_is() -> None:
    """Otherwise the model is told of another tool than the client's; or the prompt differs from one reply to the next."""
    (tool,) = tools_of([declared(json.dumps(CITY, indent=2))], LIMITS)
    assert (tool.name, tool.description) == ("weather", "The weather.")
    assert tool.parameters == json.dumps(CITY, separators=(",", ":"))


def test_no_parameters_are_none() -> None:
    """Otherwise a tool that takes nothing needs a schema of nothing."""
    (tool,) = tools_of([declared("")], LIMITS)
    assert json.loads(tool.parameters) == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("tools", "told"),
    [
        ([declared(name="")], r"`tools\[0\].name` is \"\""),
        ([declared(name="a b")], "letters, digits"),
        ([declared(name="a" * 65)], "1 to 64"),
        ([declared(), declared()], "Two tools are called 'weather'"),
        ([declared(), declared("{", name="b")], r"`tools\[1\].parameters` is no JSON"),
        ([declared('{"type":"object","minimum":NaN}')], "NaN is no number of JSON"),
        ([declared('{"type":"object","properties":{"a":{"maximum":1e999}}}')], "no JSON: Out of range float"),
        ([declared('{"type":"object","properties":{"a":{"default":-1e999}}}')], "no JSON: Out of range float"),
        ([declared(r'{"type":"object","properties":{"\ud800":{}}}')], r"no JSON: .*'\\ud800'.* surrogates not allowed"),
        ([declared(r'{"type":"object","properties":{"a":{"description":"\ud800"}}}')], "surrogates not allowed"),
        ([declared(r'{"type":"\ud800"}')], "surrogates not allowed"),
        ([declared("[" * 100_000)], "no JSON|characters"),
        ([declared("7")], '`type` is "object"'),
        ([declared({"type": "string"})], '`type` is "object"'),
        ([declared({"city": "string"})], '`type` is "object"'),
        ([declared({"type": "object", "properties": {"a": {"type": "strng"}}})], 'properties.a.type is "strng", and has to be'),
        ([declared(description="x" * 9000)], "9091 characters; 8000 are allowed"),
        ([declared(name=f"t{k}") for k in range(33)], "33 tools; 32 are allowed"),
        ([declared(name=f"t{k}", description="x" * 7000) for k in range(5)], "characters; 32000 are allowed"),
    ],
)
def test_what_is_wrong_with_a_tool_is_named(tools: list[pb.Tool], told: str) -> None:
    """Otherwise the model's server refuses every reply of the session, and nobody knows why."""
    with pytest.raises(InvalidMessage, match=told) as caught:
        tools_of(tools, LIMITS)
    assert caught.value.remedy
    assert len(str(caught.value)) < 1000


def test_an_operator_may_allow_none() -> None:
    """Otherwise tools cannot be switched off."""
    assert tools_of([], dataclasses.replace(LIMITS, tools_max=0)) == ()
    with pytest.raises(InvalidMessage, match="0 are allowed"):
        tools_of([declared()], dataclasses.replace(LIMITS, tools_max=0))


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        {"type": ["string", "null"], "enum": ["a", None], "description": "d"},
        {"properties": {"a": {"items": {"type": "number", "minimum": 0.5}}, "b": False}, "additionalProperties": False},
        {"anyOf": [{"$ref": "#/$defs/a"}, {"not": {}}], "$defs": {"a": {"const": 7}}},
        {"maxLength": 3, "x-unknown": {"type": "what?"}, "default": {"type": 7}},
    ],
)
def test_schemas_are_let_through(schema: Any) -> None:
    """Otherwise a client with a valid schema is turned away."""
    assert problem_of(schema) == ""


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "text"}, 'type is "text"'),
        ({"type": []}, "type is \\[\\]"),
        ({"type": ["string", 7]}, "or a list of them"),
        ({"properties": ["a"]}, "properties is .* an object of schemas"),
        ({"properties": {"a": "string"}}, 'properties.a is "string", no schema'),
        ({"required": "a"}, "list of names"),
        ({"required": ["a", "a"]}, "none of them twice"),
        ({"enum": []}, "a list that is not empty"),
        ({"anyOf": []}, "a list of schemas"),
        ({"anyOf": [{}, {"items": 7}]}, r"anyOf\[1\].items is 7, no schema"),
        ({"items": {"minLength": -1}}, "items.minLength is -1, and has to be a count"),
        ({"minimum": "1"}, "a number"),
        ({"minimum": True}, "a number"),
        ({"maxItems": True}, "a count"),
        ({"description": 7}, "a text"),
        ({"$ref": "https://example.com/schema"}, "into the same schema"),
        ({"additionalProperties": "no"}, 'additionalProperties is "no", no schema'),
    ],
)
def test_what_is_wrong_with_a_schema_is_named(schema: Any, problem: str) -> None:
    """Otherwise a mistyped keyword is found by the model's server, at the first reply."""
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(problem_of(schema))


def test_depth_has_a_limit() -> None:
    """Otherwise a schema can be too deep for whatever walks it later."""
    schema: dict[str, Any] = {}
    for _ in range(15):
        schema = {"items": schema}
    assert problem_of(schema) == ""
    assert "more than 16 deep" in problem_of({"items": schema})

"""The tools that a client declares, checked before a model sees them.

A server of a language model takes a bad schema apart only when it is asked, and then refuses every reply of the session. So it is
looked at here: that it is JSON, that it describes an object, and that what stands under the keywords of JSON Schema is of the kind
they want. Keywords nobody knows are left alone, as the standard says.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from voicefsm.errors import InvalidMessage
from voicefsm.ports import Tool
from voicefsm.runtime.plan import SessionSettings
from voicefsm.v1 import conversation_pb2 as pb

SCHEMA_DEPTH_MAX = 16
"""How deep schemas may be nested."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NOTHING = '{"type":"object","properties":{}}'
_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_SHOWN_CHARS_MAX = 60


def tools_of(declared: Sequence[pb.Tool], limits: SessionSettings) -> tuple[Tool, ...]:
    """The tools of a session. Raises `InvalidMessage`."""
    if len(declared) > limits.tools_max:
        raise InvalidMessage(f"There are {len(declared)} tools; {limits.tools_max} are allowed.", remedy="Declare fewer.")
    tools = tuple(_tool(tool, f"tools[{k}]", limits) for k, tool in enumerate(declared))
    for k, tool in enumerate(tools):
        if any(tool.name == other.name for other in tools[:k]):
            raise InvalidMessage(f"Two tools are called {tool.name!r}.", remedy="Give each a name of its own.")
    chars = sum(map(_chars, tools))
    if chars > limits.tools_chars_max:
        what = f"The tools have {chars} characters; {limits.tools_chars_max} are allowed."
        raise InvalidMessage(what, remedy="Declare fewer, or say less of each.")
    return tools


def _tool(tool: pb.Tool, where: str, limits: SessionSettings) -> Tool:
    if not _NAME.fullmatch(tool.name):
        what = f"`{where}.name` is {_shown(tool.name)}."
        raise InvalidMessage(what, remedy='Use 1 to 64 letters, digits, "_" and "-".')
    checked = Tool(tool.name, tool.description.strip(), tool.parameters.strip() or _NOTHING)
    if _chars(checked) > limits.tool_chars_max:
        what = f"`{where}` has {_chars(checked)} characters; {limits.tool_chars_max} are allowed."
        raise InvalidMessage(what, remedy="Say less in its description and its parameters.")
    return dataclasses.replace(checked, parameters=_canonical(checked.parameters, f"{where}.parameters"))


def _chars(tool: Tool) -> int:
    return len(tool.name) + len(tool.description) + len(tool.parameters)


def _canonical(text: str, where: str) -> str:
    """A schema that can be sent on, without blanks. Reading lets through what writing does not: 1e999, half a surrogate pair."""
    try:
        schema = json.loads(text, parse_constant=_no_number)
        canonical = json.dumps(schema, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        canonical.encode()
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"`{where}` is no JSON: {error}.", remedy="Send the text of a JSON schema.") from error
    if not isinstance(schema, dict) or schema.get("type") != "object":
        what = f"`{where}` is {_shown(schema)}."
        raise InvalidMessage(what, remedy='Send a JSON schema whose `type` is "object"; its `properties` are the parameters.')
    if problem := problem_of(schema):
        raise InvalidMessage(f"`{where}` is no JSON schema: {problem}.", remedy="See json-schema.org for what it may hold.")
    return canonical


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARS_MAX else f"{text[:_SHOWN_CHARS_MAX]}…"


# --- what the keywords of a schema want --------------------------------------------------------------------------------------


def problem_of(schema: object, path: str = "", depth: int = 0) -> str:
    """What is wrong with a schema and where, as a part of a sentence; empty when nothing is."""
    if isinstance(schema, bool):
        return ""
    if not isinstance(schema, dict):
        return f"{path or 'it'} is {_shown(schema)}, no schema"
    if depth >= SCHEMA_DEPTH_MAX:
        return f"{path} is nested more than {SCHEMA_DEPTH_MAX} deep"
    for keyword, value in schema.items():
        here = f"{path}.{keyword}".lstrip(".")
        if keyword in _KINDS and not _KINDS[keyword][0](value):
            return f"{here} is {_shown(value)}, and has to be {_KINDS[keyword][1]}"
        for name, below in _schemas_in(keyword, value):
            if problem := problem_of(below, f"{here}{name}", depth + 1):
                return problem
    return ""


def _schemas_in(keyword: str, value: Any) -> list[tuple[str, object]]:
    """The schemas under a keyword, each with the rest of its path."""
    if keyword in _MAPS_OF_SCHEMAS:
        return [(f".{name}", schema) for name, schema in value.items()]
    if keyword in _LISTS_OF_SCHEMAS:
        return [(f"[{k}]", schema) for k, schema in enumerate(value)]
    return [("", value)] if keyword in _SCHEMAS else []


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_type(value: object) -> bool:
    types = value if isinstance(value, list) else [value]
    return bool(types) and all(isinstance(one, str) and one in _TYPES for one in types)


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _is_reference(value: object) -> bool:
    return isinstance(value, str) and value.startswith("#")


_MAPS_OF_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_LISTS_OF_SCHEMAS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SCHEMAS = frozenset({"items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else"})

_Kind = tuple[Callable[[object], bool], str]
_KINDS: Mapping[str, _Kind] = {
    "type": (_is_type, f"one of {', '.join(_TYPES)}, or a list of them"),
    "required": (_are_names, "a list of names, none of them twice"),
    "enum": (lambda value: isinstance(value, list) and bool(value), "a list that is not empty"),
    "$ref": (_is_reference, 'a reference into the same schema, such as "#/$defs/name"'),
    **dict.fromkeys(("title", "description", "format", "pattern"), (_is_text, "a text")),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), (_is_number, "a number")),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), (_is_count, "a count")),
    **dict.fromkeys(_MAPS_OF_SCHEMAS, (lambda value: isinstance(value, dict), "an object of schemas")),
    **dict.fromkeys(_LISTS_OF_SCHEMAS, (lambda value: isinstance(value, list) and bool(value), "a list of schemas")),
}

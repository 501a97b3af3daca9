"""From what a model asks for to calls that a client can carry out: numbered, and checked against what was declared.

What cannot be called goes into the history all the same, since the model is told what is wrong with it. There its arguments have to
be a JSON object: many servers take them apart for the chat template, and refuse every prompt with others in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from voicefsm.events import ToolCall
from voicefsm.ports import Tool, WantedCall
from voicefsm.values import Epoch

QUOTED_CHARS_MAX = 200
"""How much of what it wrote the model is shown."""
NAME_CHARS_MAX = 64
"""Longest name of a tool."""


def calls_of(wanted: Sequence[WantedCall], tools: Sequence[Tool], epoch: Epoch, first: int) -> tuple[ToolCall, ...]:
    """What the model wants, numbered from `first` within the reply.

    An id has nine digits: Mistral's chat template takes no other length.
    """
    declared = {tool.name: tool for tool in tools}
    return tuple(_call(f"{epoch:06}{first + k:03}", call, declared) for k, call in enumerate(wanted))


def _call(call_id: str, wanted: WantedCall, declared: dict[str, Tool]) -> ToolCall:
    arguments = wanted.arguments.strip() or "{}"
    parsed = _parsed(arguments)
    if parsed is None:
        return ToolCall(call_id, wanted.name[:NAME_CHARS_MAX], "{}", f"The arguments are no JSON object: {_quoted(arguments)}")
    tool = declared.get(wanted.name)
    if tool is None:
        problem = f"There is no tool {_quoted(wanted.name)}. There are: {', '.join(declared)}."
        return ToolCall(call_id, wanted.name[:NAME_CHARS_MAX], arguments, problem)
    missing = [name for name in json.loads(tool.parameters).get("required", ()) if name not in parsed]
    problem = f"The arguments lack {', '.join(missing)}." if missing else ""
    return ToolCall(call_id, tool.name, arguments, problem)


def _parsed(arguments: str) -> dict[str, Any] | None:
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _quoted(text: str) -> str:
    return text if len(text) <= QUOTED_CHARS_MAX else f"{text[:QUOTED_CHARS_MAX]}…"

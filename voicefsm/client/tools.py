"""Tools: what the model may have a client do.

    async def weather(city: str, days: int = 1) -> str:
        "What the weather will be like."
        ...

    SessionOptions(tools=(tool(weather),))

The parameters of the function, with their types, are what the model is told to give; its docstring tells what it is for. A tool
without a function is only declared: its calls come as `ToolCalled` events, to be answered with `Conversation.answer_tool`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import types
import typing
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin

from voicefsm.client.events import ToolCalled
from voicefsm.values import Epoch

Function = Callable[..., Awaitable[object]]


class ToolFailed(Exception):
    """Raise it in a tool to tell the model why it could not be done. What other errors say is told as well, after their type."""


@dataclasses.dataclass(frozen=True, slots=True)
class Tool:
    """Something the model may ask for."""

    name: str
    """1 to 64 letters, digits, "_" and "-"."""
    description: str = ""
    """What it does and when to use it, for the model."""
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"type": "object", "properties": {}})
    """A JSON schema of an object."""
    function: Function | None = None
    """Called with the parameters as keyword arguments. What it returns is told to the model: a text as it is, all else as JSON."""


def tool(function: Function, *, name: str = "", description: str = "", parameters: Mapping[str, Any] | None = None) -> Tool:
    """Make a tool of an async function. What is not given is taken from its name, its docstring and its signature.

    Raises `TypeError` when a parameter has no type that JSON knows, and `parameters` is not given.
    """
    schema = _schema_of(function) if parameters is None else parameters
    described = description or inspect.getdoc(function) or ""
    return Tool(name or str(getattr(function, "__name__", "")), described, schema, function)


# --- a signature as a schema -------------------------------------------------------------------------------------------------

_JSON_TYPES: Mapping[object, str] = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object", list: "array"}


def _schema_of(function: Function) -> dict[str, Any]:
    hints = typing.get_type_hints(function)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"{parameter} of a tool cannot be given by name: give `parameters`.")
        schema = _schema_of_type(hints.get(parameter.name), parameter.name)
        if parameter.default is parameter.empty:
            required.append(parameter.name)
        properties[parameter.name] = schema
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _schema_of_type(hint: Any, name: str) -> dict[str, Any]:
    if hint in _JSON_TYPES:
        return {"type": _JSON_TYPES[hint]}
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(args)}
    if origin is list:
        return {"type": "array", "items": _schema_of_type(args[0], name)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema_of_type(args[1], name)}
    if origin in (Union, types.UnionType):
        known = [arg for arg in args if arg is not type(None)]
        if len(known) == 1:
            return _schema_of_type(known[0], name)
        return {"anyOf": [_schema_of_type(arg, name) for arg in known]}
    raise TypeError(f"The parameter {name!r} of a tool has no type that JSON knows: annotate it, or give `parameters`.")


# --- calls -------------------------------------------------------------------------------------------------------------------

CLOSE_S_MAX = 1.0
"""How long calls may take to end when the conversation is over."""
Answer = Callable[[Epoch, str, str, str], Awaitable[None]]
"""Takes the epoch, the call's id, and its output or its error."""


class ToolCalls:
    """The calls that are being carried out in one conversation, each in a task of its own."""

    def __init__(self, tools: tuple[Tool, ...], answer: Answer, failed: Callable[[ToolCalled, Exception], None]) -> None:
        self._functions = {tool.name: tool.function for tool in tools if tool.function is not None}
        self._answer, self._failed = answer, failed
        self._running: dict[str, asyncio.Task[None]] = {}

    def start(self, call: ToolCalled) -> None:
        """Carry it out, if we know how."""
        if (function := self._functions.get(call.name)) is not None:
            task = asyncio.create_task(self._run(call, function), name=f"tool {call.name} {call.call_id}")
            self._running[call.call_id] = task
            task.add_done_callback(lambda _: self._running.pop(call.call_id, None))

    def cancel(self, call_id: str) -> None:
        """Nobody waits for it any more."""
        if (task := self._running.get(call_id)) is not None:
            task.cancel()

    async def aclose(self) -> None:
        """Cancel them all, and wait until they have ended; not for one that takes no notice."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=CLOSE_S_MAX)

    async def _run(self, call: ToolCalled, function: Function) -> None:
        try:
            output, error = _text_of(await function(**_fitting(function, call.arguments))), ""
        except Exception as failure:  # noqa: BLE001 (whatever it is, the model is told, and the conversation goes on)
            output, error = "", _reason_of(failure)
            self._failed(call, failure)
        await self._answer(call.epoch, call.call_id, output, error)


def _fitting(function: Function, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        raise ToolFailed(f"The arguments do not fit: {error}.") from error
    return arguments


def _text_of(result: object) -> str:
    if result is None or isinstance(result, str):
        return result or ""
    return json.dumps(result, ensure_ascii=False)


def _reason_of(failure: Exception) -> str:
    said = str(failure).strip()
    if isinstance(failure, ToolFailed) and said:
        return said
    return f"{type(failure).__name__}: {said}" if said else type(failure).__name__

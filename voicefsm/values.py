"""The small values everything else is made of.

Three clocks, never mixed (docs/glossary.md):

- *now*: monotonic milliseconds, an argument of every event (`at_ms`);
- *media time*: a count of samples, per direction (`SampleIndex`);
- *wall clock*: only in logs and journals, never in a decision.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NewType, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Epoch = NewType("Epoch", int)
"""The number of one assistant reply, counted from 1 within a session: the fencing token that everything late carries."""

NO_EPOCH = Epoch(0)
"""The epoch while no reply is alive: no fact can carry it, so every late fact is stale."""

SampleIndex = NewType("SampleIndex", int)
"""A position on a sample clock. Far-end positions count over the whole session, across epochs, and are never reused."""


class Backend(enum.StrEnum):
    """The three servers a session leans on."""

    ASR = "asr"
    LLM = "llm"
    TTS = "tts"


class CancelReason(enum.StrEnum):
    """Why a reply was cut before its end."""

    BARGE_IN = "barge_in"
    """The barge-in decision confirmed near-end speech over the reply."""
    CLIENT = "client"
    """The client asked for it (`CancelTts`)."""
    NEW_INPUT = "new_input"
    """The user said or typed something else before the reply was audible, or typed over it."""
    FAILURE = "failure"
    """A backend failed or ran out of time."""
    SESSION_END = "session_end"
    """The session is over."""


class EndReason(enum.StrEnum):
    """Why a session ended."""

    CLIENT = "client"
    IDLE = "idle"
    AGE = "age"
    FAILURE = "failure"
    SHUTDOWN = "shutdown"


_HOST = r"([^\s/:@?#\[\]]+|\[[\da-fA-F:.]+\])"
"""A name, an IPv4 address, or an IPv6 address in brackets."""


class Shape(enum.Enum):
    """What a text that says where a server is looks like: how people are told, and the pattern."""

    URL = ("http://HOST or https://HOST, with port and path if need be", rf"https?://{_HOST}(:\d{{1,5}})?(/\S*)?")
    HOST_PORT = ("HOST:PORT", rf"(dns:///)?{_HOST}:\d{{1,5}}")

    def __init__(self, words: str, pattern: str) -> None:
        self.words = words
        self.pattern = re.compile(pattern)


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """What a setting says about itself; read by `config.py`, `docs/settings.md` and the per-session override check."""

    unit: str
    doc: str
    ge: float | None = None
    le: float | None = None
    secret: bool = False
    shape: Shape | None = None


def setting(
    default: Any,
    *,
    unit: str,
    doc: str,
    ge: float | None = None,
    le: float | None = None,
    secret: bool = False,
    shape: Shape | None = None,
) -> Any:
    """Declare one field of a settings dataclass, once: default, unit, bounds (inclusive) and one sentence.

    `unit` is "ms", "samples", "Hz", "dB", "tokens", "characters", … or "" for a plain text or switch.
    Returns a `dataclasses.field`; the type is `Any` because `dataclasses.field` itself is typed that way.
    """
    bounds = Bounds(unit=unit, doc=doc, ge=ge, le=le, secret=secret, shape=shape)
    return dataclasses.field(default=default, metadata={"bounds": bounds})


def bounds_of(settings: type) -> Mapping[str, Bounds]:
    """The `Bounds` of every field of a settings dataclass that was declared with `setting()`."""
    fields = dataclasses.fields(settings)
    return {f.name: f.metadata["bounds"] for f in fields if "bounds" in f.metadata}


def refusal(value: object, bounds: Bounds) -> str:
    """Why `value` is outside `bounds`, as the end of a sentence ("must be between 100 and 3000 ms"); empty when it is inside.

    A text is measured in characters and a tuple in entries. Not-a-number is inside no bounds.
    """
    texts = [text for text in (value if isinstance(value, tuple) else (value,)) if isinstance(text, str)]
    if bounds.shape is not None and not all(bounds.shape.pattern.fullmatch(text) for text in texts):
        return f"must look like {bounds.shape.words}"
    size = len(value) if isinstance(value, (str, tuple)) else value
    least, most = bounds.ge, bounds.le
    if (least is None and most is None) or not isinstance(size, (int, float)):
        return ""
    if (least is None or size >= least) and (most is None or size <= most):
        return ""
    if least is None or most is None:
        limits = f"at most {most:.15g}" if least is None else f"at least {least:.15g}"
    else:
        limits = f"between {least:.15g} and {most:.15g}"
    length = " long" if isinstance(value, str) else ""
    return f"must be {limits} {bounds.unit}".rstrip() + length


SettingsT = TypeVar("SettingsT", bound="DataclassInstance")


def checked_replace(settings: SettingsT, **changes: Any) -> SettingsT:
    """`settings` with some fields changed for one session, held to the same bounds as the operator's own values.

    Raises `ValueError` naming every field that is unknown or out of bounds, its value, its bounds and their unit; the caller knows
    whose fault that is (a client's: `errors.InvalidMessage`).
    """
    known = bounds_of(type(settings))
    problems = [f"there is no setting {name}" for name in changes if name not in known]
    for name in known.keys() & changes.keys():
        reason = refusal(changes[name], known[name])
        if reason:
            problems.append(f"{name} is {changes[name]!r}, and {reason}")
    if problems:
        raise ValueError("; ".join(sorted(problems)) + ".")
    return dataclasses.replace(settings, **changes)

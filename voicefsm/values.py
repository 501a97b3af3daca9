"""The small values everything else is made of.

Three clocks, never mixed (docs/glossary.md):

- *now*: monotonic milliseconds, an argument of every event (`at_ms`);
- *media time*: a count of samples, per direction (`SampleIndex`);
- *wall clock*: only in logs and journals, never in a decision.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, NewType

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


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """What a setting says about itself; read by `config.py`, `docs/settings.md` and the per-session override check."""

    unit: str
    doc: str
    ge: float | None = None
    le: float | None = None
    secret: bool = False


def setting(
    default: Any,
    *,
    unit: str,
    doc: str,
    ge: float | None = None,
    le: float | None = None,
    secret: bool = False,
) -> Any:
    """Declare one field of a settings dataclass, once: default, unit, bounds (inclusive) and one sentence.

    `unit` is "ms", "samples", "Hz", "dB", "tokens", "characters", … or "" for a plain text or switch.
    Returns a `dataclasses.field`; the type is `Any` because `dataclasses.field` itself is typed that way.
    """
    bounds = Bounds(unit=unit, doc=doc, ge=ge, le=le, secret=secret)
    return dataclasses.field(default=default, metadata={"bounds": bounds})


def bounds_of(settings: type) -> Mapping[str, Bounds]:
    """The `Bounds` of every field of a settings dataclass that was declared with `setting()`."""
    fields = dataclasses.fields(settings)
    return {f.name: f.metadata["bounds"] for f in fields if "bounds" in f.metadata}

"""The replayable record of a session: one JSON object per line, written as it happens.

Kinds of record, each with `at_ms` (the *now* clock, from the session's start):

- `session`: the first line. Version, session id, wall clock, language, rates, and the turn settings that the machine ran with.
- `step`: one fact, the states before and after, and all orders it led to. Feeding the facts to a machine with the same settings
  must give the same orders again: that is what replay checks.
- `turn`: what a finished exchange came to (the `TurnCompleted` message).
- `end`: why the session ended, and what was lost in it.

No audio is written. Lines go to a buffered file; a journal that reaches its limit says so in its last line and writes no more. A
disk that fails ends the journal, never the session.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from voicefsm.values import setting


@dataclasses.dataclass(frozen=True, slots=True)
class JournalSettings:
    """Where sessions are recorded."""

    dir: str = setting("", unit="", doc="Directory for one <session id>.jsonl per session; empty: none is written.")
    bytes_max: int = setting(50_000_000, unit="bytes", ge=10_000, le=10_000_000_000, doc="The largest journal of one session.")


class NullJournal:
    """Records nothing."""

    def write(self, kind: str, at_ms: int, body: Mapping[str, Any]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class FileJournal:
    """One JSON object per line, in one file per session."""

    def __init__(self, path: Path, *, bytes_max: int, lost: Callable[[OSError], object] = lambda _: None) -> None:
        """`lost` is told when the disk fails. Raises `OSError` when the file cannot be created."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] | None = path.open("wb")
        self._left = bytes_max
        self._lost = lost

    def write(self, kind: str, at_ms: int, body: Mapping[str, Any]) -> None:
        """Append one record."""
        if self._file is None:
            return
        line = _line({"kind": kind, "at_ms": at_ms, **body})
        self._left -= len(line)
        self._append(line if self._left > 0 else _line({"kind": "truncated", "at_ms": at_ms}))
        if self._left <= 0:
            self.close()

    def close(self) -> None:
        """Write what is buffered. Harmless twice."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            file.close()
        except OSError as error:
            self._lost(error)

    def _append(self, line: bytes) -> None:
        assert self._file is not None
        try:
            self._file.write(line)
        except OSError as error:
            self._lost(error)
            with suppress(OSError):
                self._file.close()
            self._file = None


def _line(record: Mapping[str, Any]) -> bytes:
    """One record. Half a surrogate pair, which a model may write, becomes its escape."""
    return f"{json.dumps(record, ensure_ascii=False, separators=(',', ':'))}\n".encode(errors="backslashreplace")


def record_of(item: object) -> dict[str, Any]:
    """A fact or an order as JSON: its type and its fields, defaults left out."""
    assert dataclasses.is_dataclass(item)
    fields = {f.name: getattr(item, f.name) for f in dataclasses.fields(item)}
    defaults = {f.name: f.default for f in dataclasses.fields(item)}
    kept = {name: plain(value) for name, value in fields.items() if name != "at_ms" and value != defaults[name]}
    return {"type": type(item).__name__, **kept}


def plain(value: object) -> Any:
    """A value of a fact, an order or a setting as JSON."""
    if isinstance(value, enum.Enum):
        return value.name if isinstance(value, int) else value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value

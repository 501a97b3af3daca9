"""The replayable record of a session: one JSON object per line, written as it happens.

Kinds of record, each with `at_ms` (the *now* clock, from the session's start), and from a gateway with `written_us` (the monotonic
clock of the host, by which what several processes saw can be put in order; of a `step`, the moment of the decision):

- `session`: the first line. Version, format, session id, wall clock, language, rates, and the turn settings the machine ran with.
- `step`: one fact, the states before and after, all orders it led to, and the deadline `until` which the machine waits. Feeding the
  facts to a machine with the same settings must give the same again: that is what replay checks.
- `refused`: the fact that the machine took for a defect, and that ended the session.
- `turn`: what a finished exchange came to (the `TurnCompleted` message).
- `end`: why the session ended, and what was lost in it.

No audio is written; with `journal.redact` no words are either (redaction.py). Nobody but the user that the gateway runs as may read
them. A directory is one gateway's and holds a limited number of journals: those of live sessions stay, of the others those that
ended first make room. Its workers share it: each counts what it found and what it wrote, and a lock says what another still writes.
It is listed once, and not for each session: sessions begin while others are heard. Lines go to a buffered file; a journal that
reaches its limit says so in its last line and writes no more. A disk that fails ends the journal, never the session.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from voicefsm.events import Timer
from voicefsm.runtime.redaction import Redaction
from voicefsm.values import setting

try:
    import fcntl
except ModuleNotFoundError:  # Windows, where nobody can remove a file that is open
    fcntl = None  # type: ignore[assignment]

_NAMES = f"{'[0-9a-f]' * 16}.jsonl"
"""What journals of a gateway are called: their session's id. Other files in the directory are not ours to remove."""
FORMAT = 1
"""Of the records. It grows when an older reader would misunderstand them, not when there is more to read."""


@dataclasses.dataclass(frozen=True, slots=True)
class JournalSettings:
    """Where sessions are recorded."""

    dir: str = setting(
        "", unit="", doc="Directory of this gateway, for one <session id>.jsonl per session; empty: none is written."
    )
    bytes_max: int = setting(50_000_000, unit="bytes", ge=10_000, le=10_000_000_000, doc="The largest journal of one session.")
    files_max: int = setting(
        1000, unit="files", ge=1, le=1_000_000, doc="How many journals the directory holds; the oldest make room for new ones."
    )
    redact: bool = setting(
        False, unit="", doc="Write stand-ins for what users and assistant say. Such a journal still replays; its words are gone."
    )


class NullJournal:
    """Records nothing."""

    def write(self, kind: str, at_ms: int, body: Mapping[str, Any]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class FileJournal:
    """One JSON object per line, in one file per session."""

    def __init__(
        self,
        path: Path,
        *,
        bytes_max: int,
        redact: bool = False,
        lost: Callable[[OSError], object] = lambda _: None,
        host_ns: Callable[[], int] | None = None,
    ) -> None:
        """`lost` is told when the disk fails. Raises `OSError` when the file cannot be created.

        `host_ns` is the host's monotonic clock. Without it records do not say when they were written, and can be equal.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self.is_live = True
        """Whether the session is not over; the file may be closed for its size before."""
        self._file: IO[bytes] | None = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        self._left = bytes_max
        self._redaction = Redaction() if redact else None
        self._lost, self._host_ns = lost, host_ns

    def write(self, kind: str, at_ms: int, body: Mapping[str, Any]) -> None:
        """Append one record."""
        if self._file is None:
            return
        if self._redaction is not None:
            body = self._redaction.record(body) | ({"redacted": True} if kind == "session" else {})
        times = {"at_ms": at_ms} if self._host_ns is None else {"at_ms": at_ms, "written_us": self._host_ns() // 1000}
        line = _line({"kind": kind, **times, **body})
        self._left -= len(line)
        self._append(line if self._left > 0 else _line({"kind": "truncated", "at_ms": at_ms}))
        if self._left <= 0:
            self._close_file()

    def close(self) -> None:
        """The session is over: write what is buffered. Harmless twice."""
        self.is_live = False
        self._close_file()

    def _close_file(self) -> None:
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


class JournalDirectory:
    """The journals of one gateway."""

    def __init__(self, settings: JournalSettings) -> None:
        """List what earlier processes left."""
        self._settings = settings
        self._dir = Path(settings.dir)
        self._live: list[FileJournal] = []
        self._ended = deque(sorted(self._dir.glob(_NAMES), key=_written_ns))
        """Oldest first."""

    def open(self, session_id: str, lost: Callable[[OSError], object]) -> FileJournal:
        """A journal for a new session, and room for it. Raises `OSError`."""
        settings = self._settings
        self._make_room()
        path = self._dir / f"{session_id}.jsonl"
        journal = FileJournal(path, bytes_max=settings.bytes_max, redact=settings.redact, lost=lost, host_ns=time.monotonic_ns)
        self._live.append(journal)
        return journal

    def _make_room(self) -> None:
        """Remove the oldest until one more makes at most `files_max`, or only those of live sessions are left."""
        self._ended += (journal.path for journal in self._live if not journal.is_live)
        self._live = [journal for journal in self._live if journal.is_live]
        while self._ended and len(self._live) + len(self._ended) >= self._settings.files_max:
            if not _is_anothers(self._ended[0]):
                self._ended[0].unlink(missing_ok=True)
            self._ended.popleft()


def _is_anothers(path: Path) -> bool:
    """Whether another process is writing it: a worker beside us, whose session is live."""
    if fcntl is None:
        return False
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as refused:  # else it is gone already, or there are no locks here
        return isinstance(refused, BlockingIOError)
    return False


def _written_ns(path: Path) -> int:
    """When it was last written; a file that another process has just removed is the oldest."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def utc_now() -> str:
    """The wall clock, for the first line of a journal."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _line(record: Mapping[str, Any]) -> bytes:
    """One record. Half a surrogate pair, which a model may write, becomes its escape."""
    return f"{COMPACT.encode(record)}\n".encode(errors="backslashreplace")


COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
"""How records are written, here and to a session store."""


@functools.cache
def _fields(kind: type[Any]) -> tuple[tuple[str, object], ...]:
    """Name and default of each field of a dataclass."""
    return tuple((field.name, field.default) for field in dataclasses.fields(kind))


def record_of(item: object) -> dict[str, Any]:
    """A fact or an order as JSON: its type and its fields, defaults left out."""
    kind: Any = type(item)
    record = {"type": kind.__name__}
    for name, default in _fields(kind):
        value = getattr(item, name)
        if name != "at_ms" and value != default:
            record[name] = plain(value)
    return record


def until(deadline: tuple[int, Timer] | None) -> list[int | str] | None:
    """The next deadline as JSON."""
    return None if deadline is None else [deadline[0], deadline[1].name]


def plain(value: object) -> Any:
    """A value of a fact, an order or a setting as JSON."""
    kind: Any = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, enum.Enum):
        return value.name if isinstance(value, int) else value.value
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name)) for name, _ in _fields(kind)}
    return value


_PLAIN = frozenset({int, str, float, bool, type(None)})

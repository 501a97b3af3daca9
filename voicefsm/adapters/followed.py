"""Files that may change while the gateway runs: what they say counts once it was checked; a bad one changes nothing.

Somebody has to `look`: a task does, every so often (`watch`). Whoever needs what a file says takes `now`, which touches no disk
and may be taken in any thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from voicefsm.errors import SettingsError

T = TypeVar("T")
_Mark = tuple[tuple[int, ...] | None, ...]


class Looks(Protocol):
    """Anything that can be looked at again."""

    def look(self) -> None:
        """Have the files changed?"""


class Followed(Generic[T]):
    """What some files say together."""

    def __init__(self, what: str, files: Sequence[str], read: Callable[[], T], known: T | None = None) -> None:
        """`what` names it in logs and metrics; `read` makes of the files what they say, or raises `SettingsError`.

        `known` is what they say now, if that was read before.

        Raises:
            SettingsError: at the beginning there has to be something good.

        """
        self._what, self._files, self._read = what, [Path(file) for file in files], read
        self._mark = self._looks_like()
        self.told: Callable[[str, str], None] = lambda _what, _problem: None
        """What is told of each change: see `ports.Observer.reloaded`."""
        self.now = read() if known is None else known
        """What they say, as far as it is good."""

    def look(self) -> None:
        """Read the files if they have changed."""
        mark = self._looks_like()
        if mark == self._mark:
            return
        self._mark = mark
        try:
            self.now = self._read()
        except SettingsError as bad:
            self.told(self._what, str(bad))
        else:
            self.told(self._what, "")

    def _looks_like(self) -> _Mark:
        return tuple(_mark(file) for file in self._files)


def _mark(file: Path) -> tuple[int, ...] | None:
    """Changes when the file does, or who may read it; None when it is not there.

    A ConfigMap's files are links that are turned to others.
    """
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mode, found.st_mtime_ns, found.st_ctime_ns, found.st_size


async def watch(followed: Sequence[Looks], every_ms: int) -> None:
    """Look at all of them, until cancelled."""
    while True:
        await asyncio.sleep(every_ms / 1000)
        for one in followed:
            one.look()


def text_of(file: str, setting: str) -> bytes:
    """The file's bytes. Raises `SettingsError`."""
    try:
        return Path(file).read_bytes()
    except OSError as unreadable:
        what = f"{file} cannot be read: {unreadable.strerror or unreadable}."
        raise SettingsError(what, remedy=f"Check {setting}.") from unreadable

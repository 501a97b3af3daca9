"""Secrets that may change while the gateway runs: the file is asked again for each call that needs one."""

from __future__ import annotations

from pathlib import Path
from typing import Self

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
"""Hosts that are this one: no network carries what we send there."""


class Secret(str):
    """A text that does not show itself in a `repr`, and so in no traceback and no log of a settings object."""

    __slots__ = ("_current", "_file")
    _current: str
    _file: Path | None

    def __new__(cls, text: str, file: Path | None = None) -> Self:
        """`file`: where the text came from; what stands there later counts."""
        secret = super().__new__(cls, text)
        secret._file, secret._current = file, text
        return secret

    def __repr__(self) -> str:
        return "'********'" if self else "''"

    def now(self) -> str:
        """What the file says now; as long as it cannot be read, is empty, or says what cannot be sent, what it said last."""
        if self._file is not None:
            try:
                found = self._file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                return self._current  # it may just be exchanged
            if found and is_sendable(found):
                self._current = found
        return self._current


def is_sendable(text: str) -> bool:
    """Whether a header or gRPC metadata can carry it. What cannot be carried ends up in the message of a library's error."""
    return all(" " <= char <= "~" for char in text)


def current(secret: str) -> str:
    """The secret as it is now. A plain text never changes."""
    return secret.now() if isinstance(secret, Secret) else secret

"""Conversations in the memory of this process: a client whose connection broke can go on, with this process alone."""

from __future__ import annotations

import dataclasses

from voicefsm.ports import Clock


@dataclasses.dataclass(slots=True)
class _Entry:
    owner: int
    data: bytes
    """Empty: the conversation is forgotten, and a session that still believes it to be its own may not bring it back."""
    until_ms: int


class MemoryStore:
    """See `ports.SessionStore`."""

    def __init__(self, clock: Clock, sessions_max: int, bytes_max: int = 1 << 30) -> None:
        self._clock, self._sessions_max = clock, sessions_max
        self._bytes, self._bytes_max = 0, bytes_max
        self._entries: dict[str, _Entry] = {}
        """The one that was written last comes last."""

    async def find(self, token: str) -> bytes | None:
        """See `ports.SessionStore`."""
        entry = self._entry(token)
        return (entry.data or None) if entry else None

    async def claim(self, token: str) -> tuple[int, bytes] | None:
        """See `ports.SessionStore`."""
        entry = self._entry(token)
        if entry is None or not entry.data:
            return None
        entry.owner += 1
        return entry.owner, entry.data

    async def save(self, token: str, owner: int, data: bytes, *, keep_ms: int) -> bool:
        """See `ports.SessionStore`."""
        entry = self._entry(token)
        if entry is not None and entry.owner > owner:
            return False
        self._drop(token)
        while self._entries and (len(self._entries) >= self._sessions_max or self._bytes + len(data) > self._bytes_max):
            self._drop(next(iter(self._entries)))
        self._bytes += len(data)
        self._entries[token] = _Entry(owner, data, self._clock.now_ms() + keep_ms)
        self._expire()
        return True

    async def forget(self, token: str, owner: int) -> None:
        """See `ports.SessionStore`."""
        entry = self._entry(token)
        if entry is not None and entry.owner <= owner:
            self._bytes -= len(entry.data)
            entry.data = b""

    async def aclose(self) -> None:
        """See `ports.SessionStore`."""
        self._entries.clear()
        self._bytes = 0

    def _entry(self, token: str) -> _Entry | None:
        entry = self._entries.get(token)
        return entry if entry is not None and self._clock.now_ms() < entry.until_ms else None

    def _expire(self) -> None:
        """Let go of what has expired, the oldest first, as far as it comes first."""
        now_ms = self._clock.now_ms()
        while self._entries and (first := next(iter(self._entries.items())))[1].until_ms <= now_ms:
            self._drop(first[0])

    def _drop(self, token: str) -> None:
        entry = self._entries.pop(token, None)
        self._bytes -= len(entry.data) if entry else 0

"""What waits for a session's machine: facts, in order, up to limits."""

from __future__ import annotations

import asyncio

from voicefsm.errors import TooMuch
from voicefsm.events import Fact
from voicefsm.runtime.weight import weight


class Inbox:
    """A bounded queue of facts with one reader. Whoever tells something holds this, and not the session."""

    def __init__(self, facts_max: int, bytes_max: int) -> None:
        self._facts: asyncio.Queue[tuple[Fact, int]] = asyncio.Queue(facts_max)
        """Each with its weight."""
        self._bytes, self._bytes_max = 0, bytes_max
        self._has_lost = False

    def __len__(self) -> int:
        """How many facts wait."""
        return self._facts.qsize()

    def put(self, fact: Fact) -> None:
        """Append. When it is full the session is beyond saving: its reader is told instead of who told the fact."""
        weighs = weight(fact)
        if self._facts.full() or self._bytes + weighs > self._bytes_max:
            self._has_lost = True
        else:
            self._bytes += weighs
            self._facts.put_nowait((fact, weighs))

    async def get(self) -> Fact:
        """The next fact. Raises `TooMuch` once one was lost."""
        fact, weighs = await self._facts.get()
        self._bytes -= weighs
        if self._has_lost:
            raise TooMuch(
                f"More than {self._facts.maxsize} facts, or {self._bytes_max} bytes of them, wait for the session's machine.",
                remedy="Send slower, or check the server's load.",
            )
        return fact

"""What waits for a session's machine: facts, in order, up to a limit."""

from __future__ import annotations

import asyncio

from voicefsm.errors import TooMuch
from voicefsm.events import Fact


class Inbox:
    """A bounded queue of facts with one reader. Whoever tells something holds this, and not the session."""

    def __init__(self, facts_max: int) -> None:
        self._facts: asyncio.Queue[Fact] = asyncio.Queue(facts_max)
        self._has_lost = False

    def __len__(self) -> int:
        """How many facts wait."""
        return self._facts.qsize()

    def put(self, fact: Fact) -> None:
        """Append. When it is full the session is beyond saving: its reader is told instead of who told the fact."""
        try:
            self._facts.put_nowait(fact)
        except asyncio.QueueFull:
            self._has_lost = True

    async def get(self) -> Fact:
        """The next fact. Raises `TooMuch` once one was lost."""
        fact = await self._facts.get()
        if self._has_lost:
            raise TooMuch(
                f"More than {self._facts.maxsize} facts wait for the session's machine.",
                remedy="Send slower, or check the server's load.",
            )
        return fact

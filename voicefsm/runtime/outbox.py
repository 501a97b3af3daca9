"""What waits to be written to the client. One writer takes from it; everything else of a session only puts.

Playout is paced, so the queue is short in normal operation. It is cut, not drained, when a reply is cancelled: no sample of a
cancelled reply may leave after its `CancelTts`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from voicefsm.errors import TooMuch
from voicefsm.runtime.messages import AudioOutput, Outbound
from voicefsm.values import Epoch


class Outbox:
    """A bounded queue of messages with one reader."""

    def __init__(self, messages_max: int, *, check: Callable[[Outbound], None] | None = None) -> None:
        """`check` sees every message before it is queued, and raises when it must not leave."""
        self._messages: deque[Outbound] = deque()
        self._messages_max = messages_max
        self._check = check
        self._wake = asyncio.Event()
        self._is_closed = False

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._messages)

    def put(self, message: Outbound) -> None:
        """Append. Raises `TooMuch` when the client does not read: its session cannot go on; and whatever `check` raises."""
        if self._check is not None:
            self._check(message)
        if len(self._messages) >= self._messages_max:
            raise TooMuch(
                f"The client has not read {self._messages_max} messages.",
                remedy="Read the response stream while the session lives.",
            )
        self._messages.append(message)
        self._wake.set()

    def cut_audio(self, epoch: Epoch) -> None:
        """Take back the audio of a reply that has not been written yet."""
        kept = [m for m in self._messages if not (isinstance(m, AudioOutput) and m.epoch == epoch)]
        self._messages = deque(kept)

    def close(self) -> None:
        """Nothing more will come; what is in the queue is still written."""
        self._is_closed = True
        self._wake.set()

    async def get(self) -> Outbound | None:
        """The next message; None after `close()` and the last one."""
        while not self._messages:
            if self._is_closed:
                return None
            self._wake.clear()
            await self._wake.wait()
        return self._messages.popleft()

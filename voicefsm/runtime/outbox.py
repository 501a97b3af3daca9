"""What waits to be written to the client. One writer takes from it; everything else of a session only puts.

Playout is paced, so the queue is short in normal operation. Two limits tell a client that does not read: how many messages wait,
and how long the oldest has. The session ends at the next message, before more work is done for nobody.

The queue is cut, not drained, when a reply is cancelled: no sample of a cancelled reply may leave after its `CancelTts`.
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

    def __init__(
        self,
        messages_max: int,
        *,
        ms_max: int = 0,
        now: Callable[[], int] = lambda: 0,
        check: Callable[[Outbound], None] | None = None,
    ) -> None:
        """A message may wait for `ms_max` on the clock `now`; 0: for ever.

        `check` sees every message before it is queued, and raises when it must not leave.
        """
        self._messages: deque[tuple[int, Outbound]] = deque()
        """Since when each waits."""
        self._messages_max, self._ms_max, self._now = messages_max, ms_max, now
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
        now_ms = self._now()
        if len(self._messages) >= self._messages_max:
            raise _unread(f"{self._messages_max} messages")
        if self._ms_max and self._messages and now_ms - self._messages[0][0] > self._ms_max:
            raise _unread(f"for {self._ms_max} ms")
        self._messages.append((now_ms, message))
        self._wake.set()

    def cut_audio(self, epoch: Epoch) -> None:
        """Take back the audio of a reply that has not been written yet."""
        self._messages = deque((at, m) for at, m in self._messages if not (isinstance(m, AudioOutput) and m.epoch == epoch))

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
        return self._messages.popleft()[1]


def _unread(what: str) -> TooMuch:
    return TooMuch(f"The client has not read {what}.", remedy="Read the response stream while the session lives.")

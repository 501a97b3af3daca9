"""What waits to be written to the client. One writer takes from it; everything else of a session only puts.

Playout is paced, so the queue is short in normal operation. Three limits tell a client that does not read: how many messages wait,
how large they are, and how long the oldest has waited. The session ends at the next message, before more work is done for nobody.

The queue is cut, not drained, when a reply is cancelled: no sample of a cancelled reply may leave after its `CancelTts`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from voicefsm.errors import TooMuch
from voicefsm.runtime.messages import AudioOutput, Outbound
from voicefsm.runtime.weight import weight
from voicefsm.values import Epoch


class Outbox:
    """A bounded queue of messages with one reader."""

    def __init__(
        self,
        messages_max: int,
        *,
        bytes_max: int = 0,
        ms_max: int = 0,
        now: Callable[[], int] = lambda: 0,
        check: Callable[[Outbound], None] | None = None,
    ) -> None:
        """A message may wait for `ms_max` on the clock `now`; 0: for ever. `bytes_max`: of all that wait; 0: without limit.

        `check` sees every message before it is queued, and raises when it must not leave.
        """
        self._messages: deque[tuple[int, int, Outbound]] = deque()
        """Since when each waits, and its weight."""
        self._messages_max, self._ms_max, self._now = messages_max, ms_max, now
        self._bytes, self._bytes_max = 0, bytes_max
        self._check = check
        self._wake = asyncio.Event()
        self._is_closed = False

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._messages)

    def __iter__(self) -> Iterator[Outbound]:
        """What waits, the oldest first."""
        return (message for _, _, message in self._messages)

    def put(self, message: Outbound) -> None:
        """Append. Raises `TooMuch` when the client does not read: its session cannot go on; and whatever `check` raises."""
        if self._check is not None:
            self._check(message)
        now_ms, weighs = self._now(), weight(message)
        if len(self._messages) >= self._messages_max:
            raise _unread(f"{self._messages_max} messages")
        if self._ms_max and self._messages and now_ms - self._messages[0][0] > self._ms_max:
            raise _unread(f"for {self._ms_max} ms")
        if self._bytes_max and self._bytes + weighs > self._bytes_max:
            raise _unread(f"{self._bytes_max} bytes of messages")
        self._bytes += weighs
        self._messages.append((now_ms, weighs, message))
        self._wake.set()

    def cut_audio(self, epoch: Epoch) -> None:
        """Take back the audio of a reply that has not been written yet."""
        self._messages = deque(
            waiting for waiting in self._messages if not (isinstance(waiting[2], AudioOutput) and waiting[2].epoch == epoch)
        )
        self._bytes = sum(weighs for _, weighs, _ in self._messages)

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
        _, weighs, message = self._messages.popleft()
        self._bytes -= weighs
        return message


def _unread(what: str) -> TooMuch:
    return TooMuch(f"The client has not read {what}.", remedy="Read the response stream while the session lives.")

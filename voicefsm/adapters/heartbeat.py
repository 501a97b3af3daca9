"""The heartbeat of a Riva recogniser: it answers each of its own chunks, so its silence tells when it has stopped.

Theory of operation. Nobody says how long the server's chunk is (80 to 1120 ms, by model), and it has nothing to do with the length
of our messages. It is learned per stream, from the first answer on:

- exactly, from `audio_processed`: what it grew by, over the answers it took;
- from answers without results, which carry no `audio_processed`, as an upper bound: a server cannot have answered more chunks than
  it was sent, so a chunk is at most the audio sent over the answers, and that ratio closes in on the truth.

An answer is *due* once a whole chunk is with the server. It is *overdue* one chunk and `stall_ms` after the last answer, or
`stall_ms` after the chunk was whole, whichever is later: a muted client is no dead server. `finalized()` calls for answers that are
not chunks, and the estimates leave them out.

Time is an argument, so that all of this is tested in virtual time.
"""

from __future__ import annotations

CHUNK_MS_LONGEST = 1200
"""No streaming model is known to work on longer chunks: before the first answer this much audio has to be with the server."""
ANSWERS_PER_FINALIZE = 2
"""A final, and the rest of a chunk before it."""


class Heartbeat:
    """Tells when an answer is overdue."""

    def __init__(self, *, stall_ms: float, first_ms: float) -> None:
        self._stall_ms, self._first_ms = stall_ms, first_ms
        self._sent_ms = 0.0
        self._processed_ms = 0.0
        """Of the audio sent, what the answers so far were about, as far as it can be told."""
        self._answers = 0
        self._extra_answers = 0
        self._known_ms = 0.0
        self._bound_ms = float("inf")
        self._base: tuple[float, int] | None = (0.0, 0)
        """(`audio_processed`, answers) from which the next chunks are measured; None: not until the next one tells."""
        self._finals_owed = 0
        """Finals that were asked for; until they are here, an answer may be about less than a chunk."""
        self._answered_at_ms: float | None = None
        self._whole_at_ms: float | None = None
        """Since when a whole chunk waits for its answer."""
        self._flows_since_ms: float | None = None

    @property
    def period_ms(self) -> float:
        """The server's chunk, as far as it is known."""
        if not self._answers:
            return CHUNK_MS_LONGEST
        return self._known_ms or self._bound_ms

    @property
    def due_ms(self) -> float | None:
        """When the server is overdue unless it answers before; None while it owes nothing."""
        if self._whole_at_ms is None:
            return None
        if self._answered_at_ms is None:
            return self._whole_at_ms + self._first_ms
        return max(self._whole_at_ms, self._answered_at_ms + self.period_ms) + self._stall_ms

    def silent_ms(self, now_ms: float) -> float:
        """How long it has said nothing, since the last answer or since audio began to flow."""
        since_ms = self._flows_since_ms if self._answered_at_ms is None else self._answered_at_ms
        return now_ms - (now_ms if since_ms is None else since_ms)

    def sent(self, now_ms: float, audio_ms: float) -> None:
        """The server was given this much audio."""
        self._sent_ms += audio_ms
        self._flows_since_ms = now_ms if self._flows_since_ms is None else self._flows_since_ms
        if self._whole_at_ms is None:
            self._look(now_ms)

    def finalized(self) -> None:
        """The server was asked for a final: answers may come that are no chunks."""
        self._extra_answers += ANSWERS_PER_FINALIZE
        self._finals_owed += 1
        self._base = None

    def answered(self, now_ms: float, processed_ms: float = 0.0, *, is_final: bool = False) -> None:
        """The server said something; `processed_ms` is its `audio_processed`, 0 when it does not tell."""
        self._answers += 1
        self._answered_at_ms = now_ms
        if is_final:
            self._finals_owed = max(0, self._finals_owed - 1)
        if processed_ms and not self._finals_owed:
            self._measure(processed_ms, is_final=is_final)
        chunks = self._answers - self._extra_answers
        self._bound_ms = min(self._bound_ms, self._sent_ms / chunks if chunks > 0 else CHUNK_MS_LONGEST)
        told_ms = processed_ms or self._processed_ms + self.period_ms
        self._processed_ms = min(told_ms, self._sent_ms)
        self._look(now_ms)

    def _measure(self, processed_ms: float, *, is_final: bool) -> None:
        """Learn the chunk from what `audio_processed` grew by. What a final ends may be less than a chunk."""
        if self._base is not None and not is_final:
            before_ms, answers = self._base
            self._known_ms = max(self._known_ms, (processed_ms - before_ms) / (self._answers - answers))
        self._base = (processed_ms, self._answers)

    def _look(self, now_ms: float) -> None:
        """Is there a whole chunk that was not answered?"""
        self._whole_at_ms = now_ms if self._sent_ms - self._processed_ms >= self.period_ms else None

"""The heartbeat of a recogniser, in virtual time: no healthy server trips it, every dead one does in its time."""

from __future__ import annotations

import dataclasses
import math
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicefsm.adapters.heartbeat import CHUNK_MS_LONGEST, Heartbeat

STALL_MS, FIRST_MS, TICK_MS = 500, 3000, 20


@dataclasses.dataclass(frozen=True)
class Server:
    """A recogniser that works on chunks of its own."""

    chunk_ms: int
    delays_ms: tuple[int, ...]
    """From a whole chunk to its answer, in turn."""
    tells: bool
    """Its answers carry `audio_processed`."""
    dies_ms: float = math.inf
    """When it falls silent."""


@dataclasses.dataclass(frozen=True)
class Client:
    """Audio in real time, in messages; finals asked for; perhaps a backlog sent at once to begin with."""

    message_ms: int
    backlog_ms: int = 0
    finalizes_ms: tuple[int, ...] = ()
    mutes_ms: tuple[int, int] = (0, 0)
    """From, to: only 80 ms of silence every ten seconds."""


class World:
    """A server, a client, and the heartbeat between them, a millisecond at a time."""

    def __init__(self, server: Server, client: Client) -> None:
        self.server, self.client = server, client
        self.beat = Heartbeat(stall_ms=STALL_MS, first_ms=FIRST_MS)
        self.last_ms = 0.0
        """When the last answer came."""
        self._sent_ms = self._whole_ms = 0.0
        self._answers: deque[tuple[float, float, bool]] = deque()
        """(when, `audio_processed`, is_final)"""
        self._answered = 0
        self._next_ms = self._silence_ms = 0
        self._finalizes = list(client.finalizes_ms)

    def live(self, until_ms: int) -> float | None:
        """When it tripped."""
        if self.client.backlog_ms:
            self._send(0, self.client.backlog_ms)
        for now in range(until_ms):
            self._talk(now)
            self._finalize(now)
            self._listen(now)
            if now % TICK_MS == 0 and self.beat.due_ms is not None and now >= self.beat.due_ms:
                return now
        return None

    def _talk(self, now: int) -> None:
        begins, ends = self.client.mutes_ms
        if not begins <= now < ends:
            if now >= self._next_ms:
                self._send(now, self.client.message_ms)
                self._next_ms = now + self.client.message_ms
        elif now - self._silence_ms >= 10_000:
            self._silence_ms = now
            self._send(now, 80)

    def _send(self, now: int, ms: float) -> None:
        self._sent_ms += ms
        self.beat.sent(now, ms)
        while self._sent_ms - self._whole_ms >= self.server.chunk_ms:
            self._whole_ms += self.server.chunk_ms
            self._answer(now, is_final=False)

    def _finalize(self, now: int) -> None:
        if not self._finalizes or now < self._finalizes[0]:
            return
        self._finalizes.pop(0)
        self.beat.finalized()
        self._send(now, 80)
        if self._sent_ms > self._whole_ms:
            self._whole_ms = self._sent_ms
            self._answer(now, is_final=False)
        self._answer(now, is_final=True)

    def _answer(self, now: int, *, is_final: bool) -> None:
        delay_ms = self.server.delays_ms[self._answered % len(self.server.delays_ms)]
        self._answered += 1
        before = self._answers[-1][0] if self._answers else 0.0
        self._answers.append((max(before, now + delay_ms), self._whole_ms, is_final))

    def _listen(self, now: int) -> None:
        while self._answers and self._answers[0][0] <= now < self.server.dies_ms:
            _, processed_ms, is_final = self._answers.popleft()
            self.last_ms = now
            self.beat.answered(now, processed_ms if self.server.tells else 0.0, is_final=is_final)


servers = st.builds(
    Server,
    st.integers(80, 1120),
    st.lists(st.integers(0, 400), min_size=1, max_size=20).map(tuple),
    st.booleans(),
)
clients = st.builds(
    Client,
    st.sampled_from((20, 40, 80, 100)),
    st.sampled_from((0, 0, 3000, 20_000)),
    st.lists(st.integers(500, 15_000), max_size=5).map(lambda times: tuple(sorted(times))),
    st.sampled_from(((0, 0), (4000, 30_000))),
)


@settings(deadline=None)
@given(servers, clients)
def test_no_healthy_server_trips_it(server: Server, client: Client) -> None:
    """Otherwise a server with long chunks, or a busy one, loses its streams for nothing."""
    # A chunk may have to wait for the message that completes it, and a backlog for its turn.
    slack = 0 if server.chunk_ms % client.message_ms == 0 else client.message_ms
    server = dataclasses.replace(server, delays_ms=tuple(min(ms, 400 - slack) for ms in server.delays_ms))
    assert World(server, client).live(40_000) is None


@settings(deadline=None)
@given(servers, st.integers(3000, 9000))
def test_every_server_that_stops_trips_it_in_time(server: Server, dies_ms: int) -> None:
    """Otherwise a stalled server costs a sentence before anybody notices."""
    server = dataclasses.replace(server, dies_ms=dies_ms, delays_ms=(50,))
    world = World(server, Client(80))
    tripped = world.live(40_000)
    assert tripped is not None
    period = server.chunk_ms if server.tells else (server.chunk_ms + 80) * 1.5
    assert tripped - world.last_ms <= period + STALL_MS + 80 + TICK_MS


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("chunk_ms", [80, 160, 560, 960, 1120])
def test_the_chunk_is_learned(chunk_ms: int, *, tells: bool) -> None:
    """Otherwise one limit has to do for all models: too short for some, too long for the others."""
    world = World(Server(chunk_ms, (30,), tells), Client(80, finalizes_ms=(3000, 6000)))
    world.live(20_000)
    assert world.beat.period_ms == pytest.approx(chunk_ms, rel=0.01 if tells else 0.2)


def test_a_server_that_never_answers_is_found_too() -> None:
    """Otherwise a stream that is dead from the beginning is never replaced."""
    world = World(Server(80, (0,), tells=True, dies_ms=0), Client(80))
    tripped = world.live(20_000)
    assert tripped is not None
    assert tripped <= CHUNK_MS_LONGEST + FIRST_MS + TICK_MS
    assert world.beat.silent_ms(tripped) == tripped


def test_a_muted_client_is_no_dead_server() -> None:
    """Otherwise a user who mutes loses the stream."""
    beat = Heartbeat(stall_ms=STALL_MS, first_ms=FIRST_MS)
    for k in range(10):
        beat.sent(k * 960, 960)
        beat.answered(k * 960 + 10, (k + 1) * 960)
    for k in range(11):
        assert beat.due_ms is None
        beat.sent(20_000 + k * 10_000, 80)
    beat.sent(140_000, 80)
    assert beat.due_ms == 140_000 + STALL_MS, "a whole chunk is there"
    assert beat.silent_ms(140_500) == 140_500 - 9 * 960 - 10


def test_nothing_sent_nothing_due() -> None:
    """Otherwise a stream on standby trips."""
    beat = Heartbeat(stall_ms=STALL_MS, first_ms=FIRST_MS)
    assert (beat.due_ms, beat.silent_ms(5000), beat.period_ms) == (None, 0, CHUNK_MS_LONGEST)

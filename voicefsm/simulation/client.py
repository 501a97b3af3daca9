"""A client of one session in virtual time: a microphone, a loudspeaker and a network, without a wire.

Theory of operation. Every `frame_ms` the client renders a block for its loudspeaker (the real jitter buffer of `voicefsm.client`)
and sends the microphone audio of the same moment with the far-end position at its beginning. The microphone hears the user, who
is loud while `speech` says so and silent otherwise; which words that is, the fake recogniser knows. What the session says is
obeyed in order, `latency_ms` later. Everything waits on the running loop, so that a loop with a virtual clock makes an hour cost
seconds and two runs of one script equal.

`received` and `rendered` are the record: a test asserts order, counts and samples, and never the clock on the wall.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Generic, TypeVar

import numpy as np

from voicefsm.client.player import Player, PlayerSettings, Span
from voicefsm.ports import Samples
from voicefsm.runtime import messages
from voicefsm.runtime.session import Session

LOUD = 8000
"""Sample value of a user who speaks, at the loudest."""
_SWING = (LOUD, *[LOUD * 5 // 8] * 3)
"""Speech swings: what does not is a horn to the gateway. Sample values of frames in turn."""

T = TypeVar("T")


class LoudnessDetector:
    """A voice detector for simulated users: loud is speech."""

    def is_speech(self, frame: Samples) -> bool:
        """See `ports.VoiceDetector`."""
        return bool(np.abs(frame).max() > LOUD // 2)


@dataclasses.dataclass(frozen=True, slots=True)
class Habits:
    """What kind of client it is."""

    frame_ms: int = 20
    """Length of one piece of microphone audio, and of one rendered block."""
    has_microphone: bool = True
    """False: no audio at all; the client types."""
    reports: bool = True
    """Whether the far-end position is told: with the audio, or by itself where there is no microphone."""
    latency_ms: int = 0
    """Of the network, in each direction."""
    jitter_ms: int = 0
    """By up to so much longer a message takes."""
    reads: bool = True
    """False: what the session says is never taken out of its outbox."""
    fade_ms: int = 0
    """Of the jitter buffer at pause and resume. 0 keeps the samples exact."""
    room: Callable[[Samples], Samples] | None = None
    """What the microphone hears while this block is rendered, both at the session's rates; None: only the user's loud signal."""


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """One message of the session."""

    at_ms: int
    """Since the client came."""
    message: messages.Outbound
    position: int
    """Next far-end sample to be rendered, once the message was obeyed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rendered:
    """One block that left the loudspeaker."""

    at_ms: int
    samples: Samples
    """Shape (n,), silence included."""
    spans: tuple[Span, ...]
    """What of it is far end."""


Line = tuple[int, Callable[[Session], object]]
"""At this time, in ms since the client came, do this to the session: `(3000, Session.hang_up)`."""


class Delay(Generic[T]):
    """One direction of a network: everything arrives, in order, `latency_ms` later and then some; at once when that is 0."""

    def __init__(self, latency_ms: int, deliver: Callable[[T], None], *, jitter_ms: int = 0) -> None:
        self._latency_ms, self._jitter_ms, self._deliver = latency_ms, jitter_ms, deliver
        self._under_way: deque[T] = deque()
        self._chance = Random(jitter_ms)  # noqa: S311 (it is to be the same each time)
        self._last_s = 0.0
        """When the last one arrives."""

    def send(self, what: T) -> None:
        """Begin the journey."""
        if not self._latency_ms:
            self._deliver(what)
            return
        self._under_way.append(what)  # timers that are due at the same time fire in any order
        loop = asyncio.get_running_loop()
        due_s = loop.time() + (self._latency_ms + self._chance.randint(0, self._jitter_ms)) / 1000
        self._last_s = max(self._last_s, due_s)
        loop.call_at(self._last_s, lambda: self._deliver(self._under_way.popleft()))


class SimulatedClient:
    """One client. `speech` holds (from, to) in ms; `script` what it does besides, in order."""

    def __init__(
        self, session: Session, *, speech: Sequence[tuple[int, int]] = (), script: Sequence[Line] = (), habits: Habits | None = None
    ) -> None:
        self.habits = habits or Habits()
        self.received: list[Received] = []
        self.rendered: list[Rendered] = []
        rate_hz = session.plan.output_format.rate_hz
        self.player = Player(rate_hz, PlayerSettings(fade_ms=self.habits.fade_ms))
        self._session, self._speech, self._script = session, speech, script
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()
        self._block = rate_hz * self.habits.frame_ms // 1000
        self._frame = session.plan.input_format.rate_hz * self.habits.frame_ms // 1000
        self._is_over = False
        self._up = Delay(self.habits.latency_ms, self._deliver, jitter_ms=self.habits.jitter_ms)
        self._down = Delay(self.habits.latency_ms, self._obey, jitter_ms=self.habits.jitter_ms)

    # --- the record ----------------------------------------------------------------------------------------------------------

    def all(self, kind: type[T]) -> list[T]:
        """The messages of one kind, in order."""
        return [received.message for received in self.received if isinstance(received.message, kind)]

    def heard(self, epoch: int) -> Samples:
        """What left the loudspeaker of one reply, in order, shape (n,)."""
        parts = [
            block.samples[span.offset : span.offset + span.length]
            for block in self.rendered
            for span in block.spans
            if span.epoch == epoch
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)

    def positions(self, epoch: int) -> list[int]:
        """The far-end positions of `heard`, one for each sample."""
        spans = [span for block in self.rendered for span in block.spans if span.epoch == epoch]
        return [position for span in spans for position in range(span.first_sample, span.first_sample + span.length)]

    # --- a life --------------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Be there until the session has said its last word; a client that does not read, until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            living = [tasks.create_task(self._tick()), tasks.create_task(self._act())]
            await (self._read() if self.habits.reads else asyncio.Event().wait())
            self._is_over = True
            for task in living:
                task.cancel()

    def now_ms(self) -> int:
        """Since the client came."""
        return round((self._loop.time() - self._start) * 1000)

    async def _read(self) -> None:
        while (message := await self._session.outbox.get()) is not None:
            self._down.send(message)
            if isinstance(message, messages.CancelTts):
                self._session.wrote_cancel(message.epoch)
        self._is_over = True
        await asyncio.sleep((self.habits.latency_ms + self.habits.jitter_ms) / 1000)

    async def _act(self) -> None:
        for at_ms, act in self._script:
            await self._sleep_until(at_ms)
            self._up.send(act)

    async def _tick(self) -> None:
        """One block and one frame after the other, without drift."""
        nth = 0
        while True:
            position = self.player.position
            block = self.player.render(self._block)
            self.rendered.append(Rendered(self.now_ms(), block, self.player.spans))
            start_ms = nth * self.habits.frame_ms
            heard = self.habits.room(block) if self.habits.room else self._spoken(nth, start_ms)
            await self._sleep_until(start_ms + self.habits.frame_ms)
            self._send_frame(nth, heard, position)
            nth += 1

    def _spoken(self, nth: int, start_ms: int) -> Samples:
        """The user, without a room."""
        loud = any(begin <= start_ms < end for begin, end in self._speech)
        return np.full(self._frame, _SWING[nth % len(_SWING)] if loud else 0, np.int16)

    def _send_frame(self, nth: int, samples: Samples, position: int) -> None:
        far_end = position if self.habits.reports else None
        if self.habits.has_microphone:
            self._up.send(lambda session: session.hear(samples, nth * self._frame, far_end))
        elif far_end is not None:
            self._up.send(lambda session: session.report_playout(far_end))

    def _obey(self, message: messages.Outbound) -> None:
        """The loudspeaker first, as in every client."""
        match message:
            case messages.AudioOutput():
                self.player.push(message.epoch, message.first_sample, message.samples, last=message.last)
            case messages.PausePlayout():
                self.player.pause(message.epoch)
            case messages.DuckPlayout():
                self.player.duck(message.epoch, message.duck_db)
            case messages.ResumePlayout():
                self.player.resume(message.epoch)
            case messages.CancelTts():
                self.player.cancel(message.epoch)
        self.received.append(Received(self.now_ms(), message, self.player.position))

    # --- the network ---------------------------------------------------------------------------------------------------------

    def _deliver(self, act: Callable[[Session], object]) -> None:
        """What arrives after the end is lost, as on a wire."""
        if not self._is_over:
            act(self._session)

    async def _sleep_until(self, at_ms: int) -> None:
        await asyncio.sleep(max(0.0, self._start + at_ms / 1000 - self._loop.time()))

"""The far side of a simulated session: a user, a client and the network between it and the gateway, by a script.

Theory of operation. Every frame of the client's own clock (which may drift) it renders a block with the real jitter buffer and
sends what its microphone heard, with the far-end position at the block's beginning. What the session says is read as it comes and
obeyed when it arrives. The network keeps the order of what it does not lose, as the stream below it does; a reordered message is
one that comes late by itself. A breach of the protocol ends the call as the gateway would end it.

Everything the invariants want to see is told to the `Watch` at the moment it happens.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

from voicefsm.audio.samples import SAMPLES_PER_MS, Samples
from voicefsm.client.player import Player, PlayerSettings, Span
from voicefsm.errors import RemoteProtocolError
from voicefsm.runtime import messages
from voicefsm.runtime.session import Session
from voicefsm.simulation.faulty import FLOOR, NOISE, word_sample
from voicefsm.simulation.script import Act, Kind, Script
from voicefsm.values import Epoch

LATE_MS = 90
"""How late a reordered message is."""
_MILLION = 1_000_000
_SAID: dict[Kind, Callable[[Session, Act], None]] = {
    Kind.TYPE: lambda session, act: session.type_text(act.text),
    Kind.PRESS_STOP: lambda session, act: session.cancel_tts(Epoch(act.number)),
    Kind.RELEASE: lambda session, _: session.finish_speech(),
    Kind.HANG_UP: lambda session, _: session.hang_up(),
}
"""What a client says besides audio and positions."""


class LoudDetector:
    """A voice detector: loud is speech."""

    def is_speech(self, frame: Samples) -> bool:
        """See `ports.VoiceDetector`."""
        return bool(frame[0] > FLOOR or frame[-1] > FLOOR)


class Watch(Protocol):
    """Who looks on."""

    def left(self, message: messages.Outbound) -> None:
        """The session's outbox gave this message out."""

    def arrived(self, message: messages.Outbound) -> None:
        """The client obeyed this message."""

    def rendered(self, spans: tuple[Span, ...]) -> None:
        """A block left the loudspeaker."""


class Link:
    """One direction of the network."""

    def __init__(self, latency_ms: int, deliver: Callable[[Callable[[], None]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._latency_s = latency_ms / 1000
        self._deliver = deliver
        self._under_way: deque[Callable[[], None]] = deque()
        self._last_s = 0.0

    def send(self, what: Callable[[], None], *, not_before_ms: float = 0) -> None:
        """Begin the journey; in order."""
        due_s = max(self._loop.time() + self._latency_s, not_before_ms / 1000, self._last_s)
        if due_s <= self._loop.time() and not self._under_way:
            self._deliver(what)
            return
        self._last_s = due_s
        self._under_way.append(what)  # timers that are due at the same time fire in any order
        self._loop.call_at(due_s, lambda: self._deliver(self._under_way.popleft()))

    def send_late(self, what: Callable[[], None]) -> None:
        """Begin a journey of its own."""
        self._loop.call_later(self._latency_s + LATE_MS / 1000, self._deliver, what)


class Microphone:
    """What the user says, as samples."""

    def __init__(self, script: Script) -> None:
        self.words: dict[int, str] = {}
        """Of the whole session, by number."""
        self._stretches: list[tuple[int, int, int]] = []
        """(from, to, sample value), in order of their beginning."""
        for act in script.acts:
            if act.kind is Kind.NOISE:
                self._stretches.append((act.at_ms, act.at_ms + act.for_ms, NOISE))
            elif act.kind is Kind.SAY:
                self._say(act)
        self._stretches.sort(reverse=True)

    def _say(self, act: Act) -> None:
        for nth, word in enumerate(act.text.split()):
            k = len(self.words)
            self.words[k] = word
            start_ms = act.at_ms + nth * act.number
            self._stretches.append((start_ms, start_ms + act.number, word_sample(k)))

    def sample_at(self, ms: float) -> int:
        """The value of all samples around this moment. Time only goes on."""
        while self._stretches and self._stretches[-1][1] <= ms:
            self._stretches.pop()
        return self._stretches[-1][2] if self._stretches and self._stretches[-1][0] <= ms else 0


class Caller:
    """One client. `run` it beside its session."""

    def __init__(
        self, script: Script, microphone: Microphone, session: Session, watch: Watch, end_call: Callable[[], object]
    ) -> None:
        """`end_call` takes the session down, as a gateway does when its client is gone or breaks the protocol."""
        self._script, self._microphone, self._session, self._watch, self._end_call = script, microphone, session, watch, end_call
        self.player = Player(script.output_rate_hz, PlayerSettings(fade_ms=0))
        self.breach: RemoteProtocolError | None = None
        """What the session refused."""
        self.caught_up_ms = 0.0
        """Until then it does not read, or reads what has waited."""
        self._loop = asyncio.get_running_loop()
        self._up = Link(script.latency_ms, self._deliver)
        self._down = Link(script.latency_ms, self._receive)
        self._frame = script.frame_ms * SAMPLES_PER_MS
        self._block = script.frame_ms * script.output_rate_hz // 1000
        self._captured = 0
        self._is_over = False
        self._counts = dict.fromkeys(Kind, 0)

    async def run(self) -> None:
        """Live until the session has said its last word."""
        async with asyncio.TaskGroup() as tasks:
            living = [tasks.create_task(self._tick(), name="client"), tasks.create_task(self._act(), name="user")]
            await self._read()
            for task in living:
                task.cancel()

    def hang_up(self) -> None:
        """The session is over: nobody takes what the client says."""
        self._is_over = True

    def now_ms(self) -> float:
        """Since the session began."""
        return self._loop.time() * 1000

    # --- from the session ----------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while (message := await self._session.outbox.get()) is not None:
            self._watch.left(message)
            self._send_down(message)
            pause = self._script.on(Kind.STOP_READING, self.now_ms())
            if pause:
                self.caught_up_ms = pause.at_ms + pause.for_ms
                await self._sleep_until(self.caught_up_ms)

    def _send_down(self, message: messages.Outbound) -> None:
        def obey() -> None:
            self._obey(message)

        is_audio = isinstance(message, messages.AudioOutput)
        if is_audio and self._hits(Kind.DOWN_DROP):
            return
        if is_audio and self._hits(Kind.DOWN_REORDER):
            self._down.send_late(obey)
            return
        for _ in range(2 if self._hits(Kind.DOWN_DUPLICATE) else 1):
            self._down.send(obey, not_before_ms=self._stalled_until(Kind.DOWN_STALL))

    def _receive(self, obey: Callable[[], None]) -> None:
        obey()

    def _obey(self, message: messages.Outbound) -> None:
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
        self._watch.arrived(message)

    # --- to the session ------------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        """One block and one frame after the other, by the client's clock."""
        frame_s = self._script.frame_ms / 1000 * _MILLION / (_MILLION + self._script.drift_ppm)
        nth = 0
        while True:
            position = self.player.position
            if not self._script.on(Kind.FREEZE, self.now_ms()):
                self.player.render(self._block)
                self._watch.rendered(self.player.spans)
            start_ms = self.now_ms()
            nth += 1
            await self._sleep_until(nth * frame_s * 1000)
            self._send_frame(start_ms, position)

    def _send_frame(self, start_ms: float, position: int) -> None:
        lie = self._script.on(Kind.LIE, start_ms)
        far_end = max(0, position + (lie.number if lie else 0)) if self._script.reports else None
        capture_sample = self._captured
        self._captured += self._frame
        samples: Samples = np.full(self._frame, self._microphone.sample_at(start_ms), np.int16)
        if self._hits(Kind.UP_DROP):
            return
        if not self._script.on(Kind.MUTE, start_ms):
            self._send_up(lambda: self._session.hear(samples, capture_sample, far_end))
        elif far_end is not None:
            self._send_up(lambda: self._session.report_playout(far_end))

    async def _act(self) -> None:
        for act in self._script.acts:
            await self._sleep_until(act.at_ms)
            self._do(act)

    def _do(self, act: Act) -> None:
        if act.kind in _SAID:
            self._say(lambda: _SAID[act.kind](self._session, act))
        elif act.kind is Kind.VANISH:
            self._end_call()
        elif act.kind is Kind.SHUT_DOWN:
            self._session.shut_down()
        elif act.kind is Kind.STEP_BACK:
            self._send_up(lambda: self._session.hear(np.zeros(self._frame, np.int16), 0, None))
        elif act.kind is Kind.FLOOD:
            for _ in range(act.number // self._script.frame_ms):
                self._send_frame(self.now_ms(), self.player.position)

    def _say(self, what: Callable[[], None]) -> None:
        """A message that is not audio."""
        if self._hits(Kind.UP_REORDER):
            self._up.send_late(what)
            return
        for _ in range(2 if self._hits(Kind.UP_DUPLICATE) else 1):
            self._send_up(what)

    def _send_up(self, what: Callable[[], None]) -> None:
        self._up.send(what, not_before_ms=self._stalled_until(Kind.UP_STALL))

    def _deliver(self, what: Callable[[], None]) -> None:
        """As the gateway's reader does; what arrives after the end is lost, as on a wire."""
        if self._is_over:
            return
        try:
            what()
        except RemoteProtocolError as error:
            self.breach = error
            self.hang_up()
            self._end_call()

    # --- faults --------------------------------------------------------------------------------------------------------------

    def _hits(self, kind: Kind) -> bool:
        """Does a fault of the network hit this message?"""
        act = self._script.on(kind, self.now_ms())
        if act is None:
            return False
        self._counts[kind] += 1
        return self._counts[kind] % max(1, act.number) == 0

    def _stalled_until(self, kind: Kind) -> float:
        act = self._script.on(kind, self.now_ms())
        return act.at_ms + act.for_ms if act else 0

    async def _sleep_until(self, at_ms: float) -> None:
        await asyncio.sleep(max(0.0, at_ms / 1000 - self._loop.time()))

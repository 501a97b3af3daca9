"""One user of a load run.

Theory of operation. Microphone audio leaves every 20 ms by the clock, not by what the gateway does: a frame that could not be sent
in time is sent late, none is left out, and what a caller waits for is timed from when it should have happened (no coordinated
omission). The script: speak; hear the answer begin; listen for a while; talk over it and hear it stop; what was said over it is the
next utterance. The client's jitter buffer is the client library's own, so that gaps are what a user hears.

The call is grpc.aio without the client library around it: the driver must not cost more than what it drives.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

import grpc
import grpc.aio
import numpy as np

from voicefsm.audio.samples import FRAME_MS, FRAME_SAMPLES, RATE_HZ
from voicefsm.calls import half_close, write
from voicefsm.client import SessionOptions, wire
from voicefsm.client.player import Player
from voicefsm.load.echo import Echo
from voicefsm.load.settings import LoadSettings
from voicefsm.values import NO_EPOCH, Epoch

FRAME_S = FRAME_MS / 1000
SILENCE = bytes(2 * FRAME_SAMPLES)
CLOSE_S_MAX = 5.0
LATE_S = 0.005
"""A frame that the driver sends later than this is late."""


@dataclasses.dataclass(slots=True)
class Seen:
    """What one caller saw. Times in ms; each list is in order, and everything before `counts_from_s` is left out."""

    first_audio_ms: list[float] = dataclasses.field(default_factory=list)
    """From the last sample of an utterance to the first audio of its answer."""
    pause_ms: list[float] = dataclasses.field(default_factory=list)
    """From the first sample of speech over an answer to the order to fall silent."""
    cancel_ms: list[float] = dataclasses.field(default_factory=list)
    """… to CancelTts."""
    late_frames_ms: list[float] = dataclasses.field(default_factory=list)
    """By how much the driver itself was late with each frame that was late (`LATE_S`)."""
    frames: int = 0
    """Frames sent."""
    missing_answers: int = 0
    ignored: int = 0
    """Interruptions that did not silence the answer."""
    false_pauses: int = 0
    """Times an answer fell silent although nobody talked over it."""
    false_cuts: int = 0
    """Answers that were thrown away although nobody talked over them."""
    utterances: int = 0
    """Begun."""
    words: int = 0
    """What was understood of them."""
    underruns: int = 0
    """Gaps in an answer that the user heard."""
    gaps: int = 0
    """Far-end samples that never came."""
    errors: list[str] = dataclasses.field(default_factory=list)
    refused: bool = False
    """The gateway had no room."""


class Caller:
    """One call."""

    def __init__(
        self, channel: grpc.aio.Channel, utterance: bytes, settings: LoadSettings, counts_from_s: Callable[[], float]
    ) -> None:
        """`utterance` is PCM16 of a whole number of frames; `counts_from_s` says from when on, on the loop's clock."""
        self.seen = Seen()
        self._channel, self._settings, self._counts_from_s = channel, settings, counts_from_s
        self._frames = [utterance[k : k + len(SILENCE)] for k in range(0, len(utterance), len(SILENCE))]
        self._player = Player(RATE_HZ)
        self._echo = None if settings.echo_db is None else Echo(settings.echo_db, settings.echo_delay_ms)
        self._now = asyncio.get_running_loop().time
        self._left: list[bytes] = []
        """Frames of the utterance that are still to be said, the next one last."""
        self._spoke_at = self._onset_at = 0.0
        self._answered, self._silenced = NO_EPOCH, NO_EPOCH
        self._waits = self._is_interrupting = self._is_ready = False
        self._next_utterance_at = 0.0
        self._until = 0.0
        self._over_epoch = NO_EPOCH

    async def run(self, until: float) -> Seen:
        """Hold the conversation until then, on the loop's clock, or until `hang_up`."""
        self._until = until
        call = wire.open_call(self._channel)
        try:
            await write(call, wire.config(SessionOptions(silence_ms=self._settings.silence_ms)))
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read(call))
                await self._speak(call)
                self.hang_up()
                await write(call, wire.end())
                await half_close(call)
                async with asyncio.timeout(CLOSE_S_MAX):
                    await reader
        except* grpc.aio.AioRpcError as group:
            self._note_failure(group.exceptions[0])
        except* TimeoutError as group:
            if not self.seen.refused and not self.seen.errors:
                self.seen.errors.append(repr(group.exceptions[0]))
        finally:
            call.cancel()
        self.seen.underruns, self.seen.gaps = self._player.underruns, self._player.gaps
        return self.seen

    def hang_up(self) -> None:
        """Let `run` come to its end."""
        self._until = 0.0

    def _note_failure(self, error: BaseException) -> None:
        assert isinstance(error, grpc.aio.AioRpcError)
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and not self._is_ready:
            self.seen.refused = True
        elif error.code() is not grpc.StatusCode.CANCELLED:
            self.seen.errors.append(f"{error.code().name}: {error.details()}")

    # --- the mouth -----------------------------------------------------------------------------------------------------------

    async def _speak(self, call: wire.Call) -> None:
        """A frame every 20 ms. A frame is sent when its last sample was taken."""
        start, k = self._now(), 0
        self._next_utterance_at = start + 0.5
        while (due := start + (k + 1) * FRAME_S) < self._until:
            late = self._now() - due
            if late < 0:
                await asyncio.sleep(-late)
            elif late > LATE_S and self._counts():
                self.seen.late_frames_ms.append(late * 1000)
            position = self._player.position
            rendered, frame = self._player.render(FRAME_SAMPLES), self._frame(due)
            if self._echo is not None:
                frame = self._echo.heard(frame, rendered)
            if not await write(call, wire.audio(frame, capture_sample=k * FRAME_SAMPLES, far_end_sample=position)):
                return
            self.seen.frames += 1
            k += 1

    def _frame(self, due: float) -> bytes:
        """What the caller says in the frame that ends at `due`."""
        if not self._left and due >= self._next_utterance_at:
            self._begin(due - FRAME_S)
        if not self._left:
            return SILENCE
        data = self._left.pop()
        if not self._left:
            self._spoke_at, self._waits = due, True
            self._next_utterance_at = due + self._settings.patience_ms / 1000
        return data

    def _begin(self, now: float) -> None:
        """Say something; over an answer it is an interruption."""
        if self._waits and self._counts():
            self.seen.missing_answers += 1
        self._waits = False
        if self._is_interrupting and self._counts():
            self.seen.ignored += 1
        self.seen.utterances += self._counts()
        self._is_interrupting = self._answered > self._silenced
        if self._player.paused:  # by mistake: it cannot fall silent once more
            self._silenced = self._answered
        self._over_epoch, self._onset_at = self._answered, now
        self._left = self._frames[::-1]

    def _counts(self) -> bool:
        return self._now() >= self._counts_from_s()

    # --- the ear -------------------------------------------------------------------------------------------------------------

    async def _read(self, call: wire.Call) -> None:
        while (response := await call.read()) is not grpc.aio.EOF:
            kind = response.WhichOneof("response")
            if kind == "audio":
                audio = response.audio
                self._hear(Epoch(audio.epoch), audio.first_sample, audio.data, last=audio.last)
            elif kind == "pause_playout":
                self._player.pause(Epoch(response.pause_playout.epoch))
                self._note_silence(response.pause_playout.epoch, is_final=False)
            elif kind == "resume_playout":
                self._player.resume(Epoch(response.resume_playout.epoch))
            elif kind == "cancel_tts":
                self._player.cancel(Epoch(response.cancel_tts.epoch))
                self._note_silence(response.cancel_tts.epoch, is_final=True)
            elif kind == "transcript":
                if response.transcript.is_final and self._counts():
                    self.seen.words += len(response.transcript.text.split())
            elif kind == "session_ready":
                self._is_ready = True
            elif kind == "error":
                self.seen.errors.append(response.error.message)

    def _hear(self, epoch: Epoch, first_sample: int, data: bytes, *, last: bool) -> None:
        self._player.push(epoch, first_sample, np.frombuffer(data, "<i2"), last=last)
        if epoch <= self._answered:
            return
        now = self._now()
        if self._waits and self._counts():
            self.seen.first_audio_ms.append((now - self._spoke_at) * 1000)
        self._answered, self._waits = epoch, False
        self._next_utterance_at = now + self._settings.listen_ms / 1000

    def _note_silence(self, epoch: int, *, is_final: bool) -> None:
        """The gateway orders silence: in answer to us?"""
        if not self._is_interrupting or epoch != self._over_epoch:
            self._note_mistake(epoch, is_final=is_final)
            return
        took_ms = (self._now() - self._onset_at) * 1000
        if self._silenced < epoch:
            self._silenced = Epoch(epoch)
            if self._counts():
                self.seen.pause_ms.append(took_ms)
        if is_final:
            self._is_interrupting = False
            if self._counts():
                self.seen.cancel_ms.append(took_ms)

    def _note_mistake(self, epoch: int, *, is_final: bool) -> None:
        """Of an answer that is heard, and that nobody talks over."""
        if epoch != self._answered or epoch == self._silenced or self._left or self._now() >= self._until:
            return
        if is_final:
            self._silenced = Epoch(epoch)  # what is said next talks over nothing
        if self._counts():
            self.seen.false_cuts += is_final
            self.seen.false_pauses += not is_final

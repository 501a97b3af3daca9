"""The user's telephone: microphone and loudspeaker on one 16 kHz clock, and a recording of both.

Theory of operation. Time is cut into frames of 20 ms that begin at the moments T(k) = T(0) + k * 20 ms of the event loop's clock;
a late wake-up is caught up with, so the clock never drifts. At T(k) the loudspeaker takes frame k, the microphone begins to record
frame k, and microphone frame k - 1, complete now, is sent with the far-end position that was at the loudspeaker when it began.
Sample n of the recording is what was spoken and heard at T(0) + n / 16 ms, so every latency can be read off the recording.
"""

from __future__ import annotations

import asyncio
import dataclasses
import wave
from collections import deque
from pathlib import Path

import numpy as np

from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, SAMPLES_PER_MS, SILENT_FRAME, Samples
from voicefsm.client import Conversation, ConversationEnded, ConversationFailed
from voicefsm.values import Epoch

FRAMES_MAX = 10 * 60 * 50
"""The longest recording: ten minutes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Utterance:
    """Something the user said, and where it is in the recording."""

    text: str
    first_sample: int
    end_sample: int
    """One past the last."""


@dataclasses.dataclass(frozen=True, slots=True)
class Heard:
    """A run of far-end samples, and where the loudspeaker rendered it."""

    at_sample: int
    """In the recording."""
    epoch: Epoch
    first_sample: int
    """Far-end position."""
    length: int


@dataclasses.dataclass(frozen=True, slots=True)
class _Frame:
    samples: Samples
    first_sample: int
    far_end_sample: int


class Line:
    """One telephone in use."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._clock = asyncio.get_running_loop().time
        self._started_s = self._clock()
        self._speech: deque[Samples] = deque()
        self._last: _Frame | None = None
        self._frames = 0
        self._ticked = asyncio.Event()
        self.user: list[Samples] = []
        self.assistant: list[Samples] = []
        self.heard: list[Heard] = []
        """All that was rendered, in order."""
        self.late_frames = 0
        """Frames that began more than a frame late: this machine is too busy."""

    @property
    def now_sample(self) -> int:
        """The next frame's place in the recording."""
        return self._frames * FRAME_SAMPLES

    def sample_at(self, loop_ms: float) -> int:
        """The place in the recording of a moment of the loop's clock."""
        return round((loop_ms - self._started_s * 1000) * SAMPLES_PER_MS)

    def heard_samples(self, epoch: Epoch) -> int:
        """How much of a reply was rendered."""
        return sum(run.length for run in self.heard if run.epoch == epoch)

    def say(self, text: str, samples: Samples) -> Utterance:
        """Begin to speak with the next frame."""
        padding = -len(samples) % FRAME_SAMPLES
        padded = np.concatenate([samples, np.zeros(padding, np.int16)])
        first = self.now_sample + len(self._speech) * FRAME_SAMPLES
        self._speech.extend(padded.reshape(-1, FRAME_SAMPLES))
        return Utterance(text, first, first + len(samples))

    async def run(self) -> None:
        """Be on the line until cancelled or until the conversation is over."""
        self._started_s = self._clock()
        try:
            while self._frames < FRAMES_MAX and not self._conversation.ended:
                delay_s = self._started_s + self._frames * FRAME_SAMPLES / RATE_HZ - self._clock()
                self.late_frames += delay_s < -FRAME_SAMPLES / RATE_HZ
                await asyncio.sleep(max(0.0, delay_s))
                await self._tick()
        except (ConversationEnded, ConversationFailed):
            return

    async def tick(self) -> None:
        """Wait until a frame has passed."""
        await self._ticked.wait()

    async def _tick(self) -> None:
        if self._last is not None:
            last = self._last
            await self._conversation.send_audio(last.samples, capture_sample=last.first_sample, far_end_sample=last.far_end_sample)
        player = self._conversation.player
        spoken = self._speech.popleft() if self._speech else SILENT_FRAME
        self._last = _Frame(spoken, self.now_sample, player.position)
        self.assistant.append(player.render(FRAME_SAMPLES))
        self.user.append(spoken)
        self.heard += [Heard(self.now_sample + s.offset, s.epoch, s.first_sample, s.length) for s in player.spans]
        self._frames += 1
        self._ticked.set()
        self._ticked.clear()

    def save(self, path: Path) -> None:
        """Write the recording: 16 kHz, the user left, what was really rendered right."""
        both = np.stack([np.concatenate(self.user or [SILENT_FRAME]), np.concatenate(self.assistant or [SILENT_FRAME])], axis=1)
        with wave.open(str(path), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(RATE_HZ)
            file.writeframes(both.astype("<i2").tobytes())

"""The user's telephone: a microphone, a loudspeaker in a room or at the ear, and a recording of what each heard and played.

Theory of operation. Time is cut into frames of 20 ms that begin at the moments T(k) = T(0) + k * 20 ms of the event loop's clock,
which is the microphone's; a late wake-up is caught up with, so the clock never drifts. At T(k) the loudspeaker takes frame k, the
microphone begins to record frame k, and microphone frame k - 1, complete now, is sent with the far-end position that was at the
loudspeaker when it began: as far as the client can know that. What it knows is when the player handed over which sample, and how
long the device says that it takes from there (`Room.known_ms`). The rest of the delay, and the room, are only in what it hears.

Sample n of the recording is what was spoken and handed to the loudspeaker at T(0) + n / 16 ms, so every latency can be read off
the recording; in a room the sound is `Room.delay_ms` later in the air.
"""

from __future__ import annotations

import asyncio
import dataclasses
import wave
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voicefsm.acoustics.signals import active_level_db, floats
from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, SAMPLES_PER_MS, SILENT_FRAME, Samples
from voicefsm.client import Alignment, Conversation, ConversationEnded, ConversationFailed
from voicefsm.demo.room import Air, Loudspeaker, Room
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
    """A run of far-end samples, and where the loudspeaker took it."""

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

    def __init__(self, conversation: Conversation, room: Room | None = None) -> None:
        """`room` of None: the loudspeaker is at the user's ear, and the microphone hears the user alone."""
        self._conversation = conversation
        self._loudspeaker = Loudspeaker(room.drift_ppm if room else 0)
        self._air = Air(room, self._loudspeaker) if room else None
        self._known_s = room.known_ms / 1000 if room else 0.0
        self._alignment = Alignment(RATE_HZ)
        self._clock = asyncio.get_running_loop().time
        self._started_s = self._clock()
        self._speech: deque[Samples] = deque()
        self._last: _Frame | None = None
        self._frames = 0
        self._ticked = asyncio.Event()
        self.user: list[Samples] = []
        self.assistant: list[Samples] = []
        self.microphone: list[Samples] = []
        self.said: list[Utterance] = []
        """All that the user said, in order."""
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
        self.said.append(Utterance(text, first, first + len(samples)))
        return self.said[-1]

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
        spoken = self._speech.popleft() if self._speech else SILENT_FRAME
        played, far_end_sample = self._play()
        captured = self._air.hear(spoken, played) if self._air else spoken
        self._last = _Frame(captured, self.now_sample, far_end_sample)
        self.user.append(spoken)
        self.assistant.append(played)
        self.microphone.append(captured)
        self._frames += 1
        self._ticked.set()
        self._ticked.clear()

    def _play(self) -> tuple[Samples, int]:
        """The loudspeaker takes what is due; returns what it plays in this frame, and the position at it as the client knows it."""
        player, first, began_s = self._conversation.player, self.now_sample, self.now_sample / RATE_HZ
        position = player.position
        played = self._loudspeaker.play(player.render(self._loudspeaker.due()))
        self.heard += [Heard(first + s.offset, s.epoch, s.first_sample, s.length) for s in player.spans]
        self._alignment.rendered(began_s + self._known_s, position, sum(span.length for span in player.spans))
        return played, self._alignment.position_at(began_s)

    def user_to_echo_db(self) -> float:
        """How much louder the user was at the microphone than the echo, both as speech without its pauses."""
        user, heard = (floats(np.concatenate(frames or [SILENT_FRAME])) for frames in (self.user, self.microphone))
        return round(active_level_db(user) - active_level_db(heard - user), 1)

    def save(self, path: Path) -> None:
        """Write the recording: 16 kHz, the user's own voice left, what was really played right."""
        _write(path, [self.user, self.assistant])

    def save_microphone(self, path: Path) -> None:
        """Write what the microphone heard: 16 kHz, the user with the echo."""
        _write(path, [self.microphone])


def _write(path: Path, channels: Sequence[Sequence[Samples]]) -> None:
    """A 16-bit WAV file of frames."""
    tracks = np.stack([np.concatenate(frames or [SILENT_FRAME]) for frames in channels], axis=1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(tracks.astype("<i2").tobytes())

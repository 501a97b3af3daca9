"""WAV files in the place of microphone and loudspeaker."""

from __future__ import annotations

import wave
from typing import cast

import numpy as np
import pytest

from voicefsm.client import Conversation, Player
from voicefsm.errors import VoiceFsmError
from voicefsm.talk import files
from voicefsm.values import Epoch


class Echoing:
    """A conversation that answers the first frame with 640 samples, and is over after `frames`."""

    def __init__(self, frames=10_000) -> None:
        self.player = Player(16000)
        self.sent: list[tuple[int, int, int]] = []
        self._frames = frames

    @property
    def ended(self):
        return len(self.sent) >= self._frames

    async def send_audio(self, samples, *, capture_sample, far_end_sample):
        if not self.sent:
            self.player.push(Epoch(1), 0, np.full(640, 5, np.int16), last=True)
        self.sent.append((capture_sample, far_end_sample, int(samples[0])))


@pytest.mark.looptime
async def test_plays_in_real_time_and_returns_what_was_heard():
    """If this fails a test on a machine without a sound card says nothing about one with it."""
    conversation = Echoing()
    heard = await files.play(cast(Conversation, conversation), np.full(640, 9, np.int16), tail_ms=60)
    assert conversation.sent == [(0, 0, 9), (320, 0, 9), (640, 320, 0), (960, 640, 0), (1280, 640, 0)]
    assert heard.tolist() == [0] * 320 + [5] * 640 + [0] * 640


@pytest.mark.looptime
async def test_stops_when_the_conversation_does():
    """If this fails a file is played to nobody."""
    conversation = Echoing(frames=2)
    await files.play(cast(Conversation, conversation), np.zeros(16000, np.int16), tail_ms=0)
    assert len(conversation.sent) == 2


def test_files_survive_the_way(tmp_path):
    """If this fails what is written cannot be said again."""
    files.write(tmp_path / "x.wav", np.arange(1000, dtype=np.int16))
    assert files.read(tmp_path / "x.wav").tolist() == list(range(1000))


def test_other_files_are_refused_with_the_reason(tmp_path):
    """If this fails stereo is heard as noise at half speed."""
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44100)
    with pytest.raises(VoiceFsmError, match="2 channels of 16 bits at 44100 Hz"):
        files.read(tmp_path / "x.wav")
    (tmp_path / "y.wav").write_text("no")
    with pytest.raises(VoiceFsmError, match="cannot be read"):
        files.read(tmp_path / "y.wav")

"""The telephone in a room: what the microphone hears, and what the client can say about it."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import cast

import numpy as np
import pytest

from voicefsm.client import Conversation, Player
from voicefsm.demo.line import Line
from voicefsm.demo.room import Room
from voicefsm.values import Epoch

pytestmark = pytest.mark.looptime

ROOM = Room("test", echo_loss_db=10, delay_ms=100, known_ms=60, drift_ppm=0)
BEGIN = 16000
"""Far-end position of the reply."""


class Call:
    """A conversation that keeps what it is sent."""

    def __init__(self) -> None:
        self.player = Player(16000)
        self.ended = False
        self.sent: list[tuple[np.ndarray, int, int]] = []

    async def send_audio(self, samples, *, capture_sample, far_end_sample) -> None:
        self.sent.append((samples, capture_sample, far_end_sample))


async def on_the_line(room, frames=100):
    """Be on the line while a reply of half a second is played from the first frame on."""
    call = Call()
    line = Line(cast(Conversation, call), room)
    noise = (np.random.default_rng(3).standard_normal(8000) * 4000).astype(np.int16)
    call.player.push(Epoch(1), BEGIN, noise, last=True)
    running = asyncio.create_task(line.run())
    while line.now_sample < frames * 320:
        await line.tick()
    running.cancel()
    await asyncio.wait([running])
    return call, line


async def test_without_a_room_the_microphone_hears_the_user_alone():
    """If this fails `--room none` is no line without echo."""
    call, line = await on_the_line(None)
    assert not any(samples.any() for samples, _, _ in call.sent)
    assert [far_end for _, _, far_end in call.sent[:3]] == [BEGIN, BEGIN + 320, BEGIN + 640]
    assert len(np.concatenate(line.assistant)) == len(np.concatenate(line.microphone))


async def test_the_client_reports_what_it_can_know():
    """If this fails the client knows of a delay that no device tells of, and the canceller's task is not the real one."""
    call, line = await on_the_line(ROOM)
    positions = [far_end for _, _, far_end in call.sent]
    assert positions[:4] == pytest.approx([BEGIN] * 4, abs=1)  # 60 ms are known, and nothing has left the loudspeaker
    assert positions[5] == pytest.approx(BEGIN + 2 * 320, abs=1)
    assert positions[-1] == BEGIN + 8000
    heard = np.concatenate([samples for samples, _, _ in call.sent])
    onset = int(np.flatnonzero(np.abs(heard) > 200)[0])
    assert 100 * 16 <= onset <= 110 * 16  # but the echo comes after 100
    assert line.heard[0] == dataclasses.replace(line.heard[0], at_sample=0, first_sample=BEGIN)


async def test_what_was_recorded_can_be_heard(tmp_path):
    """If this fails nobody can listen to what the canceller had to do."""
    _, line = await on_the_line(ROOM)
    line.save(tmp_path / "both.wav")
    line.save_microphone(tmp_path / "microphone.wav")
    assert (tmp_path / "both.wav").stat().st_size - 44 == 2 * ((tmp_path / "microphone.wav").stat().st_size - 44)
    assert line.user_to_echo_db() < -20  # the user said nothing


async def test_all_that_was_said_is_kept():
    """If this fails a question that was asked twice looks like a turn of nobody's."""
    line = Line(cast(Conversation, Call()))
    first, second = line.say("one", np.ones(300, np.int16)), line.say("two", np.ones(640, np.int16))
    assert line.said == [first, second]
    assert (second.first_sample, second.end_sample) == (320, 960)

"""Microphone and loudspeaker, and what is said where there are none."""

from __future__ import annotations

import asyncio
import sys
import types
from typing import Any

import numpy as np
import pytest

from voicefsm.client import Player
from voicefsm.talk import NoAudio, TalkSettings, device, run
from voicefsm.values import Epoch


class PortAudioError(Exception):
    pass


def machine(*, has_input=True, has_output=True):
    """A sounddevice module of a machine that has, or has not, the devices."""
    fake: Any = types.ModuleType("sounddevice")

    def query_devices(_, kind):
        if not (has_input if kind == "input" else has_output):
            raise PortAudioError("Error querying device -1")
        return {"name": f"my {kind}"}

    fake.PortAudioError = PortAudioError
    fake.query_devices = query_devices
    fake.check_input_settings = fake.check_output_settings = lambda **_: None
    return fake


def test_names_what_it_uses():
    """If this fails nobody knows which microphone is listening."""
    assert device.check(machine(), "", "") == ("my input", "my output")


@pytest.mark.parametrize(
    ("fake", "what"), [(machine(has_input=False), "No usable microphone"), (machine(has_output=False), "No usable loudspeaker")]
)
def test_says_which_device_is_missing(fake, what):
    """If this fails a server without a sound card shows a stack trace."""
    with pytest.raises(NoAudio, match=f"{what}.*--wav-in"):
        device.check(fake, "", "")


def test_says_that_the_package_is_missing(monkeypatch):
    """If this fails a user without the extra does not learn of it."""
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(NoAudio, match=r"pip install '\.\[talk\]'"):
        device.load()


def test_says_that_portaudio_is_missing(monkeypatch, tmp_path):
    """If this fails a user without PortAudio does not learn how to get it."""
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(NoAudio, match="apt-get install libportaudio2"):
        device.load()


async def test_a_block_each_way():
    """If this fails the server is told of another sample than the one that was heard."""
    player = Player(16000)
    player.push(Epoch(1), 1000, np.full(640, 5, np.int16), last=True)
    duplex = device.Duplex(player)
    heard = np.zeros(320, np.int16)
    duplex.turn(np.full(320, 7, np.int16), heard, taken_s=0.98, heard_s=1.02)
    assert (heard == 5).all()
    duplex.turn(np.full(320, 8, np.int16), heard, taken_s=1.03, heard_s=1.04)
    first, second = await duplex.queue.get(), await duplex.queue.get()
    assert (first.capture_sample, first.far_end_sample) == (0, 1000)
    assert second.capture_sample == 320
    assert second.far_end_sample == pytest.approx(1160, abs=1)
    assert second.samples[0] == 8


async def test_a_block_that_cannot_be_sent_leaves_a_gap():
    """If this fails a slow network shifts the microphone's clock for good."""
    duplex = device.Duplex(Player(16000))
    block = np.zeros(320, np.int16)
    for index in range(device.BLOCKS_MAX + 2):
        duplex.turn(block, block.copy(), taken_s=index * 0.02, heard_s=index * 0.02)
    while duplex.dropped_blocks < 2:  # noqa: ASYNC110 - the loop delivers
        await asyncio.sleep(0)
    while not duplex.queue.empty():
        duplex.queue.get_nowait()
    duplex.turn(block, block.copy(), taken_s=9, heard_s=9)
    assert (await duplex.queue.get()).capture_sample == (device.BLOCKS_MAX + 2) * 320


async def test_wav_out_alone_makes_no_sense(tmp_path):
    """If this fails a forgotten option records silence."""
    with pytest.raises(Exception, match="--wav-in"):
        await run(TalkSettings(wav_out=tmp_path / "x.wav"))

"""The voice that says where it is: what was spoken can be read off a recording, to the sample."""

from __future__ import annotations

import numpy as np
import pytest

from voicefsm.bench.turns import pilot


def spoken(reply: int, first: int, count: int, *, ends: bool = False) -> pilot.Signal:
    numbers = np.arange(first, first + count)
    if ends:
        numbers[-1] = pilot.END_FRAME
    return pilot.frames(reply, numbers)


def silence(samples: int) -> pilot.Signal:
    return np.zeros(samples, np.float32)


@pytest.mark.parametrize("offset", [0, 1, 77, 319])
@pytest.mark.parametrize("reply", [1, 200, 255])
def test_every_frame_is_read_wherever_it_begins(offset, reply):
    """Otherwise a scorer takes one reply for another, or its place for another's."""
    frames, stretches = pilot.read(np.concatenate([silence(4000 + offset), spoken(reply, 0, 50, ends=True), silence(4000)]))
    assert [frame.number for frame in frames] == [*range(49), pilot.END_FRAME]
    assert {frame.reply for frame in frames} == {reply}
    (one,) = stretches
    assert (one.first_sample, one.end_sample) == (4000 + offset, 4000 + offset + 50 * 320)
    assert (one.from_sample, one.to_sample, one.is_complete) == (0, 16000, True)


@pytest.mark.parametrize("lost", [0, 1, 160, -160])
def test_what_is_lost_or_repeated_over_a_pause_is_counted_to_the_sample(lost):
    """Otherwise a resume that skips ten milliseconds passes for exact."""
    voice = spoken(3, 0, 100)
    at = 40 * 320 + 123
    recording = np.concatenate([silence(1600), voice[:at], silence(5000), voice[at + lost :], silence(1600)])
    _, (before, after) = pilot.read(recording)
    assert after.from_sample - before.to_sample == lost


def test_pcm_is_legible_too_and_silence_is_nobody():
    """Otherwise nothing can be read from a file."""
    recording = pilot.pcm(np.concatenate([silence(999), spoken(9, 0, 30)])).astype(np.float32) / np.float32(32768)
    frames, _ = pilot.read(recording)
    assert [frame.number for frame in frames] == list(range(30))
    assert pilot.read(silence(16000)) == ([], [])


def test_a_stretch_too_short_to_read_is_kept_as_nobodys():
    """Otherwise a reply that goes on for 15 ms between two pauses seems to have lost them."""
    syllable: pilot.Signal = spoken(1, 0, 1)[:240]
    _, stretches = pilot.read(np.concatenate([silence(1600), syllable, silence(1600)]))
    assert [one.reply for one in stretches] == [pilot.UNREAD]
    assert stretches[0].to_sample == pytest.approx(240, abs=2)


def test_another_reply_in_the_same_breath_is_another_stretch():
    """Otherwise the second reply is taken for more of the first."""
    _, stretches = pilot.read(np.concatenate([silence(1600), spoken(1, 0, 20), spoken(2, 0, 20), silence(1600)]))
    assert [(one.reply, one.from_sample, one.to_sample) for one in stretches] == [(1, 0, 6400), (2, 0, 6400)]

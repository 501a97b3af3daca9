"""Rooms: where the direct path is, how the sound decays, what the seed decides."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from voicefsm.acoustics.rooms import RT60_S_MAX, RT60_S_MIN, Room, random_room, responses
from voicefsm.acoustics.signals import Signal
from voicefsm.audio.samples import RATE_HZ

BARE = Room(size_m=(5.0, 4.0, 3.0), microphone=(2.0, 2.0, 1.0), loudspeaker=(2.5, 2.0, 1.0), talker=(2.0, 3.0, 1.0), rt60_s=0.4)


def rt60_s(response: Signal) -> float:
    """By Schroeder's backward integration, from the decay between -5 and -25 dB."""
    energy = np.cumsum(response[::-1] ** 2)[::-1]
    decay_db = 10 * np.log10(energy / energy[0] + 1e-12)
    return float(np.argmax(decay_db < -25) - np.argmax(decay_db < -5)) * 3 / RATE_HZ


@pytest.mark.parametrize("seed", range(12))
def test_sound_decays_in_the_time_that_was_asked_for(seed):
    """Otherwise the sweep over reverberation would be drawn over the wrong axis."""
    rt60 = RT60_S_MIN + (RT60_S_MAX - RT60_S_MIN) * seed / 11
    for response in responses(random_room(seed, rt60)):
        assert rt60_s(response) == pytest.approx(rt60, rel=0.2)
        assert len(response) == int(1.2 * rt60 * RATE_HZ)
        assert np.sum(response**2) == pytest.approx(1.0)


def test_the_direct_path_is_as_far_as_the_source():
    """Otherwise the delay of a room would be wrong, and with it every alignment."""
    echo, near = responses(BARE)
    assert np.argmax(np.abs(echo)) == pytest.approx(0.5 / 343 * RATE_HZ, abs=1)
    assert np.argmax(np.abs(near)) == pytest.approx(1.0 / 343 * RATE_HZ, abs=1)
    assert np.max(np.abs(echo[:15])) < 0.1 * np.max(np.abs(echo))


def test_the_first_reflections_are_where_the_walls_are():
    """Otherwise it would be noise with a decay, not a room. Floor and ceiling mirror it 2 and 4 m away."""
    dry = dataclasses.replace(BARE, rt60_s=0.15)
    echo = np.abs(responses(dry).echo)
    for mirrored_m in (2.0, 4.0):
        at = round(np.hypot(0.5, mirrored_m) / 343 * RATE_HZ)
        assert echo[at - 2 : at + 3].max() > 3 * np.median(echo[at - 40 : at + 40])


def test_the_images_hand_over_to_the_noise_without_a_seam():
    """Otherwise there would be an audible echo of the method at 0.1 s."""
    for seed in range(6):
        echo = responses(random_room(seed, 0.6)).echo
        power_db = 10 * np.log10(np.mean(echo[: len(echo) // 160 * 160].reshape(-1, 160) ** 2, axis=1))
        expected_db = np.polyval(np.polyfit(np.arange(4, 30), power_db[4:30], 1), np.arange(4, 30))
        assert np.abs(power_db[4:30] - expected_db).max() < 5.0


def test_a_room_is_a_function_of_its_seed():
    """Otherwise no figure could be had twice."""
    for one, again in zip(responses(random_room(7)), responses(random_room(7)), strict=True):
        assert np.array_equal(one, again)
    assert random_room(7) != random_room(8)
    assert random_room(7, 0.3) == dataclasses.replace(random_room(7), rt60_s=0.3)


def test_everything_stands_inside_the_room():
    """Otherwise images would be those of another room."""
    for room in map(random_room, range(200)):
        assert RT60_S_MIN <= room.rt60_s <= RT60_S_MAX
        for place in (room.microphone, room.loudspeaker, room.talker):
            assert all(0.3 < at < size - 0.3 for at, size in zip(place, room.size_m, strict=True))
        assert 0.25 <= np.hypot(*np.subtract(room.loudspeaker, room.microphone)[:2]) <= 0.9

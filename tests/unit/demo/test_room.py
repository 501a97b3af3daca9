"""The room: what the microphone hears of the loudspeaker, when, and how loud; and how a person names one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from voicefsm.acoustics.signals import floats
from voicefsm.demo.room import PRESETS, Air, Loudspeaker, Room, parse
from voicefsm.errors import SettingsError

FRAMES = 400
SILENCE = np.zeros(320, np.int16)
QUIET = Room("quiet", drift_ppm=0, seed=4)


def played_by(drift_ppm, voice):
    """Let a loudspeaker play `voice`, a function of sample positions; returns (what it played, how much it took)."""
    loudspeaker, taken, played = Loudspeaker(drift_ppm), 0, []
    for _ in range(FRAMES):
        due = loudspeaker.due()
        played.append(loudspeaker.play(voice(np.arange(taken, taken + due)).astype(np.int16)))
        taken += due
    return np.concatenate(played), taken, loudspeaker.delay_samples


def tone(positions):
    return 8000 * np.sin(2 * np.pi * 440 / 16000 * positions)


@pytest.mark.parametrize("drift_ppm", [0, 50, -50, 400])
def test_a_loudspeaker_plays_everything_at_its_own_pace(drift_ppm):
    """If this fails the drift clicks, or there is none, and the demo is easier than a real device."""
    played, taken, delay = played_by(drift_ppm, tone)
    rate = 1 - drift_ppm * 1e-6
    assert abs(taken - FRAMES * 320 * rate) < 1
    expected = tone(np.arange(len(played)) * rate - delay)
    assert np.abs(played - expected)[100:].max() < 8


@pytest.mark.parametrize(("loss_db", "delay_ms"), [(6, 40), (12, 80), (20, 400)])
def test_the_echo_is_as_late_and_as_loud_as_the_room_says(loss_db, delay_ms):
    """If this fails report.json tells of another room than the one the canceller was in."""
    room = dataclasses.replace(QUIET, echo_loss_db=loss_db, delay_ms=delay_ms)
    air = Air(room, Loudspeaker(0))
    random = np.random.default_rng(1)
    noise = (random.standard_normal((100, 320)) * 3000).astype(np.int16)
    heard = np.concatenate([air.hear(SILENCE, frame) for frame in noise])
    level_db = 10 * np.log10(np.mean(np.square(floats(heard[16000:]))) / np.mean(np.square(floats(noise))))
    assert level_db == pytest.approx(-loss_db, abs=1.5)  # what the loudspeaker has no bass for is missing
    onset_ms = int(np.flatnonzero(np.abs(heard) > 100)[0]) / 16
    assert delay_ms <= onset_ms <= delay_ms + 10  # and the sound's own way


def test_the_user_is_heard_beside_the_echo_and_rooms_are_not_silent():
    """If this fails the microphone hears the assistant alone, or a stillness that no room has."""
    air = Air(QUIET, Loudspeaker(0))
    voice = tone(np.arange(320)).astype(np.int16)
    assert np.abs(air.hear(voice, SILENCE) - voice).max() < 100
    assert air.hear(SILENCE, SILENCE).any()


def test_a_room_is_the_same_each_time():
    """If this fails a demo that failed cannot be looked at again."""
    frames = np.random.default_rng(2).integers(-9000, 9000, (20, 320)).astype(np.int16)
    once, again = (Air(QUIET, Loudspeaker(0)) for _ in range(2))
    assert all(np.array_equal(once.hear(SILENCE, frame), again.hear(SILENCE, frame)) for frame in frames)


@pytest.mark.parametrize(
    ("text", "room"),
    [
        ("none", None),
        ("living", PRESETS["living"]),
        ("living,seed=7", dataclasses.replace(PRESETS["living"], seed=7)),
        ("erl=10,delay=120,drift=-50", Room("room", 10, 120, 100, -50)),
        ("delay=400", Room("room", delay_ms=400, known_ms=150)),
        ("delay=10", Room("room", delay_ms=10, known_ms=0)),
        ("office, delay=200, known=180", Room("office", delay_ms=200, known_ms=180)),
    ],
)
def test_rooms_have_names_and_values(text, room):
    """If this fails `--room` gives another room than the one that was asked for."""
    assert parse(text) == room


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("moon", r'^"moon" is no room\. Give one of office'),
        ("moon=3", r'^"moon=3" is no room: rooms have no "moon"\. Give'),
        ("", "no room"),
        ("erl=", "from 0 to 60"),
        ("erl=nan", "from 0 to 60"),
        ("delay=900", "from 0 to 500"),
        ("delay=10,known=20", "nobody knows 20 ms of 10"),
    ],
)
def test_what_is_no_room_is_refused(text, why):
    """If this fails a mistyped room is another room, and nobody notices."""
    with pytest.raises(SettingsError, match=why) as refused:
        parse(text)
    assert "office, living, near, none" in refused.value.remedy

from __future__ import annotations

from voicefsm.vad.floor import NoiseFloor
from voicefsm.vad.settings import VadSettings

SETTINGS = VadSettings(level_db_min=-50, snr_db_min=6)


def test_what_is_quieter_than_the_minimum_is_never_speech():
    """Otherwise the voice detector fires on the hiss of a silent room, which it does."""
    floor = NoiseFloor(SETTINGS)
    assert not any(floor.exceeds(-51) for _ in range(100))


def test_speech_stands_out():
    """Otherwise nobody is heard."""
    floor = NoiseFloor(SETTINGS)
    assert all(floor.exceeds(-30) for _ in range(100))


def test_a_fan_becomes_the_floor():
    """Otherwise a user beside a fan is speaking for ever."""
    floor = NoiseFloor(SETTINGS)
    verdicts = [floor.exceeds(-42) for _ in range(500)]
    assert verdicts[0]
    assert not any(verdicts[250:])
    assert floor.exceeds(-30)


def test_long_speech_with_pauses_stays_speech():
    """Otherwise a long utterance ends while the user is speaking."""
    floor = NoiseFloor(SETTINGS)
    for _ in range(40):
        assert all(floor.exceeds(-25) for _ in range(60))
        for _ in range(5):
            floor.exceeds(-60)


def test_it_never_makes_the_microphone_deaf():
    """Otherwise a minute of unbroken loud sound silences the user after it."""
    floor = NoiseFloor(SETTINGS)
    for _ in range(10000):
        floor.exceeds(-20)
    assert floor.exceeds(-20)
    assert floor.floor_db <= -30

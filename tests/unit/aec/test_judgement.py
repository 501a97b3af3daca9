from __future__ import annotations

import numpy as np
import pytest

from voicefsm.aec.elsewhere import EARLIER_MS, LATER_MS, WINDOW_MS, Elsewhere
from voicefsm.aec.judgement import Judgement
from voicefsm.aec.reference import Reference
from voicefsm.aec.settings import AecSettings
from voicefsm.audio.samples import FRAME_SAMPLES
from voicefsm.simulation.acoustics import voice

FAR = np.asarray(voice(1, 6, pitch_hz=180) / 4 * 32767, np.int16)
TALKER = np.asarray(voice(2, 6, pitch_hz=120) / 4 * 32767, np.int16)
NOW = 30000
"""The sample that leaves the loudspeaker as the microphone's last frame ends."""


def window(signal, later_ms=0):
    end = NOW - later_ms * 16
    return signal[end - WINDOW_MS * 16 : end]


def is_elsewhere(heard):
    elsewhere = Elsewhere()
    for frame in np.split(heard, WINDOW_MS // 20):
        elsewhere.hear(frame)
    return elsewhere.explains(FAR[NOW - (LATER_MS + WINDOW_MS) * 16 : NOW + EARLIER_MS * 16])


@pytest.mark.parametrize("later_ms", [-80, -40, 60, 120, 300, 690])
def test_our_own_voice_is_found_wherever_it_is(later_ms):
    """Otherwise each jump of a client's delay is a user who interrupts."""
    assert is_elsewhere(window(FAR, later_ms))


@pytest.mark.parametrize("later_ms", [0, 5, 20])
def test_an_echo_in_its_place_is_not_elsewhere(later_ms):
    """Otherwise a user who speaks over an echo that is about to be cancelled is not heard."""
    assert not is_elsewhere(window(FAR, later_ms))


def test_a_talker_is_nobody_elses_echo():
    """Otherwise users are not heard."""
    assert not is_elsewhere(window(TALKER))
    assert not is_elsewhere(window(TALKER) // 2 + window(FAR, 10))


class Room:
    """A judgement, and the frames it is asked about."""

    def __init__(self) -> None:
        settings = AecSettings(reference_keep_ms=10_000)  # all of FAR is sent at once
        self.judgement = Judgement(settings)
        self._reference = Reference(16000, settings)
        self._reference.append(0, FAR)
        self._frame = 0

    def take(self, *, talker=0.0, expected=1e6, product=1e6, speech=1.0, heard=None):
        """One frame: `talker` is what is left, `heard` what the microphone hears. Is it near-end speech?"""
        at = 8000 + self._frame * FRAME_SAMPLES
        self._reference.rendered(at)
        self._frame += 1
        near = TALKER[at : at + FRAME_SAMPLES] if heard is None else heard[at : at + FRAME_SAMPLES]
        far_power = float(np.mean(FAR.astype(float) ** 2))
        self.judgement.judge(near, self._reference, (talker + product, talker, expected, far_power), (expected, product), speech)
        return not self.judgement.echo_only


@pytest.fixture
def room():
    """One whose canceller has proved that it leaves little."""
    room = Room()
    for _ in range(60):
        room.take(talker=1e3, speech=0.0)
    return room


def test_an_echo_that_is_missing_is_no_talker(room):
    """Otherwise the echo that the filter took for granted, and the one it does not know, sound like somebody."""
    assert room.take(talker=2e6), "before it is missing"
    heard = [room.take(talker=2e6, product=0.0) for _ in range(40)]
    assert not any(heard[2:20])
    assert all(heard[-10:]), "a talker must not be ignored for long: the loudspeaker may have stopped"


def test_a_canceller_that_has_proved_nothing_is_not_believed():
    """Otherwise a user in a noisy place is not heard: the filter takes noise for an echo, on a line that has none."""
    room = Room()
    assert all(room.take(talker=2e6, product=0.0) for _ in range(10))


def test_a_talker_is_looked_at_once(room, monkeypatch):
    """Otherwise each pause between two words costs a quarter of a millisecond for each of the next frames."""
    looks = []

    def explains(*_, **__):
        looks.append(1)
        return False

    monkeypatch.setattr(Elsewhere, "explains", explains)
    for _ in range(5):
        for _ in range(10):
            room.take(talker=1e6)
        for _ in range(10):
            room.take(talker=1e3, speech=0.0)
    assert len(looks) == 4
    for _ in range(20):
        room.take(talker=1e3, speech=0.0)
    room.take(talker=1e6)
    assert len(looks) == 5


def test_refusing_is_earned_again(room):
    """Otherwise the second jump of a session is one too many."""
    for _ in range(40):
        room.take(talker=2e6, product=0.0)
    for _ in range(100):
        room.take(talker=1e3, speech=0.0)
    assert not any([room.take(talker=2e6, product=0.0) for _ in range(10)][2:])


@pytest.mark.parametrize("talker", [1e5, 1e6, 1e7])
def test_a_talker_over_the_echo_is_heard(room, talker):
    """Otherwise barge-in does not work."""
    assert all(room.take(talker=talker) for _ in range(10))


def test_what_chance_makes_of_a_loud_talker_is_no_missing_echo(room):
    """Otherwise who is much louder than the echo is not heard: his product with it is anything."""
    assert all(room.take(talker=1e8, product=product) for product in (-5e5, 1e6, 2e6, -5e5, 5e5))


def test_our_own_voice_from_elsewhere_is_nobody(room):
    """Otherwise each jump of a client's delay is a user who interrupts. But nobody is ignored for ever."""
    late = np.concatenate((np.zeros(16 * 150, np.int16), FAR))
    heard = [room.take(talker=1e6, heard=late) for _ in range(30)]
    assert heard.count(False) == pytest.approx(15, abs=4)
    assert not any(heard[4:12]), "before, the window still holds what was there before"
    assert not room.judgement.may_be_onset or heard[-1]


def test_who_goes_on_in_syllables_is_not_ignored_for_ever_either(room, monkeypatch):
    """Otherwise a place that is never corrected makes the assistant deaf: between two syllables a frame is nobody's."""
    monkeypatch.setattr(Elsewhere, "explains", lambda *_, **__: True)
    heard = [room.take(talker=1e6, speech=0.0 if k % 8 == 0 else 1.0) for k in range(160)]
    assert not any(heard[:80]), "so long a jump may take to be followed"
    assert heard[-16:].count(True) == 14
    for _ in range(25):
        room.take(talker=1e3, speech=0.0)
    assert not room.take(talker=1e6)


def test_onsets_are_refused_as_well(room):
    """Otherwise playout pauses at each jump, although nothing is cut."""
    late = np.concatenate((np.zeros(16 * 150, np.int16), FAR))
    begun = []
    for _ in range(14):
        room.take(talker=1e6, heard=late, speech=0.4)
        begun.append(room.judgement.may_be_onset)
    assert not any(begun[4:12])

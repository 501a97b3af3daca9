from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from voicefsm.adapters.echo import NullCanceller
from voicefsm.aec.metrics import SILENCE_DB
from voicefsm.aec.reference import Reference
from voicefsm.aec.settings import AecSettings
from voicefsm.audio.frame import AudioFrame
from voicefsm.audio.samples import Samples
from voicefsm.runtime.near_end import GatedNearEnd, LevelledNearEnd, near_end

SETTINGS = AecSettings(gate_pct_min=60)
LOUD = (3000 * np.random.default_rng(1).choice([-1, 1], 320)).astype(np.int16)
FAR = (3000 * np.random.default_rng(2).choice([-1, 1], 32000)).astype(np.int16)
QUIET = np.full(320, 30, np.int16)


class FakeGate(NullCanceller):
    """Cancels nine tenths, and believes what it is told to."""

    name = "fake"

    def __init__(self) -> None:
        self.speech, self.divisor = 0.0, 10
        self.powers, self.fit = (0.0, 0.0, 0.0, 0.0), (0.0, 0.0)
        self.moves = self.forgotten = self.cleared = 0
        self.misses: list[Samples] = []
        self.fars: list[Samples] = []

    def process(self, near, far):
        left = (near // self.divisor).astype(np.int16)
        self.fars.append(far)
        of_near, of_left, of_echo, of_far = (float(np.mean(np.square(x.astype(float)))) for x in (near, left, near - left, far))
        self.powers = of_near, of_left, of_echo, of_far
        self.fit = of_echo, of_echo
        return left

    def moved(self):
        self.moves += 1

    def forget(self):
        self.forgotten += 1

    def missed(self, far):
        self.misses.append(far)

    def clear(self):
        self.cleared += 1


def frames(count: int, samples: Samples = LOUD, *, far_end: int | None = None, first: int = 0) -> list[AudioFrame]:
    return [AudioFrame(samples, i * 320, None if far_end is None else far_end + i * 320) for i in range(first, first + count)]


@pytest.fixture
def gate() -> FakeGate:
    return FakeGate()


@pytest.fixture
def reference() -> Reference:
    reference = Reference(16000, SETTINGS)
    reference.append(0, FAR)
    return reference


def test_the_kind_follows_the_canceller(gate, reference):
    """Otherwise the network's word is not asked for, or asked of a canceller that has none."""
    assert isinstance(near_end(SETTINGS, gate, reference, trusted=False), GatedNearEnd)
    assert isinstance(near_end(SETTINGS, NullCanceller(), reference, trusted=False), LevelledNearEnd)


@pytest.mark.parametrize(("speech", "echo_only"), [(0.0, True), (0.59, True), (0.6, False), (1.0, False)])
def test_the_gates_word_counts_from_its_threshold_on(gate, speech, echo_only):
    """Otherwise the setting does nothing."""
    ear = near_end(SETTINGS, gate, Reference(16000, SETTINGS), trusted=False)
    gate.speech = speech
    ear.take(frames(1)[0])
    assert ear.echo_only is echo_only
    assert ear.speech == speech


@pytest.mark.parametrize(("speech", "echo_only"), [(0.7, True), (0.95, False)])
def test_what_residual_echo_could_be_must_be_surely_speech(gate, reference, speech, echo_only):
    """Otherwise the first syllables of a reply, which nothing cancels yet, pause it."""
    ear = near_end(SETTINGS, gate, reference, trusted=False)
    gate.speech = speech
    for frame in frames(5, far_end=0):
        ear.take(frame)
    assert ear.near_db <= ear.echo_db
    assert ear.echo_only is echo_only


@pytest.mark.parametrize(("speech", "begins"), [(0.2, False), (0.35, True), (0.7, True)])
def test_less_is_enough_to_begin_with(gate, reference, speech, begins):
    """Otherwise the pause waits until the network is sure: what is cheap and can be undone needs less."""
    ear = near_end(SETTINGS, gate, reference, trusted=False)
    for frame in frames(60, far_end=0):  # a canceller that is known to leave little
        ear.take(frame)
    gate.speech, gate.divisor = speech, 1
    ear.take(frames(1, far_end=0, first=60)[0])
    assert ear.may_be_onset is begins
    assert ear.echo_only is (speech < 0.6)


def test_what_is_heard_is_what_is_left(gate, reference):
    """Otherwise levels are those of the echo."""
    ear = near_end(SETTINGS, gate, reference, trusted=False)
    out = ear.take(frames(1)[0])
    assert np.array_equal(out, LOUD // 10)
    assert ear.near_power == pytest.approx(300**2)
    assert ear.near_db == -41


def test_the_far_end_counts_until_its_echo_has_gone(gate, reference):
    """Otherwise the end of each reply reverberates into the user's turn."""
    ear = near_end(SETTINGS, gate, reference, trusted=False)
    for frame in frames(10, far_end=0):
        ear.take(frame)
    assert ear.far_active
    assert ear.far_db == -21
    still = [AudioFrame(QUIET, (10 + i) * 320, 3200) for i in range(40)]
    active = []
    for frame in still:
        ear.take(frame)
        active.append(ear.far_active)
    assert 10 <= sum(active) <= 18, "240 ms of echo, and 40 ms until standing still is believed"


def test_erle_is_learnt_only_from_echo_that_is_sure(gate, reference):
    """Otherwise a talker makes the canceller look bad, and silence makes it look good."""
    ear = near_end(SETTINGS, gate, reference, trusted=False)
    gate.speech = 0.9
    for frame in frames(200):
        ear.take(frame)
    assert ear.erle_db == 0
    gate.speech = 0.1
    for frame in frames(90, far_end=0):
        ear.take(frame)
    assert ear.erle_db >= 10
    assert ear.echo_db < -21, "an echo of -21 dB, less what the canceller achieves"


def test_a_reference_that_moved_is_told(gate, reference):
    """Otherwise the filter stays wrong after each jump of the network."""
    ear = near_end(SETTINGS, gate, reference, trusted=False)
    taken = frames(30, far_end=0)
    for frame in taken:
        ear.take(frame)
    assert gate.moves == 0
    for frame in frames(30, far_end=4800, first=30):
        ear.take(frame)
    assert gate.moves >= 1


def test_a_reference_that_was_never_right_is_forgotten(gate, reference, monkeypatch):
    """Otherwise the filter goes on with an echo path that nothing has any more."""
    monkeypatch.setattr(reference, "rendered", lambda _: LOUD)
    reference.misplaced = reference.moved = True
    near_end(SETTINGS, gate, reference, trusted=False).take(frames(1)[0])
    assert (gate.forgotten, gate.moves) == (1, 0)


def test_the_canceller_learns_what_became_of_the_line(gate, reference):
    """Otherwise it looks for the echo of a headset for ever, or rests when there is one."""
    ear = near_end(SETTINGS, gate, reference, trusted=False)
    for i in range(60):
        ear.take(AudioFrame(QUIET, i * 320, i * 320))
    assert (gate.cleared, gate.forgotten) == (1, 0)
    for frame in frames(10, far_end=0, first=60):  # heard, and no talker by the gate's word
        ear.take(frame)
    assert (gate.cleared, gate.forgotten) == (1, 1)


def test_what_was_missed_of_a_start_is_told(gate, reference):
    """Otherwise the first 20 ms of each reply have no reference."""
    ear = near_end(SETTINGS, gate, reference, trusted=False)
    ear.take(AudioFrame(LOUD, 0, 0))
    ear.take(AudioFrame(LOUD, 320, 320))
    assert len(gate.misses) == 1
    assert len(gate.misses[0]) % 320 == 0
    assert np.any(gate.misses[0])


def test_a_client_that_cancels_itself_has_no_reference(gate, reference):
    """Otherwise an echo is taken away that is not there."""
    ear = near_end(SETTINGS, gate, reference, trusted=True)
    for frame in frames(20, far_end=0):
        ear.take(frame)
    assert not any(np.any(far) for far in gate.fars)
    assert not ear.far_active
    assert ear.far_db == SILENCE_DB


def test_without_a_gate_everything_loud_enough_is_the_near_end():
    """Otherwise a headset cannot interrupt."""
    settings = dataclasses.replace(SETTINGS)
    ear = near_end(settings, NullCanceller(), Reference(16000, settings), trusted=True)
    ear.take(frames(1)[0])
    assert not ear.echo_only
    assert ear.speech == 1.0
    assert ear.echo_db == SILENCE_DB

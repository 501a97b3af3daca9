from __future__ import annotations

import numpy as np
import pytest

from voicefsm.aec.gate import EchoGate
from voicefsm.aec.metrics import level_db, power
from voicefsm.aec.settings import AecSettings
from voicefsm.simulation.acoustics import noise, pcm, room, through, voice

FRAME = 320
SETTINGS = AecSettings()
SECONDS = 8
TALK_FROM = 6


def judged(seed: int, near_db: float | None, canceller_db: float = 20.0) -> tuple[list[bool], EchoGate]:
    """Whether each frame is echo only.

    Echo 10 dB below the reference from a reverberant room, an ideal canceller that leaves it `canceller_db` lower, and from second
    6 on a talker `near_db` louder than the echo.
    """
    far = voice(seed, SECONDS, pitch_hz=200)
    echo = through(far, room(seed, rt60_ms=300)) * 10 ** (-10 / 20)
    near = np.zeros_like(far)
    if near_db is not None:
        near[TALK_FROM * 16000 :] = voice(seed + 50, SECONDS - TALK_FROM, level_db=-30 + near_db)
    hiss = noise(seed, SECONDS, level_db=-70)
    mic, left, reference = pcm(echo + near + hiss), pcm(echo * 10 ** (-canceller_db / 20) + near + hiss), pcm(far)
    gate, verdicts = EchoGate(SETTINGS), []
    for at in range(0, len(mic), FRAME):
        frame = slice(at, at + FRAME)
        gate.far.note(level_db(power(reference[frame])))
        verdicts.append(gate.echo_only(power(mic[frame]), power(left[frame]), power(mic[frame] - left[frame])))
    return verdicts, gate


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("canceller_db", [0, 6, 12, 25])
def test_echo_is_explained(seed, canceller_db):
    """Otherwise the assistant interrupts itself, with a good canceller or with none."""
    verdicts, _ = judged(seed, None, canceller_db)
    assert np.mean(verdicts) > 0.97


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("near_db", [0, 6])
def test_a_talker_is_not_echo(seed, near_db):
    """Otherwise the user cannot interrupt: 0.4 s after the onset most frames must have stood out."""
    verdicts, _ = judged(seed, near_db)
    onset = TALK_FROM * 50
    assert np.mean(verdicts[onset : onset + 20]) < 0.4


def test_the_echo_may_come_late():
    """Otherwise the reverberation of our last word is taken for the user's first."""
    gate = EchoGate(SETTINGS)
    gate.far.note(-20)
    for _ in range(SETTINGS.echo_hold_ms // 20):
        gate.far.note(-96)
    assert gate.far.active
    gate.far.note(-96)
    assert not gate.far.active
    assert not gate.echo_only(1e6, 1e6, 0.0)


def test_erle_is_measured():
    """Otherwise the decision knows nothing of the canceller."""
    _, gate = judged(1, None, canceller_db=20)
    assert 17 <= gate.erle_db <= 21


def test_reverberation_outlasts_the_estimate():
    """Otherwise the tail of every word of ours, which the canceller's filter is too short for, is taken for speech."""
    gate = EchoGate(SETTINGS)
    for _ in range(300):
        gate.far.note(-20)
        gate.echo_only(1e6, 1e4, 1e6)
    gate.far.note(-20)
    assert gate.echo_only(2e4, 2e4, 1.0)


def test_a_talker_does_not_teach_it_at_once_and_a_changed_room_does_in_the_end():
    """Otherwise it goes deaf in double talk, or cries wolf for ever when somebody moves the laptop."""
    gate = EchoGate(SETTINGS)

    def feed(frames: int, mic: float, near: float) -> list[bool]:
        verdicts = []
        for _ in range(frames):
            gate.far.note(-20)
            verdicts.append(gate.echo_only(mic, near, mic - near))
        return verdicts

    feed(300, 1e6, 1e4)
    before = gate.erle_db
    assert not any(feed(20, 1.9e6, 0.9e6))
    assert gate.erle_db == before
    assert all(feed(500, 1e6, 0.9e6)[400:])


def test_an_unreliable_estimate_promises_nothing():
    """Otherwise the moment the loudspeaker stops, its last echo stands 20 dB above what a good canceller would have left."""
    gate = EchoGate(SETTINGS)
    for _ in range(300):
        gate.far.note(-20)
        gate.echo_only(1e6, 1e4, 1e6)
    gate.far.note(-20)
    assert gate.echo_only(8e5, 8e5, 1e6, reliable=False)
    assert not gate.echo_only(8e5, 8e5, 1e5, reliable=True)

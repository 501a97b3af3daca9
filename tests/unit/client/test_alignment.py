"""What was at the loudspeaker when a microphone sample was taken."""

from __future__ import annotations

import pytest

from voicefsm.client.alignment import BLOCKS_MAX, Alignment

RATE_HZ = 16000


def test_nothing_rendered_yet():
    """If this fails the first frames of a session claim an echo."""
    assert Alignment(RATE_HZ).position_at(1.0) == 0


@pytest.mark.parametrize(
    ("time_s", "position"),
    [
        (0.9, 100),  # before the first block
        (1.0, 100),
        (1.01, 260),
        (1.02, 420),  # the second block
        (1.03, 580),
        (1.05, 740),  # after the last block nothing more flows
    ],
)
def test_moves_with_what_is_rendered(time_s, position):
    """If this fails the canceller gets a reference that is late or early, and cancels nothing."""
    alignment = Alignment(RATE_HZ)
    alignment.rendered(1.0, 100, 320)
    alignment.rendered(1.02, 420, 320)
    assert alignment.position_at(time_s) == pytest.approx(position, abs=1)


def test_stands_still_in_silence():
    """If this fails a pause shifts the reference for the rest of the reply."""
    alignment = Alignment(RATE_HZ)
    alignment.rendered(1.0, 100, 80)
    alignment.rendered(1.02, 180, 0)
    assert alignment.position_at(1.015) == 180
    assert alignment.position_at(1.5) == 180


def test_memory_is_bounded():
    """If this fails an hour of talk is an hour of blocks."""
    alignment = Alignment(RATE_HZ)
    for index in range(BLOCKS_MAX * 3):
        alignment.rendered(index * 0.02, index * 320, 320)
    assert len(alignment._blocks) == BLOCKS_MAX

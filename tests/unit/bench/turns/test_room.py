"""The room: what the assistant did to itself is counted, and its recording can be scored."""

from __future__ import annotations

import numpy as np
import pytest

from voicefsm.bench.turns import pilot, room
from voicefsm.bench.turns.stimuli import item_of

ITEM = item_of(
    {"id": "made/000", "category": "made", "duration_s": 60.0, "events": [{"type": "noise", "start": 10.0, "end": 11.0}]}
)


def test_what_happens_near_an_event_is_not_the_assistants_own_doing():
    """Otherwise a pause for a real noise counts as hearing itself, or hearing itself as a pause for a noise."""
    notes = [(5000.0, "pause", "reply 1"), (10_200.0, "pause", "reply 1"), (11_900.0, "cancel", "reply 1 (barge_in)")]
    notes += [(40_000.0, "cancel", "reply 2 (barge_in)"), (41_000.0, "cancel", "reply 3 (client)")]
    notes += [(13_500.0, "state", "listening > processing (Timer END_OF_TURN)"), (30_000.0, "state", "listening > processing (x)")]
    spans = [(first * 16000, 1, first * 16000, 16000) for first in range(20)]
    found = room.alone([ITEM], {ITEM.id: {"notes": notes, "spans": spans}})
    assert (found.pauses, found.cancels) == (1, 1)
    assert found.far_end_s == pytest.approx(17.0)
    assert (found.turns, found.ghost_turns) == (2, 1)
    figures = room.figures(found)
    assert figures["self_cancels_per_hour"].value == pytest.approx(3600 / 17)


def test_nothing_in_an_hour_is_not_nothing_ever():
    """Otherwise an hour without a cancel looks like proof. Three in an hour is Poisson's bound for none seen, 3.7 on both sides."""
    figure = room.figures(room.Alone(3600.0, pauses=0, cancels=0, turns=0, ghost_turns=0))["self_cancels_per_hour"]
    assert (figure.value, figure.low) == (0.0, 0.0)
    assert figure.high == pytest.approx(3.69, abs=0.05)


def test_what_was_rendered_is_legible_in_tones():
    """Otherwise the scorer is blind in a room."""
    runs = [(1600, 3, 5000, 3200), (8000, 3, 8200, 3200)]
    recording = room.in_tones(runs, {3: 6400}, 16000)
    _, (before, after) = pilot.read(recording.astype(np.float32) / np.float32(32768))
    assert (before.reply, before.from_sample, before.to_sample) == (3, 0, 3200)
    assert (after.from_sample, after.to_sample, after.is_complete) == (3200, 6400, True)


def test_the_room_of_an_item_is_the_same_each_time_and_echoes():
    """Otherwise two runs cannot be compared; or the loop is not closed."""
    sound = (8000 * np.random.default_rng(1).standard_normal(320)).clip(-32768, 32767).astype(np.int16)
    echoes = []
    for _ in range(2):
        path = room.room_of("made/000")
        echoes.append(np.concatenate([path.process(sound if k < 10 else np.zeros(320, np.int16)) for k in range(60)]))
    assert (echoes[0] == echoes[1]).all()
    loss_db = 10 * np.log10((sound / 32767.0).var() * 10 / 60 / echoes[0].var())
    assert room.LOSS_DB_MIN - 6 < loss_db < room.LOSS_DB_MAX + 6

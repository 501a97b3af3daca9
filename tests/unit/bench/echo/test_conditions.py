"""The distribution of conditions."""

from __future__ import annotations

from collections import Counter

import pytest

from voicefsm.bench.echo.conditions import (
    CHANNELS,
    LEVELS_DB,
    QUICK_SWEEPS,
    SWEEPS,
    channel_scenes,
    damage_scenes,
    mixed_scenes,
    near_scenes,
    sweep,
)
from voicefsm.bench.echo.scene import Kind


def test_mixed_conditions_are_mixed():
    """Otherwise headline figures would come from one corner of the world."""
    scenes = [scene for seed in range(300) for scene in mixed_scenes(seed)]
    assert Counter(scene.kind for scene in scenes) == {Kind.FAR: 300, Kind.DOUBLE: 300, Kind.COLD: 300}
    assert len({(scene.seed, scene.kind) for scene in scenes}) == 900
    for level_db in LEVELS_DB:
        assert sum(scene.near_to_echo_db == level_db for scene in scenes) == pytest.approx(300, abs=60)
    assert sum(scene.drift_ppm == 0 for scene in scenes) == pytest.approx(540, abs=60)
    assert not any(scene.jump_ms for scene in scenes if scene.kind is Kind.COLD)
    for scene in scenes:
        assert scene.echo_db + scene.near_to_echo_db in {-36.0, -30.0, -24.0}
        assert 0 <= scene.delay_ms <= 400
    assert mixed_scenes(7) == mixed_scenes(7)


def test_every_channel_is_tried():
    """Otherwise a telephone, a bad network or a café would be met by users first."""
    scenes = [scene for seed in range(6) for scene in channel_scenes(seed)]
    assert Counter(name for name, _ in scenes) == dict.fromkeys(CHANNELS, 4)
    for name, condition in scenes:
        assert (condition.babble, bool(condition.loss), condition.mulaw) == (name == "babble", name == "loss", name == "mulaw")
        assert condition.kind in {Kind.FAR, Kind.DOUBLE}


@pytest.mark.parametrize("factor", SWEEPS)
def test_a_sweep_changes_one_factor(factor):
    """Otherwise a curve would show two things at once."""
    runs = [sweep(factor, value) for value in SWEEPS[factor]]
    for conditions in zip(*runs, strict=True):
        assert [getattr(condition, factor) for condition in conditions] == list(SWEEPS[factor])
        seed = conditions[0].seed
        assert {condition.room for condition in conditions} == {conditions[0].room}
        assert all(condition.seed == seed for condition in conditions)
    assert set(QUICK_SWEEPS) <= set(SWEEPS)


def test_damage_and_near_scenes():
    """Otherwise the talker's quality would be measured where nobody talks."""
    assert {scene.kind for scene in damage_scenes(-10.0)} == {Kind.DOUBLE}
    assert {round(scene.rt60_s, 1) for scene in damage_scenes(0.0)} == {0.2, 0.4, 0.6}
    assert {scene.kind for scene in near_scenes()} == {Kind.NEAR}
    assert len({scene.noise_db for scene in near_scenes()}) == 2

"""Scenes: that they are what their condition says, and nothing else changes when one factor does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from voicefsm.acoustics.loudspeaker import Distortion
from voicefsm.acoustics.signals import active_level_db, floats
from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ
from voicefsm.bench.echo.scene import Condition, Kind

DOUBLE = Condition(seed=3, kind=Kind.DOUBLE, seconds=30, room=2, delay_ms=250, noise_db=-90)


def powers(signal):
    return np.mean(signal[: len(signal) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES) ** 2, axis=1)


def test_a_scene_is_a_function_of_its_condition(studio):
    """Otherwise no figure could be had twice."""
    one, again = studio.build(DOUBLE), studio.build(DOUBLE)
    assert np.array_equal(one.mic, again.mic)
    assert one.near_speech == again.near_speech
    assert not np.array_equal(one.mic, studio.build(dataclasses.replace(DOUBLE, seed=4)).mic)


@pytest.mark.parametrize(
    "change",
    [
        {"delay_ms": 0.0},
        {"drift_ppm": 100.0},
        {"rt60_s": 0.2},
        {"distortion": Distortion.STRONG},
        {"near_to_echo_db": 10.0},
        {"loss": 0.1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_one_factor_changes_no_word(studio, change):
    """Otherwise a sweep would compare one talk with another."""
    one, other = studio.build(DOUBLE), studio.build(dataclasses.replace(DOUBLE, **change))
    assert np.array_equal(one.far, other.far)
    assert len(one.near_speech) == len(other.near_speech) > 1
    for mine, theirs in zip(one.near_speech, other.near_speech, strict=True):
        assert mine.end_s - mine.start_s == pytest.approx(theirs.end_s - theirs.start_s)
    assert not np.array_equal(one.mic, other.mic)


@pytest.mark.parametrize("near_to_echo_db", [-10.0, 0.0, 10.0])
def test_levels_are_those_of_the_condition(studio, near_to_echo_db):
    """Otherwise the misses per level would be drawn over the wrong axis."""
    scene = studio.build(dataclasses.replace(DOUBLE, near_to_echo_db=near_to_echo_db))
    assert active_level_db(scene.echo) == pytest.approx(-30.0)
    for start_s, end_s in scene.near_speech:
        speech = scene.near[int(start_s * RATE_HZ) : int(end_s * RATE_HZ)]
        assert active_level_db(speech) == pytest.approx(-30.0 + near_to_echo_db, abs=0.5)


def test_the_microphone_hears_the_parts_and_nothing_else(studio):
    """Otherwise the truth that figures are taken from would belong to another scene."""
    scene = studio.build(DOUBLE)
    rest = floats(scene.mic) - scene.near - scene.echo
    assert 10 * np.log10(np.mean(rest**2)) == pytest.approx(-90, abs=1)


@pytest.mark.parametrize("drift_ppm", [0.0, 100.0])
def test_the_echo_comes_after_its_delay(studio, drift_ppm):
    """Otherwise a canceller would be tried on another delay than the figure names."""
    condition = Condition(seed=1, seconds=20, delay_ms=400, drift_ppm=drift_ppm, distortion=Distortion.NONE, noise_db=-90)
    scene = studio.build(condition)
    spectra = np.fft.rfft(floats(scene.mic), 1 << 20) * np.conj(np.fft.rfft(floats(scene.far), 1 << 20))
    lag = int(np.argmax(np.abs(np.fft.irfft(spectra))[:RATE_HZ]))
    assert 6400 <= lag <= 6400 + 100
    assert scene.delay[0] == 6400
    assert scene.delay[-1] - 6400 == pytest.approx(20 * RATE_HZ * drift_ppm / 1e6, abs=0.01)


def test_stretches_are_where_the_sound_is(studio):
    """Otherwise latency would count from the wrong moment, and false triggers outside of turns."""
    scene = studio.build(DOUBLE)
    for start_s, end_s in scene.near_speech:
        before, after = (scene.near[int(start_s * RATE_HZ) + at :][: RATE_HZ // 50] for at in (-RATE_HZ // 50, 0))
        assert np.mean(before**2) < 0.01 * np.mean(after**2)
        assert end_s - start_s > 0.5
    echo = powers(scene.echo)
    for start_s, _ in scene.far_turns:
        assert echo[int(start_s * 50) - 2] < 0.01 * echo[int(start_s * 50) :][:10].max()
    inside = sum(echo[int(start_s * 50) : int(end_s * 50) + 1].sum() for start_s, end_s in scene.far_turns)
    assert inside > 0.999 * echo.sum()


def test_the_kinds_differ_in_who_speaks(studio):
    """Otherwise false triggers would be counted where somebody speaks, or first turns would not be cold."""

    kinds = (Kind.FAR, Kind.DOUBLE, Kind.COLD, Kind.NEAR)
    far, double, cold, near = (studio.build(dataclasses.replace(DOUBLE, kind=kind)) for kind in kinds)
    assert not far.near.any()
    assert far.near_speech == near.far_turns == ()
    assert not near.echo.any()
    assert not near.far.any()
    assert np.array_equal(far.far, double.far)
    assert all(start_s > double.far_turns[1].start_s for start_s, _ in double.near_speech)
    assert len(cold.near_speech) == 1
    assert cold.far_turns[0].start_s + 0.4 <= cold.near_speech[0].start_s <= cold.far_turns[0].start_s + 2.1


def test_a_short_scene_has_a_turn(studio):
    """Otherwise cold starts of some seconds would be silent."""
    scene = studio.build(Condition(seed=1, seconds=4))
    assert scene.far_turns[0].end_s > 2.5


def test_what_the_way_to_the_server_does(studio):
    """Otherwise the sweeps over codec, loss and babble would repeat the plain scene."""
    plain, lossy, coded, babble = (
        studio.build(dataclasses.replace(DOUBLE, noise_db=-40, **change))
        for change in ({}, {"loss": 0.05}, {"mulaw": True}, {"babble": True})
    )
    frames = lossy.mic.reshape(-1, FRAME_SAMPLES)
    lost = ~frames.any(axis=1)
    assert 0.03 < lost.mean() < 0.08
    assert np.array_equal(frames[~lost], plain.mic.reshape(-1, FRAME_SAMPLES)[~lost])
    assert len(set(coded.mic.tolist())) <= 256
    noise = floats(babble.mic) - babble.near - babble.echo
    assert active_level_db(noise) == pytest.approx(-40, abs=1)
    assert np.std(np.log10(powers(noise) + 1e-9)) > 2 * np.std(np.log10(powers(floats(plain.mic) - plain.near - plain.echo)))

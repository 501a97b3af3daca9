"""Casts and recordings, with the real engine that every set-up has."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from voicefsm.acoustics.signals import active_level_db
from voicefsm.audio.samples import RATE_HZ
from voicefsm.bench.echo.voices import BENCH, BENCH_WITHOUT_FLITE, TRAINING, Cast, Recordings, Speaker, resampled, trimmed
from voicefsm.errors import VoiceFsmError

MAN = Speaker("espeak", "en-us+m7")
QUICK_MAN = dataclasses.replace(MAN, speed=1.25)
CAST = Cast(far=(MAN,), near=(QUICK_MAN,), far_texts=("Hello there.",), near_short=("Hello there.",), near_long=("Stop.",))


@pytest.mark.parametrize("cast", [BENCH, BENCH_WITHOUT_FLITE, TRAINING])
def test_no_voice_is_heard_at_both_ends(cast):
    """Otherwise a gate could learn, or be judged, by who speaks."""
    assert not set(cast.far) & set(cast.near)


def test_training_and_benchmark_share_nothing():
    """Otherwise a trained gate would be judged on what it has learned by heart."""
    assert not (set(TRAINING.far) | set(TRAINING.near)) & (set(BENCH.far) | set(BENCH.near))
    texts = [set(cast.far_texts) | set(cast.near_short) | set(cast.near_long) for cast in (BENCH, TRAINING)]
    assert not texts[0] & texts[1]


def test_recordings(tmp_path):
    """Otherwise every run would speak everything anew, or utterances would have levels and silences of their own."""
    recordings = Recordings(tmp_path / "new")
    with pytest.raises(VoiceFsmError, match="not recorded"):
        recordings.utterance(MAN, "Hello there.")
    assert recordings.prepare(CAST) == 3
    assert recordings.prepare(CAST) == 0
    plain, quick = (recordings.utterance(speaker, "Hello there.") for speaker in (MAN, QUICK_MAN))
    assert len(plain) / len(quick) == pytest.approx(1.25, rel=0.03)
    for utterance in (plain, quick):
        assert 0.3 < len(utterance) / RATE_HZ < 1.5
        assert active_level_db(utterance) == pytest.approx(-20, abs=0.1)
        assert np.mean(utterance[:80] ** 2) > 1e-6


def test_a_missing_engine_is_named(tmp_path):
    """Otherwise the first sign of a missing voice would be a traceback of another process."""
    nobody = Speaker("espeak", "xx+nobody")
    with pytest.raises(VoiceFsmError, match="xx\\+nobody"):
        Recordings(tmp_path).prepare(dataclasses.replace(CAST, far=(nobody,)))


def test_resampling_keeps_tones_and_drops_what_does_not_fit():
    """Otherwise a voice would come with aliases."""
    time = np.arange(22050) / 22050
    signal = np.sin(2 * np.pi * 440 * time) + np.sin(2 * np.pi * 9000 * time)
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert resampled(signal, 16000 / 22050) == pytest.approx(expected, abs=1e-9)


def test_trimming():
    """Otherwise an onset would be silence."""
    tone = np.sin(np.arange(1600))
    assert np.array_equal(trimmed(np.concatenate((np.zeros(800), tone, np.zeros(240)))), tone)

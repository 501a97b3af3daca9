"""The loudspeaker beside a caller's microphone."""

from __future__ import annotations

import numpy as np
import pytest

from voicefsm.audio.samples import FRAME_SAMPLES
from voicefsm.load.echo import REFLECTIONS, Echo

SILENCE = np.zeros(FRAME_SAMPLES, np.int16)


def heard(echo, rendered, said=b""):
    """Frame by frame; `said` in silence is silence."""
    pieces = [
        echo.heard(said or SILENCE.tobytes(), rendered[k : k + FRAME_SAMPLES]) for k in range(0, len(rendered), FRAME_SAMPLES)
    ]
    return np.frombuffer(b"".join(pieces), "<i2").astype(float)


@pytest.mark.parametrize("delay_ms", [0, 7, 60])
def test_late_and_reflected(delay_ms):
    """Otherwise what is measured is no echo, or one that comes when a canceller need not look for it."""
    clicks = np.zeros(20 * FRAME_SAMPLES, np.int16)
    clicks[100] = 20_000
    (at,) = np.nonzero(heard(Echo(6, delay_ms), clicks))
    assert list(at) == [100 + 16 * delay_ms + after for after, _ in REFLECTIONS]


@pytest.mark.parametrize("loss_db", [0, 12, 20])
def test_as_loud_as_it_should_be(loss_db):
    """Otherwise figures are those of another room."""
    noise = (np.random.default_rng(1).standard_normal(200 * FRAME_SAMPLES) * 2000).astype(np.int16)
    echo = heard(Echo(loss_db, 60), noise)
    lost_db = 10 * np.log10(np.mean(noise.astype(float) ** 2) / np.mean(echo**2))
    assert lost_db == pytest.approx(loss_db, abs=0.5)


def test_a_talker_is_heard_over_it_and_clipped():
    """Otherwise nobody can interrupt, or what is too loud turns into noise."""
    said = np.full(FRAME_SAMPLES, 30_000, np.int16)
    noise = (np.random.default_rng(1).standard_normal(20 * FRAME_SAMPLES) * 8000).astype(np.int16)
    mixed, echo = heard(Echo(3, 20), noise, said.tobytes()), heard(Echo(3, 20), noise)
    assert np.abs(mixed - np.clip(echo + 30_000, -32768, 32767)).max() <= 1
    assert mixed.max() == 32767


def test_nothing_is_heard_of_silence_and_all_of_what_ends():
    """Otherwise the last of an answer has no echo, and a silent line costs as much as a loud one."""
    echo = Echo(10, 60)
    said = SILENCE.tobytes()
    assert echo.heard(said, SILENCE) is said
    loud = np.full(FRAME_SAMPLES, 10_000, np.int16)
    echo.heard(said, loud)
    after = [echo.heard(said, SILENCE) for _ in range(6)]
    assert [any(frame) for frame in after] == [False, False, True, True, False, False]  # 60 to 80 ms, and 13 ms of reflections
    assert after[5] is said

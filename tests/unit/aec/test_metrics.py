from __future__ import annotations

import numpy as np
import pytest

from voicefsm.aec.metrics import SILENCE_DB, Erle, level_db, power


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (np.full(320, -32768), 0),
        (np.full(320, 3277), -20),
        (np.zeros(320), SILENCE_DB),
        ((32767 * np.sin(np.arange(320) * 2 * np.pi / 40)), -3),
        (np.where(np.arange(320) == 0, 1, 0), SILENCE_DB),
    ],
)
def test_levels_are_decibels_of_full_scale(samples, expected):
    """Otherwise thresholds in the settings mean something else than they say."""
    level = level_db(power(samples.astype(np.int16)))
    assert level == expected
    assert isinstance(level, int)


def test_erle_is_the_ratio_of_powers():
    """Otherwise the gate believes a canceller that does nothing, or distrusts a good one."""
    erle = Erle()
    for _ in range(500):
        erle.update(1e6, 1e4)
    assert 18 <= erle.db <= 20


def test_one_good_word_is_not_believed():
    """Otherwise the first lucky frames of a session open the gate for our own voice."""
    erle = Erle()
    for _ in range(10):
        erle.update(1e6, 1e3)
    assert erle.db < 10


def test_erle_never_goes_below_zero_or_off_the_scale():
    """Otherwise a canceller that adds noise, or digital silence, breaks the integers of the evidence."""
    for before, after in ((1.0, 1e6), (1e9, 0.0), (0.0, 0.0)):
        erle = Erle()
        for _ in range(1000):
            erle.update(before, after)
        assert 0 <= erle.db <= 40

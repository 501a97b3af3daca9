from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicefsm.audio.resample import Resampler, _plan
from voicefsm.audio.samples import RATES_HZ

PAIRS = [pair for pair in itertools.permutations(RATES_HZ, 2) if 16000 in pair]


def tone(rate_hz: int, hz: float, seconds: float = 0.5) -> np.ndarray:
    time = np.arange(int(rate_hz * seconds)) / rate_hz
    return (20000 * np.sin(2 * np.pi * hz * time)).astype(np.int16)


def level_db(samples: np.ndarray) -> float:
    """Of the middle, relative to the tone."""
    middle = samples[len(samples) // 4 : -len(samples) // 4].astype(float)
    return float(20 * np.log10(np.sqrt(np.mean(middle**2)) / (20000 / np.sqrt(2)) + 1e-9))


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
@given(sizes=st.lists(st.integers(0, 700), min_size=1, max_size=12), seed=st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_the_cut_of_the_input_does_not_matter(rate_in, rate_out, sizes, seed):
    """Otherwise a client that sends 10 ms sounds different from one that sends 100, and journals do not replay."""
    samples = np.random.default_rng(seed).integers(-32768, 32768, sum(sizes)).astype(np.int16)
    whole = Resampler(rate_in, rate_out).process(samples)
    stream, at, pieces = Resampler(rate_in, rate_out), 0, []
    for size in sizes:
        pieces.append(stream.process(samples[at : at + size]))
        at += size
        assert sum(map(len, pieces)) == at * rate_out // rate_in, "the sample clocks drift apart"
    assert np.array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
@pytest.mark.parametrize("share", [0.01, 0.4, 0.85])
def test_the_pass_band_is_flat(rate_in, rate_out, share):
    """Otherwise the recogniser hears a voice with a cold."""
    hz = share * min(rate_in, rate_out) / 2
    assert abs(level_db(Resampler(rate_in, rate_out).process(tone(rate_in, hz)))) < 0.1


@pytest.mark.parametrize(("rate_in", "rate_out"), [(i, o) for i, o in PAIRS if i > o])
@pytest.mark.parametrize("share", [1.001, 1.2, 1.45])
def test_nothing_folds_back(rate_in, rate_out, share):
    """Otherwise hiss above the band becomes a whistle inside it."""
    hz = share * rate_out / 2
    assert level_db(Resampler(rate_in, rate_out).process(tone(rate_in, hz))) < -60


@pytest.mark.parametrize(("rate_in", "rate_out"), [(i, o) for i, o in PAIRS if i < o])
def test_no_image_above_the_band(rate_in, rate_out):
    """Otherwise a narrow-band call carries its own mirror image."""
    hz = 0.8 * rate_in / 2
    out = Resampler(rate_in, rate_out).process(tone(rate_in, hz))
    middle = out[len(out) // 4 :][: rate_out // 5].astype(float)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    above = spectrum[len(middle) * rate_in // 2 // rate_out + 2 :]
    assert 20 * np.log10(above.max() / spectrum.max()) < -60


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_the_delay_is_what_it_says(rate_in, rate_out):
    """Otherwise every position on the capture clock, and the echo reference, is off."""
    stream = Resampler(rate_in, rate_out)
    samples = np.zeros(rate_in // 10, np.int16)
    at = rate_in // 100
    samples[at] = 20000
    assert np.argmax(stream.process(samples)) == at * rate_out // rate_in + stream.delay_samples


def test_without_conversion_it_costs_nothing():
    """Otherwise the usual client pays for the unusual one."""
    samples = tone(16000, 440)
    stream = Resampler(16000, 16000)
    assert stream.process(samples) is samples
    assert stream.delay_samples == 0


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_full_scale_clips_and_does_not_wrap(rate_in, rate_out):
    """Otherwise a shout becomes a click at the opposite rail."""
    square = np.where(np.arange(rate_in // 10) // 40 % 2, 32767, -32768).astype(np.int16)
    stream = Resampler(rate_in, rate_out)
    out = stream.process(square).astype(int)
    inside = out[stream.delay_samples * 2 :]
    assert inside.max() == 32767
    assert inside.min() == -32768
    assert np.abs(np.diff(inside)).max() < 65000


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_coefficients_are_integers(rate_in, rate_out):
    """Otherwise sums are rounded in the order of the machine's linear algebra, and journals do not replay elsewhere."""
    matrix = _plan(rate_in, rate_out).matrix
    assert np.array_equal(matrix, np.rint(matrix))
    assert np.abs(matrix).sum(axis=0).max() * 32768 < 2**53


def test_reset_forgets():
    """Otherwise the end of a cancelled reply rings into the next one."""
    stream = Resampler(24000, 16000)
    stream.process(tone(24000, 440))
    stream.reset()
    assert not stream.process(np.zeros(480, np.int16)).any()

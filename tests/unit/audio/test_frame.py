from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicefsm.audio.frame import AudioSettings, Framer
from voicefsm.audio.resample import Resampler
from voicefsm.audio.samples import RATES_HZ
from voicefsm.errors import InvalidMessage

SETTINGS = AudioSettings()


def ramp(first: int, count: int) -> np.ndarray:
    return (np.arange(first, first + count) % 30000).astype(np.int16)


@given(sizes=st.lists(st.integers(160, 3200), min_size=1, max_size=10))
def test_any_cut_gives_the_same_frames(sizes):
    """Otherwise a client that sends odd pieces is heard with clicks."""
    framer, at, frames = Framer(16000, 16000, SETTINGS), 0, []
    for size in sizes:
        frames += framer.push(ramp(at, size), at, None)
        at += size
    assert [f.capture_sample for f in frames] == list(range(0, at - at % 320, 320))
    assert np.array_equal(np.concatenate([f.samples for f in frames] or [ramp(0, 0)]), ramp(0, at - at % 320))


@pytest.mark.parametrize("rate", RATES_HZ)
def test_a_frame_is_placed_where_its_sound_was(rate):
    """Otherwise onsets and echo paths shift with the client's rate. A click at 100 ms must be found at 100 ms."""
    samples = np.zeros(rate // 5, np.int16)
    samples[rate // 10] = 20000
    framer, step = Framer(rate, 16000, SETTINGS), rate // 50
    frames = [f for at in range(0, len(samples), step) for f in framer.push(samples[at : at + step], at, None)]
    peaks = [(int(np.abs(f.samples.astype(int)).max()), f.capture_sample + int(f.samples.argmax())) for f in frames]
    assert max(peaks)[1] == 1600
    assert frames[0].capture_sample == -Resampler(rate, 16000).delay_samples


def test_a_lost_piece_is_silence():
    """Otherwise the words after a lost packet are placed too early."""
    framer = Framer(16000, 16000, SETTINGS)
    framer.push(ramp(1, 320), 0, None)
    frames = framer.push(ramp(1, 320), 960, None)
    assert [f.capture_sample for f in frames] == [320, 640, 960]
    assert not frames[0].samples.any()
    assert not frames[1].samples.any()
    assert np.array_equal(frames[2].samples, ramp(1, 320))
    assert framer.skipped_samples == 0


def test_a_long_gap_moves_the_clock_and_costs_a_bounded_number_of_frames():
    """Otherwise one message with a large number in it keeps the server busy for hours."""
    framer = Framer(16000, 16000, AudioSettings(gap_ms_max=40))
    framer.push(ramp(1, 320), 0, None)
    frames = framer.push(ramp(1, 320), 16_000_000, None)
    assert len(frames) == 3
    assert frames[-1].capture_sample == 16_000_000
    assert framer.skipped_samples == 16_000_000 - 320 - 640


def test_a_step_back_is_the_clients_fault_and_changes_nothing():
    """Otherwise one bad message bends the clock of the whole session."""
    framer = Framer(16000, 16000, SETTINGS)
    framer.push(ramp(0, 320), 0, None)
    with pytest.raises(InvalidMessage, match="steps back"):
        framer.push(ramp(0, 320), 319, None)
    assert [f.capture_sample for f in framer.push(ramp(0, 320), 320, None)] == [320]


def test_the_far_end_runs_inside_a_long_piece():
    """Otherwise a client that sends 100 ms has an echo reference that stands still for 80 of them. Output is at 24 kHz."""
    framer = Framer(16000, 24000, SETTINGS)
    framer.push(ramp(0, 1600), 0, 1000)
    frames = framer.push(ramp(0, 1600), 1600, 1000 + 2400)
    assert [f.far_end_sample for f in frames] == [3400, 3880, 4360, 4840, 5320]


def test_a_paused_far_end_stands_still():
    """Otherwise the canceller is fed sound that nobody hears."""
    framer = Framer(16000, 16000, SETTINGS)
    framer.push(ramp(0, 1600), 0, 5000)
    assert {f.far_end_sample for f in framer.push(ramp(0, 1600), 1600, 5000)} == {5000}


def test_a_frame_that_began_in_the_piece_before_is_placed_by_its_report():
    """Otherwise pieces of 30 ms jitter the reference by 10."""
    framer, found = Framer(16000, 16000, SETTINGS), []
    for at in range(0, 4800, 480):
        found += [(f.capture_sample, f.far_end_sample) for f in framer.push(ramp(at, 480), at, at + 7000)]
    assert all(far == capture + 7000 for capture, far in found[3:])


def test_a_report_that_fails_to_come_does_not_undo_the_one_before():
    """Otherwise a client that reports now and then is worse off than one that never does."""
    framer = Framer(16000, 16000, SETTINGS)
    framer.push(ramp(0, 480), 0, 5000)
    assert [f.far_end_sample for f in framer.push(ramp(0, 480), 480, None)] == [5000, None]


def test_no_report_is_no_guess():
    """Otherwise a client that does not know its playout is taken to know it."""
    framer = Framer(16000, 16000, SETTINGS)
    assert [f.far_end_sample for f in framer.push(ramp(0, 640), 0, None)] == [None, None]


@pytest.mark.parametrize("rate", RATES_HZ)
@given(sizes_ms=st.lists(st.integers(10, 200), min_size=1, max_size=8))
@settings(max_examples=20, deadline=None)
def test_time_is_conserved(rate, sizes_ms):
    """Otherwise audio is lost or invented: frames plus less than one frame is what came in."""
    framer, at, count = Framer(rate, 16000, SETTINGS), 0, 0
    for ms in sizes_ms:
        n = ms * rate // 1000
        count += len(framer.push(ramp(at, n), at, None))
        at += n
    assert count == at * 16000 // rate // 320

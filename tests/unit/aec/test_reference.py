from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicefsm.aec.reference import Reference
from voicefsm.aec.settings import AecSettings
from voicefsm.audio.samples import SILENT_FRAME
from voicefsm.errors import LocalProtocolError

NO_LEAD = AecSettings(reference_lead_ms=0)


def ramp(first: int, count: int) -> np.ndarray:
    return (np.arange(first, first + count) % 30000 + 1).astype(np.int16)


def playing(settings: AecSettings = NO_LEAD, seconds: int = 2) -> Reference:
    """A reference that was sent a ramp: sample k of the far end has the value k + 1."""
    reference = Reference(16000, settings)
    reference.append(0, ramp(0, 16000 * seconds))
    reference.rendered(0)
    return reference


def test_it_returns_what_was_rendered():
    """Otherwise the canceller subtracts something else than the echo."""
    reference = playing()
    for at in range(320, 6400, 320):
        assert np.array_equal(reference.rendered(at), ramp(at, 320))


def test_it_leads_by_the_setting():
    """Otherwise an echo can precede its reference, which no canceller can model."""
    reference = playing(AecSettings(reference_lead_ms=20))
    assert np.array_equal(reference.rendered(320), ramp(640, 320))


@given(errors=st.lists(st.integers(-160, 160), min_size=60, max_size=100))
@settings(max_examples=50)
def test_jitter_of_the_reports_does_not_reach_the_reference(errors):
    """Otherwise the echo path seems to move with every report and the canceller never converges. Jitter of 10 ms."""
    reference, joins, expected = playing(), 0, None
    reference.rendered(320)
    expected = 640
    for k, error in enumerate(errors, start=2):
        frame = reference.rendered(max(0, 320 * k + error))
        joins += abs(frame[0] - expected % 30000 - 1) > 1
        expected = int(frame[0]) - 1 + 320
    assert joins <= 2


@pytest.mark.parametrize("seed", range(5))
def test_jitter_that_lasts_five_frames_is_jitter_too(seed):
    """Otherwise a client that sends 100 ms pieces, hence one report for five frames, has no canceller."""
    random, reference, moves = np.random.default_rng(seed), playing(seconds=9), 0
    for k in range(1, 400):
        if k % 5 == 1:
            error = int(random.integers(-160, 161))
        at = int(reference.rendered(max(0, 320 * k + error))[0]) - 1
        moves += reference.moved
    assert moves <= 3
    assert abs(at - 320 * 399 % 30000) <= 12 * 16


def test_a_real_jump_is_followed_within_a_few_frames():
    """Otherwise an underrun at the client costs the session its canceller."""
    reference = playing()
    at = 320
    for _ in range(20):
        reference.rendered(at)
        at += 320
    at -= 1600  # the loudspeaker starved for 100 ms
    for _ in range(4):
        frame = reference.rendered(at)
        at += 320
    assert frame[0] == ramp(at - 320, 1)[0]


def test_a_pause_is_silence_and_resuming_goes_on_where_it_stopped():
    """Otherwise a held reply is cancelled out of the user's voice."""
    reference = playing()
    reference.rendered(320)
    reference.rendered(640)
    frames = [reference.rendered(800) for _ in range(6)]
    assert all(f is SILENT_FRAME for f in frames[3:])
    assert np.array_equal(reference.rendered(1120), ramp(1120, 320))


def test_one_repeated_report_is_no_pause():
    """Otherwise a client whose audio stack reports in blocks of 40 ms has holes in its reference."""
    reference = playing()
    for at in (320, 320, 960, 960, 1600, 1600, 2240):
        assert reference.rendered(at).all()


def test_a_cancelled_reply_leaves_silence_between_positions():
    """Otherwise the reference of the new reply holds the end of the old one."""
    reference = Reference(16000, NO_LEAD)
    reference.append(0, ramp(0, 1600))
    reference.append(8000, ramp(8000, 1600))
    reference.rendered(0)
    assert not reference.rendered(1600).any()
    reference.rendered(1600)
    reference.rendered(1600)
    reference.rendered(1600)
    assert np.array_equal(reference.rendered(8000), ramp(8000, 320))


def test_a_cancelled_reply_does_not_ring_on():
    """Otherwise the end of a cancelled reply is a click at the beginning of the next."""
    reference = Reference(24000, NO_LEAD)
    reference.append(0, np.full(2400, 20000, np.int16))
    reference.append(24000, np.zeros(2400, np.int16))
    reference.rendered(0)
    assert not reference.rendered(24000).any()


def test_a_position_is_never_used_twice():
    """Otherwise nobody can say which of two sounds was heard."""
    reference = Reference(24000, NO_LEAD)
    reference.append(0, ramp(0, 480))
    with pytest.raises(LocalProtocolError, match="sent before"):
        reference.append(479, ramp(0, 480))


def test_without_a_report_it_goes_on_as_before():
    """Otherwise one message without a position tears the reference."""
    reference = playing()
    assert reference.rendered(None) is SILENT_FRAME
    reference.rendered(320)
    assert np.array_equal(reference.rendered(None), ramp(640, 320))


def test_what_was_not_sent_yet_is_silence():
    """Otherwise a starved client stops the data plane."""
    reference = playing(seconds=1)
    assert not reference.rendered(16000).any()


@pytest.mark.parametrize("rate", [8000, 24000, 48000])
def test_the_delay_of_the_conversion_is_taken_out(rate):
    """Otherwise the echo precedes its reference at every rate but 16 kHz. A click sent at 100 ms is rendered at 100 ms."""
    reference = Reference(rate, NO_LEAD)
    click = np.zeros(rate // 5, np.int16)
    click[rate // 10] = 20000
    reference.append(0, click)
    reference.rendered(0)
    step = rate // 50
    heard = np.concatenate([reference.rendered(step * k) for k in range(1, 9)])
    assert 320 + int(heard.argmax()) == 1600


def test_it_keeps_a_bounded_past():
    """Otherwise an hour of talk is an hour of memory."""
    reference = Reference(16000, AecSettings(reference_keep_ms=1000, reference_lead_ms=0))
    reference.append(0, ramp(0, 48000))
    assert not reference.rendered(320).any()


@pytest.mark.parametrize("played", [1, 100, 320])
def test_what_a_start_missed_is_handed_out(played):
    """Otherwise the first 40 ms of every reply have no reference, and its echo is taken for the user."""
    reference = Reference(16000, AecSettings(reference_lead_ms=20))
    reference.append(0, ramp(0, 16000))
    reference.rendered(0)
    frame = reference.rendered(played)
    missed = np.concatenate(reference.missed)
    assert len(missed) % 320 == 0
    assert np.array_equal(missed[len(missed) - played - 320 :], ramp(0, played + 320))
    assert not missed[: len(missed) - played - 320].any()
    assert np.array_equal(frame, ramp(played + 320, 320))
    reference.rendered(played + 320)
    assert reference.missed == []


def test_what_was_heard_before_a_pause_was_not_missed():
    """Otherwise the canceller hears it twice."""
    reference = playing(AecSettings(reference_lead_ms=20))
    for _ in range(5):
        reference.rendered(1600)
    reference.rendered(1700)
    missed = np.concatenate(reference.missed)
    assert np.array_equal(missed[-420:], ramp(1600, 420))
    assert not missed[:-420].any()


def test_what_a_cancelled_reply_would_have_played_was_not_missed():
    """Otherwise the canceller is fed what nobody heard: a jump of ten seconds is no ten seconds of sound."""
    reference = Reference(16000, NO_LEAD)
    reference.append(0, ramp(0, 6400))
    reference.append(160000, ramp(160000, 6400))
    reference.rendered(0)
    reference.rendered(160000)
    assert not np.concatenate(reference.missed).any()
    assert len(reference.missed) <= 2

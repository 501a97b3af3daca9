from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicefsm.acoustics.delay import read
from voicefsm.aec.reference import Reference, Source
from voicefsm.aec.settings import AecSettings
from voicefsm.audio.samples import SILENT_FRAME
from voicefsm.errors import LocalProtocolError
from voicefsm.simulation.acoustics import noise, pcm, room, through, voice

NO_LEAD = AecSettings(reference_lead_ms=0, reference_keep_ms=20_000)
"""What is sent all at once here has to be kept."""


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


def test_a_duck_is_as_quiet_as_it_was_rendered():
    """Otherwise the echo of a ducked reply is taken for a change of the room, and that of the rest for a talker."""
    reference = Reference(8000, NO_LEAD)
    reference.append(0, np.full(8000, 10_000, np.int16))
    reference.duck(0, 0)
    reference.rendered(0)
    frames = [reference.rendered(160)]
    reference.duck(400, 20)
    frames += [reference.rendered(at) for at in range(320, 640, 160)]
    reference.duck(640, 0)
    frames += [reference.rendered(at) for at in range(640, 960, 160)]
    levels = np.concatenate(frames).astype(int)
    quiet = slice(480, 960)  # far-end samples 400 to 640, from 160 on, at twice the rate
    assert np.abs(levels[quiet] - 1000).max() < 30
    assert np.abs(np.delete(levels, quiet) - 10_000).max() < 300


def test_what_was_missed_is_as_quiet_as_it_was_rendered():
    """Otherwise the canceller corrects its past with a level that the loudspeaker did not have."""
    reference = Reference(16000, AecSettings(reference_lead_ms=20))
    reference.append(0, np.full(16000, 10_000, np.int16))
    reference.duck(0, 20)
    reference.rendered(0)
    reference.rendered(160)
    missed = np.concatenate(reference.missed)
    assert set(missed.tolist()) == {0, 1000}


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


@pytest.mark.parametrize("played", [0, 100])
@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_the_rest_of_a_cancelled_reply_is_no_beginning_of_the_next(rate, played):
    """Otherwise each barge-in ends with a fifth of a second of reference that nobody heard. Positions are numbered through."""
    step, reply = rate // 50, np.full(rate // 2, 10_000, np.int16)
    reply[-rate // 50 :] = 0  # the conversion rings
    reference = Reference(rate, AecSettings(reference_lead_ms=20))
    reference.append(0, reply)
    for k in range(10):
        reference.rendered(step * k)
    reference.drop()
    for _ in range(50):
        reference.rendered(step * 9)
    reference.append(len(reply), np.zeros_like(reply))
    reference.rendered(len(reply) + played)
    assert len(reference.missed) == 1 + (played > 0)
    assert not np.concatenate(reference.missed).any()


# --- drift, listening, clients that never report -------------------------------------------------------------------------------


@pytest.mark.parametrize("ppm", [-100, 300])
@pytest.mark.parametrize("rate", [16000, 24000])
def test_it_is_read_at_the_speed_of_the_loudspeaker(ppm, rate):
    """Otherwise two sound cards cost the canceller ten decibels. After 12 s within two samples of the truth, always the same."""
    reference = Reference(rate, NO_LEAD)
    slow = (15000 * np.sin(20 * np.pi * np.arange(20 * rate) / rate)).astype(np.int16)  # 10 Hz: its phase is a place
    reference.append(0, slow)
    reference.rendered(0)
    off = []
    for k in range(1, 900):
        true = 320 * k * (1 + ppm * 1e-6)
        frame = reference.rendered(int(true * rate / 16000))
        if k >= 600:
            wanted = 15000 * np.sin(20 * np.pi * (true + np.arange(320) * (1 + ppm * 1e-6)) / 16000)
            speed = 15000 * 20 * np.pi / 16000 * np.cos(20 * np.pi * (true + np.arange(320)) / 16000)
            off.append(float(np.dot(frame - wanted, speed) / np.dot(speed, speed)))
    assert np.abs(off).max() < 2
    assert np.ptp(off) < 0.6
    assert reference.alignment.drift_ppm == pytest.approx(ppm, abs=3)
    assert reference.alignment.source is Source.REPORTS


class Scene:
    """A far end, its echo, and the client that reports it."""

    SECONDS = 20

    def __init__(self, seed: int, *, delay_ms: float = 150.0, ppm: float = 0.0, jump_ms: float = 0.0) -> None:
        far = voice(seed, self.SECONDS)
        at = np.arange(len(far), dtype=float)
        self.delay = delay_ms * 16 + at * (ppm * 1e-6) + (at >= len(far) // 2) * jump_ms * 16
        late = read(far, at - self.delay)
        self.mic = pcm(0.25 * through(late, room(seed, delay_ms=1)) + noise(seed, self.SECONDS, level_db=-65))
        self.far = pcm(far)

    def play(self, reference: Reference, error: Callable[[int], float] | None, *, ahead_ms: int = 200) -> np.ndarray:
        """Returns where the reference is too far ahead of the loudspeaker, in samples, frame by frame."""
        off, sent = [], 0
        for k in range(len(self.far) // 320):
            upto = min(len(self.far), 320 * (k + 1) + ahead_ms * 16)
            reference.append(sent, self.far[sent:upto])
            sent = upto
            true = 320 * k - self.delay[320 * k]
            frame = reference.rendered(None if error is None else max(0, math.floor(true + error(k))))
            reference.heard(self.mic[320 * k : 320 * (k + 1)])
            off.append(self._off(frame, true) if k % 4 == 0 else math.nan)
        return np.array(off)

    def _off(self, frame: np.ndarray, true: float) -> float:
        """By the best fit of the frame within 60 ms around the truth; nan where it is too quiet to tell."""
        first = round(true) - 960
        if first < 0 or np.abs(frame).max() < 1000:
            return math.nan
        around = self.far[first : first + 320 + 1920].astype(float)
        if len(around) < 2240:
            return math.nan
        wanted = frame.astype(float)
        energy = np.cumsum(np.concatenate(([0.0], np.square(around))))
        power = float(np.dot(wanted, wanted))
        fits = (energy[320:] - energy[:-320]) - 2 * np.correlate(around, wanted, "valid") + power
        return float(fits.argmin() - 960) if fits.min() < 0.05 * power else math.nan


def median(off: np.ndarray) -> float:
    return float(np.nanmedian(off))


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_jittering_reports_are_replaced_by_listening(seed):
    """Otherwise bad reports hide the drift for a minute, and the reference wanders with them. +-10 ms, 100 ppm."""
    random, scene, reference = np.random.default_rng(seed), Scene(seed, ppm=100), Reference(16000, NO_LEAD)
    off = scene.play(reference, lambda _: random.uniform(-160, 160))
    assert reference.alignment.source is Source.ESTIMATED
    assert reference.alignment.drift_ppm == pytest.approx(-100, abs=45)
    assert np.nanpercentile(np.abs(off[500:] - median(off[500:])), 90) <= 8


@pytest.mark.parametrize("wrong_ms", [60, 400, -60, -180])
def test_wrong_reports_are_corrected(wrong_ms):
    """Otherwise a client that forgets its device's latency has no canceller."""
    scene, reference = Scene(3), Reference(16000, NO_LEAD)
    off = scene.play(reference, lambda _: wrong_ms * 16, ahead_ms=600)
    assert np.nanmax(np.abs(off[200:] - median(off[200:]))) <= 2
    assert abs(median(off[200:])) <= 48


def test_right_reports_are_left_alone():
    """Otherwise listening is one more way to go wrong."""
    scene, reference = Scene(4), Reference(16000, NO_LEAD)
    off = scene.play(reference, lambda _: 0)
    assert np.nanmax(np.abs(off[10:])) <= 1
    alignment = reference.alignment
    assert (alignment.source, alignment.drift_ppm, alignment.error_ms, alignment.confidence) == (Source.REPORTS, 0, 0, 1)
    assert alignment.echo_ms == pytest.approx(1, abs=2)


@pytest.mark.parametrize("seed", [5, 6])
@pytest.mark.parametrize("ppm", [0, 100])
def test_without_reports_the_delay_is_found_by_listening(seed, ppm):
    """Otherwise such a client has no canceller. A lead of 20 ms; right on 95 % of the frames after the first two seconds."""
    scene, reference = Scene(seed, delay_ms=300, ppm=ppm), Reference(16000, AecSettings(reference_lead_ms=20))
    off = scene.play(reference, None, ahead_ms=0)
    assert reference.alignment.source is Source.ESTIMATED
    told = off[100:][~np.isnan(off[100:])]
    assert len(told) > 80
    assert np.mean(np.abs(told - 320) < 80) >= 0.95
    assert np.ptp(told[-30:]) <= 4


def test_without_reports_the_first_place_is_told_and_the_past_made_good():
    """Otherwise a canceller keeps what it learnt from a guess, and takes many seconds to unlearn it."""
    scene, reference = Scene(1, delay_ms=300), Reference(16000, NO_LEAD)
    told = []
    for k in range(200):
        reference.append(320 * k, scene.far[320 * k : 320 * (k + 1)])
        frame = reference.rendered(None)
        reference.heard(scene.mic[320 * k : 320 * (k + 1)])
        if reference.misplaced:
            told.append(k)
            last, at = reference.missed[-1], round(320 * k - scene.delay[0])
            assert len(reference.missed) == 20
            assert np.abs(np.concatenate((last, frame)) - scene.far[at - 320 - 16 : at + 320 - 16]).mean() < 2000
    assert len(told) == 1
    assert 20 < told[0] < 150
    assert not reference.moved


def test_without_reports_a_jump_is_followed():
    """Otherwise a device change ends cancellation, and nobody says that it did."""
    scene, reference = Scene(7, delay_ms=200, jump_ms=50), Reference(16000, NO_LEAD)
    off = scene.play(reference, None, ahead_ms=0)
    half = len(off) // 2
    assert np.nanpercentile(np.abs(off[100:half]), 95) < 80
    assert np.nanpercentile(np.abs(off[half + 100 :]), 95) < 80


def test_without_reports_what_was_dropped_or_held_is_silence():
    """Otherwise the rest of a cancelled reply is taken out of the user's voice."""
    reference = Reference(16000, NO_LEAD)
    reference.append(0, ramp(0, 3200))
    assert np.array_equal(reference.rendered(None), ramp(0, 320))
    reference.pause()
    assert reference.rendered(None) is SILENT_FRAME
    reference.resume()
    assert np.array_equal(reference.rendered(None), ramp(320, 320))
    reference.drop()
    assert not reference.rendered(None).any()
    reference.append(3200, ramp(3200, 320))
    assert np.array_equal(reference.rendered(None), ramp(3200, 320))


def test_a_client_served_at_the_last_moment_shortens_the_lead_once():
    """Otherwise every frame ends in silence that was not rendered, or the echo path wanders."""
    reference = Reference(16000, AecSettings(reference_lead_ms=20))
    starts = []
    reference.rendered(0)
    for k in range(60):
        reference.append(320 * k, ramp(320 * k, 320))
        if k:
            starts.append(int(reference.rendered(320 * k)[0]) - 320 * k)
    assert set(starts[10:]) == {1}


def test_the_end_of_a_reply_is_no_reason_for_a_shorter_lead():
    """Otherwise the echo path moves by the lead with every reply."""
    reference = Reference(16000, AecSettings(reference_lead_ms=20))
    for reply in range(6):
        first = 6400 * reply
        reference.append(first, ramp(first, 6400))
        reference.rendered(first)
        for k in range(1, 20):
            frame = reference.rendered(first + 320 * k)
            if k == 5:
                assert frame[0] == ramp(first + 320 * 6, 1)[0]
        for _ in range(5):
            reference.rendered(first + 6400)

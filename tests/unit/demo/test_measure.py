"""The demo's figures, on recordings small enough to check by hand."""

from __future__ import annotations

import pytest

from voicefsm.client import (
    Outcome,
    PlayoutPaused,
    PlayoutResumed,
    State,
    StateChanged,
    Transcript,
    TtsCancelled,
    TurnCompleted,
    TurnLatencies,
)
from voicefsm.demo import measure
from voicefsm.demo.line import Heard, Utterance
from voicefsm.demo.script import Moment
from voicefsm.values import CancelReason, Epoch, SampleIndex

ONE = Epoch(1)
ZERO = SampleIndex(0)
SAID = Utterance("stop", first_sample=1600, end_sample=8000)


def paused(at):
    return Moment(at, PlayoutPaused(0.0, ONE, ZERO))


def resumed(at):
    return Moment(at, PlayoutResumed(0.0, ONE, ZERO))


def cancelled(at):
    return Moment(at, TtsCancelled(0.0, ONE, ZERO, CancelReason.BARGE_IN, ZERO))


def test_barge_in_figures():
    """If this fails every latency the project publishes is wrong."""
    heard = [Heard(0, ONE, 0, 1600), Heard(1600, ONE, 1600, 1280)]
    figures = measure.barge_in(ONE, SAID, heard, [paused(2700), cancelled(9600)], delay_ms=80)
    assert figures is not None
    assert figures.onset_to_pause_ms == pytest.approx((2879 - 1600) / 16, abs=0.2)
    assert figures.onset_to_silence_ms == pytest.approx(80 + (2879 - 1600) / 16, abs=0.2)
    assert figures.onset_to_cancel_ms == 500
    assert figures.last_stale_sample_ms == pytest.approx((2879 - 9600) / 16, abs=0.2)


def test_the_pause_is_the_first_silence_even_if_the_reply_went_on_before_it_was_cut():
    """If this fails a false start makes the assistant look slower, or a slow one faster."""
    heard = [Heard(0, ONE, 0, 3200), Heard(6400, ONE, 3200, 800)]
    figures = measure.barge_in(ONE, SAID, heard, [paused(3000), resumed(6000), cancelled(8000)])
    assert figures is not None
    assert figures.onset_to_pause_ms == pytest.approx(100, abs=0.2)
    assert figures.last_stale_sample_ms == pytest.approx(-50, abs=0.2)


def test_an_underrun_before_the_onset_is_no_pause():
    """If this fails a network hiccup counts as obedience."""
    heard = [Heard(0, ONE, 0, 320), Heard(960, ONE, 320, 2240)]
    figures = measure.barge_in(ONE, SAID, heard, [paused(2600), cancelled(4000)])
    assert figures is not None
    assert figures.onset_to_pause_ms == pytest.approx(100, abs=0.2)


def test_without_a_cancel_there_are_no_figures():
    """If this fails an assistant that never stopped gets a latency."""
    assert measure.barge_in(ONE, SAID, [Heard(0, ONE, 0, 320)], [paused(10)]) is None


def test_continuity_counts_lost_and_repeated():
    """If this fails a resume that swallows a syllable passes."""
    runs = [Heard(0, ONE, 0, 100), Heard(100, ONE, 110, 100), Heard(200, ONE, 205, 50)]
    assert measure.continuity(runs) == (10, 5)
    assert measure.continuity([]) == (0, 0)


def test_backchannel_figures():
    """If this fails nobody knows what an "okay" cost."""
    heard = [Heard(0, ONE, 0, 3200), Heard(8000, ONE, 3200, 1600)]
    murmur = measure.backchannel(ONE, SAID, heard, [paused(3000), resumed(7800)])
    assert murmur.paused
    assert murmur.paused_ms == 300
    assert murmur.resumed_at_exact_sample
    assert murmur.heard_after_ms == 100


def final(at, text, *, is_final=True):
    return Moment(at, Transcript(0.0, text, is_final=is_final, stability=1, words=()))


def turn(at, text, epoch=ONE, outcome=Outcome.COMPLETED):
    """The user was taken to be done at `at`; the answer was over two seconds later."""
    over = StateChanged(0.0, State.LISTENING, State.PROCESSING, "FinalHeard", 0)
    done = TurnCompleted(0.0, epoch, text, "yes", "yes", outcome, TurnLatencies(None, None, None, None, None, None))
    return [Moment(at, over), Moment(at + 32000, done)]


SOON, LATE = SAID.end_sample + 8000, SAID.end_sample + 64000
"""Half a second, and four, after the user fell silent."""


def test_what_follows_from_the_user_is_not_the_assistants_own_doing():
    """If this fails every real barge-in counts as a self-interruption."""
    moments = [paused(2700), cancelled(SOON), final(SOON, "stop"), *turn(SOON, "stop")]
    assert measure.alone([SAID], {ONE}, moments) == measure.Alone(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("moments", "found"),
    [
        ([paused(LATE)], measure.Alone(0, 1, 0, 0)),
        ([paused(1500), cancelled(1599)], measure.Alone(1, 1, 0, 0)),
        ([cancelled(LATE), final(LATE, "once upon a time")], measure.Alone(1, 0, 0, 4)),
        (turn(LATE, "once upon"), measure.Alone(0, 0, 1, 0)),
        (turn(LATE, "stop"), measure.Alone(0, 0, 0, 0)),
        (turn(LATE, ""), measure.Alone(0, 0, 1, 0)),
        (turn(SOON, "once upon", Epoch(2)), measure.Alone(0, 0, 1, 0)),
        (turn(SOON, "don't stop", Epoch(2)), measure.Alone(0, 0, 0, 0)),
        (turn(LATE, "once upon", outcome=Outcome.RETRACTED), measure.Alone(0, 0, 0, 0)),
    ],
)
def test_what_the_assistant_does_to_itself_is_counted(moments, found):
    """If this fails an assistant that hears itself passes."""
    assert measure.alone([SAID], {ONE}, moments) == found


def test_words_over_the_assistant():
    """If this fails nobody knows whether a canceller leaves the user's words intact."""
    murmur = Utterance("okay then", first_sample=200_000, end_sample=210_000)
    moments = [final(9000, "stop"), final(20_000, "it"), final(205_000, "okay", is_final=False), final(280_000, "then")]
    found = measure.over_playout([SAID, murmur], [SAID, murmur], moments)
    assert found == measure.OverPlayout("stop okay then", "stop it okay", words=3, wer=0.67)
    assert measure.over_playout([], [SAID], moments) is None


@pytest.mark.parametrize(
    ("said", "understood", "rate"),
    [
        ("Hello, can you", "hello can you", 0),
        ("one two", "one", 0.5),
        ("one", "one two", 1),
        ("a b c d", "a x c d", 0.25),
        ("", "", 0),
    ],
)
def test_word_error_rate(said, understood, rate):
    """If this fails misheard questions count as understood."""
    assert measure.word_error_rate(said, understood) == rate

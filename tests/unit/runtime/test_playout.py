"""The far end of a session: pacing, numbering, pauses, cuts, and what of a reply counts as heard."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicefsm.ports import SpokenAudio, SpokenWord
from voicefsm.runtime.messages import AudioOutput
from voicefsm.runtime.playout import HeardText, Playout, PlayoutSettings
from voicefsm.simulation.fakes import ramp
from voicefsm.values import Epoch

RATE_HZ = 16000
PER_MS = RATE_HZ // 1000
AHEAD_MS, PIECE_MS = 200, 40


def playout(epoch: int = 1, **settings: int) -> Playout:
    """A playout with one reply begun."""
    made = Playout(RATE_HZ, PlayoutSettings(**{"playout_ahead_ms_max": AHEAD_MS, "piece_ms": PIECE_MS, **settings}))
    made.begin(Epoch(epoch))
    return made


def speak(far_end: Playout, text: str, ms: int, *, index: int = 0, words: tuple[SpokenWord, ...] = (), start: int = 0) -> None:
    """The voice delivers one whole sentence."""
    far_end.expect(index, text)
    far_end.add(SpokenAudio(index, ramp(start, ms * PER_MS), words))


def taken(far_end: Playout, now_ms: int) -> list[AudioOutput]:
    """All that may be sent now."""
    return list(iter(lambda: far_end.take(now_ms), None))


def sent_ms(pieces: list[AudioOutput]) -> int:
    return sum(len(piece.samples) for piece in pieces) // PER_MS


def timed(text: str, ms: int) -> tuple[SpokenWord, ...]:
    """Every word equally long."""
    tokens = text.split()
    return tuple(SpokenWord(token, (k + 1) * ms // len(tokens)) for k, token in enumerate(tokens))


# --- a tone ---


@pytest.mark.parametrize("words", [(), timed("one two three four", 1000)])
def test_a_tone_is_heard_and_is_no_words(words: tuple[SpokenWord, ...]) -> None:
    """Otherwise the sound of a failure counts as the end of the sentence that it cut."""
    far_end = playout()
    far_end.expect(0, "one two three four")
    far_end.add(SpokenAudio(0, ramp(0, 500 * PER_MS), tuple(word for word in words if word.end_ms <= 500)))
    far_end.add_earcon(ramp(0, 280 * PER_MS))
    far_end.finish(is_cut=True)
    heard = 0
    for now_ms in range(0, 2000, 10):
        heard += sent_ms(taken(far_end, now_ms))
    assert heard == 780
    assert far_end.is_finished(2000)
    assert far_end.heard_text(2000).text in ("one two", "one")


def test_no_tone_after_a_cut() -> None:
    """Otherwise a cancelled reply beeps."""
    far_end = playout()
    far_end.cancel(0)
    far_end.add_earcon(ramp(0, 280 * PER_MS))
    assert taken(far_end, 0) == []


# --- pacing and numbering ---


def test_no_more_is_sent_at_once_than_the_ear_may_lag_behind() -> None:
    """Otherwise a barge-in has the whole reply to call back."""
    far_end = playout()
    speak(far_end, "Long.", 5000)
    assert sent_ms(taken(far_end, 0)) == AHEAD_MS
    assert taken(far_end, 0) == []


@pytest.mark.parametrize("reports", [True, False])
def test_sending_keeps_pace_with_the_ear(reports: bool) -> None:
    """Otherwise audio piles up at the client, or the client starves."""
    far_end = playout()
    speak(far_end, "Long.", 5000)
    sent = 0
    for now_ms in range(0, 3000, 10):
        if reports:
            far_end.report(now_ms * PER_MS, now_ms)
        sent += sent_ms(taken(far_end, now_ms))
        assert now_ms < sent <= now_ms + AHEAD_MS + PIECE_MS


def test_a_reporting_client_that_stands_still_gets_no_more_than_its_last_reports_allow() -> None:
    """Otherwise a stuck loudspeaker is buried in audio."""
    far_end = playout(report_gap_ms_max=400)
    speak(far_end, "Long.", 5000)
    far_end.report(0, 0)
    sent = sum(sent_ms(taken(far_end, now_ms)) for now_ms in range(0, 4000, 10))
    assert sent <= 400 + AHEAD_MS + PIECE_MS


def test_positions_number_every_sample_once_over_all_replies() -> None:
    """Otherwise the echo canceller's reference belongs to another reply, and reports are ambiguous."""
    far_end, expected, now_ms = playout(), 0, 0
    for epoch in (1, 2, 3):
        far_end.begin(Epoch(epoch))
        speak(far_end, "Short.", 333, start=0)
        far_end.finish()
        heard: list[int] = []
        while not far_end.is_finished(now_ms):
            for piece in taken(far_end, now_ms):
                assert (piece.epoch, piece.first_sample) == (epoch, expected)
                expected += len(piece.samples)
                heard += piece.samples.tolist()
            now_ms += 10
        assert heard == ramp(0, 333 * PER_MS).tolist()
    assert expected == 3 * 333 * PER_MS


def test_a_cancelled_reply_leaves_its_positions_used() -> None:
    """Otherwise the next reply's first samples carry numbers that the client has already rendered or thrown away."""
    far_end = playout()
    speak(far_end, "Long.", 5000)
    sent = sent_ms(taken(far_end, 0))
    far_end.cancel(50)
    far_end.begin(Epoch(2))
    speak(far_end, "Next.", 100)
    assert far_end.take(60) is not None
    assert far_end.position(60) == (0, 100)
    assert far_end.far_end_sample(60) == sent * PER_MS


def test_before_a_reply_is_sent_the_ear_stays_where_the_last_one_was_cut() -> None:
    """Otherwise the reference signal of a client that does not report runs through audio which was never played."""
    far_end = playout()
    speak(far_end, "Long.", 5000)
    taken(far_end, 0)
    last = far_end.cancel(50)
    assert last is not None
    far_end.begin(Epoch(2))
    assert far_end.far_end_sample(10_000) == last + 1


def test_last_piece_is_marked_once() -> None:
    """Otherwise clients call an end an underrun, or an underrun an end."""
    for finish_first in (True, False):
        far_end = playout()
        speak(far_end, "Short.", 100)
        if finish_first:
            far_end.finish()
        pieces = taken(far_end, 0)
        far_end.finish()
        pieces += taken(far_end, 10)
        assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
        assert len(pieces[-1].samples) == (20 * PER_MS if finish_first else 0)
        assert taken(far_end, 1000) == []


def test_a_voice_without_a_sample_is_finished_and_never_started() -> None:
    """Otherwise a reply without sound is waited for until a timer gives up."""
    far_end = playout()
    far_end.expect(0, "…")
    assert not far_end.is_finished(0)
    far_end.finish()
    (piece,) = taken(far_end, 0)
    assert (len(piece.samples), piece.last) == (0, True)
    assert far_end.is_finished(0)
    assert not far_end.is_started(0)


def test_text_without_sound_was_not_heard() -> None:
    """Otherwise the model is told that the user heard what no voice ever said (found by the simulator)."""
    far_end = playout()
    speak(far_end, "One.", 100)
    far_end.expect(1, "Two.")
    far_end.finish()
    taken(far_end, 0)
    far_end.report(1600, 100)
    assert far_end.heard_text(100) == HeardText("One.", "all")
    silent = playout()
    silent.expect(0, "One.")
    silent.finish()
    assert silent.heard_text(100).text == ""


def test_longest_reply_is_cut_and_the_rest_counted() -> None:
    """Otherwise a voice that never ends fills the memory; or its cut-off words count as heard."""
    far_end = playout(reply_ms_max=10_000)
    text = "one two three four five six"
    speak(far_end, text, 12_000, words=timed(text, 12_000))
    far_end.finish()
    assert far_end.truncated_samples == 2000 * PER_MS
    for now_ms in range(0, 11_000, 10):
        taken(far_end, now_ms)
    assert far_end.heard_text(11_000) == HeardText("one two three four five", "words")


# --- hold, pause, cancel ---


def test_hold_and_release() -> None:
    """Otherwise a reply begins in the middle of the user's sentence, or never."""
    far_end = playout()
    speak(far_end, "Long.", 1000)
    far_end.hold()
    assert taken(far_end, 0) == []
    assert far_end.next_take_ms(0) is None
    far_end.release()
    assert sent_ms(taken(far_end, 0)) == AHEAD_MS


def test_pause_stops_sending_and_resume_goes_on_with_the_next_sample() -> None:
    """Otherwise a false alarm costs the user a syllable."""
    far_end = playout()
    speak(far_end, "Long.", 3000)
    far_end.finish()
    pieces = taken(far_end, 0)
    for now_ms in range(0, 8000, 10):
        if now_ms in (300, 900):
            far_end.pause(now_ms)
        if now_ms in (600, 2000):
            far_end.resume(now_ms)
        new = taken(far_end, now_ms)
        assert not new or not (300 <= now_ms < 600 or 900 <= now_ms < 2000)
        pieces += new
    assert np.concatenate([piece.samples for piece in pieces]).tolist() == ramp(0, 3000 * PER_MS).tolist()
    assert far_end.is_finished(8000)


def test_a_resume_without_a_pause_moves_no_ear() -> None:
    """Otherwise a resume that comes twice takes the ear back, and the client is sent more than it may have."""
    far_end = playout()
    speak(far_end, "Long.", 3000)
    taken(far_end, 0)
    far_end.resume(100)
    assert far_end.position(100)[0] == 100
    assert far_end.position(150)[0] == 150


def test_a_pause_stops_the_clock_of_a_client_that_does_not_report() -> None:
    """Otherwise words that were never played count as heard."""
    far_end = playout()
    speak(far_end, "Long.", 3000)
    taken(far_end, 0)
    far_end.pause(100)
    assert far_end.position(5000) == (100, 2900)


@pytest.mark.parametrize("heard_ms", [0, 70, 130])
def test_cancel_names_the_last_sample_that_counts(heard_ms: int) -> None:
    """Otherwise client and server disagree on what was heard."""
    far_end = playout()
    speak(far_end, "Long.", 3000)
    taken(far_end, 0)
    far_end.report(heard_ms * PER_MS, 130)
    assert far_end.cancel(130) == heard_ms * PER_MS - 1
    assert taken(far_end, 10_000) == []


def test_cancel_of_what_never_left_has_nothing_to_name() -> None:
    """Otherwise clients are told to silence a reply they have never seen."""
    far_end = playout()
    speak(far_end, "Long.", 3000)
    assert far_end.cancel(0) is None


def test_audio_that_comes_after_a_cancel_is_dropped() -> None:
    """Otherwise a voice that is slow to stop fills the memory, or speaks on in the next reply."""
    far_end = playout()
    speak(far_end, "Long.", 100)
    taken(far_end, 0)
    far_end.cancel(0)
    far_end.add(SpokenAudio(0, ramp(0, 1600)))
    assert taken(far_end, 1000) == []
    assert far_end.position(1000) == (0, 100)


# --- reports ---


def test_reports_are_believed_as_far_as_they_can_be_true() -> None:
    """Otherwise a client that lies, or whose packets were reordered, rewrites what was heard."""
    far_end = playout()
    speak(far_end, "Long.", 3000)
    taken(far_end, 0)
    far_end.report(10**12, 10)
    assert far_end.far_end_sample(10) == AHEAD_MS * PER_MS
    far_end.report(-5, 20)
    assert far_end.position(20)[0] == AHEAD_MS


def test_a_client_that_reports_has_to_say_that_it_began_and_ended() -> None:
    """Otherwise SPEAKING means that bytes were sent, not that somebody hears them."""
    far_end = playout()
    far_end.report(0, 0)
    speak(far_end, "Short.", 100)
    far_end.finish()
    taken(far_end, 0)
    assert not far_end.is_started(5000)
    far_end.report(1, 5000)
    assert far_end.is_started(5000)
    assert not far_end.is_finished(9000)
    far_end.report(100 * PER_MS, 9000)
    assert far_end.is_finished(9000)


def test_a_pause_near_the_end_does_not_end_the_reply_of_a_client_that_reports() -> None:
    """Otherwise the client is left paused with the last words in its buffer, and the next reply waits behind them for ever."""
    far_end = playout()
    speak(far_end, "Short.", 200)
    far_end.finish()
    taken(far_end, 0)
    far_end.report(50 * PER_MS, 50)
    far_end.pause(400)  # by the clock all of it was played by now; the client has not said so
    assert not far_end.is_finished(400)
    far_end.report(120 * PER_MS, 420)
    far_end.resume(500)
    assert far_end.position(500) == (120, 80)


def test_time_is_asked_for_only_when_it_can_change_something() -> None:
    """Otherwise the pump spins, or sleeps through the end of a reply."""
    far_end = playout()
    assert (far_end.next_take_ms(0), far_end.next_check_ms(0)) == (None, None)
    speak(far_end, "Long.", 1000)
    taken(far_end, 0)
    due_ms = far_end.next_take_ms(0)
    assert due_ms is not None
    assert 0 < due_ms <= PIECE_MS
    assert far_end.take(due_ms) is not None
    far_end.finish()
    for now_ms in range(0, 900, 10):
        taken(far_end, now_ms)
    check_ms = far_end.next_check_ms(900)
    assert check_ms is not None
    assert far_end.is_finished(check_ms)
    far_end.pause(950)
    assert far_end.next_check_ms(950) is None


# --- what was heard ---


TEXT = "one two three four five six seven eight nine ten"


def heard_at(far_end: Playout, ms: int) -> HeardText:
    """Let so much of the reply be rendered, then ask."""
    for now_ms in range(0, ms + 1, 5):
        taken(far_end, now_ms)
    return far_end.heard_text(ms)


def test_all_of_it() -> None:
    """Otherwise a reply that was heard to its end loses its last words in the history."""
    far_end = playout()
    speak(far_end, TEXT, 2000)
    far_end.finish()
    assert heard_at(far_end, 2500) == HeardText(TEXT, "all")


def test_by_words() -> None:
    """Otherwise the model is told it said words that nobody heard."""
    far_end = playout()
    speak(far_end, TEXT, 2000, words=timed(TEXT, 2000))
    far_end.finish()
    assert heard_at(far_end, 1010) == HeardText("one two three four five", "words")


def test_by_words_that_come_with_their_audio() -> None:
    """Otherwise the few words whose times are known stand for the whole sentence, and most of it counts as heard."""
    far_end = playout()
    far_end.expect(0, TEXT)
    far_end.add(SpokenAudio(0, ramp(0, 600 * PER_MS), timed(TEXT, 2000)[:3]))
    assert heard_at(far_end, 450) == HeardText("one two", "words")


def test_words_whose_times_begin_late_tell_nothing_of_those_before() -> None:
    """Otherwise a voice that times the later words of a sentence only makes the model forget (found by the simulator)."""
    far_end = playout()
    far_end.expect(0, TEXT)
    far_end.add(SpokenAudio(0, ramp(0, 1200 * PER_MS), ()))
    far_end.add(SpokenAudio(0, ramp(1200 * PER_MS, 800 * PER_MS), timed(TEXT, 2000)[6:]))
    far_end.finish()
    heard = heard_at(far_end, 1010)
    assert heard.source == "proportional"
    assert heard.text.startswith("one two three four")


def test_by_words_that_the_server_spells_differently() -> None:
    """Otherwise "1984", spoken as three words, shifts everything after it."""
    far_end = playout()
    spoken = "in nineteen eighty four it rained"
    speak(far_end, "in 1984 it rained", 1200, words=timed(spoken, 1200))
    far_end.finish()
    assert heard_at(far_end, 1010).text in ("in 1984", "in 1984 it")


def test_by_times_that_the_voice_planned() -> None:
    """Otherwise nobody can tell a measured heard text from a planned one."""
    far_end = playout()
    far_end.expect(0, TEXT)
    far_end.add(SpokenAudio(0, ramp(0, 2000 * PER_MS), timed(TEXT, 2000), is_predicted=True))
    far_end.finish()
    measured = playout()
    speak(measured, TEXT, 2000, words=timed(TEXT, 2000))
    measured.finish()
    assert heard_at(far_end, 1000) == HeardText(heard_at(measured, 1000).text, "durations")


def test_by_share_of_the_audio() -> None:
    """Otherwise a voice that times no words leaves the model with nothing, or everything."""
    far_end = playout()
    speak(far_end, TEXT, 2000)
    far_end.finish()
    heard = heard_at(far_end, 1000)
    assert heard.source == "proportional"
    assert TEXT.startswith(heard.text)
    assert len(TEXT) * 0.3 < len(heard.text) <= len(TEXT) * 0.5


def test_whole_sentences_and_a_part() -> None:
    """Otherwise sentences are lost or taken for heard at their seams."""
    far_end = playout()
    speak(far_end, "First one.", 500, index=0, words=timed("First one.", 500))
    speak(far_end, "Second one here.", 900, index=1, words=timed("Second one here.", 900))
    speak(far_end, "Third.", 500, index=2)
    assert heard_at(far_end, 820) == HeardText("First one. Second", "words")


def test_a_sentence_without_sound_hides_none_after_it() -> None:
    """Otherwise a lone dash in a reply makes the assistant forget what it said from there on."""
    far_end = playout()
    far_end.expect(0, "—")
    speak(far_end, "First one.", 500, index=1, words=timed("First one.", 500))
    speak(far_end, "Never heard.", 5000, index=2)
    assert heard_at(far_end, 510).text == "First one."


def test_sentences_that_a_broken_voice_never_spoke_were_not_heard() -> None:
    """Otherwise the model is told that it said things which no server ever spoke."""
    far_end = playout()
    speak(far_end, TEXT, 2000, words=timed(TEXT, 2000))
    far_end.expect(1, "Never spoken.")
    far_end.finish(is_cut=True)
    assert heard_at(far_end, 2500) == HeardText(TEXT, "words")
    assert far_end.text() == f"{TEXT} Never spoken."


def test_nothing_of_it() -> None:
    """Otherwise an answer nobody heard becomes history."""
    far_end = playout()
    speak(far_end, TEXT, 2000)
    assert far_end.heard_text(0).text == ""


def _steps() -> Iterator[st.SearchStrategy[tuple[str, int]]]:
    for name in ("wait", "report", "add"):
        yield st.tuples(st.just(name), st.integers(0, 400))
    for name in ("pause", "resume", "hold", "release", "finish"):
        yield st.tuples(st.just(name), st.just(0))


@given(st.lists(st.one_of(*_steps()), max_size=60))
def test_whatever_happens_samples_leave_once_and_in_order(steps: list[tuple[str, int]]) -> None:
    """Otherwise there is an order of events in which the far end loses, repeats or reorders audio, or outruns the ear."""
    far_end, now_ms, made, sent = playout(), 0, 0, 0
    far_end.expect(0, TEXT)
    for name, amount in steps:
        match name:
            case "wait":
                now_ms += amount
            case "report":
                far_end.report(amount * PER_MS * 10, now_ms)
            case "add":
                far_end.add(SpokenAudio(0, ramp(made, amount * PER_MS)))
                made += amount * PER_MS
            case "pause" | "resume":
                getattr(far_end, name)(now_ms)
            case _:
                getattr(far_end, name)()
        ahead = sent - far_end.far_end_sample(now_ms)
        for piece in taken(far_end, now_ms):
            assert ahead < AHEAD_MS * PER_MS or not len(piece.samples), "the ear lags behind too far to send any more"
            ahead += len(piece.samples)
            assert piece.first_sample == sent
            assert piece.samples.tolist() == ramp(sent, len(piece.samples)).tolist()
            sent += len(piece.samples)
        assert 0 <= far_end.far_end_sample(now_ms) <= sent <= made
        heard_ms, left_ms = far_end.position(now_ms)
        assert heard_ms >= 0 <= left_ms
        assert TEXT.startswith(far_end.heard_text(now_ms).text)

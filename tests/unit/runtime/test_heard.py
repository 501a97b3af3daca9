"""What of a segment was heard, when its voice tells the times of some words."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicefsm.ports import SpokenWord
from voicefsm.runtime.heard import WORD_MS_MAX, Rendered, SpokenText

TEXT = "One, two, three, four, five. Six seven eight nine ten."
TOKENS = TEXT.split()
WORD_MS = 300
MADE_MS = len(TOKENS) * WORD_MS
TIMED = tuple(SpokenWord(token, (nth + 1) * WORD_MS) for nth, token in enumerate(TOKENS))


def heard(words: tuple[SpokenWord, ...], heard_ms: int, *, made_ms: int = MADE_MS, text: str = TEXT) -> tuple[int, bool]:
    """The number of heard words, and whether that is known."""
    told, is_timed = SpokenText(text, words).heard(Rendered(heard_ms, made_ms, is_whole=made_ms == MADE_MS))
    assert text.split()[: len(told.split())] == told.split()
    return len(told.split()), is_timed


@pytest.mark.parametrize("first", range(10))
def test_times_that_begin_in_mid_sentence_are_those_of_the_later_words(first):
    """Otherwise every heard word before them is forgotten (found by the simulator)."""
    for heard_ms in range(0, MADE_MS, 50):
        count, is_timed = heard(TIMED[first:], heard_ms)
        if first == 0 or heard_ms >= TIMED[first].end_ms:
            assert (count, is_timed) == (heard_ms // WORD_MS, True)
        else:
            assert not is_timed
            assert abs(count - heard_ms // WORD_MS) <= 1


@pytest.mark.parametrize("last", range(1, 10))
def test_times_that_end_in_mid_sentence_say_nothing_of_the_later_words(last):
    """Otherwise all of a sentence counts as heard with the last word that was timed (found by the simulator)."""
    for heard_ms in range(0, MADE_MS, 50):
        count, is_timed = heard(TIMED[:last], heard_ms)
        assert is_timed == (heard_ms < TIMED[last - 1].end_ms)
        assert abs(count - heard_ms // WORD_MS) <= (0 if is_timed else 1)


def test_a_sentence_in_the_making_is_heard_as_far_as_it_is_timed():
    """Otherwise a word that is half spoken counts as heard."""
    made_ms = 4 * WORD_MS + WORD_MS // 2
    assert heard(TIMED[:4], made_ms, made_ms=made_ms) == (4, True)
    assert heard(TIMED[:4], 3 * WORD_MS, made_ms=made_ms) == (3, True)


def test_a_sentence_in_the_making_whose_times_have_ended_is_estimated():
    """Otherwise a voice that stops to tell times makes the model forget what it goes on to say."""
    last_ms = TIMED[1].end_ms
    assert heard(TIMED[:2], last_ms + WORD_MS_MAX, made_ms=last_ms + WORD_MS_MAX) == (2, True)
    count, is_timed = heard(TIMED[:2], last_ms + WORD_MS_MAX + 1, made_ms=last_ms + WORD_MS_MAX + 1)
    assert not is_timed
    assert 3 < count < 7


def test_without_any_time_the_rate_of_speech_is_assumed_until_all_is_made():
    """Otherwise a sentence of which a second was made counts as heard with that second."""
    assert heard((), 650, made_ms=700) == (2, False)  # 10 characters
    assert heard((), 1500) == (4, False)  # 27 of 54 characters; the fifth word ends with the 28th


def test_a_dash_needs_no_time():
    """Otherwise what is known for certain counts as an estimate."""
    words = (SpokenWord("well", 300), SpokenWord("no", 600))
    assert SpokenText("Well — no …", words).heard(Rendered(400, 800, is_whole=True)) == ("Well", True)
    assert SpokenText("Well — no …", words).heard(Rendered(700, 800, is_whole=True)) == ("Well — no …", True)


def test_words_that_are_spelled_out_stand_for_what_they_spell():
    """Otherwise "1984" shifts everything after it."""
    spoken = tuple(SpokenWord(word, (nth + 1) * 100) for nth, word in enumerate("in nineteen eighty four it rained".split()))
    counts = [SpokenText("In 1984 it rained.", spoken).heard(Rendered(ms, 650, is_whole=True))[0] for ms in range(50, 700, 100)]
    assert counts == ["", "In", "In", "In", "In 1984", "In 1984 it", "In 1984 it rained."]
    begun = SpokenText("In 1984 it rained.", spoken[:3]).heard(Rendered(300, 320, is_whole=False))
    assert begun[0] in {"In 1984", "In 1984 it"}, "the year is half spoken; the rain has not come"


@given(st.sets(st.integers(0, 9)), st.integers(0, MADE_MS), st.booleans())
def test_whatever_is_told_words_only_grow_and_what_is_known_is_true(told, heard_ms, is_whole):
    """Otherwise some mixture of told and untold times rewrites the past."""
    made_ms = MADE_MS if is_whole else max(heard_ms, MADE_MS // 2)
    words = tuple(TIMED[nth] for nth in sorted(told) if TIMED[nth].end_ms <= made_ms)
    count, is_timed = heard(words, heard_ms, made_ms=made_ms)
    assert count >= heard(words, max(0, heard_ms - 100), made_ms=made_ms)[0]
    known = [nth for nth in told if TIMED[nth].end_ms <= heard_ms]
    assert count > max(known, default=-1)
    assert count <= min((nth for nth in told if heard_ms < TIMED[nth].end_ms <= made_ms), default=10)
    if is_timed and words and heard_ms < words[-1].end_ms:
        assert count == heard_ms // WORD_MS


def test_what_is_said_again_is_found_at_its_end():
    """Otherwise a word that is said three times, and timed twice, is taken for its first."""
    text = "No, no, no, thank you."
    ends = list(itertools.accumulate([300] * 5))
    words = tuple(SpokenWord(token, end) for token, end in zip(text.split(), ends, strict=True))[1:]
    assert SpokenText(text, words).heard(Rendered(920, 1500, is_whole=True)) == ("No, no, no,", True)

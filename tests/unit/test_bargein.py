"""The one rule about interruptions."""

from __future__ import annotations

import pytest

from voicefsm.bargein import ENGLISH, HINDI, LEXICONS, Candidate, Verdict, candidate_of, decide, judge, lexicon_of, normal
from voicefsm.context import Context, NearEnd, State
from voicefsm.events import Evidence

CONFIRM, REJECT, WAIT = Verdict.CONFIRM, Verdict.REJECT, Verdict.WAIT


@pytest.mark.parametrize(
    ("voiced", "is_over", "words", "stop", "backchannel", "is_late", "verdict", "why"),
    [
        # A stop word or enough words, once there is speech enough to hold them.
        (200, False, 0, True, False, False, CONFIRM, "stop word"),
        (199, False, 5, True, False, False, WAIT, "not clear yet"),
        (200, False, 2, False, False, False, CONFIRM, "2 words"),
        (200, False, 1, False, False, False, WAIT, "not clear yet"),
        # Long speech, whatever the recogniser says, unless it is all backchannels.
        (600, False, 0, False, False, False, CONFIRM, "600 ms of speech"),
        (599, False, 0, False, False, False, WAIT, "not clear yet"),
        (900, False, 0, False, True, False, WAIT, "not clear yet"),
        (600, True, 0, False, False, True, CONFIRM, "600 ms of speech"),
        # Over.
        (199, True, 0, False, False, False, REJECT, "only 199 ms of speech"),
        (199, True, 3, True, False, False, REJECT, "only 199 ms of speech"),
        (200, True, 0, False, True, False, REJECT, "backchannel"),
        (200, True, 0, False, False, False, WAIT, "not clear yet"),
        # Out of time.
        (900, False, 0, False, True, True, REJECT, "backchannel"),
        (400, False, 0, False, False, True, REJECT, "no words in 400 ms of speech"),
        (400, True, 1, False, False, True, REJECT, "no words in 400 ms of speech"),
    ],
)
def test_decide(voiced, is_over, words, stop, backchannel, is_late, verdict, why):  # noqa: PLR0917 (columns of the table)
    """Otherwise a cough would cost the answer, or a 'stop' would be talked over."""
    candidate = Candidate(voiced, is_over, words, stop, backchannel, speech_ms_min=600, is_late=is_late)
    decision = decide(candidate, onset_ms_min=200, words_min=2)
    assert (decision.verdict, decision.why) == (verdict, why)


def test_late_is_an_answer():
    """Otherwise playout could stay paused for ever: at the deadline there is no waiting."""
    for voiced in (0, 199, 200, 599, 600):
        for flags in range(8):
            over, stop, backchannel = bool(flags & 1), bool(flags & 2), bool(flags & 4)
            for words in (0, 1):
                candidate = Candidate(voiced, over, words, stop, backchannel, 600, is_late=True)
                assert decide(candidate, onset_ms_min=200, words_min=1).verdict is not WAIT


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("mm-hm", 0),
        ("okay got it", 0),
        ("i see i see", 0),
        ("yeah yeah of course", 0),
        ("uh huh", 0),
        ("okay but no", 2),
        ("i see a problem", 2),
        ("of", 1),
        ("stop", 1),
    ],
)
def test_english_backchannels(text, words):
    """Otherwise a listener who follows would lose the answer, or one who objects would not be heard."""
    assert ENGLISH.content_words(text) == words


@pytest.mark.parametrize(("text", "words"), [("ठीक है ठीक है", 0), ("हाँ जी अच्छा", 0), ("ठीक", 0), ("नहीं", 1), ("ठीक है लेकिन", 1)])
def test_hindi_backchannels(text, words):
    """Otherwise Hindi listeners could not say 'ठीक है' twice."""
    assert HINDI.content_words(text) == words


@pytest.mark.parametrize(
    ("text", "is_stop"),
    [("stop", True), ("please hold on now", True), ("unstoppable", False), ("hold the door on", False), ("", False)],
)
def test_stop_phrases_stand_at_word_boundaries(text, is_stop):
    """Otherwise 'unstoppable' would stop."""
    assert ENGLISH.has_stop(text) is is_stop


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Okay, STOP!", "okay stop"),
        ("Mm-hm.", "mm-hm"),
        ("yeah - right", "yeah right"),
        ("'don't'", "don't"),
        ("  a \n b ", "a b"),
        ("रुको।", "रुको"),
        ("ठीक है?", "ठीक है"),
        ("...", ""),
    ],
)
def test_normal(text, expected):
    """Otherwise punctuation, capitals or vowel signs would hide a word from the lexicon."""
    assert normal(text) == expected


@pytest.mark.parametrize("lexicon", LEXICONS.values())
def test_lexicons_are_in_normal_form_and_at_odds_with_nothing(lexicon):
    """Otherwise an entry could never match, or mean both go on and stop."""
    for phrase in lexicon.backchannels | lexicon.stops:
        assert normal(phrase) == phrase
    assert not lexicon.backchannels & lexicon.stops
    assert all(lexicon.content_words(phrase) == 0 for phrase in lexicon.backchannels)


def test_lexicon_by_language():
    """Otherwise a region would lose its lexicon, or a language without one would have none."""
    assert lexicon_of("hi-IN") is HINDI
    assert lexicon_of("HI") is HINDI
    assert lexicon_of("en-GB") is ENGLISH
    assert lexicon_of("de-DE") is ENGLISH


@pytest.mark.parametrize(
    ("state", "heard_ms", "is_late", "speech_ms_min"),
    [
        (State.PROCESSING, 5000, False, 1200),
        (State.INTERRUPTING, 299, False, 1200),
        (State.INTERRUPTING, 300, False, 600),
        (State.INTERRUPTING, 0, True, 600),
    ],
)
def test_a_reply_is_guarded_at_its_start(state, heard_ms, is_late, speech_ms_min):
    """Otherwise an echo not yet cancelled would cut the reply that makes it."""
    context = Context(state=state, heard_ms=heard_ms)
    assert candidate_of(context, is_late=is_late).speech_ms_min == speech_ms_min


def test_judge_reads_the_context():
    """Otherwise the decision would rest on something else than what is known."""
    context = Context(state=State.INTERRUPTING, heard_ms=1000, user_text="Okay,", partial="no Paris", agreed="no")
    context.evidence, context.near_end = Evidence(voiced_ms=250), NearEnd.SPEECH
    assert judge(context).why == "1 words"
    context.agreed = ""
    assert judge(context).verdict is WAIT
    context.partial, context.near_end = "", NearEnd.QUIET
    assert judge(context).why == "backchannel"

"""The one rule about interruptions."""

from __future__ import annotations

import itertools

import pytest

from voicefsm.bargein import (
    Candidate,
    Sound,
    Standing,
    Verdict,
    account,
    candidate_of,
    decide,
    is_clear,
    judge,
    sound_of,
)
from voicefsm.context import Context, NearEnd, State, TurnSettings
from voicefsm.events import UNKNOWN_DB, Evidence, FinalHeard, Timer, TimerFired

CONFIRM, REJECT, WAIT = Verdict.CONFIRM, Verdict.REJECT, Verdict.WAIT


CLEAR, SOFT, ALIEN = Standing.CLEAR, Standing.SOFT, Standing.ALIEN
SETTINGS = TurnSettings(barge_in_words_min=2, barge_in_speech_ms_min=600)


@pytest.mark.parametrize(
    ("voiced", "is_over", "words", "stop", "backchannel", "is_late", "standing", "verdict", "why"),
    [
        # A stop word or enough words, once there is speech enough to hold them.
        (200, False, 0, True, False, False, CLEAR, CONFIRM, "stop word"),
        (199, False, 5, True, False, False, CLEAR, WAIT, "not clear yet"),
        (200, False, 2, False, False, False, CLEAR, CONFIRM, "2 words"),
        (200, False, 1, False, False, False, CLEAR, WAIT, "not clear yet"),
        # Long speech, whatever the recogniser says, unless it is all backchannels.
        (600, False, 0, False, False, False, CLEAR, CONFIRM, "600 ms of speech"),
        (599, False, 0, False, False, False, CLEAR, WAIT, "not clear yet"),
        (900, False, 0, False, True, False, CLEAR, WAIT, "not clear yet"),
        (600, True, 0, False, False, True, CLEAR, CONFIRM, "600 ms of speech"),
        # Over.
        (199, True, 0, False, False, False, CLEAR, REJECT, "only 199 ms of speech"),
        (199, True, 3, True, False, False, CLEAR, REJECT, "only 199 ms of speech"),
        (200, True, 0, False, True, False, CLEAR, REJECT, "backchannel"),
        (200, True, 0, False, False, False, CLEAR, WAIT, "not clear yet"),
        # Out of time.
        (900, False, 0, False, True, True, CLEAR, REJECT, "backchannel"),
        (400, False, 0, False, False, True, CLEAR, REJECT, "no words in 400 ms of speech"),
        (400, True, 1, False, False, True, CLEAR, REJECT, "no words in 400 ms of speech"),
        # Soft: a stop word and persistence count, words and the usual length do not.
        (200, False, 0, True, False, False, SOFT, CONFIRM, "stop word"),
        (2999, False, 9, False, False, False, SOFT, WAIT, "not clear yet"),
        (3000, False, 0, False, False, False, SOFT, CONFIRM, "soft, but 3000 ms of speech"),
        (9000, False, 0, False, True, False, SOFT, WAIT, "not clear yet"),
        (400, True, 9, False, False, False, SOFT, REJECT, "it is soft"),
        (400, False, 9, False, False, True, SOFT, REJECT, "it is soft"),
        (400, True, 0, False, True, False, SOFT, REJECT, "it is soft"),
        # Alien: nothing counts.
        (9000, False, 9, True, False, False, ALIEN, WAIT, "not clear yet"),
        (9000, True, 9, True, False, False, ALIEN, REJECT, "it is alien"),
        (9000, False, 9, True, False, True, ALIEN, REJECT, "it is alien"),
        (199, True, 0, False, False, False, ALIEN, REJECT, "only 199 ms of speech"),
    ],
)
def test_decide(voiced, is_over, words, stop, backchannel, is_late, standing, verdict, why):  # noqa: PLR0917 (columns of the table)
    """Otherwise a cough would cost the answer, or a 'stop' would be talked over."""
    sound = Sound(standing, "" if standing is CLEAR else f"it is {standing.value}")
    candidate = Candidate(voiced, is_over, words, stop, backchannel, speech_ms_min=600, is_late=is_late, sound=sound)
    decision = decide(candidate, SETTINGS)
    assert (decision.verdict, decision.why) == (verdict, why)


def test_late_is_an_answer():
    """Otherwise playout could stay paused for ever: at the deadline there is no waiting."""
    for voiced, words, standing in itertools.product((0, 199, 200, 599, 600, 3000), (0, 2), Standing):
        for over, stop, backchannel in itertools.product((False, True), repeat=3):
            candidate = Candidate(voiced, over, words, stop, backchannel, 600, is_late=True, sound=Sound(standing, "x"))
            assert decide(candidate, SETTINGS).verdict is not WAIT


@pytest.mark.parametrize(
    ("evidence", "usual_db", "standing"),
    [
        # Nothing is known: it is taken for the user.
        (Evidence(400), UNKNOWN_DB, CLEAR),
        (Evidence(400), -30, CLEAR),
        (Evidence(400, near_db=-60), UNKNOWN_DB, CLEAR),
        # By level: as loud as the user, softer, far away.
        (Evidence(400, near_db=-20), -30, CLEAR),
        (Evidence(400, near_db=-34), -30, CLEAR),
        (Evidence(400, near_db=-35), -30, SOFT),
        (Evidence(400, near_db=-39), -30, SOFT),
        (Evidence(400, near_db=-40), -30, ALIEN),
        # By the gate, and against the echo that is to be expected.
        (Evidence(400, near_db=-20, gate_pct=49), -30, ALIEN),
        (Evidence(400, gate_pct=49), UNKNOWN_DB, ALIEN),
        (Evidence(400, near_db=-20, gate_pct=50), -30, CLEAR),
        (Evidence(400, near_db=-30, echo_db=-32), -30, ALIEN),
        (Evidence(400, near_db=-30, echo_db=-33), -30, CLEAR),
        # By how it swings; the first frames of a word do not tell.
        (Evidence(400, near_db=-30, swing_db=1), UNKNOWN_DB, ALIEN),
        (Evidence(400, near_db=-30, swing_db=2), UNKNOWN_DB, CLEAR),
        (Evidence(180, near_db=-30, swing_db=1), UNKNOWN_DB, CLEAR),
        (Evidence(200, near_db=-30, swing_db=1), UNKNOWN_DB, ALIEN),
    ],
)
def test_what_sounds(evidence, usual_db, standing):
    """Otherwise a neighbour, a horn or our own echo could take the floor, or the user could not."""
    sound = sound_of(evidence, usual_db, TurnSettings())
    assert sound.standing is standing
    assert bool(sound.why) is (standing is not CLEAR)


def test_the_account_names_what_is_known():
    """Otherwise a journal says that a decision fell, and not on what."""
    context = Context(usual_db=-30)
    context.evidence = Evidence(380, near_db=-31, far_db=-20, erle_db=20, echo_db=-50, gate_pct=97, swing_db=6)
    assert account(context, "backchannel") == (
        "backchannel: 380 ms voiced, -1 dB of the user's level, +19 dB over echo, gate 97 %, swing 6 dB"
    )
    context.evidence = Evidence(380)
    assert account(context, "no words in 380 ms of speech") == "no words in 380 ms of speech"


@pytest.mark.parametrize(
    ("state", "heard_ms", "deadline", "speech_ms_min"),
    [
        (State.PROCESSING, 5000, None, 1200),
        (State.INTERRUPTING, 299, None, 1200),
        (State.INTERRUPTING, 299, Timer.VERDICT, 1200),
        (State.INTERRUPTING, 300, None, 600),
        (State.INTERRUPTING, 0, Timer.DECISION, 600),
    ],
)
def test_a_reply_is_guarded_at_its_start(state, heard_ms, deadline, speech_ms_min):
    """Otherwise an echo not yet cancelled would cut the reply that makes it."""
    context = Context(state=state, heard_ms=heard_ms, settings=SETTINGS)
    fact = None if deadline is None else TimerFired(9, deadline)
    assert candidate_of(context, fact).speech_ms_min == speech_ms_min


def test_judge_reads_the_context():
    """Otherwise the decision would rest on something else than what is known."""
    context = Context(state=State.INTERRUPTING, heard_ms=1000, user_text="Okay,", partial="no Paris", agreed="no")
    context.evidence, context.near_end = Evidence(voiced_ms=250), NearEnd.SPEECH
    assert judge(context).why == "1 words"
    context.agreed = ""
    assert judge(context).verdict is WAIT
    assert judge(context, TimerFired(9, Timer.VERDICT)).why == "2 words", "a first guess is all there is at the deadline"
    assert is_clear(context)
    context.usual_db, context.evidence = -30, Evidence(voiced_ms=250, near_db=-36)
    assert not is_clear(context)
    assert judge(context, TimerFired(9, Timer.VERDICT)).why == "6 dB quieter than the user"
    context.evidence = Evidence(voiced_ms=250)
    context.partial, context.near_end = "", NearEnd.QUIET
    assert judge(context).why == "backchannel"


@pytest.mark.parametrize(
    ("text", "said", "strangers"),
    [
        ("no tell me about tomorrow", "it stays sunny all week", 5),
        ("it stays funny all weak", "it stays sunny all week", 0),
        ("okay i see", "it stays sunny all week", 0),
        ("tell me is it late", "it is noon", 0),
        ("tell me what time it is now please", "it stays sunny all week", 8),
        ("tell me it please", "it stays sunny all week", 4),
        ("tell me please", "it stays sunny all week", 3),
        ("no tell me about i", "it stays sunny all week", 4),
    ],
)
def test_words_that_the_detector_misses(text, said, strangers):
    """Otherwise a user in a loud room could not interrupt; or our own voice, badly recognised, would."""
    settings = TurnSettings(barge_in_strange_words_min=3)
    context = Context(settings=settings, state=State.SPEAKING, agreed=text, partial=text, said=said)
    assert candidate_of(context).strange_words == strangers
    assert (judge(context).verdict is CONFIRM) is (strangers > 2)
    context.evidence = Evidence(voiced_ms=60)
    assert candidate_of(context).strange_words == 0, "the detector hears it, and the rule knows how long"
    late = FinalHeard(context.settings.final_ms_max + 1, text)
    assert candidate_of(context, late).strange_words == strangers, "it heard something else"


@pytest.mark.parametrize(
    ("near_db", "is_doubted", "standing"), [(-34, False, CLEAR), (-34, True, SOFT), (-31, True, SOFT), (-30, True, CLEAR)]
)
def test_who_was_doubted_has_to_be_clearly_louder(near_db, is_doubted, standing):
    """Otherwise side talk, whose level comes and goes, would cut the answer with its loudest word."""
    assert sound_of(Evidence(400, near_db=near_db), -30, TurnSettings(), is_doubted=is_doubted).standing is standing


@pytest.mark.parametrize(("near_db", "standing"), [(-31, CLEAR), (-32, SOFT)])
def test_a_doubt_weighs_four_decibels(near_db, standing):
    """Otherwise a user who is a little quieter than usual stays doubted for good where soft means more."""
    settings = TurnSettings(barge_in_soft_db=6)
    assert sound_of(Evidence(400, near_db=near_db), -30, settings, is_doubted=True).standing is standing


def test_of_strange_words_there_are_none_unless_somebody_counts_them():
    """Otherwise a session that cuts for one strange word is cut for none."""
    candidate = Candidate(0, False, 0, False, False, speech_ms_min=600, is_late=False)
    assert decide(candidate, TurnSettings(barge_in_strange_words_min=1)).verdict is WAIT


def test_the_beginning_of_a_backchannel_is_no_word_yet():
    """Otherwise the "I" of "I see" costs the answer."""
    context = Context(state=State.INTERRUPTING, partial="i", agreed="i")
    context.evidence, context.near_end = Evidence(voiced_ms=250), NearEnd.SPEECH
    assert candidate_of(context).words == 0
    context.agreed = "i am"
    assert candidate_of(context).words == 2


def test_a_level_is_compared_only_with_one_that_is_known():
    """Otherwise the journal of a first turn tells of a user who is 65 dB too loud."""
    context = Context(state=State.INTERRUPTING, evidence=Evidence(380, near_db=-31))
    assert context.usual_db == UNKNOWN_DB
    assert "user's level" not in account(context, "backchannel")
    context.usual_db = -30
    assert "-1 dB of the user's level" in account(context, "backchannel")

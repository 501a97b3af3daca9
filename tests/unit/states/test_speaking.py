"""SPEAKING."""

from __future__ import annotations

import pytest

REJECTED = "4060 SpeechStarted onset_ms=4000\n4400 SpeechEnded last_voiced_ms=4250 evidence.voiced_ms=250\n4700 Timer DECISION\n"


@pytest.mark.parametrize(
    ("fact", "is_cut"),
    [
        ('5250 FinalHeard text="Stop."', True),
        ('5251 FinalHeard text="Stop."', False),
        ('5000 FinalHeard text="Mm-hm."', False),
        ('5000 FinalHeard text=""', False),
        ('5000 PartialHeard text="stop"', True),
        ('5300 PartialHeard text="stop"', False),
    ],
)
def test_late_words_of_a_rejected_interruption(did, fact, is_cut):
    """Otherwise a slow recogniser's 'stop' would be talked over, or the reply's own echo would stop it much later."""
    assert ("SPEAKING -> LISTENING" in did("speaking", REJECTED + fact)) is is_cut


def test_words_without_speech_are_no_evidence(did):
    """Otherwise the echo of our own voice would cut us off."""
    assert not any("->" in line for line in did("speaking", '4000 FinalHeard text="stop"'))


def test_speech_that_goes_on_after_a_rejection(did):
    """Otherwise who was rejected once could not interrupt any more."""
    facts = "4060 SpeechStarted onset_ms=4000\n5560 Timer DECISION\n"
    assert did("speaking", facts + "5700 EvidenceChanged evidence.voiced_ms=599") == []
    assert did("speaking", facts + "5700 EvidenceChanged evidence.voiced_ms=600")[0] == "SPEAKING -> LISTENING"


@pytest.mark.parametrize("interruption", ["client_only", "disabled"])
def test_speech_cuts_nothing_where_it_may_not(did, interruption):
    """Otherwise the policy of the session would be decoration."""
    facts = "4060 SpeechStarted onset_ms=4000\n5700 EvidenceChanged evidence.voiced_ms=1700\n"
    sets = f'set interruption="{interruption}"'
    for fact in ("", '5800 FinalHeard text="stop"', '5800 PartialHeard text="stop"'):
        assert not any("SPEAKING ->" in line for line in did("speaking", facts + fact, sets))


def test_who_still_speaks_at_the_end_has_the_floor(did):
    """Otherwise the end of the reply would take the word from the user."""
    facts = "4060 SpeechStarted onset_ms=4000\n5560 Timer DECISION\n6000 PlayoutFinished epoch=1"
    assert did("speaking", facts)[0] == "SPEAKING -> LISTENING"


def test_the_reply_is_being_made_on(did):
    """Otherwise a fact about making the reply would stop it."""
    for fact in ("TokenArrived", "FirstAudio", "PlayoutStarted"):
        assert did("speaking", f"4000 {fact} epoch=1") in ([], ["generation waiting -> writing"])
    assert did("speaking", "4000 SpeechFinished") == []
    assert did("speaking", "4000 ClientCancelled epoch=9") == []

"""PROCESSING."""

from __future__ import annotations

import pytest

LATE = """
1000 SpeechStarted onset_ms=950
1400 PartialHeard text="what is the weather"
1600 SpeechEnded last_voiced_ms=1500
2000 Timer END_OF_TURN
3000 Timer FINAL
"""


def test_a_reply_that_replaces_another_has_its_own_time_to_be_heard(did):
    """Otherwise typing over an unheard reply would make the next one fail for the slowness of the first."""
    facts = '7800 TextReceived text="more"\n7900 Timer FIRST_HEARD'
    assert did("processing", facts) == ["stale"]
    assert did("processing", facts + '\n8000 SentenceReady epoch=2 index=0 text="x"')[-1] == "until 13000 FIRST_HEARD"


def test_a_later_sentence_does_not_move_the_deadline(did):
    """Otherwise a model that writes on and on would hide a voice that says nothing."""
    assert did("processing", '3000 SentenceReady epoch=1 index=1 text="x"') == ['SpeakText epoch=1 index=1 text="x"']


@pytest.mark.parametrize("final", ["What is the weather?", "what is the weather", "", "what is the whether"])
def test_a_late_final_that_says_no_more_changes_nothing(did, final):
    """Otherwise every turn that was answered from its partial would be answered twice."""
    assert not any("->" in line for line in did("idle", f'{LATE}3200 FinalHeard text="{final}"'))


@pytest.mark.parametrize("interruption", ["enabled", "client_only", "disabled"])
def test_a_late_final_that_says_more_takes_the_turn_back(did, interruption):
    """Otherwise 'what is the weather' would be answered where 'what is the weather in Paris' was asked."""
    facts = f'{LATE}3200 FinalHeard text="What is the weather  in Paris?"\n'
    sets = f'set interruption="{interruption}"'
    assert did("idle", facts, sets)[0] == "PROCESSING -> LISTENING"
    assert 'StartGeneration epoch=2 user_text="what is the weather in Paris?"' in did(
        "idle", facts + "3200 Timer END_OF_TURN", sets
    )


def test_words_that_only_begin_alike_are_not_cut_in_two(did):
    """Otherwise 'the weatherman' after 'the weather' would leave 'man'. Rather twice than lost."""
    facts = f"{LATE}3100 SpeechStarted onset_ms=3050\n3400 EvidenceChanged evidence.voiced_ms=300\n"
    facts += '3500 FinalHeard text="what is the weatherman saying"\n3600 SpeechEnded last_voiced_ms=3400\n3900 Timer END_OF_TURN'
    assert 'StartGeneration epoch=2 user_text="what is the weather what is the weatherman saying"' in did("idle", facts)


def test_a_turn_taken_back_by_typing_gives_no_reason_of_speech(did):
    """Otherwise the journal would explain a typed word with speech that was not there."""
    assert did("processing", '3000 TextReceived text="more"')[1] == 'CancelTts epoch=1 reason="new_input"'


def test_speech_holds_only_where_speech_may_interrupt(did):
    """Otherwise a session that is deaf to interruptions would be held up by noise."""
    onset = "3000 SpeechStarted onset_ms=2950"
    assert "HoldPlayout epoch=1" in did("processing", onset)
    assert did("processing", onset, 'set interruption="disabled"') == ["near_end quiet -> speech"]


def test_facts_that_move_nothing(did):
    """Otherwise the state would not follow the client's ear."""
    for fact in ("3000 TokenArrived epoch=1", "3000 FirstAudio epoch=1", "3000 PlayoutAdvanced epoch=1 heard_ms=0 left_ms=9"):
        assert did("processing", fact) == []
    assert did("processing", "3000 SpeechFinished") == []

"""INTERRUPTING."""

from __future__ import annotations


def test_all_bursts_together_have_the_time_of_one_decision(did):
    """Otherwise bursts of noise could keep playout paused for ever, or 'uh … stop' would be judged by its 'uh'."""
    first = "4400 SpeechEnded last_voiced_ms=4250 evidence.voiced_ms=250\n"
    assert did("interrupting", first)[-1] == "until 4700 DECISION"
    second = first + "4600 SpeechStarted onset_ms=4550\n"
    assert did("interrupting", second)[-1] == "until 5560 DECISION"
    third = second + "5500 SpeechEnded last_voiced_ms=5400 evidence.voiced_ms=300\n"
    assert not any(line.startswith("until") for line in did("interrupting", third)), "the decision is not put off"


def test_only_words_that_two_hypotheses_agree_on_cut(did):
    """Otherwise the recogniser's flickering first guess would cost the answer."""
    facts = '4300 EvidenceChanged evidence.voiced_ms=300\n4350 PartialHeard text="know"\n'
    assert not any("->" in line for line in did("interrupting", facts))
    assert not any("->" in line for line in did("interrupting", facts + '4400 PartialHeard text="no I"'))
    assert did("interrupting", facts + '4400 PartialHeard text="know it"')[0] == "INTERRUPTING -> LISTENING"
    assert did("interrupting", facts + '4400 PartialHeard text="no" stability=1.0')[0] == "INTERRUPTING -> LISTENING"


def test_a_partial_backchannel_after_the_speech_resumes(did):
    """Otherwise the reply would wait for a final although the word is known."""
    facts = '4400 SpeechEnded last_voiced_ms=4250 evidence.voiced_ms=250\n4500 PartialHeard text="mm-hm"'
    assert did("interrupting", facts)[0] == "INTERRUPTING -> SPEAKING"
    assert did("interrupting", facts.replace("Partial", "Final"))[0] == "INTERRUPTING -> SPEAKING"


def test_an_empty_final_waits_for_the_deadline(did):
    """Otherwise the final of something earlier would decide."""
    facts = '4400 SpeechEnded last_voiced_ms=4250 evidence.voiced_ms=250\n4500 FinalHeard text=""'
    assert not any("->" in line for line in did("interrupting", facts))


def test_speech_that_was_long_enough_when_it_ended(did):
    """Otherwise the last frames before the end would not count."""
    facts = "4900 SpeechEnded last_voiced_ms=4700 evidence.voiced_ms=700"
    assert 'CancelTts epoch=1 reason="barge_in" why="700 ms of speech"' in did("interrupting", facts)


def test_the_deadline_gives_its_reason(did):
    """Otherwise the journal would say 'not clear yet' of a decision."""
    facts = "4061 PlayoutAdvanced epoch=1 heard_ms=700 left_ms=900\n5560 Timer DECISION"
    assert 'ResumePlayout epoch=1 why="no words in 0 ms of speech"' in did("interrupting", facts)
    guarded = "set guard_ms=3000"
    facts = "4800 EvidenceChanged evidence.voiced_ms=700\n5560 Timer DECISION"
    assert 'CancelTts epoch=1 reason="barge_in" why="700 ms of speech"' in did("interrupting", facts, guarded)


def test_the_reply_is_made_on_while_it_is_paused(did):
    """Otherwise there would be nothing to resume."""
    assert did("interrupting", '4200 SentenceReady epoch=1 index=1 text="x"') == ['SpeakText epoch=1 index=1 text="x"']
    assert did("interrupting", "4200 PlayoutAdvanced epoch=1 heard_ms=720 left_ms=900") == []
    assert did("interrupting", "4200 ClientCancelled epoch=9") == []

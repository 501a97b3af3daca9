"""INTERRUPTING."""

from __future__ import annotations


def until(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("until")]


def test_the_pause_lasts_while_speech_goes_on(did):
    """Otherwise a barge-in would be talked over before it has its words, or an "uh-huh" would keep playout paused."""
    first = "4360 EvidenceChanged evidence.voiced_ms=360\n"
    assert did("interrupting", first + "4460 Timer VERDICT")[0] == "INTERRUPTING -> SPEAKING", "due at 4460 as it is"
    second = first + "4440 EvidenceChanged evidence.voiced_ms=440\n"
    assert not any("->" in line for line in did("interrupting", second + "4460 Timer VERDICT\n4519 Timer VERDICT"))
    assert did("interrupting", second + "4520 Timer VERDICT")[0] == "INTERRUPTING -> SPEAKING"


def test_words_are_wanted_before_the_verdict(did):
    """Otherwise the comma of "No, ..." would be over, and the answer go on, before anybody knows the word."""
    speech = "4300 EvidenceChanged evidence.voiced_ms=200\n"
    assert until(did("interrupting", speech)) == ["until 4360 LULL"]
    assert "FinalizeUtterance" in did("interrupting", speech + "4360 Timer LULL")
    soft = "evidence.near_db=-37\n"
    assert "FinalizeUtterance" in did("interrupting", speech.rstrip() + " " + soft + "4360 Timer LULL"), "a stop word would count"


def test_no_words_are_wanted_of_what_cannot_have_any(did):
    """Otherwise every click and our own echo would cut the recogniser's utterance in two."""
    click = "4260 EvidenceChanged evidence.voiced_ms=199\n4320 Timer LULL"
    assert "FinalizeUtterance" not in did("interrupting", click)
    alien = "4300 EvidenceChanged evidence.voiced_ms=300 evidence.gate_pct=10\n4360 Timer LULL"
    assert "FinalizeUtterance" not in did("interrupting", alien)


def test_a_final_backchannel_resumes_at_once(did):
    """Otherwise the pause would last until the verdict although the recogniser has said its last word."""
    facts = '4300 EvidenceChanged evidence.voiced_ms=300\n4360 Timer LULL\n4380 FinalHeard text="Okay,"'
    assert did("interrupting", facts)[0] == "INTERRUPTING -> SPEAKING"
    assert not any("->" in line for line in did("interrupting", facts.replace("Final", "Partial")))
    again = facts + '\n4420 EvidenceChanged evidence.voiced_ms=340\n4480 Timer LULL\n4500 FinalHeard text=""'
    assert not any("->" in line for line in did("interrupting", again)), "an empty final says nothing about what came since"


def test_all_bursts_together_have_the_time_of_one_decision(did):
    """Otherwise bursts of noise could keep playout paused for ever, or 'uh … stop' would be judged by its 'uh'."""
    bursts = "4100 SpeechEnded last_voiced_ms=4080 evidence.voiced_ms=250\n4440 SpeechStarted onset_ms=4400 evidence.voiced_ms=60\n"
    assert until(did("interrupting", bursts)) == ["until 4500 LULL"]
    assert not any("->" in line for line in did("interrupting", bursts + "4519 Timer VERDICT"))
    assert did("interrupting", bursts + "4520 Timer VERDICT")[0] == "INTERRUPTING -> SPEAKING"
    assert until(did("interrupting", bursts + "5530 EvidenceChanged evidence.voiced_ms=80\n")) == ["until 5560 DECISION"]


def test_what_is_not_the_user_has_no_more_time(did):
    """Otherwise a television would keep playout paused until the decision's deadline."""
    alien = "4440 EvidenceChanged evidence.voiced_ms=440 evidence.gate_pct=10\n"
    assert did("interrupting", alien + "4460 Timer VERDICT")[0] == "INTERRUPTING -> SPEAKING"


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
    facts = "4900 SpeechEnded last_voiced_ms=4700 evidence.voiced_ms=800"
    lines = did("interrupting", facts)
    assert "INTERRUPTING -> LISTENING" in lines
    assert 'CancelTts epoch=1 reason="barge_in" why="800 ms of speech"' in lines
    assert lines[-1] == "until 8900 WORDS", "and nobody waits for its words for ever"


def test_the_deadlines_give_their_reasons(did):
    """Otherwise the journal would say 'not clear yet' of a decision."""
    facts = "4061 PlayoutAdvanced epoch=1 heard_ms=700 left_ms=900\n"
    assert 'ResumePlayout epoch=1 why="no words in 0 ms of speech"' in did("interrupting", facts + "4460 Timer VERDICT")
    assert 'ResumePlayout epoch=1 why="no words in 0 ms of speech"' in did("interrupting", facts + "5560 Timer DECISION")
    guarded = "set guard_ms=3000"
    facts = "4800 EvidenceChanged evidence.voiced_ms=800\n5560 Timer DECISION"
    assert 'CancelTts epoch=1 reason="barge_in" why="800 ms of speech"' in did("interrupting", facts, guarded)


def test_the_reply_is_made_on_while_it_is_paused(did):
    """Otherwise there would be nothing to resume."""
    assert did("interrupting", '4200 SentenceReady epoch=1 index=1 text="x"') == ['SpeakText epoch=1 index=1 text="x"']
    assert did("interrupting", "4200 PlayoutAdvanced epoch=1 heard_ms=720 left_ms=900") == []
    assert did("interrupting", "4200 ClientCancelled epoch=9") == []


def test_a_backchannel_that_is_only_a_partial_resumes_playout(did):
    """Otherwise the client stays paused while the machine speaks on."""
    over = "4200 EvidenceChanged evidence.voiced_ms=220\n4300 SpeechEnded last_voiced_ms=4290 evidence.voiced_ms=220"
    told = did("interrupting", f'{over}\n4310 PartialHeard text="okay"')
    assert 'ResumePlayout epoch=1 why="backchannel: 220 ms voiced"' in told

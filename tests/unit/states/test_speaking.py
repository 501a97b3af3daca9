"""SPEAKING."""

from __future__ import annotations

import pytest

REJECTED = "4060 SpeechStarted onset_ms=4000\n4400 SpeechEnded last_voiced_ms=4250 evidence.voiced_ms=250\n4460 Timer VERDICT\n"


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


def test_speech_that_goes_on_after_a_decision(did):
    """Otherwise who was rejected once could not interrupt any more; or playout would stutter while they try."""
    facts = "4060 SpeechStarted onset_ms=4000\n5560 Timer DECISION\n"
    assert did("speaking", facts + "5700 EvidenceChanged evidence.voiced_ms=799") == []
    assert did("speaking", facts + "5700 EvidenceChanged evidence.voiced_ms=800")[0] == "SPEAKING -> LISTENING"


def test_speech_that_goes_on_after_a_verdict_pauses_once_more(did):
    """Otherwise "no … not that" would be talked over until it has words."""
    facts = "4060 SpeechStarted onset_ms=4000\n4460 Timer VERDICT\n4520 EvidenceChanged evidence.voiced_ms=400\n"
    assert "PausePlayout epoch=1" in did("speaking", facts)
    facts += "4920 Timer VERDICT\n5000 EvidenceChanged evidence.voiced_ms=420\n"
    assert did("speaking", facts) == [], "and no third time"
    facts += "5300 SpeechEnded last_voiced_ms=5100 evidence.voiced_ms=420\n5460 SpeechStarted onset_ms=5400\n"
    assert "PausePlayout epoch=1" not in did("speaking", facts), "it belongs to the same candidate"
    facts += "5700 SpeechEnded last_voiced_ms=5500\n6561 SpeechStarted onset_ms=6501\n"
    assert "PausePlayout epoch=1" in did("speaking", facts), "but this does not"


def test_who_is_not_the_user_pauses_once(did):
    """Otherwise a television would make the reply stutter for as long as it is on."""
    facts = "4060 SpeechStarted onset_ms=4000 evidence.gate_pct=10\n4460 Timer VERDICT\n"
    assert did("speaking", facts + "4520 EvidenceChanged evidence.voiced_ms=400 evidence.gate_pct=10") == []
    facts += "4700 SpeechEnded last_voiced_ms=4500\n4860 SpeechStarted onset_ms=4800 evidence.gate_pct=10\n"
    assert "PausePlayout epoch=1" not in did("speaking", facts)
    assert "PausePlayout epoch=1" in did("speaking", facts + "4900 EvidenceChanged evidence.voiced_ms=100 evidence.gate_pct=90")


def test_nothing_pauses_the_last_words(did):
    """Otherwise a reply would be cut in its last syllable, which nobody wants to miss."""
    last = "4000 PlayoutAdvanced epoch=1 heard_ms=1300 left_ms=300 is_made=true\n4060 SpeechStarted onset_ms=4000"
    assert "PausePlayout epoch=1" not in did("speaking", last)
    assert "PausePlayout epoch=1" in did("speaking", last.replace(" is_made=true", "")), "there may be more to come"
    assert "PausePlayout epoch=1" in did("speaking", last.replace("left_ms=300", "left_ms=301"))


def test_a_notice_is_heard_out(did):
    """Otherwise a cough would be a way around what everybody has to hear."""
    notice = "set uninterruptible_ms=800"
    facts = "4060 SpeechStarted onset_ms=4000\n"
    speech = facts + "4900 EvidenceChanged evidence.voiced_ms=900\n"
    for more in (facts, speech, speech + '5000 PartialHeard text="stop"', speech + '5000 FinalHeard text="stop"'):
        assert not any("->" in line for line in did("speaking", more, notice) if "near_end" not in line)
    heard = speech + "5000 PlayoutAdvanced epoch=1 heard_ms=800 left_ms=900\n5020 EvidenceChanged evidence.voiced_ms=920"
    assert did("speaking", heard, notice)[0] == "SPEAKING -> LISTENING"
    assert did("speaking", facts + "4100 ClientCancelled epoch=1", notice)[0] == "SPEAKING -> LISTENING"


def test_the_words_of_a_rejected_candidate_are_asked_for(did):
    """Otherwise a recogniser that waits for more says too late that it was a 'stop'."""
    facts = "4060 SpeechStarted onset_ms=4000\n4460 Timer VERDICT\n4500 SpeechEnded last_voiced_ms=4300 evidence.voiced_ms="
    assert "FinalizeUtterance" in did("speaking", f"{facts}200")
    assert "FinalizeUtterance" not in did("speaking", f"{facts}199")
    assert "FinalizeUtterance" not in did("speaking", f"{facts}300 evidence.gate_pct=10")


def test_speech_that_is_long_enough_only_at_its_end(did):
    """Otherwise the last frames of a barge-in would not count, and a deaf recogniser would let the reply go on."""
    facts = "4060 SpeechStarted onset_ms=4000\n4460 Timer VERDICT\n4960 SpeechEnded last_voiced_ms=4800 evidence.voiced_ms="
    told = did("speaking", f"{facts}800")
    assert "SPEAKING -> LISTENING" in told
    assert 'CancelTts epoch=1 reason="barge_in" why="800 ms of speech"' in told
    assert "SPEAKING -> LISTENING" not in did("speaking", f"{facts}799")
    notice = "set uninterruptible_ms=2000"
    assert "SPEAKING -> LISTENING" not in did("speaking", f"{facts}800", notice)


def test_a_repeated_onset_forgets_nothing(did):
    """Otherwise a murmur over the last words would become speech without words, and cut them."""
    facts = "4000 PlayoutAdvanced epoch=1 heard_ms=1300 left_ms=300 is_made=true\n4060 SpeechStarted onset_ms=4000\n"
    facts += '4500 FinalHeard text="Okay."\n'
    longer = "4900 EvidenceChanged evidence.voiced_ms=900"
    assert did("speaking", f"{facts}4600 SpeechStarted onset_ms=4600\n{longer}") == []


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


@pytest.mark.parametrize(
    ("before", "left", "culprit"),
    [
        ("", "200", "null"),
        ("", "199", '"llm"'),
        ("3950 GenerationFinished epoch=1\n", "199", '"tts"'),
        ("3950 GenerationFinished epoch=1\n", "199 is_made=true", "null"),
    ],
)
def test_who_is_to_blame_for_a_reply_that_stands_still(did, before, left, culprit):
    """Otherwise a client that hangs would be told to look at the server, or a server that hangs would be called a client."""
    facts = f"{before}4000 PlayoutAdvanced epoch=1 heard_ms=700 left_ms={left}\n9000 Timer PLAYOUT"
    assert any(line.startswith(f"ReportFailure backend={culprit}") for line in did("speaking", facts))


@pytest.mark.parametrize(
    ("speech", "final_ms", "expected"),
    [
        ("", 4000, "Please."),
        ("4060 SpeechStarted onset_ms=4000\n4300 SpeechEnded last_voiced_ms=4200\n", 5200, "Yes. Please."),
        ("4060 SpeechStarted onset_ms=4000\n4300 SpeechEnded last_voiced_ms=4200\n", 5201, "Please."),
    ],
)
def test_words_of_the_next_turn_were_said_by_somebody(did, speech, final_ms, expected):
    """Otherwise what a recogniser makes of our own voice would be put into the user's mouth, or the user's first word lost."""
    facts = f'{speech}{final_ms} FinalHeard text="Yes."\n5500 SpeechStarted onset_ms=5450\n5600 PlayoutFinished epoch=1\n'
    facts += '6000 FinalHeard text="Please."\n6100 SpeechEnded last_voiced_ms=6000\n6500 Timer END_OF_TURN'
    assert f'StartGeneration epoch=2 user_text="{expected}"' in did("speaking", facts, 'set interruption="client_only"')


@pytest.mark.parametrize("left", ["left_ms=900", "left_ms=100 is_made=true"])
def test_words_from_before_a_cough_do_not_make_it_an_interruption(did, left):
    """Otherwise a cough would cut the reply, or its last words, with words that the recogniser made of our own voice."""
    facts = '4000 PartialHeard text="talk about"\n4100 PartialHeard text="talk about it"\n'
    facts += f"4120 PlayoutAdvanced epoch=1 heard_ms=900 {left}\n"
    facts += "4160 SpeechStarted onset_ms=4100\n4400 EvidenceChanged evidence.voiced_ms=250\n"
    assert not any("-> LISTENING" in line for line in did("speaking", facts))


def test_a_release_from_before_an_interruption_does_not_end_its_turn(did):
    """Otherwise who presses the button again, to interrupt, would be cut short at the first pause for breath."""
    facts = "3950 SpeechFinished\n4060 SpeechStarted onset_ms=4000\n4400 SpeechEnded last_voiced_ms=4250 evidence.voiced_ms=250\n"
    lines = did("idle", PUSHED + facts + '4500 FinalHeard text="Stop."', "set push_to_talk=true")
    assert "INTERRUPTING -> LISTENING" in lines
    assert not any("END_OF_TURN" in line for line in lines)


PUSHED = """
1000 TextReceived text="hello"
1500 SentenceReady epoch=1 index=0 text="Hi."
1700 PlayoutStarted epoch=1
"""


def test_onset_ducks_where_the_session_says_so(did):
    """Otherwise a session that is to be ducked falls silent, or one that is to be paused talks on."""
    onset = "4060 SpeechStarted onset_ms=4000"
    assert "DuckPlayout epoch=1 duck_db=12" in did("speaking", onset, "set duck_db=12")
    assert "PausePlayout epoch=1" not in did("speaking", onset, "set duck_db=12")
    assert "PausePlayout epoch=1" in did("speaking", onset, "set duck_db=0")
    over = f"{onset}\n4200 PlayoutAdvanced epoch=1 heard_ms=800 left_ms=800\n4460 Timer VERDICT"
    rejected = did("speaking", over, "set duck_db=12")
    assert any(line.startswith("ResumePlayout epoch=1") for line in rejected)


TOOL = '4000 ToolsCalled epoch=1 calls=[{"id":"c","name":"n","arguments":"{}"}]\n'


def test_playout_may_stand_still_for_as_long_as_tools_may_take(did):
    """Otherwise a tool that takes longer than playout may stall costs the reply."""
    sets = "set filler_ms=0 tool_ms_max=9000"
    facts = f"{TOOL}4100 PlayoutAdvanced epoch=1 heard_ms=800 left_ms=0\n"
    assert did("speaking", f"{facts}17999 Timer PLAYOUT", sets) == ["stale"]
    assert "generation calling -> failed" in did("speaking", f"{facts}18000 Timer PLAYOUT", sets)
    assert 'CancelTools epoch=1 call_ids=["c"]' in did("speaking", f"{facts}18000 Timer PLAYOUT", sets)


def test_a_tool_gives_playout_its_time_even_if_nothing_is_reported(did):
    """Otherwise the client that heard all there is before the call is blamed while the tool is at work."""
    sets = "set filler_ms=0 tool_ms_max=9000"
    assert did("speaking", f"{TOOL}8900 Timer PLAYOUT", sets) == ["stale"]
    assert did("speaking", f"{TOOL}17999 Timer PLAYOUT", sets) == ["stale"]
    assert did("speaking", f"{TOOL}18000 Timer PLAYOUT", sets) != ["stale"]


def test_a_client_that_is_stuck_is_found_out_beside_a_tool(did):
    """Otherwise it is told to wait for ever."""
    facts = f"{TOOL}4100 PlayoutAdvanced epoch=1 heard_ms=800 left_ms=200\n19000 Timer PLAYOUT"
    assert "SPEAKING -> IDLE" in did("speaking", facts)


def test_the_model_has_its_time_again_after_a_tool(did):
    """Otherwise a model that is quick after a slow tool is blamed for the tool."""
    facts = f'{TOOL}4100 PlayoutAdvanced epoch=1 heard_ms=800 left_ms=0\n9000 ToolAnswered epoch=1 call_id="c" output="x"'
    assert did("speaking", facts)[-1] == "until 14000 PLAYOUT"


def test_the_model_has_its_time_anew_after_a_tool(did):
    """Otherwise the time that a tool took is taken for playout that stands still."""
    called = '4000 ToolsCalled epoch=1 calls=[{"id":"c","name":"n","arguments":"{}"}]'
    assert did("speaking", f'{called}\n6000 ToolAnswered epoch=1 call_id="c" output="x"')[-1] == "until 11000 PLAYOUT"

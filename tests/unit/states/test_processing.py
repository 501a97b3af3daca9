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


GONE = '3000 BackendFailed epoch=1 backend="{}" message="Gone."'
LLM_GONE, TTS_GONE = GONE.format("llm"), GONE.format("tts")


def test_waits_between_attempts_double_up_to_their_limit_and_end(did):
    """Otherwise a server that is overloaded is asked as fast as the machine can."""
    sets = "set reply_retries_max=4 reply_retry_ms_max=500"
    facts, at_ms = '1000 TextReceived text="hello"', 1000
    for wait_ms in (200, 400, 500, 500):
        facts += f'\n{at_ms} BackendFailed epoch=1 backend="llm" message="Gone."'
        at_ms += wait_ms
        assert did("idle", facts, sets)[-1] == f"until {at_ms} RETRY_MODEL"
        facts += f"\n{at_ms} Timer RETRY_MODEL"
        assert "RetryGeneration epoch=1" in did("idle", facts, sets)
    facts += f'\n{at_ms} BackendFailed epoch=1 backend="llm" message="Gone."'
    assert "RetryGeneration epoch=1" not in did("idle", facts, sets)
    assert 'SpeakText epoch=1 index=0 text="Sorry, something went wrong. Please try again."' in did("idle", facts, sets)


@pytest.mark.parametrize(("asked_ms", "wait_ms"), [(100, 200), (300, 300), (2000, 2000), (2001, None)])
def test_a_server_is_left_alone_for_as_long_as_it_says(did, asked_ms, wait_ms):
    """Otherwise a server under quota never recovers; or the user waits for one that wants a minute."""
    facts = f"{TTS_GONE} retry_after_ms={asked_ms}"
    told = did("processing", facts)
    assert told == ([f"until {3000 + wait_ms} RETRY_VOICE"] if wait_ms else told)
    assert ("SoundEarcon epoch=1" in told) == (wait_ms is None)


def test_attempts_are_counted_together_and_anew_for_each_reply(did):
    """Otherwise two servers that fail in turn keep a user waiting twice as long; or the second reply has none left."""
    sets = "set reply_retries_max=1"
    asked = '1000 TextReceived text="hello"\n1100 BackendFailed epoch=1 backend="llm" message="Gone."\n1300 Timer RETRY_MODEL'
    asked += '\n1400 SentenceReady epoch=1 index=0 text="Hi."'
    assert "SoundEarcon epoch=1" in did("idle", f'{asked}\n1500 BackendFailed epoch=1 backend="tts" message="Gone."', sets)
    again = f'{asked}\n1500 TextReceived text="you"\n1600 BackendFailed epoch=2 backend="llm" message="Gone."'
    assert did("idle", again, sets)[-1] == "until 1800 RETRY_MODEL"


def test_what_was_begun_is_not_tried_again(did):
    """Otherwise the user hears the beginning of an answer twice."""
    assert did("processing", LLM_GONE)[-2:] == [
        'SpeakText epoch=1 index=1 text="Sorry, something went wrong. Please try again."',
        "FinishSpeech epoch=1",
    ]
    assert "SoundEarcon epoch=1" in did("processing", f"2950 FirstAudio epoch=1\n{TTS_GONE}")


def test_a_new_turn_clears_the_attempts_of_the_last(did):
    """Otherwise a model is asked twice at once: for the reply that was dropped, too."""
    typed = 'TextReceived text="more"'
    assert did("processing", f"{TTS_GONE}\n3100 {typed}\n3200 Timer RETRY_VOICE") == ["stale"]
    failed = '1000 TextReceived text="hello"\n1100 BackendFailed epoch=1 backend="llm" message="Gone."'
    assert did("idle", f"{failed}\n1200 {typed}\n1300 Timer RETRY_MODEL") == ["stale"]


def test_one_tone_is_enough_and_an_apology_needs_a_voice(did):
    """Otherwise every failure beeps anew, or an apology is given to a voice that is gone."""
    gone = f"{TTS_GONE} retryable=false"
    assert did("processing", f"{gone}\n{gone}") == ['ReportFailure backend="tts" epoch=1 message="Gone." remedy=""']
    assert did("processing", f"{gone}\n{LLM_GONE}")[-1] == "FinishSpeech epoch=1"
    assert not any("SpeakText" in line for line in did("processing", f"{gone}\n{LLM_GONE}"))


def test_a_voice_that_is_waited_for_is_given_up_when_its_time_is_up(did):
    """Otherwise it is asked again after the tone, and speaks over it."""
    facts = '7850 BackendFailed epoch=1 backend="tts" message="Gone."\n7900 Timer FIRST_HEARD'
    assert "SoundEarcon epoch=1" in did("processing", facts)
    assert did("processing", facts + "\n8050 Timer RETRY_VOICE") == ["stale"]


@pytest.mark.parametrize(("before", "backend"), [("2950 FirstAudio epoch=1", "null"), ("", '"tts"')])
def test_who_is_to_blame_that_nothing_is_heard(did, before, backend):
    """Otherwise an operator looks into the log of the wrong server."""
    assert any(f"ReportFailure backend={backend}" in line for line in did("processing", f"{before}\n7900 Timer FIRST_HEARD"))


def test_a_client_that_does_not_render_hears_no_tone(did):
    """Otherwise a reply goes on for a client that is gone."""
    told = did("processing", "2950 FirstAudio epoch=1\n7900 Timer FIRST_HEARD")
    assert told[0] == "PROCESSING -> IDLE"
    assert "SoundEarcon epoch=1" not in told


@pytest.mark.parametrize("ending", ["PlayoutFinished epoch=1", "Timer FIRST_HEARD"])
@pytest.mark.parametrize(("said", "goes_to"), [('3060 PartialHeard text="and"\n', "LISTENING"), ("", "IDLE")])
def test_who_has_gone_on_speaking_keeps_the_floor_when_nothing_can_be_heard(did, ending, said, goes_to):
    """Otherwise what the user said while the answer failed is forgotten with it."""
    went_on = f"2950 FirstAudio epoch=1\n3000 SpeechStarted onset_ms=2960\n{said}3100 SpeechEnded last_voiced_ms=3040\n"
    assert did("processing", f"{went_on}7900 {ending}")[0] == f"PROCESSING -> {goes_to}"


def test_who_asks_the_same_again_over_the_first_sound_of_the_answer_is_heard(did):
    """Otherwise the same words are taken for a repetition by the recogniser, and the question is dropped."""
    facts = f"""{LATE}
3500 SentenceReady epoch=1 index=0 text="Hi."
3600 SpeechStarted onset_ms=3550
3700 PlayoutStarted epoch=1
3900 EvidenceChanged evidence.voiced_ms=300
"""
    asked = did("idle", facts + '4000 FinalHeard text="what is the weather"')
    assert asked[0] == "INTERRUPTING -> LISTENING"
    after = "4100 SpeechEnded last_voiced_ms=4000\n4500 Timer END_OF_TURN"
    assert 'StartGeneration epoch=2 user_text="what is the weather"' in did(
        "idle", f'{facts}4000 FinalHeard text="what is the weather"\n{after}'
    )


TOOL = 'ToolsCalled epoch=1 calls=[{"id":"c","name":"n","arguments":"{}"}]'


def test_a_tool_is_not_the_models_slowness(did):
    """Otherwise a tool that takes its time costs the reply before anything was said."""
    sets = "set filler_ms=0 tool_ms_max=20000"
    assert did("idle", f'10 TextReceived text="hello"\n500 {TOOL}', sets)[-1] == "until 20500 TOOLS"
    facts = f'10 TextReceived text="hello"\n500 {TOOL}\n9000 ToolAnswered epoch=1 call_id="c" output="x"'
    assert did("idle", facts, sets)[-1] == "until 19000 FIRST_SENTENCE"


def test_a_tool_that_takes_as_long_as_it_may_leaves_the_model_its_time(did):
    """Otherwise PROCESSING ends before its tools do, or never."""
    facts = f'10 TextReceived text="hello"\n500 {TOOL}\n20500 Timer FIRST_SENTENCE'
    assert "generation calling -> failed" in did("idle", facts, "set filler_ms=0")
    assert 'CancelTools epoch=1 call_ids=["c"]' in did("idle", facts, "set filler_ms=0")
    assert did("idle", facts.replace("20500 Timer", "20499 Timer"), "set filler_ms=0") == ["stale"]


def test_a_sentence_before_a_tool_keeps_its_own_deadline(did):
    """Otherwise a voice that says nothing hides behind a tool."""
    assert not any("FIRST" in line for line in did("processing", f"3000 {TOOL}"))
    assert did("processing", f"3000 {TOOL}\n23000 Timer FIRST_SENTENCE") == ["stale"]
    facts = f'3000 {TOOL}\n3100 ToolAnswered epoch=1 call_id="c" output="x"'
    assert did("processing", f"{facts}\n13100 Timer FIRST_SENTENCE") == ["stale"]
    assert did("processing", facts, "set filler_ms=0 tool_ms_max=100")[-1] == "until 7900 FIRST_HEARD"


def test_an_apology_that_cannot_be_spoken_becomes_a_tone(did):
    """Otherwise model and voice fail together and the user hears nothing at all."""
    failed = '1000 TextReceived text="hello"\n1100 BackendFailed epoch=1 backend="llm" message="Gone." retryable=false'
    assert any(line.startswith("SpeakText epoch=1 index=0") for line in did("idle", failed))
    both = f'{failed}\n1200 BackendFailed epoch=1 backend="tts" message="Gone." retryable=false'
    assert "SoundEarcon epoch=1" in did("idle", both)

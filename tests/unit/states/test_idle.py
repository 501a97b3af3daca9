"""IDLE."""

from __future__ import annotations

import pytest

from voicefsm.context import Context, State
from voicefsm.effects import StartGeneration
from voicefsm.events import Timer
from voicefsm.simulation import scenario


def test_words_without_detected_speech_take_the_floor(did):
    """Otherwise a soft voice would never be answered."""
    assert did("idle", '1000 PartialHeard text="hello"')[0] == "IDLE -> LISTENING"
    assert did("idle", '1000 FinalHeard text="hello"')[-1] == "until 1500 END_OF_TURN"


def test_empty_hypotheses_take_nothing(did):
    """Otherwise a recogniser that is alive would keep the assistant listening to nobody."""
    assert not any("->" in line for line in did("idle", '1000 FinalHeard text=""') + did("idle", '1000 PartialHeard text=""'))


def test_a_released_button_asks_the_recogniser(did):
    """Otherwise a whisper into a push-to-talk microphone would never be answered."""
    assert did("idle", "1000 SpeechFinished") == ["IDLE -> LISTENING", "FinalizeUtterance", "until 2000 FINAL"]


def test_the_tail_of_noise_changes_nothing(did):
    """Otherwise the end of a hum would open the floor that its length had closed."""
    assert did("idle", "1000 SpeechEnded last_voiced_ms=900") == []
    assert did("idle", "1000 EvidenceChanged") == []
    assert did("idle", "1000 ClientCancelled epoch=0") == []


REPLY = """
1000 TextReceived text="hello"
1200 SentenceReady epoch=1 index=0 text="What shall we talk about?"
1400 PlayoutStarted epoch=1
"""


@pytest.mark.parametrize(("final_ms", "is_ours"), [(4000, True), (4001, False)])
def test_words_right_after_a_reply_are_its_own(did, final_ms, is_ours):
    """Otherwise the loudspeaker's last words would be answered; or, for ever, nobody whom the detector misses."""
    lines = did("idle", f'{REPLY}3000 PlayoutFinished epoch=1\n{final_ms} FinalHeard text="talk about"')
    assert ("IDLE -> LISTENING" not in lines) is is_ours


def test_our_own_words_are_no_part_of_the_next_turn(did):
    """Otherwise the user would be answered as if they had said what we said."""
    facts = f'{REPLY}3000 PlayoutFinished epoch=1\n3500 FinalHeard text="talk about"\n'
    facts += '9000 FinalHeard text="Tell me a story."\n9500 Timer END_OF_TURN'
    assert 'StartGeneration epoch=2 user_text="Tell me a story."' in did("idle", facts)


@pytest.mark.parametrize("own", ["What shall we talk about?", ""])
def test_only_one_utterance_is_overheard(did, own):
    """Otherwise a recogniser that sends finals alone would not be listened to any more."""
    facts = f'{REPLY}2000 PartialHeard text="what shall"\n3000 PlayoutFinished epoch=1\n4200 FinalHeard text="{own}"\n'
    assert "IDLE -> LISTENING" not in did("idle", facts)
    assert "IDLE -> LISTENING" in did("idle", facts + '9000 FinalHeard text="Tell me a story."')


def test_a_murmur_over_a_reply_is_no_part_of_the_next_turn(did):
    """Otherwise the model would be asked "Mm-hm. Tell me a story."."""
    facts = f"{REPLY}2000 SpeechStarted onset_ms=1950\n2400 SpeechEnded last_voiced_ms=2200 evidence.voiced_ms=250\n"
    facts += '2500 FinalHeard text="Mm-hm."\n3500 PlayoutFinished epoch=1\n'
    facts += '6000 SpeechStarted onset_ms=5950\n7000 FinalHeard text="Tell me a story."\n7100 SpeechEnded last_voiced_ms=7000\n'
    assert 'StartGeneration epoch=2 user_text="Tell me a story."' in did("idle", facts + "7500 Timer END_OF_TURN")


def test_a_release_counts_for_one_turn(did):
    """Otherwise the second turn of push to talk would end in the first pause for breath."""
    facts = "1000 SpeechFinished\n2000 Timer FINAL\n3000 SpeechStarted onset_ms=2950\n"
    facts += '3500 FinalHeard text="hello"\n4000 SpeechEnded last_voiced_ms=3900'
    assert not any("END_OF_TURN" in line for line in did("idle", facts, "set push_to_talk=true"))


def test_a_turn_after_a_release_has_its_longest_time(did):
    """Otherwise a voice that goes on and on would never be answered."""
    facts = '1000 SpeechFinished\n1100 SpeechStarted onset_ms=1100\n1500 PartialHeard text="so"\n'
    assert did("idle", facts + "61000 Timer UTTERANCE")[0] == "LISTENING -> PROCESSING"


def test_a_drain_ends_a_session_in_which_no_turn_is_live(did):
    """Otherwise a server that is to stop waits for users who say nothing."""
    end = 'EndSession reason="shutdown" message="The server is shutting down."'
    assert did("idle", "1000 DrainRequested") == [
        "IDLE -> CLOSED",
        "recognition opening -> closed",
        "CloseRecognition",
        end,
        "until nothing",
    ]


GOES_ON = ' SessionOpened last_epoch=7 question="What time is it?"'


def opened(fact):
    context = Context()
    lines = [line.strip() for line in scenario.written(scenario.take(context, scenario.read_fact(fact)))[1:]]
    return lines, context


def test_a_conversation_that_goes_on_here_gets_its_answer(did):
    """Otherwise who asked just before a server died waits for ever; or numbers are given twice, and a client drops the answer."""
    lines, context = opened("0" + GOES_ON)
    assert lines[0] == "IDLE -> PROCESSING"
    assert 'StartGeneration epoch=8 user_text="What time is it?"' in lines
    assert "OpenRecognition" in lines
    assert (context.asked, context.last_epoch, context.is_armed(Timer.AGE)) == ("What time is it?", 8, True)
    _, context = opened("0 SessionOpened last_epoch=7")
    assert (context.state, context.last_epoch, context.epoch) == (State.IDLE, 7, 0)


@pytest.mark.parametrize(("is_begun", "asked"), [("false", "What time is it? And where?"), ("true", "And where?")])
def test_what_was_partly_heard_is_not_taken_back(is_begun, asked):
    """Otherwise a question is asked again after its answer was heard; or words that nobody answered are lost."""
    text = f'0{GOES_ON} is_begun={is_begun}\n500 TextReceived text="And where?"'
    facts = scenario.read(text).facts
    context = Context()
    orders = [taken.effects for taken in scenario.run(context, facts)][-1]
    assert next(order for order in orders if isinstance(order, StartGeneration)).user_text == asked

"""What several states share."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("state", ["idle", "listening", "processing", "speaking", "interrupting"])
@pytest.mark.parametrize(
    ("fact", "end"),
    [
        ("ClientClosed", 'EndSession reason="client"'),
        ("ShutdownRequested", 'EndSession reason="shutdown" message="The server is shutting down."'),
        ('RecognitionFailed message="Gone." retryable=false', 'EndSession reason="failure" message="Gone."'),
    ],
)
def test_every_live_state_can_end(did, state, fact, end):
    """Otherwise a hang-up would leave the model writing, the voice speaking and the recogniser listening."""
    lines = did(state, f"5000 {fact}")
    assert lines[0] == f"{state.upper()} -> CLOSED"
    orders = [line for line in lines if line.split(" ")[0] in {"CancelTts", "CancelGeneration", "CompleteTurn", "CloseRecognition"}]
    cut = ['CancelTts epoch=1 reason="session_end"', "CancelGeneration epoch=1", 'CompleteTurn epoch=1 outcome="interrupted"']
    assert orders == (cut if state in {"processing", "speaking", "interrupting"} else []) + ["CloseRecognition"]
    assert lines[-2:] == [end, "until nothing"]


def test_push_to_talk_remembers_a_release_over_the_reply(did):
    """Otherwise a push-to-talk interruption would be answered after a minute: its release came before it had the floor."""
    facts = """
    1000 TextReceived text="hello"
    1500 SentenceReady epoch=1 index=0 text="Hi."
    1700 PlayoutStarted epoch=1
    4060 SpeechStarted onset_ms=4000
    4300 SpeechFinished
    4400 SpeechEnded last_voiced_ms=4250 evidence.voiced_ms=250
    4500 FinalHeard text="Stop."
    """.replace("    ", "")
    held = facts.replace("4300 SpeechFinished\n", "")
    assert did("idle", facts, "set push_to_talk=true")[-1] == "until 4750 END_OF_TURN"
    assert did("idle", held, "set push_to_talk=true")[-1] == "until 64500 UTTERANCE"
    assert "until 7000 END_OF_TURN" not in did("idle", held + "6500 SpeechFinished", "set push_to_talk=true")
    assert did("idle", held + "6500 SpeechFinished", "set push_to_talk=true")[0] == "LISTENING -> PROCESSING"


def test_typed_words_end_a_spoken_turn(did):
    """Otherwise 'send it to' said, and an address typed, would be two turns."""
    assert 'StartGeneration epoch=1 user_text="hello Bob"' in did("listening", '2100 TextReceived text="Bob"')


def test_silence_is_bounded_by_its_own_deadlines(did):
    """Otherwise a long sentence would be given up as wordless while its final is on its way."""
    facts = "1000 SpeechStarted onset_ms=950\n4700 SpeechEnded last_voiced_ms=4600\n5000 Timer WORDS"
    assert did("idle", facts) == ["stale"]


def test_an_answered_partial_is_forgotten_when_the_answer_is_heard(did):
    """Otherwise who says the same word again, over the answer, would not be heard: its final never came."""
    facts = """
    1000 SpeechStarted onset_ms=950
    1400 PartialHeard text="stop"
    1600 SpeechEnded last_voiced_ms=1500
    2000 Timer END_OF_TURN
    3000 Timer FINAL
    3200 SentenceReady epoch=1 index=0 text="Stop what?"
    3400 PlayoutStarted epoch=1
    5000 SpeechStarted onset_ms=4950
    5300 EvidenceChanged evidence.voiced_ms=300
    5350 PartialHeard text="stop"
    """.replace("    ", "")
    assert "INTERRUPTING -> LISTENING" in did("idle", facts)


def test_a_turn_that_goes_on_keeps_the_words_that_were_answered(did):
    """Otherwise "what is the weather … in Paris" would lose its beginning where the recogniser never finalises."""
    facts = """
    1000 SpeechStarted onset_ms=950
    1400 PartialHeard text="what is the weather"
    1600 SpeechEnded last_voiced_ms=1500
    2000 Timer END_OF_TURN
    3000 Timer FINAL
    3100 SpeechStarted onset_ms=3050
    4700 EvidenceChanged evidence.voiced_ms=1600
    4900 SpeechEnded last_voiced_ms=4700 evidence.voiced_ms=1600
    5200 Timer END_OF_TURN
    6200 Timer FINAL
    """.replace("    ", "")
    assert 'StartGeneration epoch=2 user_text="what is the weather"' in did("idle", facts)


def turn(begin_ms: int, voiced_ms: int, near_db: int) -> str:
    """Somebody says something at this level, and waits for the answer."""
    end_ms = begin_ms + voiced_ms
    return (
        f"{begin_ms} SpeechStarted onset_ms={begin_ms}\n"
        f'{end_ms} FinalHeard text="hello"\n'
        f"{end_ms + 100} SpeechEnded last_voiced_ms={end_ms} evidence.voiced_ms={voiced_ms} evidence.near_db={near_db}\n"
        f"{end_ms + 500} Timer END_OF_TURN\n"
    )


def reply(begin_ms: int, epoch: int) -> str:
    return (
        f'{begin_ms} SentenceReady epoch={epoch} index=0 text="Hi."\n{begin_ms + 100} PlayoutStarted epoch={epoch}\n'
        f"{begin_ms + 500} PlayoutAdvanced epoch={epoch} heard_ms=400 left_ms=2000\n"
    )


def words_over(begin_ms: int, near_db: int) -> str:
    return (
        f"{begin_ms} SpeechStarted onset_ms={begin_ms} evidence.near_db={near_db}\n"
        f"{begin_ms + 300} EvidenceChanged evidence.voiced_ms=300 evidence.near_db={near_db}\n"
        f'{begin_ms + 320} FinalHeard text="no not that"\n'
    )


@pytest.mark.parametrize(("near_db", "is_cut"), [(-29, True), (-30, False)])
def test_the_usual_level_follows_the_last_turn_slowly(did, near_db, is_cut):
    """Otherwise one loud word, or one soft turn, would decide for ever who is the user.

    After -20 dB and -40 dB, a quarter of the way, it is -25 dB: soft begins 5 dB below that.
    """
    facts = turn(1000, 3000, -20) + reply(4600, 1) + "5300 PlayoutFinished epoch=1\n" + turn(8000, 500, -40) + reply(9100, 2)
    assert ("INTERRUPTING -> LISTENING" in did("idle", facts + words_over(12000, near_db))) is is_cut


def test_doubt_ends_with_the_reply(did):
    """Otherwise a television over one answer would make the user inaudible over the next."""
    facts = turn(1000, 1000, -30) + reply(2600, 1)
    doubted = "4000 SpeechStarted onset_ms=4000 evidence.near_db=-37\n4400 Timer VERDICT\n4500 SpeechEnded last_voiced_ms=4450\n"
    assert "INTERRUPTING -> LISTENING" in did("idle", facts + words_over(4600, -33))
    assert not any("-> LISTENING" in line for line in did("idle", facts + doubted + words_over(4600, -33)))
    after = '4520 PlayoutFinished epoch=1\n4530 TextReceived text="more"\n'
    assert "PROCESSING -> LISTENING" in did("idle", facts + doubted + after + words_over(4600, -33))


_SPOKE = "4060 SpeechStarted onset_ms=4000\n4460 Timer VERDICT\n"
_ENDED = "4490 SpeechEnded last_voiced_ms=4460 evidence.voiced_ms=300\n"
_ONSET = "2500 SpeechStarted onset_ms=2450\n"


@pytest.mark.parametrize(
    ("state", "facts"),
    [
        ("processing", _ONSET + "4500 EvidenceChanged evidence.voiced_ms=1600"),
        ("processing", _ONSET + "4500 SpeechEnded last_voiced_ms=4400 evidence.voiced_ms=1600"),
        ("processing", _ONSET + '2600 EvidenceChanged evidence.voiced_ms=300\n4500 PartialHeard text="stop"'),
        ("processing", _ONSET + '2600 EvidenceChanged evidence.voiced_ms=300\n4500 FinalHeard text="stop"'),
        ("processing", "4500 ClientCancelled epoch=1"),
        ("speaking", _SPOKE + "4500 EvidenceChanged evidence.voiced_ms=800"),
        ("speaking", _SPOKE + "4500 SpeechEnded last_voiced_ms=4460 evidence.voiced_ms=800"),
        ("speaking", _SPOKE + _ENDED + '4500 PartialHeard text="stop"'),
        ("speaking", _SPOKE + _ENDED + '4500 FinalHeard text="stop"'),
        ("speaking", _SPOKE + "4500 PlayoutFinished epoch=1"),
        ("speaking", "4500 ClientCancelled epoch=1"),
        ("interrupting", "4500 EvidenceChanged evidence.voiced_ms=800"),
        ("interrupting", "4500 SpeechEnded last_voiced_ms=4460 evidence.voiced_ms=800"),
        ("interrupting", '4490 EvidenceChanged evidence.voiced_ms=300\n4500 PartialHeard text="stop"'),
        ("interrupting", '4490 EvidenceChanged evidence.voiced_ms=300\n4500 FinalHeard text="stop"'),
        ("interrupting", "4500 PlayoutFinished epoch=1"),
        ("interrupting", "4500 ClientCancelled epoch=1"),
    ],
)  # fmt: skip
def test_who_has_taken_the_floor_has_it_for_a_time(did, state, facts):
    """Otherwise a voice that never ends, once it has cut a reply, would never be answered."""
    assert f"{state.upper()} -> LISTENING" in did(state, facts)
    onset = "4600 SpeechStarted onset_ms=4550\n"
    words = '5000 FinalHeard text="and so on"\n'
    assert did(state, f"{facts}\n{onset}{words}64500 Timer UTTERANCE")[0] == "LISTENING -> PROCESSING"


def test_typed_words_stand_alone_over_a_reply(did):
    """Otherwise a murmur over the reply would be asked together with what is typed."""
    facts = _SPOKE + _ENDED + '4500 FinalHeard text="Mm-hm."\n4600 TextReceived text="Tell me a story."'
    assert 'StartGeneration epoch=2 user_text="Tell me a story."' in did("speaking", facts)


def test_a_stop_button_starts_with_a_clean_slate(did):
    """Otherwise a murmur over the reply would be answered once the reply is stopped."""
    facts = "4060 SpeechStarted onset_ms=4000\n4400 SpeechEnded last_voiced_ms=4250 evidence.voiced_ms=250\n4460 Timer VERDICT\n"
    facts += '4470 FinalHeard text="Mm-hm."\n4500 ClientCancelled epoch=1\n'
    facts += (
        '5000 SpeechStarted onset_ms=4950\n6000 FinalHeard text="Go."\n6100 SpeechEnded last_voiced_ms=6000\n6500 Timer END_OF_TURN'
    )
    assert 'StartGeneration epoch=2 user_text="Go."' in did("speaking", facts)


@pytest.mark.parametrize("state", ["listening", "processing", "speaking", "interrupting", "closed"])
def test_a_drain_cuts_no_live_turn(did, state):
    """Otherwise a rolling update cuts users off in mid-word, or in mid-answer."""
    assert did(state, "4100 DrainRequested") == []

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

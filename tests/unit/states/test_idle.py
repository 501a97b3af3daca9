"""IDLE."""

from __future__ import annotations


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

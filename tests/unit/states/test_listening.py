"""LISTENING."""

from __future__ import annotations

import pytest

PTT = "set push_to_talk=true"


def test_silence_counts_from_the_last_voiced_sample(did):
    """Otherwise the hangover of the detector would be added to every pause before an answer."""
    assert did("listening", "")[-1] == "until 2400 END_OF_TURN"


def test_with_push_to_talk_silence_ends_nothing(did):
    """Otherwise a user who holds the button and thinks would be cut short."""
    assert did("listening", "", PTT) == ["near_end speech -> quiet"]
    assert did("listening", '2100 PartialHeard text="and"', PTT)[1:] == []


def test_a_released_button_with_all_words_in_is_answered_at_once(did):
    """Otherwise every push-to-talk turn would wait a second for a final that does not come."""
    assert did("listening", "2100 SpeechFinished", PTT)[0] == "LISTENING -> PROCESSING"


def test_a_released_button_with_words_out_waits_for_them_once(did):
    """Otherwise a client that says it again and again would put its own answer off."""
    asked = '2050 PartialHeard text="and"\n2100 SpeechFinished\n'
    assert did("listening", asked, PTT) == ["FinalizeUtterance", "until 3100 FINAL"]
    assert did("listening", asked + "2200 SpeechFinished", PTT) == []


def test_noise_after_the_release_does_not_take_the_turn_back(did):
    """Otherwise a cough after the release would cost a minute: nothing but the utterance limit would end the turn."""
    facts = '2050 PartialHeard text="and"\n2100 SpeechFinished\n2200 SpeechStarted onset_ms=2150\n'
    assert "until 3100 FINAL" in did("listening", facts.partition("2200")[0], PTT)
    assert did("listening", facts + "3100 Timer FINAL", PTT)[0] == "LISTENING -> PROCESSING"


def test_without_push_to_talk_speech_takes_the_turn_back(did):
    """Otherwise a user who pauses would be answered in the middle of the sentence."""
    assert did("listening", "2200 SpeechStarted onset_ms=2150\n2400 Timer END_OF_TURN")[-1] == "stale"


def test_every_stretch_without_words_is_bounded(did):
    """Otherwise two bursts of noise would keep the floor for a minute."""
    facts = "1000 SpeechStarted onset_ms=950\n1300 SpeechEnded last_voiced_ms=1100\n1500 SpeechStarted onset_ms=1450"
    assert did("idle", facts)[-1] == "until 5500 WORDS"


@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        # A recogniser that lags: half the silence from now, but not less than was promised.
        ('2200 PartialHeard text="and so"', "until 2450 END_OF_TURN"),
        # Words that are final, or announced to be, prolong nothing.
        ('2200 PartialHeard text="and so" stability=1.0', None),
        ('2200 FinalHeard text="and so"', None),
        ('2200 PartialHeard text=""', None),
    ],
)
def test_words_in_silence(did, fact, expected):
    """Otherwise a lagging recogniser would be cut short, or a prompt one put every answer off."""
    assert next((line for line in did("listening", fact) if line.startswith("until")), None) == expected


def test_a_client_has_nothing_to_cancel(did):
    """Otherwise a stop button pressed late would take the floor from the user."""
    assert did("listening", "2100 ClientCancelled epoch=0") == []


def test_who_goes_on_while_the_last_word_is_awaited_is_not_answered_yet(did):
    """Otherwise a breath after "what is the weather" would be answered before "in Paris"."""
    facts = '1000 SpeechStarted onset_ms=950\n1400 PartialHeard text="what is the weather"\n1600 SpeechEnded last_voiced_ms=1500\n'
    facts += "2000 Timer END_OF_TURN\n2200 SpeechStarted onset_ms=2150\n3000 Timer FINAL"
    assert did("idle", facts) == ["stale"]


@pytest.mark.parametrize("kind", ["PartialHeard", "FinalHeard"])
def test_words_that_only_the_recogniser_hears_are_a_turn(did, kind):
    """Otherwise a soft voice, after the stop button, would be answered after a minute, or given up as noise."""
    facts = f'4500 ClientCancelled epoch=1\n8400 {kind} text="hello"'
    assert did("speaking", facts)[-1] == "until 8900 END_OF_TURN"
    assert did("speaking", facts + "\n8500 Timer WORDS") == ["stale"]


def test_a_button_released_in_mid_word_waits_for_that_word(did):
    """Otherwise "hello, what …" would be answered as "hello": the last word is not transcribed yet."""
    facts = '1000 SpeechStarted onset_ms=950\n1900 FinalHeard text="hello"\n1950 SpeechFinished'
    assert did("idle", facts, PTT) == ["FinalizeUtterance", "until 2950 FINAL"]

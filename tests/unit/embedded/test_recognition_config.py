from __future__ import annotations

import pytest
from riva.client.proto import riva_asr_pb2 as asr
from riva.client.proto import riva_audio_pb2 as riva_audio

from voicefsm.embedded.audio import Coding, Format
from voicefsm.embedded.recognition_config import MODEL, ONLINE, START_SHARE, STOP_SHARE, check, expected, hearing
from voicefsm.embedded.refusal import Refused
from voicefsm.embedded.settings import EmbeddedSettings

SETTINGS = EmbeddedSettings()


def config(**fields) -> asr.RecognitionConfig:
    return asr.RecognitionConfig(**({"language_code": "en-US", "sample_rate_hertz": 16000} | fields))


@pytest.mark.parametrize(
    ("fields", "format_"),
    [
        ({}, Format(Coding.PCM, 16000)),
        ({"sample_rate_hertz": 0}, Format(Coding.PCM, 16000)),
        ({"sample_rate_hertz": 48000, "encoding": riva_audio.LINEAR_PCM}, Format(Coding.PCM, 48000)),
        ({"sample_rate_hertz": 8000, "encoding": riva_audio.MULAW}, Format(Coding.MULAW, 8000)),
        ({"encoding": riva_audio.ALAW}, Format(Coding.ALAW, 16000)),
        ({"language_code": "de-DE, en-us"}, Format(Coding.PCM, 16000)),
        ({"language_code": "", "model": f"{MODEL}-{ONLINE}"}, Format(Coding.PCM, 16000)),
    ],
)
def test_what_can_be_served_is_accepted(fields, format_):
    """Otherwise clients that work with Riva do not work here."""
    assert check(config(**fields), ONLINE) == format_


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoding": riva_audio.FLAC}, "encodings are supported"),
        ({"sample_rate_hertz": 7999}, "sample_rate_hertz must be between"),
        ({"sample_rate_hertz": 96000}, "sample_rate_hertz must be between"),
        ({"audio_channel_count": 2}, "Only mono audio supported."),
        ({"diarization_config": asr.SpeakerDiarizationConfig(enable_speaker_diarization=True)}, "diarization"),
        (
            {"language_code": "hi-IN"},
            "Error: Unavailable model requested given these parameters: language_code=hi-IN; type=online;",
        ),
        ({"model": "parakeet"}, "model=parakeet;"),
    ],
)
def test_what_cannot_be_served_is_refused_in_riva_s_words(fields, message):
    """Otherwise a client hears nonsense instead of an error, or cannot recognise the error."""
    with pytest.raises(Refused, match=message):
        check(config(**fields), ONLINE)


def test_windows_come_from_the_client_where_it_says_so():
    """Otherwise `endpointing_config` is decoration."""
    asked = asr.EndpointingConfig(
        start_history=100, start_threshold=0.3, stop_history=500, stop_threshold=0.9, stop_history_eou=240
    )
    windows = hearing(config(endpointing_config=asked), SETTINGS).windows
    assert (windows.start_frames, windows.stop_frames, windows.first_pass_frames) == (8, 28, 12)  # multiples of 80 ms, upwards
    assert windows.start_share == pytest.approx(0.3)
    assert windows.stop_share == pytest.approx(0.9)
    assert windows.first_pass_share == STOP_SHARE


@pytest.mark.parametrize("asked", [None, asr.EndpointingConfig(stop_history=-1, start_threshold=-1.0)])
def test_windows_are_the_settings_otherwise(asked):
    """Otherwise -1, which means "the model's default" to Riva, ends every utterance at once."""
    windows = hearing(config(endpointing_config=asked), SETTINGS).windows
    assert windows.stop_frames == SETTINGS.asr_stop_history_ms // 20
    assert windows.first_pass_frames == SETTINGS.asr_first_pass_ms // 20
    assert windows.start_share == START_SHARE


def test_phrases_of_all_contexts_count_with_the_greatest_boost():
    """Otherwise a client with two contexts loses one."""
    contexts = [asr.SpeechContext(phrases=["a", "b"], boost=4.0), asr.SpeechContext(phrases=["c"], boost=12.0)]
    assert expected(contexts, 10) == (["a", "b", "c"], 0.75)
    assert expected([asr.SpeechContext(phrases=["a"])], 10) == (["a"], 0.5)


def test_a_negative_boost_is_no_phrase_to_expect():
    """Otherwise words that the client wants to hear less are heard more."""
    assert expected([asr.SpeechContext(phrases=["a"], boost=-5.0)], 10)[0] == []


def test_too_many_phrases_are_refused():
    """Otherwise one client can make every stream wait while its grammar is compiled."""
    with pytest.raises(Refused, match="11 phrases, at most 10"):
        expected([asr.SpeechContext(phrases=["a"] * 11)], 10)

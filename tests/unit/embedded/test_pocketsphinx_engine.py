"""The real decoder, on a synthetic voice. Texts are chosen so that the margin is wide: these tests are about the engine's use."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from voicefsm.embedded.espeak_engine import EspeakEngine
from voicefsm.embedded.pocketsphinx_engine import Decoder, SpeechModel
from voicefsm.embedded.settings import Search
from voicefsm.embedded.voices import Piece

RATE_HZ = 16000
PRE_ROLL = np.random.default_rng(1).normal(0, 8, 3200).astype(np.int16)


@pytest.fixture(scope="module")
def espeak() -> EspeakEngine:
    return EspeakEngine(words_per_minute=150)


@pytest.fixture(scope="module")
def decoder():
    """Small: it knows the responder's phrases only."""
    decoder = SpeechModel(Search.DOMAIN, 0.7).decoder()
    yield decoder
    decoder.close()


@pytest.fixture
def say(espeak):
    def say(text: str, gain: float = 0.2) -> np.ndarray:
        pieces: list[np.ndarray] = []

        def emit(piece: Piece) -> bool:
            pieces.append(piece.samples)
            return True

        espeak.speak(text, espeak.voices[0], emit)
        spoken = soxr.resample(np.concatenate(pieces), espeak.sample_rate_hz, RATE_HZ)
        noise = np.random.default_rng(0).normal(0, 8, len(spoken) + 9600)
        noise[4800:-4800] += spoken * gain
        return noise.astype(np.int16)

    return say


def hear(decoder: Decoder, audio: np.ndarray, chunk: int = 1280) -> str:
    decoder.start(PRE_ROLL)
    for begin in range(0, len(audio), chunk):
        decoder.process(audio[begin : begin + chunk])
    return " ".join(word.text for word in decoder.finish())


def test_it_hears_a_sentence(decoder, say):
    """Otherwise the demo is over before it began."""
    decoder.begin_session()
    assert hear(decoder, say("please count to fifty")) == "please count to fifty"


def test_words_have_times_within_the_utterance(decoder, say):
    """Otherwise word times are useless for echo decisions and captions."""
    decoder.begin_session()
    audio = say("please count to fifty")
    decoder.start(PRE_ROLL)
    decoder.process(audio)
    words = decoder.finish()
    edges = [edge for word in words for edge in (word.start_ms, word.end_ms)]
    assert edges == sorted(edges)
    assert edges[0] >= 200
    assert edges[-1] <= len(audio) * 1000 // RATE_HZ
    assert all(0.0 < word.confidence <= 1.0 for word in words)


def test_partials_come_before_the_end(decoder, say):
    """Otherwise a barge-in by word waits for the end of the sentence."""
    decoder.begin_session()
    audio = say("please count to fifty")
    decoder.start(PRE_ROLL)
    decoder.process(audio[: len(audio) // 2])
    assert decoder.partial().startswith("please")
    decoder.finish()


def test_a_new_session_forgets_the_last_speaker(decoder, say):
    """Otherwise what one caller's microphone sounded like decides how the next one is heard."""
    audio = say("please count to fifty")
    decoder.begin_session()
    first = hear(decoder, audio), decoder._mean.values.tolist()
    hear(decoder, say("what is the time now", gain=0.02))
    decoder.begin_session()
    assert (hear(decoder, audio), decoder._mean.values.tolist()) == first


def test_the_mean_is_learned_across_the_utterances_of_a_session(decoder, say):
    """Otherwise each utterance is heard as badly as the first one."""
    decoder.begin_session()
    frames = [decoder._mean.frames]
    for _ in range(2):
        hear(decoder, say("stop"))
        frames.append(decoder._mean.frames)
    assert frames == sorted(set(frames))


def test_an_unfinished_utterance_does_not_hurt_the_next_session(decoder, say):
    """Otherwise a client that hangs up in mid-word breaks the decoder for whoever comes next."""
    decoder.begin_session()
    decoder.start(PRE_ROLL)
    decoder.process(say("what is the time now"))
    decoder.begin_session()
    assert hear(decoder, say("please count to fifty")) == "please count to fifty"


def test_phrases_make_words_likely_that_were_not_and_only_for_their_stream(decoder, say):
    """Otherwise `speech_contexts` is decoration, or leaks into the next caller's words."""
    audio = say("my zebra likes broccoli")
    decoder.begin_session()
    without = hear(decoder, audio)
    assert "zebra" not in without
    assert decoder.begin_session(["zebra likes broccoli"], 0.5) == ()
    assert "zebra likes broccoli" in hear(decoder, audio)
    decoder.begin_session()
    assert hear(decoder, audio) == without


def test_words_without_a_pronunciation_are_named(decoder):
    """Otherwise a client waits for a word that can never come."""
    assert decoder.begin_session(["hello qwrtzx", "good morning"], 0.5) == ("qwrtzx",)
    decoder.begin_session()


def test_silence_is_no_words(decoder):
    """Otherwise noise is a turn."""
    decoder.begin_session()
    assert hear(decoder, np.random.default_rng(0).normal(0, 8, 16000).astype(np.int16)) == ""
    decoder.start(PRE_ROLL)
    assert decoder.finish() == ()

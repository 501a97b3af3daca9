from __future__ import annotations

import ctypes.util

import numpy as np
import pytest

from voicefsm.embedded.voices import Piece

pytestmark = pytest.mark.skipif(
    ctypes.util.find_library("flite_cmu_us_slt") is None,
    reason="NOT TESTED: flite is not installed (Debian: apt-get install libflite1)",
)

TEXT = "Hello there, Dr. Smith owes 42 dollars. It's fine, naïve café, isn't it?"


@pytest.fixture(scope="module")
def engine():
    from voicefsm.embedded.flite_engine import FliteEngine

    return FliteEngine()


def speak(engine, text: str, voice: int = 0) -> list[Piece]:
    pieces: list[Piece] = []

    def emit(piece: Piece) -> bool:
        pieces.append(piece)
        return True

    engine.speak(text, engine.voices[voice], emit)
    return pieces


def samples(pieces: list[Piece]) -> np.ndarray:
    return np.concatenate([piece.samples for piece in pieces])


def test_every_listed_voice_speaks(engine):
    """Otherwise GetRivaSynthesisConfig promises what is not there."""
    for voice in range(len(engine.voices)):
        assert np.abs(samples(speak(engine, "one", voice))).max() > 1000


def test_words_are_those_of_the_text_in_order(engine):
    """Otherwise the assistant's history holds other words than were heard."""
    assert [word.text for piece in speak(engine, TEXT) for word in piece.words] == TEXT.split()


def test_word_times_go_on_over_sentences_and_lie_in_the_audio(engine):
    """Otherwise the second sentence of a text seems to lie in the first."""
    pieces = speak(engine, TEXT)
    edges = [edge for piece in pieces for word in piece.words for edge in (word.start_ms, word.end_ms)]
    assert edges == sorted(edges)
    assert edges[-1] <= len(samples(pieces)) * 1000 // engine.sample_rate_hz


@pytest.mark.parametrize("text", ["", "...", "日本"])
def test_nothing_to_say_is_no_error(engine, text):
    """Otherwise an empty token of a model ends the reply."""
    assert not [word for piece in speak(engine, text) for word in piece.words]


def test_false_stops_it_at_once(engine):
    """Otherwise an interrupted reply goes on costing CPU, and holds the lock that the next one needs."""
    calls: list[Piece] = []

    def emit(piece: Piece) -> bool:
        calls.append(piece)
        return len(calls) < 3

    engine.speak(TEXT * 20, engine.voices[0], emit)
    assert len(calls) == 3

from __future__ import annotations

import threading

import numpy as np
import pytest

from voicefsm.embedded.espeak_engine import EspeakEngine
from voicefsm.embedded.voices import Piece

TEXT = "Hello there, Dr. Smith owes 42 dollars. It's fine — naïve café, isn't it?"


@pytest.fixture(scope="module")
def engine() -> EspeakEngine:
    return EspeakEngine(words_per_minute=170)


def speak(engine: EspeakEngine, text: str, voice: int = 0) -> list[Piece]:
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
    assert len({voice.name for voice in engine.voices}) == len(engine.voices)
    for voice in range(len(engine.voices)):
        assert np.abs(samples(speak(engine, "one", voice))).max() > 1000


def test_words_are_those_of_the_text_in_order(engine):
    """Otherwise the assistant's history holds other words than were heard."""
    assert [word.text for piece in speak(engine, TEXT) for word in piece.words] == [word for word in TEXT.split() if word != "—"]


def test_word_times_lie_in_the_audio_and_do_not_overlap(engine):
    """Otherwise the history is cut at the wrong word."""
    pieces = speak(engine, TEXT)
    words = [word for piece in pieces for word in piece.words]
    edges = [edge for word in words for edge in (word.start_ms, word.end_ms)]
    assert edges == sorted(edges)
    assert edges[-1] <= len(samples(pieces)) * 1000 // engine.sample_rate_hz


def test_a_word_is_told_when_its_audio_is(engine):
    """Otherwise words arrive with the end of the text, too late for a barge-in."""
    at = 0
    for piece in speak(engine, TEXT):
        at += len(piece.samples)
        assert all(word.end_ms <= at * 1000 // engine.sample_rate_hz + 1 for word in piece.words)
        assert all(word.end_ms > (at - 2 * engine.sample_rate_hz) * 1000 // engine.sample_rate_hz for word in piece.words)


def test_the_pause_after_a_clause_belongs_to_no_word(engine):
    """Otherwise a word counts as unheard although it was heard before the interruption."""
    words = [word for piece in speak(engine, "Hello there, my friend.") for word in piece.words]
    assert words[1].end_ms < words[2].start_ms


@pytest.mark.parametrize("text", ["", " ", "—"])
def test_nothing_to_say_is_no_error(engine, text):
    """Otherwise an empty token of a model ends the reply."""
    speak(engine, text)


def test_false_stops_it_at_once(engine):
    """Otherwise an interrupted reply goes on costing CPU, and holds the lock that the next one needs."""
    calls = []

    def emit(piece: Piece) -> bool:
        calls.append(piece)
        return len(calls) < 3

    engine.speak(TEXT * 20, engine.voices[0], emit)
    assert len(calls) == 3


def test_after_an_abort_it_speaks_as_before(engine):
    """Otherwise a barge-in leaves something of itself in the next reply."""
    before = samples(speak(engine, "Good morning."))
    engine.speak(TEXT, engine.voices[0], lambda _: False)
    after = samples(speak(engine, "Good morning."))
    assert len(after) == pytest.approx(len(before), rel=0.02)  # espeak-ng never says a thing twice in exactly the same way


def test_threads_do_not_mix(engine):
    """Otherwise two sessions that speak at the same time get each other's words."""
    found: dict[str, list[str]] = {"one two three": [], "seven eight nine ten": []}

    def work(text: str) -> None:
        for _ in range(20):
            found[text].append(" ".join(word.text for piece in speak(engine, text) for word in piece.words))

    threads = [threading.Thread(target=work, args=(text,)) for text in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {text: [text] * 20 for text in found}

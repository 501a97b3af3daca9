from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import numpy as np
import pytest

from voicefsm.embedded.synthesis import Synthesizer, speakable
from voicefsm.embedded.voices import Emit, Piece, Voice

VOICES = (Voice("fake-en-US", "A", "en-US", "a"), Voice("fake-en-US", "B", "en-US", "b"), Voice("fake-de-DE", "A", "de-DE", "c"))


class FakeEngine:
    """Speaks one piece for each character, and waits for permission before each if it was told to."""

    voices = VOICES
    sample_rate_hz = 16000

    def __init__(self) -> None:
        self.permits: threading.Semaphore | None = None
        self.spoken = 0
        self.is_done = threading.Event()

    def speak(self, text: str, voice: Voice, emit: Emit) -> None:
        try:
            for character in text:
                if character == "!":
                    raise RuntimeError("it broke")
                if self.permits:
                    self.permits.acquire(timeout=10)
                self.spoken += 1
                if not emit(Piece(np.full(160, ord(character), np.int16))):
                    return
        finally:
            self.is_done.set()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def synthesizer(engine):
    synthesizer = Synthesizer([engine])
    yield synthesizer
    synthesizer.close()


@pytest.mark.parametrize(
    ("name", "language", "found"),
    [
        ("", "en-US", 0),
        ("", "", 0),
        ("fake-en-US", "en-US", 0),
        ("fake-en-US.B", "en-us", 1),
        ("fake-de-DE.A", "", 2),
        ("fake-en-US.b", "en-US", None),
        ("fake-de-DE.A", "en-US", None),
        ("", "hi-IN", None),
    ],
)
def test_a_voice_is_found_by_name_and_language(synthesizer, name, language, found):
    """Otherwise a misspelt voice is silently another one."""
    assert synthesizer.find(name, language) == (None if found is None else VOICES[found])


async def test_pieces_come_in_order(synthesizer):
    """Otherwise the voice stutters."""
    async with aclosing(synthesizer.speak("abc", VOICES[0])) as pieces:
        assert [int(piece.samples[0]) async for piece in pieces] == [97, 98, 99]


async def test_the_first_piece_comes_before_the_last_is_made(synthesizer, engine):
    """Otherwise a long text is heard only when all of it is made."""
    engine.permits = threading.Semaphore(1)
    async with aclosing(synthesizer.speak("abc", VOICES[0])) as pieces:
        await anext(pieces)
        assert engine.spoken == 1
        engine.permits.release(2)
        assert len([piece async for piece in pieces]) == 2


async def test_leaving_stops_the_engine(synthesizer, engine):
    """Otherwise an interrupted reply is made to its end."""
    engine.permits = threading.Semaphore(1)
    async with aclosing(synthesizer.speak("a" * 100, VOICES[0])) as pieces:
        await anext(pieces)
    engine.permits.release(100)
    await asyncio.to_thread(engine.is_done.wait, 10)
    assert engine.spoken <= 2


async def test_a_failure_is_raised_after_what_was_spoken(synthesizer):
    """Otherwise the caller waits for ever, or takes half a text for the whole."""
    async with aclosing(synthesizer.speak("ab!", VOICES[0])) as pieces:
        assert [int((await anext(pieces)).samples[0]) for _ in range(2)] == [97, 98]
        with pytest.raises(RuntimeError, match="it broke"):
            await anext(pieces)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello.", "Hello."),
        ("", ""),
        ("…!?", ""),
        ("_", ""),
        ("<speak>Fish &amp; <break/>chips</speak>", "Fish &  chips"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("日本", "日本"),
    ],
)
def test_what_is_said_of_a_text(text, said):
    """Otherwise tags and lone punctuation are read aloud."""
    assert speakable(text) == said

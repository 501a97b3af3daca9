"""The recogniser that hears: words become known after they were said, and not when their sound did not arrive."""

from __future__ import annotations

import numpy as np

from voicefsm.scripted import AsrScript, Pace, SpokenWord
from voicefsm.scripted.asr import Answer
from voicefsm.scripted.listening import ListeningStream

WORDS = (SpokenWord("good", 1000, 1300), SpokenWord("morning", 1350, 1800))
LOUD = (1000 * np.sin(np.arange(640))).astype("<i2").tobytes()
SILENT = bytes(1280)
PIECE_MS = 40


class World:
    """A stream, and the clock of its microphone."""

    def __init__(self) -> None:
        self.now_ms = 0.0
        self.stream = ListeningStream(AsrScript(), WORDS, Pace(word_ms=200, final_ms=100), lambda: self.now_ms)
        config = self.stream.config.config.endpointing_config
        config.stop_history, config.stop_history_eou = 480, 240
        self.said: list[tuple[float, str, bool, float]] = []

    def hear(self, until_ms: float, audio: bytes = LOUD, *, last: bool = False) -> None:
        while self.now_ms < until_ms:
            self.now_ms += PIECE_MS
            self.stream._take(audio, is_last=False)
            self.note()
        if last:
            self.stream._take(bytes(2560), is_last=True)
            self.note()

    def note(self) -> None:
        while not self.stream._actions.empty():
            answer = self.stream._actions.get_nowait()
            assert isinstance(answer, Answer)
            self.said += [(self.now_ms, one.text, one.is_final, one.stability) for one in answer.results]


def test_partials_follow_the_words_and_a_final_the_silence():
    """Otherwise the gateway is judged against a recogniser that knows the future."""
    world = World()
    world.hear(3000)
    assert world.said == [
        (1520.0, "good", False, 0.1),
        (2000.0, "good morning", False, 0.1),
        (2160.0, "good morning", False, 1.0),
        (2400.0, "good morning", True, 1.0),
    ]


def test_the_client_can_ask_for_what_was_said_so_far():
    """Otherwise a decision waits for a silence that it has seen already."""
    world = World()
    world.hear(1400, last=True)
    assert world.said == [(1400.0, "good", True, 1.0)]
    world.hear(3000)
    assert world.said[-1][1:3] == ("morning", True)


def test_words_that_came_as_silence_are_not_heard():
    """Otherwise a gateway that mutes the recogniser, or opens it late, is not found out."""
    world = World()
    world.hear(1320, SILENT)
    world.hear(3000)
    assert [text for _, text, is_final, _ in world.said if is_final] == ["morning"]


def test_word_times_are_the_streams_own():
    """Otherwise the words of a stream that was opened later, or finalised before, lie elsewhere on the microphone's clock."""
    world = World()
    world.now_ms = 800
    world.hear(1000, last=True)
    world.hear(1900, last=True)
    (answer,) = [world.stream._answer_at(5000, is_last=True)]
    assert answer.results[0].words == ()
    assert world.stream._stream_ms(1000) == 1000 - 800 + 2 * 80

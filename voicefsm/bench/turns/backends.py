"""What stands behind the gateway in a run: a model that answers at length, and a voice whose audio says where it is.

The model's answers are texts that differ from each other, so that the voice, which is sent nothing but pieces of text, knows which
reply it speaks and how far into it a piece is.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from voicefsm.audio.samples import FRAME_MS, RATE_HZ, Samples
from voicefsm.bench.turns import pilot
from voicefsm.bench.turns.stimuli import Item
from voicefsm.scripted import Pace, SpokenWord, TtsScript
from voicefsm.scripted.llm import Steps, written

CHAR_MS = 60
"""Audio of one character: three frames, so that every piece of text is a whole number of frames."""
ANSWER_MS_MIN = 20_000
"""Answers last so long, so that there is something to interrupt."""
STRAY_REPLY = 255
"""Number of what the voice is asked to say and the model did not write."""

_DIGITS = "zero one two three four five six seven eight nine".split()
_PARTS = (
    "the road along the lake is dry and the view is wide",
    "a small boat leaves the pier every hour until the evening",
    "the baker opens early and sells rolls with seeds on top",
    "behind the mill a path climbs slowly through the old wood",
    "from the tower you see three villages and the far hills",
    "in the valley the trains are slow and seldom full",
)


class Ear(enum.StrEnum):
    """What the recogniser is like."""

    WORDS = "words"
    """A partial a quarter of a second behind each word, a final soon after the silence."""
    SLOW = "slow"
    """As that, most of a second later."""
    DEAF = "deaf"
    """Hears questions, and no word that is said over an answer or before it."""


PACES = {Ear.WORDS: Pace(word_ms=250, final_ms=100), Ear.SLOW: Pace(word_ms=900, final_ms=800), Ear.DEAF: Pace()}


def heard_by(ear: Ear, item: Item) -> Sequence[SpokenWord]:
    """The words of an item that this recogniser can hear at all."""
    return item.words("context") if ear is Ear.DEAF else item.words()


@dataclasses.dataclass(slots=True)
class _Reply:
    number: int
    text: str
    spoken_chars: int = 0
    """Characters that the voice has spoken: spaces between pieces are not."""
    cursor: int = 0
    """Place in the text after the last piece."""


class Cast:
    """Model and voice of one conversation."""

    def __init__(self, speak: Callable[[str], Samples] | None = None) -> None:
        """`speak`: a real voice instead of the one of tones."""
        self._speak = speak
        self._replies: list[_Reply] = []
        self._stray = _Reply(STRAY_REPLY, "")

    def answer(self, _: Sequence[Mapping[str, Any]]) -> Steps:
        """The next reply, word by word."""
        number = len(self._replies) % (STRAY_REPLY - 1) + 1
        self._replies.append(_Reply(number, answer_text(number)))
        return written(self._replies[-1].text)

    def script(self, first_audio_ms: int) -> TtsScript:
        """What makes a scripted TTS server speak with this voice."""
        return TtsScript(char_ms=CHAR_MS, voice=self.speak, first_chunk_ms=first_audio_ms)

    def speak(self, text: str, rate_hz: int, char_ms: int) -> Samples:
        """The audio of a piece of a reply."""
        if self._speak is not None:
            return self._speak(text)
        assert rate_hz == RATE_HZ, "the tones are made for one rate"
        reply, is_end = self._place(text)
        count = len(text) * char_ms // FRAME_MS
        first = reply.spoken_chars * char_ms // FRAME_MS
        reply.spoken_chars += len(text)
        numbers = np.arange(first, first + count)
        if is_end and count:
            numbers[-1] = pilot.END_FRAME
        return pilot.pcm(pilot.frames(reply.number, numbers))

    def _place(self, text: str) -> tuple[_Reply, bool]:
        """The reply a piece belongs to, and whether the piece is its end."""
        for reply in reversed(self._replies):
            at = reply.text.find(text, reply.cursor)
            if at >= 0:
                reply.cursor = at + len(text)
                return reply, reply.cursor >= len(reply.text)
        return self._stray, False


def answer_text(number: int) -> str:
    """Long enough an answer, and one that no other number gives."""
    name = " ".join(_DIGITS[int(digit)] for digit in str(number))
    sentences: list[str] = []
    while len(" ".join(sentences)) * CHAR_MS < ANSWER_MS_MIN:
        k = len(sentences)
        sentences.append(f"This is answer {name}, part {_DIGITS[k % 10]}, {_PARTS[(number + k) % len(_PARTS)]}.")
    return " ".join(sentences)

"""A Riva ASR server that hears what is said when it is said: a script of words on the microphone's clock instead of answers.

Theory of operation. Whoever feeds the microphone knows which word is spoken from when to when, and gives a clock that tells where
the microphone is. A word becomes known `word_ms` after its end, as part of a partial; `final_ms` after the silence that the client
asked for the words become final, with their times. What the stream was not sent cannot be heard: words from before it opened, and
words whose audio arrived as silence. Everything is said in answer to audio, as Riva does it.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from voicefsm.scripted.asr import BYTES_PER_MS, EMPTY, Answer, AsrScript, AsrStream, Result, ScriptedAsr, partial

STOP_MS = 800
"""Riva's own silence before a final, where the client asks for none."""
AUDIBLE = 30
"""A piece of audio with no sample above this is silence."""
AUDIBLE_KEPT = 500
"""Pieces of audio whose loudness is remembered."""


@dataclasses.dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word, and when it sounds at the microphone."""

    text: str
    start_ms: int
    end_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class Pace:
    """How fast a recogniser is."""

    word_ms: int = 250
    """From the end of a word to the partial that holds it."""
    final_ms: int = 100
    """From the end of the silence that ends an utterance to its final."""


class ListeningAsr(ScriptedAsr):
    """The service. `words` in order of their beginning; `now_ms` is the microphone's clock, on which they are placed."""

    def __init__(self, words: Sequence[SpokenWord], pace: Pace, now_ms: Callable[[], float]) -> None:
        super().__init__(AsrScript())
        self._words, self._pace, self._now_ms = words, pace, now_ms

    def _open(self) -> AsrStream:
        return ListeningStream(self.script, self._words, self._pace, self._now_ms)


class ListeningStream(AsrStream):
    """One call."""

    def __init__(self, script: AsrScript, words: Sequence[SpokenWord], pace: Pace, now_ms: Callable[[], float]) -> None:
        super().__init__(script, ())
        self._words, self._pace, self._now_ms = deque(words), pace, now_ms
        self._opened_ms: float | None = None
        """Where the microphone was at the stream's first sample."""
        self._audible: deque[tuple[float, float]] = deque(maxlen=AUDIBLE_KEPT)
        """(from, to) of the pieces of audio that were no silence, on the microphone's clock."""
        self._inserted_ms = 0
        """Silence of the client's own making: it is on the stream's clock and not on the microphone's."""
        self._said = EMPTY

    def _take(self, audio: bytes, *, is_last: bool) -> None:
        """Answer one message."""
        now_ms, length_ms = self._now_ms(), len(audio) / BYTES_PER_MS
        if self._opened_ms is None:
            self._opened_ms = now_ms - length_ms
        if is_last:
            self._inserted_ms += round(length_ms)
            self.force_eous += 1
        elif int(np.abs(np.frombuffer(audio, "<i2").astype(np.int32)).max(initial=0)) > AUDIBLE:
            self._audible.append((now_ms - length_ms, now_ms))
        self.act(self._answer_at(now_ms, is_last=is_last))

    def _answer_at(self, now_ms: float, *, is_last: bool) -> Answer:
        """What there is to say now."""
        self._forget_unheard(now_ms)
        utterance = self._utterance()
        if is_last:
            return self._finish([word for word in utterance if word.end_ms <= now_ms])
        if utterance and now_ms >= utterance[-1].end_ms + self._stop_ms + self._pace.final_ms:
            return self._finish(utterance)
        known = [word.text for word in utterance if now_ms >= word.end_ms + self._pace.word_ms]
        is_over = 0 < len(known) == len(utterance) and now_ms >= utterance[-1].end_ms + self._first_pass_ms + self._pace.final_ms
        answer = partial(" ".join(known), 1.0 if is_over else 0.1) if known else EMPTY
        if answer == self._said:
            return EMPTY
        self._said = answer
        return answer

    def _forget_unheard(self, now_ms: float) -> None:
        """Take out the words whose time is past and whose sound did not reach this stream."""
        self._words = deque(word for word in self._words if word.end_ms > now_ms or self._is_heard(word))

    def _is_heard(self, word: SpokenWord) -> bool:
        return any(start < word.end_ms and end > word.start_ms for start, end in self._audible)

    def _utterance(self) -> list[SpokenWord]:
        """The words up to the next silence that ends an utterance."""
        found: list[SpokenWord] = []
        for word in self._words:
            if found and word.start_ms - found[-1].end_ms >= self._stop_ms:
                break
            found.append(word)
        return found

    def _finish(self, words: Sequence[SpokenWord]) -> Answer:
        """The final of these words, the first that are left."""
        for _ in words:
            self._words.popleft()
        self._said = EMPTY
        times = tuple((word.text, self._stream_ms(word.start_ms), self._stream_ms(word.end_ms)) for word in words)
        return Answer((Result(" ".join(word.text for word in words), is_final=True, stability=1.0, words=times),))

    def _stream_ms(self, ms: int) -> int:
        return max(0, round(ms - (self._opened_ms or 0.0)) + self._inserted_ms)

    @property
    def _stop_ms(self) -> int:
        return self.config.config.endpointing_config.stop_history or STOP_MS

    @property
    def _first_pass_ms(self) -> int:
        return self.config.config.endpointing_config.stop_history_eou or self._stop_ms

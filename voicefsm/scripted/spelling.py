"""A voice that spells, and a recogniser that reads it: the words are in the audio, and a function of its samples alone.

Theory of operation. `spell` is a voice for the scripted TTS: each letter or digit is a pair of tones, one of six low and one of six
high ones, with a short gap after it; every other character is silence. `Reader` takes such audio apart again, whatever pieces it
comes in, and `SpellingAsr` is a Riva recogniser around it. So any text goes round through both servers; and when a recogniser is
killed in mid-sentence, and another one hears the audio again, the words prove what was lost and what came twice.

Everything but `force_eou` follows from the samples: the same audio gives the same finals, live or faster than real time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from voicefsm.scripted.asr import BYTES_PER_MS, Answer, AsrStream, Flaw, Line, Result, ScriptedAsr

RATE_HZ = 16000
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
LOW_HZ = (300, 400, 500, 600, 700, 800)
HIGH_HZ = (1200, 1500, 1800, 2100, 2400, 2700)
AMPLITUDE = 6000
CHAR_MS = 60
TONE_SHARE = 0.75
"""Of a letter; the rest is its gap."""
BLOCK_MS = 5
LOUD = 300
"""Mean of the absolute samples of a block that is part of a letter."""
LETTER_BLOCKS_MIN = 3
WORD_GAP_MS = 40
"""Silence that ends a word: longer than the gap after a letter."""
STOP_MS, STEP_MS = 800, 80
"""Riva's own silence before a final, and the step of its windows."""
PHANTOM = "uh"
"""What a recogniser with that flaw hears in silence."""
_TIMES = np.arange(RATE_HZ // 4) / RATE_HZ
_BANK = np.exp(-2j * np.pi * np.outer((*LOW_HZ, *HIGH_HZ), _TIMES))

Samples = NDArray[np.int16]


def spell(text: str, rate_hz: int, char_ms: int = CHAR_MS) -> Samples:
    """The audio of a text: `len(text) * char_ms`; shape (n,). Letters need 40 ms or more to be read again."""
    bounds = [k * char_ms * rate_hz // 1000 for k in range(len(text) + 1)]
    audio = np.zeros(bounds[-1])
    for char, start, end in zip(text.lower(), bounds, bounds[1:], strict=False):
        if (letter := LETTERS.find(char)) >= 0:
            times = np.arange(round((end - start) * TONE_SHARE)) / rate_hz
            low, high = LOW_HZ[letter % 6], HIGH_HZ[letter // 6]
            audio[start : start + len(times)] = np.sin(2 * np.pi * low * times) + np.sin(2 * np.pi * high * times)
    return (AMPLITUDE * audio).astype(np.int16)


@dataclasses.dataclass(frozen=True, slots=True)
class ReadWord:
    """A word that was heard, and where in the audio."""

    text: str
    start_ms: int
    end_ms: int


class Reader:
    """Takes audio of `spell` apart, block by block."""

    def __init__(self) -> None:
        self.words: list[ReadWord] = []
        """Those of the utterance in progress."""
        self.silence_ms = 0
        """Since the last sound."""
        self._rest: Samples = np.zeros(0, np.int16)
        self._letter: list[Samples] = []
        self._word, self._start_ms, self._end_ms = "", 0, 0
        self._now_ms = 0

    def read(self, samples: Samples) -> Iterator[None]:
        """Take audio; gives the caller a look after every block."""
        audio = np.concatenate((self._rest, samples))
        size = RATE_HZ * BLOCK_MS // 1000
        count = len(audio) // size
        blocks, self._rest = audio[: count * size].reshape(count, size), audio[count * size :]
        for block, level in zip(blocks, np.abs(blocks.astype(np.int32)).mean(axis=1), strict=True):
            self._take(block, is_loud=level >= LOUD)
            yield

    def finish(self) -> tuple[ReadWord, ...]:
        """The utterance is over: its words, and a word in progress is one of them."""
        self._end_letter()
        self._end_word()
        words, self.words = tuple(self.words), []
        return words

    def _take(self, block: Samples, *, is_loud: bool) -> None:
        self._now_ms += BLOCK_MS
        if is_loud:
            self._letter.append(block)
            self.silence_ms = 0
            return
        self._end_letter()
        self.silence_ms += BLOCK_MS
        if self.silence_ms >= WORD_GAP_MS:
            self._end_word()

    def _end_letter(self) -> None:
        letter, self._letter = self._letter, []
        if len(letter) < LETTER_BLOCKS_MIN:
            return
        if not self._word:
            self._start_ms = self._now_ms - BLOCK_MS * (len(letter) + 1)
        self._word += _letter_in(np.concatenate(letter))
        self._end_ms = self._now_ms - BLOCK_MS

    def _end_word(self) -> None:
        if self._word:
            self.words.append(ReadWord(self._word, self._start_ms, self._end_ms))
        self._word = ""


def _letter_in(tone: Samples) -> str:
    # `@` would wake the threads of BLAS, which then spin for milliseconds on a core that others need.
    heard = np.abs(np.einsum("ij,j->i", _BANK[:, : len(tone)], tone[: _BANK.shape[1]]))
    low, high = int(heard[:6].argmax()), int(heard[6:].argmax())
    return LETTERS[6 * high + low]


class SpellingAsr(ScriptedAsr):
    """The service. The script's lines are faults, at their moments; what is said comes from the audio."""

    def _make_stream(self, lines: Sequence[Line]) -> AsrStream:
        return SpellingStream(self.script, lines)


class SpellingStream(AsrStream):
    """One call."""

    _waiting = b""
    _said = ("", 0.0)
    _finals_said = 0

    def _begin(self) -> None:
        """The configuration is known."""
        self._reader = Reader()
        windows = self.config.config.endpointing_config
        self._stop_ms = max((windows.stop_history or STOP_MS) // STEP_MS, 1) * STEP_MS
        self._first_pass_ms = windows.stop_history_eou // STEP_MS * STEP_MS or self._stop_ms

    def _take(self, audio: bytes, *, is_last: bool) -> None:
        """Answer one message: each chunk of the server's own."""
        self._queue_faults()
        self._waiting += audio
        chunk = BYTES_PER_MS * self._script.chunk_ms
        if self._script.flaw is Flaw.CLIENT_CHUNKS:
            chunk = max(len(self._waiting), 1)
        while len(self._waiting) >= chunk:
            piece, self._waiting = self._waiting[:chunk], self._waiting[chunk:]
            self._answer_chunk(piece)
        if is_last:
            self.force_eous += 1
            if self._script.finalizes:
                self._force()

    def _answer_chunk(self, piece: bytes) -> None:
        results = self._hear(piece)
        text = " ".join(word.text for word in self._reader.words)
        if not any(result.is_final for result in results) and text:
            is_complete = self._reader.silence_ms >= self._first_pass_ms and self._script.first_pass
            stability = 1.0 if is_complete or self._script.flaw is Flaw.ALWAYS_STABLE else 0.1
            if (text, stability) != self._said:
                self._said = (text, stability)
                results.append(self._guess(text, stability))
        if results or self._script.flaw is not Flaw.ANSWERS_WORDS_ONLY:
            self.act(Answer(tuple(results), audio_ms=self._clock_ms))

    def _hear(self, piece: bytes) -> list[Result]:
        """The finals in some audio."""
        self._answered_ms += len(piece) // BYTES_PER_MS
        finals = []
        for _ in self._reader.read(np.frombuffer(piece, "<i2")):
            if self._reader.silence_ms == self._stop_ms and not self._script.never_final:
                finals += self._final()
        return finals

    def _final(self, *, is_asked: bool = False) -> list[Result]:
        """What ends here, if anything was said."""
        if self._script.flaw is Flaw.ONE_FINAL and self._finals_said and not is_asked:
            return []
        words = self._reader.finish()
        self._said = ("", 0.0)
        if not words and not (self._script.phantoms and self._reader.silence_ms == self._stop_ms):
            return []
        if self._script.misses_first_word:
            words = words[1:]
        if self._script.empty_finals:
            words = ()
        text = " ".join(word.text for word in words) if words else PHANTOM if self._script.phantoms else ""
        unit = 1000 if self._script.flaw is Flaw.WORDS_IN_SECONDS else 1
        self._finals_said += 1
        times = tuple((word.text, word.start_ms // unit, word.end_ms // unit) for word in words)
        return [Result(text, is_final=True, stability=1.0, words=times)]

    def _guess(self, text: str, stability: float) -> Result:
        words = tuple((word.text, word.start_ms, word.end_ms) for word in self._reader.words)
        return Result(text, stability=stability, words=words if self._script.flaw is Flaw.WORDS_ON_PARTIALS else ())

    def _force(self) -> None:
        """The client wants the final of what it has sent."""
        rest, self._waiting = self._waiting, b""
        results = [*self._hear(rest), *self._final(is_asked=True)]
        if results or rest:
            self.act(Answer(tuple(results), audio_ms=self._clock_ms))
        if self._script.flaw is Flaw.FORCE_ENDS_STREAM:
            self._end()

    def _flush(self) -> None:
        """The client has half-closed: the rest, and the last final; an empty one if there never was any."""
        if self._script.flaw is Flaw.NO_FLUSH:
            return
        rest, self._waiting = self._waiting, b""
        results = [*self._hear(rest), *self._final()]
        if not results and not self._finals_said:
            results = [Result("", is_final=True, stability=1.0)]
        if results:
            self.act(Answer(tuple(results), audio_ms=self._clock_ms))

    @property
    def _clock_ms(self) -> float:
        """`audio_processed`."""
        return self._answered_ms * (2 if self._script.flaw is Flaw.WRONG_CLOCK else 1)

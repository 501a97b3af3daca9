"""Backends of a simulated session: they work, but for the faults of its script.

Theory of operation. The microphone of a simulated user carries the words themselves: while word k is spoken every sample is
`word_sample(k)`, which is loud. What the recogniser is sent is therefore all it knows, as in life: a piece that was lost, or never
sent, is a word that was not heard. Whatever a backend does besides follows from the script and the time, so that equal scripts
give equal sessions. What no adapter lets through (endless waits) ends here as it does there: with an error, after a while.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import NamedTuple

from voicefsm.errors import BackendError
from voicefsm.events import Word
from voicefsm.ports import GenerationRequest, Hypothesis, RecognitionRequest, SpokenAudio, SpokenWord, SynthesisRequest
from voicefsm.simulation.fakes import ramp, tokens
from voicefsm.simulation.script import Kind, Script
from voicefsm.values import Backend

STALL_MS_MAX = 5000
"""How long an adapter waits for a backend that has fallen silent."""
FLOOR = 4000
"""Samples above this are loud."""
NOISE = 4400
"""Sample value of a cough."""
_FIRST_WORD, _WORDS_MAX = 5000, 27_000
_BLOCK_BYTES, _BLOCK_MS = 640, 20
_LAG_MS = 120
"""From a word's beginning to the partial that holds it."""
_HEARD_MAX = 1000
"""Most hypotheses that wait for their time."""

_ANSWERS = (
    "It is noon.",
    "Once upon a time there was a king. He had a very long story to tell. It went on and on, and nobody knew why. So it ended.",
    "Well, take some flour and water. Mix them. Wait.",
    "One, two, three, four, five. Six, seven, eight, nine, ten.",
    "I do not know that, I am afraid, but I can find out if you tell me a little more about what you would like to know.",
)
_SLOW_TTS = 4
"""Times real time."""


def word_sample(k: int) -> int:
    """The sample value of word k of a session."""
    return _FIRST_WORD + k % _WORDS_MAX


def word_of(sample: int) -> int | None:
    """The word that a sample carries, if any."""
    return sample - _FIRST_WORD if sample >= _FIRST_WORD else None


class Backends:
    """All three, for one session; its ports are `recognizer`, `model` and `synthesizer`."""

    def __init__(self, script: Script, words: Mapping[int, str], now_ms: Callable[[], int]) -> None:
        self.recognizer = FaultyRecognizer(script, words, now_ms)
        self.model = FaultyModel(script, now_ms)
        self.synthesizer = FaultySynthesizer(script, now_ms)

    def open_streams(self) -> list[str]:
        """What is open at the moment."""
        counts = {"ASR": self.recognizer.live, "LLM": self.model.live, "TTS": self.synthesizer.live}
        return [f"{count} {name} streams" for name, count in counts.items() if count]


# --- recogniser --------------------------------------------------------------------------------------------------------------


class _RecognitionStream:
    """Hears the words in the samples it is sent."""

    def __init__(self, script: Script, words: Mapping[int, str], now_ms: Callable[[], int], silence_ms: int) -> None:
        self._script, self._words, self._now_ms, self._silence_ms = script, words, now_ms, silence_ms
        self._heard: asyncio.Queue[tuple[int, Hypothesis]] = asyncio.Queue(_HEARD_MAX)
        self._received_ms = 0
        self._utterance: list[tuple[int, int]] = []
        """Its words so far, and where in the stream each began."""
        self._last_ms = 0
        self._said_stable = False

    def send(self, pcm: bytes, *, at_once: bool = False, is_quiet: bool = False) -> None:  # noqa: ARG002
        for at in range(0, len(pcm), _BLOCK_BYTES):
            self._received_ms += _BLOCK_MS
            self._hear(word_of(int.from_bytes(pcm[at : at + 2], "little", signed=True)))

    async def room(self) -> None:
        """It takes everything."""

    def finalize(self) -> None:
        self._final()

    def finish(self) -> None:
        """It is cut off soon."""

    def _hear(self, word: int | None) -> None:
        if word is not None and word in self._words:
            self._last_ms = self._received_ms
            if not self._utterance or self._utterance[-1][0] != word:
                self._utterance.append((word, self._received_ms - _BLOCK_MS))
                self._say(Hypothesis(self._text(), is_final=False, stability=0.1))
                self._said_stable = False
        elif self._utterance:
            silence_ms = self._received_ms - self._last_ms
            if silence_ms >= self._silence_ms:
                self._final()
            elif silence_ms >= self._silence_ms // 2 and not self._said_stable:
                self._said_stable = True
                self._say(Hypothesis(self._text(), is_final=False, stability=1.0))

    def _final(self) -> None:
        if self._script.on(Kind.ASR_NO_FINAL, self._now_ms()):
            return
        words = tuple(Word(self._words[word], at_ms, at_ms + _BLOCK_MS) for word, at_ms in self._utterance)
        text = self._text()
        self._say(Hypothesis(f"{text[:1].upper()}{text[1:]}." if text else "", is_final=True, words=words))
        self._utterance.clear()

    def _text(self) -> str:
        return " ".join(self._words[word] for word, _ in self._utterance)

    def _say(self, hypothesis: Hypothesis) -> None:
        now_ms = self._now_ms()
        if self._script.on(Kind.ASR_STALE, now_ms):
            return
        if self._script.on(Kind.ASR_FLICKER, now_ms) and not hypothesis.is_final and len(self._utterance) % 2:
            hypothesis = Hypothesis(f"{hypothesis.text} uh", is_final=False, stability=hypothesis.stability)
        late = self._script.on(Kind.ASR_LATE, now_ms)
        due_ms = now_ms + _LAG_MS + (late.number if late else 0)
        for _ in range(2 if self._script.on(Kind.ASR_REPEAT, now_ms) else 1):
            if not self._heard.full():
                self._heard.put_nowait((due_ms, hypothesis))

    async def __aiter__(self) -> AsyncGenerator[Hypothesis]:
        while True:
            due_ms, hypothesis = await self._heard.get()
            await asyncio.sleep(max(0, due_ms - self._now_ms()) / 1000)
            yield hypothesis


class _MortalStream(_RecognitionStream):
    """A stream that dies, or ends, when the script says so."""

    async def __aiter__(self) -> AsyncGenerator[Hypothesis]:
        deaths = [act for kind in (Kind.ASR_DIE, Kind.ASR_END) for act in self._script.by_kind[kind] if act.at_ms > self._now_ms()]
        death = min(deaths, key=lambda act: act.at_ms, default=None)
        left_s = (death.at_ms - self._now_ms()) / 1000 if death else None
        try:
            async with asyncio.timeout(left_s), aclosing(super().__aiter__()) as hypotheses:
                async for hypothesis in hypotheses:
                    yield hypothesis
        except TimeoutError:
            assert death is not None
            if death.kind is Kind.ASR_DIE:
                raise BackendError(Backend.ASR, "The ASR server died.") from None


class FaultyRecognizer:
    """See `ports.Recognizer`."""

    def __init__(self, script: Script, words: Mapping[int, str], now_ms: Callable[[], int]) -> None:
        self._script, self._words, self._now_ms = script, words, now_ms
        self.live = 0
        """Open streams."""

    async def languages(self) -> frozenset[str]:
        """It does not say."""
        return frozenset()

    @asynccontextmanager
    async def open(self, request: RecognitionRequest) -> AsyncGenerator[_MortalStream]:
        """A stream, unless the script has it refused."""
        await asyncio.sleep(0.03)
        if self._script.on(Kind.ASR_REFUSE, self._now_ms()):
            raise BackendError(Backend.ASR, "The ASR server is not there.")
        self.live += 1
        try:
            yield _MortalStream(self._script, self._words, self._now_ms, request.silence_ms)
        finally:
            self.live -= 1


# --- language model ----------------------------------------------------------------------------------------------------------


class FaultyModel:
    """See `ports.LanguageModel`."""

    def __init__(self, script: Script, now_ms: Callable[[], int]) -> None:
        self._script, self._now_ms = script, now_ms
        self.live = 0
        """Generations under way."""
        self.replies = 0
        """Answers that were asked for."""
        self.asked: Callable[[GenerationRequest], object] = lambda _: None
        """Is told of every one."""

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[str]:
        """An answer, chosen by the script's seed."""
        self.asked(request)
        self.replies += 1
        dice = random.Random(f"{self._script.seed}/{self.replies}")  # noqa: S311
        self.live += 1
        try:
            async with aclosing(self._write(self._pieces(dice.choice(_ANSWERS)), dice.choice((20, 40, 200)))) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self.live -= 1

    def _pieces(self, answer: str) -> list[str]:
        now_ms, on = self._now_ms(), self._script.on
        if on(Kind.LLM_EMPTY, now_ms):
            return []
        if on(Kind.LLM_UNSPEAKABLE, now_ms):
            return ["…", " *"]
        return [answer] if on(Kind.LLM_BURST, now_ms) else tokens(answer)

    async def _write(self, pieces: list[str], token_ms: int) -> AsyncGenerator[str]:
        if self._script.on(Kind.LLM_REFUSE, self._now_ms()):
            raise BackendError(Backend.LLM, "The LLM server refused.")
        for k, piece in enumerate(pieces):
            slow = self._script.on(Kind.LLM_SLOW, self._now_ms())
            await asyncio.sleep((slow.number if slow else token_ms) / 1000)
            await _stall(self._script, Kind.LLM_STALL, self._now_ms, Backend.LLM)
            cut = self._script.on(Kind.LLM_BREAK, self._now_ms())
            if cut and k >= cut.number:
                if half := piece[: len(piece) // 2]:
                    yield half
                raise BackendError(Backend.LLM, "The LLM server cut its answer inside a token.")
            yield piece


async def _stall(script: Script, kind: Kind, now_ms: Callable[[], int], backend: Backend) -> None:
    """Wait while the script says so, or until an adapter would have had enough."""
    act = script.on(kind, now_ms())
    if act is None:
        return
    left_ms = act.at_ms + act.for_ms - now_ms()
    await asyncio.sleep(min(left_ms, STALL_MS_MAX) / 1000)
    if left_ms > STALL_MS_MAX:
        raise BackendError(backend, f"The {backend.upper()} server fell silent.")


# --- voice -------------------------------------------------------------------------------------------------------------------

CHAR_MS, CHUNK_MS = 60, 100


class SaidWord(NamedTuple):
    """A word of a reply."""

    text: str
    end: int
    """After how many samples of the reply it is over."""
    is_told: bool
    """Its time was told."""


class FaultySynthesisStream:
    """The voice of one reply."""

    def __init__(self, script: Script, request: SynthesisRequest, now_ms: Callable[[], int]) -> None:
        self._script, self._rate_hz, self._now_ms = script, request.sample_rate_hz, now_ms
        self._segments: asyncio.Queue[tuple[int, str] | None] = asyncio.Queue(_HEARD_MAX)
        self.delivered = 0
        """Samples."""
        self.words: list[SaidWord] = []
        """What was spoken."""

    def speak(self, index: int, text: str) -> None:
        """See `ports.SynthesisStream`."""
        self._segments.put_nowait((index, text))

    def finish(self) -> None:
        """See `ports.SynthesisStream`."""
        self._segments.put_nowait(None)

    def leave(self) -> None:
        """See `ports.SynthesisStream`. It makes audio until its reader goes."""

    async def __aiter__(self) -> AsyncIterator[SpokenAudio]:
        while (segment := await self._segments.get()) is not None:
            if self._script.on(Kind.TTS_END, self._now_ms()):
                return
            if not self._script.on(Kind.TTS_SILENT, self._now_ms()):
                async with aclosing(self._spoken(*segment)) as pieces:
                    async for piece in pieces:
                        yield piece

    async def _spoken(self, index: int, text: str) -> AsyncGenerator[SpokenAudio]:
        """One segment, `CHAR_MS` a letter."""
        start, length_ms = self.delivered, len(text) * CHAR_MS
        ends = _word_ends(text)
        for at_ms in range(0, length_ms, CHUNK_MS):
            await self._make(is_first=not at_ms)
            end_ms = min(at_ms + CHUNK_MS, length_ms)
            if self._script.on(Kind.TTS_BREAK, self._now_ms()) and at_ms > length_ms // 2:
                raise BackendError(Backend.TTS, "The TTS server died in mid-word.")
            known = [word for word in ends if at_ms < word.end_ms <= end_ms]
            count = start + self._samples(end_ms) - self.delivered
            samples = ramp(self.delivered, count)
            self.delivered += count
            is_told = not self._script.on(Kind.TTS_UNTIMED, self._now_ms())
            self.words += [SaidWord(word.text, start + self._samples(word.end_ms), is_told) for word in known]
            yield SpokenAudio(index, samples, tuple(known) if is_told else ())

    async def _make(self, *, is_first: bool) -> None:
        """As long as it takes to synthesise one piece."""
        if self._script.on(Kind.TTS_SLOW, self._now_ms()):
            await asyncio.sleep(CHUNK_MS * _SLOW_TTS / 1000)
        else:
            await asyncio.sleep(0.15 if is_first else 0.02)
        await _stall(self._script, Kind.TTS_STALL, self._now_ms, Backend.TTS)

    def _samples(self, ms: int) -> int:
        return ms * self._rate_hz // 1000


def _word_ends(text: str) -> list[SpokenWord]:
    """Each word, and when its last letter is over."""
    ends: list[SpokenWord] = []
    at = 0
    for word in text.split():
        at = text.index(word, at) + len(word)
        ends.append(SpokenWord(word, at * CHAR_MS))
    return ends


class FaultySynthesizer:
    """See `ports.Synthesizer`."""

    def __init__(self, script: Script, now_ms: Callable[[], int]) -> None:
        self._script, self._now_ms = script, now_ms
        self.live = 0
        """Replies being spoken."""
        self.streams: list[FaultySynthesisStream] = []
        """One for each reply, in order."""

    async def voices(self) -> Mapping[str, tuple[str, ...]]:
        """It does not say."""
        return {}

    @asynccontextmanager
    async def open(self, request: SynthesisRequest) -> AsyncGenerator[FaultySynthesisStream]:
        """A stream, unless the script has it refused."""
        if self._script.on(Kind.TTS_REFUSE, self._now_ms()):
            raise BackendError(Backend.TTS, "The TTS server refused.")
        stream = FaultySynthesisStream(self._script, request, self._now_ms)
        self.streams.append(stream)
        self.live += 1
        try:
            yield stream
        finally:
            self.live -= 1

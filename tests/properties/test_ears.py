"""Heard again is as heard live: whenever streams die, stall or grow old, the words are those of a stream that lived.

The recogniser is the one of `voicefsm.scripted.spelling`, whose words are a function of the samples it was sent; so every sample
that was lost, or came twice, would show in a word. What is compared are the finals, with their words and times (A26 of the
conformance list, from our side).
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from voicefsm.errors import BackendError
from voicefsm.events import Fact, FinalHeard, PartialHeard, RecognitionFailed, Word
from voicefsm.ports import Hypothesis, RecognitionRequest
from voicefsm.runtime.ears import Ears
from voicefsm.runtime.plan import SessionSettings
from voicefsm.scripted import Answer, AsrScript, spell
from voicefsm.scripted.spelling import SpellingStream
from voicefsm.simulation import virtual
from voicefsm.values import Backend

RATE_HZ, FRAME = 16000, 320
VOCABULARY = ("one", "two", "three", "stop", "the", "weather", "in", "paris", "a")


@dataclasses.dataclass(frozen=True)
class Life:
    """What happens to one session's ears."""

    sentences: tuple[tuple[str, ...], ...]
    pauses_ms: tuple[int, ...]
    """After each sentence."""
    deaths_ms: tuple[int, ...]
    """When the stream that is open dies; media time."""
    outage_ms: int
    """Until there is another one."""
    lag_ms: int
    """From audio to what is heard in it."""
    chunk_ms: int
    """The server's."""
    rotates_s: int
    asks_ms: tuple[int, ...] = ()
    """When a final is asked for: in the next pause, so that the server does not cut a letter in two."""


class ReadingStream:
    """`ports.RecognitionStream` on the scripted recogniser, without a wire."""

    def __init__(self, life: Life, silence_ms: int) -> None:
        self._life = life
        self._server = SpellingStream(AsrScript(chunk_ms=life.chunk_ms), ())
        self._server.config.config.endpointing_config.stop_history = silence_ms
        self._server._begin()
        self._heard: asyncio.Queue[tuple[float, Hypothesis | BackendError | None]] = asyncio.Queue()

    def send(self, pcm: bytes, *, at_once: bool = False, is_quiet: bool = False) -> None:
        self._server._take(pcm, is_last=False)
        self._say()

    def finalize(self) -> None:
        self._server._take(b"", is_last=True)
        self._say()

    def finish(self) -> None:
        self._server._flush()
        self._say()
        self._put(None)

    async def room(self) -> None:
        await asyncio.sleep(0.001)

    def die(self) -> None:
        """Nothing of what was on its way arrives."""
        self._heard = asyncio.Queue()
        self._put(BackendError(Backend.ASR, "Killed."))

    def _say(self) -> None:
        while not self._server._actions.empty():
            answer = self._server._actions.get_nowait()
            assert isinstance(answer, Answer)
            for result in answer.results:
                words = tuple(Word(*word) for word in result.words)
                self._put(Hypothesis(result.text, result.is_final, result.stability, words, round(answer.audio_ms or 0)))

    def _put(self, what: Hypothesis | BackendError | None) -> None:
        self._heard.put_nowait((asyncio.get_running_loop().time() + self._life.lag_ms / 1000, what))

    async def __aiter__(self) -> AsyncIterator[Hypothesis]:
        while True:
            heard = self._heard
            try:
                async with asyncio.timeout(0.01):
                    due, what = await heard.get()
            except TimeoutError:
                continue
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            if heard is not self._heard:
                continue  # it died before this was out
            if what is None:
                return
            if isinstance(what, BackendError):
                raise what
            yield what


class ReadingRecognizer:
    """`ports.Recognizer`."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self.streams: list[ReadingStream] = []

    async def languages(self) -> frozenset[str]:
        return frozenset()

    @asynccontextmanager
    async def open(self, request: RecognitionRequest) -> AsyncGenerator[ReadingStream]:
        await asyncio.sleep(0.02)
        self.streams.append(ReadingStream(self._life, request.silence_ms))
        yield self.streams[-1]


def audio_of(life: Life) -> np.ndarray:
    parts = []
    for sentence, pause_ms in zip(life.sentences, life.pauses_ms, strict=True):
        parts += [spell(" ".join(sentence), RATE_HZ), np.zeros(16 * pause_ms, np.int16)]
    audio = np.concatenate([*parts, np.zeros(16 * 3000, np.int16)])
    return audio[: len(audio) // FRAME * FRAME]


async def lived(life: Life) -> list[Fact]:
    """All that the ears told, in a session whose machine opens a stream again after every failure."""
    facts: list[Fact] = []
    recognizer = ReadingRecognizer(life)
    ears = Ears(
        recognizer,
        RecognitionRequest("en-US", 480),
        settings=dataclasses.replace(SessionSettings(), ears_rotate_s=life.rotates_s, ears_rotate_wait_ms=300),
        commit_ms=60_000,
        now=lambda: round(asyncio.get_running_loop().time() * 1000),
        tell=facts.append,
    )

    async def listen() -> None:
        while True:
            await ears.run()
            await asyncio.sleep(life.outage_ms / 1000)

    listening = asyncio.create_task(listen())
    audio, deaths, asks = audio_of(life), list(life.deaths_ms), list(life.asks_ms)
    for at in range(0, len(audio), FRAME):
        frame = audio[at : at + FRAME]
        ears.hear(frame, is_voiced=bool(np.abs(frame).max() > 500))
        if deaths and at // 16 >= deaths[0]:
            deaths.pop(0)
            if recognizer.streams:
                recognizer.streams[-1].die()
        if asks and at // 16 >= asks[0] and not frame.any():
            asks.pop(0)
            ears.finalize()
        await asyncio.sleep(0.02)
    await asyncio.sleep(2 + life.outage_ms / 1000)
    listening.cancel()
    await asyncio.wait([listening])
    ears.close()
    assert ears.lost_samples == 0
    return facts


def finals(facts: list[Fact]) -> list[tuple[str, tuple[Word, ...]]]:
    return [(fact.text, fact.words) for fact in facts if isinstance(fact, FinalHeard)]


@st.composite
def lives(draw: st.DrawFn) -> Life:
    sentences = draw(st.lists(st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=5).map(tuple), min_size=1, max_size=3))
    pauses = draw(st.lists(st.integers(0, 1500), min_size=len(sentences), max_size=len(sentences)))
    length_ms = sum(60 * len(" ".join(sentence)) for sentence in sentences) + sum(pauses)
    return Life(
        tuple(sentences),
        tuple(pauses),
        tuple(sorted(draw(st.lists(st.integers(0, length_ms + 1000), max_size=4)))),
        outage_ms=draw(st.sampled_from((20, 150, 1000, 3000))),
        lag_ms=draw(st.sampled_from((0, 40, 300))),
        chunk_ms=draw(st.sampled_from((80, 160, 560, 960))),
        rotates_s=draw(st.sampled_from((0, 0, 1))),
    )


@settings(deadline=None, max_examples=settings().max_examples // 2, derandomize=settings().max_examples <= 100)
@given(lives())
@example(Life((("one", "one", "one"), ("one",), ("one",)), (616, 1220, 0), (), outage_ms=20, lag_ms=0, chunk_ms=960, rotates_s=1))
def test_heard_again_is_as_heard_live(life: Life) -> None:
    """Otherwise a recogniser that dies in mid-word costs a word, or doubles one, or puts it elsewhere in time."""
    undisturbed = virtual.run(lived(dataclasses.replace(life, deaths_ms=(), rotates_s=0)))
    facts = virtual.run(lived(life))
    assert finals(facts) == finals(undisturbed)


@settings(deadline=None, max_examples=settings().max_examples // 5, derandomize=settings().max_examples <= 100)
@given(lives())
def test_what_is_shown_never_shrinks_because_a_stream_died(life: Life) -> None:
    """Otherwise the client sees its words vanish, and come again."""
    shown, is_after_death = 0, False
    for fact in virtual.run(lived(life)):
        if isinstance(fact, FinalHeard):
            shown, is_after_death = 0, False
        elif isinstance(fact, RecognitionFailed):
            is_after_death = True
        elif isinstance(fact, PartialHeard):
            words = len(fact.text.split())
            assert not is_after_death or words >= shown
            shown, is_after_death = words, False


@settings(deadline=None, max_examples=settings().max_examples // 5, derandomize=settings().max_examples <= 100)
@given(lives(), st.lists(st.integers(0, 6000), max_size=4).map(lambda times: tuple(sorted(times))))
@example(Life((("one", "one"),), (0,), (41,), outage_ms=150, lag_ms=0, chunk_ms=80, rotates_s=0), (0,))
def test_words_come_once_whenever_a_final_is_asked_for(life: Life, asks_ms: tuple[int, ...]) -> None:
    """Otherwise asking a recogniser that dies for its last word costs words, or doubles them."""
    facts = virtual.run(lived(dataclasses.replace(life, asks_ms=asks_ms)))
    said = " ".join(text for text, _ in finals(facts))
    assert "".join(said.split()) == "".join(word for sentence in life.sentences for word in sentence)

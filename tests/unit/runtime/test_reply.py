"""The making of one reply: sentences out of tokens, audio out of sentences, and both gone when the reply is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from voicefsm.errors import BackendError, ContextOverflow
from voicefsm.events import BackendFailed, Fact, FirstAudio, GenerationFinished, SentenceReady, TokenArrived
from voicefsm.ports import GenerationRequest, Message, SpokenAudio, SynthesisRequest, WantedCall
from voicefsm.runtime.playout import Playout, PlayoutSettings
from voicefsm.runtime.reply import AHEAD_CHARS, LATE_MS, Voice, write
from voicefsm.simulation.fakes import FakeLanguageModel, FakeSynthesizer, FakeVoice, Reply
from voicefsm.values import Backend, Epoch

pytestmark = pytest.mark.looptime

ASKED = GenerationRequest([Message("user", "hello")], temperature=0.0, tokens_max=100)
WANTED = SynthesisRequest("en-US", "", 16000)
EPOCH = Epoch(3)


def no_need() -> bool:
    """The prompt is never too long."""
    raise AssertionError


async def written(*replies: Reply) -> list[Fact]:
    """What the writing of one reply tells."""
    facts: list[Fact] = []
    await write(FakeLanguageModel(replies), lambda: ASKED, EPOCH, now=lambda: 5, tell=facts.append, shorten=no_need)
    return facts


def sentences(facts: Sequence[Fact]) -> list[tuple[int, str]]:
    return [(fact.index, fact.text) for fact in facts if isinstance(fact, SentenceReady)]


async def test_sentences_are_told_as_they_are_complete_and_numbered() -> None:
    """Otherwise the voice waits for the whole answer, or speaks it in the wrong order."""
    facts = await written("It is a quarter past noon. The sun is out there. Go for a walk.")
    assert isinstance(facts[0], TokenArrived)
    assert sentences(facts) == [(0, "It is a quarter past noon."), (1, "The sun is out there."), (2, "Go for a walk.")]
    assert facts[-1] == GenerationFinished(5, EPOCH)
    assert sum(isinstance(fact, TokenArrived) for fact in facts) == 1


class Tokens:
    """A model that writes a word every 10 ms, after the first sentence."""

    def __init__(self, words: Sequence[str], wait_s: float) -> None:
        self._words, self._wait_s = words, wait_s
        self.wakes = 0
        """How often somebody waited for it."""

    async def stream(self, _request: GenerationRequest) -> AsyncGenerator[str | WantedCall]:
        began = asyncio.get_running_loop().time()
        for nth, word in enumerate(self._words):
            wait_s = began + nth * self._wait_s - asyncio.get_running_loop().time()
            if wait_s > 0:  # else the word waits in the socket
                self.wakes += 1
                await asyncio.sleep(wait_s)
            yield f"{word} "


@pytest.mark.parametrize("first", ["It is noon.", "It is a quarter past noon and the sun is out there."])
async def test_who_has_much_to_say_is_not_woken_for_each_token(first: str) -> None:
    """Otherwise the gateway spends its time on tokens that nobody waits for; or the first sentences come late."""
    loop = asyncio.get_running_loop()
    words = (first + " So we go for a long walk." * 10).split()
    model, written_ms, late_ms, chars = Tokens(words, 0.01), 0, [], []
    began = loop.time()

    def tell(fact: Fact) -> None:
        nonlocal written_ms
        if isinstance(fact, SentenceReady):
            written_ms += 10 * len(fact.text.split())
            chars.append(len(fact.text))
            late_ms.append(round((loop.time() - began) * 1000) - (written_ms - 10))

    await write(model, lambda: ASKED, EPOCH, now=lambda: int(loop.time() * 1000), tell=tell, shorten=no_need)
    assert len(late_ms) == 11
    assert max(late_ms) <= LATE_MS
    assert model.wakes < len(words) / 2
    prompt = next(nth for nth in range(11) if sum(chars[:nth]) >= AHEAD_CHARS)
    assert late_ms[:prompt] == [0] * prompt, "as long as little is there to be spoken"


async def test_what_is_there_already_is_read_at_once() -> None:
    """Otherwise an answer that is written long since is committed late, and its end is lost when the process is killed."""
    loop, told_ms = asyncio.get_running_loop(), []
    words = ("It is a quarter past noon and the sun is out there." + " So we go for a long walk." * 10).split()
    busy = Tokens(words, 0.001)  # nothing is waited for, but the loop has others to serve
    began = loop.time()

    def tell(fact: Fact) -> None:
        if isinstance(fact, SentenceReady):
            told_ms.append(round((loop.time() - began) * 1000))

    await write(busy, lambda: ASKED, EPOCH, now=lambda: int(loop.time() * 1000), tell=tell, shorten=no_need)
    assert told_ms[-1] <= len(words), "ms, one for each"


async def test_a_model_that_fails_in_mid_sentence() -> None:
    """Otherwise half a sentence is spoken, or a failure passes for the end of the answer."""
    error = BackendError(Backend.LLM, "Gone.", remedy="Wait.", retryable=False, retry_after_ms=700)
    facts = await written(["It is a quarter past noon. ", "The sun ", error])
    assert sentences(facts) == [(0, "It is a quarter past noon.")]
    assert facts[-1] == BackendFailed(5, EPOCH, Backend.LLM, "Gone.", "Wait.", retryable=False, retry_after_ms=700)
    assert not any(isinstance(fact, GenerationFinished) for fact in facts)


async def test_an_answer_without_a_word() -> None:
    """Otherwise an empty answer never ends."""
    assert await written([]) == [GenerationFinished(5, EPOCH)]


async def test_a_cancelled_answer_closes_the_models_stream() -> None:
    """Otherwise a GPU goes on writing for nobody."""
    model, facts = FakeLanguageModel(["word " * 1000]), list[Fact]()
    task = asyncio.create_task(write(model, lambda: ASKED, EPOCH, now=lambda: 5, tell=facts.append, shorten=no_need))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert (model.aborted, model.completed) == (1, 0)
    told = len(facts)
    await asyncio.sleep(100)
    assert len(facts) == told


OVERFLOW = ContextOverflow(Backend.LLM, "Too long.", retryable=False)


@pytest.mark.parametrize(
    ("replies", "shortened", "asked", "told"),
    [
        ((OVERFLOW, "Hello there."), [True], 2, GenerationFinished(5, EPOCH)),
        ((OVERFLOW, OVERFLOW, "Hello."), [True, True], 2, BackendFailed(5, EPOCH, Backend.LLM, "Too long.", retryable=False)),
        ((OVERFLOW, "Hello."), [False], 1, BackendFailed(5, EPOCH, Backend.LLM, "Too long.", retryable=False)),
        ((["Hello. ", OVERFLOW],), [True], 1, BackendFailed(5, EPOCH, Backend.LLM, "Too long.", retryable=False)),
    ],
)
async def test_a_prompt_that_is_too_long_is_shortened_and_asked_once_more(
    replies: Sequence[Reply], shortened: list[bool], asked: int, told: Fact
) -> None:
    """Otherwise a long conversation ends at the model's context; or it is asked for ever; or a beginning is spoken twice."""
    model, facts, prompts, left = FakeLanguageModel(replies), list[Fact](), [3, 2, 1], list(shortened)

    def ask() -> GenerationRequest:
        return GenerationRequest([Message("user", "hello")] * prompts.pop(0), temperature=0.0, tokens_max=100)

    await write(model, ask, EPOCH, now=lambda: 5, tell=facts.append, shorten=lambda: left.pop(0))
    assert [len(request.messages) for request in model.requests] == [3, 2][:asked]
    assert facts[-1] == told
    assert not left


class Speaking:
    """A voice at work on one reply."""

    def __init__(self, synthesizer: FakeSynthesizer) -> None:
        self.synthesizer, self.voice, self.facts, self.wakes = synthesizer, Voice(), list[Fact](), 0
        self.playout = Playout(16000, PlayoutSettings())
        self.playout.begin(EPOCH)
        self.has_room = asyncio.Event()
        self.has_room.set()

    def wake(self) -> None:
        self.wakes += 1

    async def room(self) -> None:
        await self.has_room.wait()

    def start(self) -> asyncio.Task[None]:
        running = self.voice.run(
            self.synthesizer, WANTED, self.playout, now=lambda: 5, tell=self.facts.append, wake=self.wake, room=self.room
        )
        return asyncio.create_task(running)


async def test_text_from_before_the_stream_is_open_is_spoken_first() -> None:
    """Otherwise a fast model loses its first sentences to a slow connection."""
    speaking = Speaking(FakeSynthesizer())
    speaking.voice.speak(0, "One.")
    speaking.voice.speak(1, "Two.")
    task = speaking.start()
    await asyncio.sleep(0)
    speaking.voice.speak(2, "Three.")
    speaking.voice.finish()
    await task
    assert speaking.synthesizer.stream.spoken == [(0, "One."), (1, "Two."), (2, "Three.")]
    assert speaking.facts == [FirstAudio(5, EPOCH)]
    assert speaking.playout.position(0) == (0, 14 * 60)
    assert speaking.wakes > 1


async def test_an_end_from_before_the_stream_is_open_is_not_forgotten() -> None:
    """Otherwise a reply of one sentence never ends."""
    speaking = Speaking(FakeSynthesizer())
    speaking.voice.speak(0, "One.")
    speaking.voice.finish()
    await speaking.start()
    assert speaking.synthesizer.stream.drained


async def test_a_voice_waits_for_room() -> None:
    """Otherwise a fast TTS server fills the memory with a reply that the user may cut after a second."""
    speaking = Speaking(FakeSynthesizer())
    speaking.has_room.clear()
    speaking.voice.speak(0, "A very long sentence. " * 50)
    speaking.voice.finish()
    task = speaking.start()
    await asyncio.sleep(100)
    assert speaking.playout.position(0) == (0, 100), "one piece, and then it waits"
    speaking.has_room.set()
    await task
    assert speaking.synthesizer.stream.drained


async def test_a_failing_voice_is_told_and_leaves_the_end_to_the_machine() -> None:
    """Otherwise the reply is over before the user hears that it failed, or before the voice is asked again."""
    speaking = Speaking(FakeSynthesizer(errors={1: BackendError(Backend.TTS, "Hoarse.")}))
    speaking.voice.speak(0, "One.")
    speaking.voice.speak(1, "Two.")
    await speaking.start()
    assert [type(fact) for fact in speaking.facts] == [FirstAudio, BackendFailed]
    for now_ms in range(0, 10_000, 10):
        speaking.playout.take(now_ms)
    assert not speaking.playout.is_finished(10_000)
    speaking.voice.speak(2, "Too late.")
    speaking.voice.finish()


async def test_a_voice_that_is_asked_again_says_everything() -> None:
    """Otherwise a second attempt begins in the middle of the answer, or never ends."""
    speaking = Speaking(FakeSynthesizer(errors={0: BackendError(Backend.TTS, "Hoarse.")}))
    speaking.voice.speak(0, "One.")
    await speaking.start()
    speaking.synthesizer.errors.clear()
    speaking.voice.speak(1, "Two.")
    speaking.voice.finish()
    await speaking.start()
    assert [type(fact) for fact in speaking.facts] == [BackendFailed, FirstAudio]
    assert speaking.synthesizer.stream.spoken == [(0, "One."), (1, "Two.")]
    assert speaking.playout.is_made


async def test_a_voice_without_a_sound_has_failed() -> None:
    """Otherwise a TTS server that makes no sound leaves the user waiting for a reply that counts as given."""
    speaking = Speaking(FakeSynthesizer(FakeVoice(char_ms=0)))
    speaking.voice.speak(0, "One.")
    speaking.voice.finish()
    await speaking.start()
    (failure,) = speaking.facts
    assert isinstance(failure, BackendFailed)
    assert not failure.retryable, "it would say as much the next time"


async def test_a_cancelled_voice_closes_its_stream_and_finishes_nothing() -> None:
    """Otherwise a TTS server goes on speaking to nobody; or a cancelled reply looks complete."""
    speaking = Speaking(FakeSynthesizer())
    speaking.voice.speak(0, "A very long sentence. " * 50)
    task = speaking.start()
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.wait([task])
    assert speaking.synthesizer.aborted == 1
    assert not speaking.playout.is_finished(10**9)


async def test_a_voice_that_ends_after_its_reply_does_not_end_the_next() -> None:
    """Otherwise the tail of one reply cuts the next one short."""
    speaking = Speaking(FakeSynthesizer())
    speaking.voice.speak(0, "One.")
    speaking.voice.finish()
    task = speaking.start()
    await asyncio.sleep(0)
    speaking.playout.begin(Epoch(4))
    await task
    speaking.playout.take(0)
    assert not speaking.playout.is_finished(10**9)


class Hasty:
    """A voice whose server closes the stream with OK after the first sentence."""

    def __init__(self) -> None:
        self.inner = FakeSynthesizer()

    @asynccontextmanager
    async def open(self, request: SynthesisRequest) -> AsyncIterator[Muffled]:
        async with self.inner.open(request) as stream:
            stream.speak(0, "One.")
            stream.finish()
            yield Muffled(stream)


class Muffled:
    """A stream that takes no more text."""

    def __init__(self, stream: AsyncIterable[SpokenAudio]) -> None:
        self.stream = stream

    def speak(self, index: int, text: str) -> None:
        """Too late."""

    def __aiter__(self) -> AsyncIterator[SpokenAudio]:
        return aiter(self.stream)


async def test_a_voice_that_ends_before_the_text_does_has_failed() -> None:
    """Otherwise the reply counts as complete, the model writes on for nobody, and the next reply makes it two."""
    speaking = Speaking(FakeSynthesizer())
    speaking.synthesizer = Hasty()  # type: ignore[assignment]
    speaking.voice.speak(0, "One.")
    await speaking.start()
    (failure,) = [fact for fact in speaking.facts if isinstance(fact, BackendFailed)]
    assert (failure.epoch, failure.backend) == (EPOCH, Backend.TTS)
    assert speaking.playout.heard_text(0).text == ""


class Deaf:
    """A synthesizer whose connection never comes up."""

    async def voices(self) -> dict[str, tuple[str, ...]]:
        return {}

    def open(self, request: SynthesisRequest) -> Deaf:
        return self

    async def __aenter__(self) -> AsyncIterator[None]:
        raise BackendError(Backend.TTS, "Nobody answers.")

    async def __aexit__(self, *_: object) -> None:
        raise AssertionError


async def test_a_voice_that_cannot_be_reached() -> None:
    """Otherwise an outage of the TTS server is a crash of the session."""
    speaking = Speaking(FakeSynthesizer())
    speaking.synthesizer = Deaf()  # type: ignore[assignment]
    speaking.voice.speak(0, "One.")
    await speaking.start()
    assert [type(fact) for fact in speaking.facts] == [BackendFailed]

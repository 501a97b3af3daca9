"""What the gateway adds: first audio through it against its parts alone, and how soon a cancelled reply is over at the server.

Theory of operation: scripted servers with the timing of real ones stand behind a gateway. A round asks the model directly for a
first sentence, the voice directly for its first audio, and then the gateway for both, by a typed text: what the third takes beyond
the sum of the first two is the gateway's. Then the round cancels the reply, and the scripted voice says when its call ended, and
how many texts still reached it. Everything runs in one process and one thread, so what is measured is an upper bound: the servers'
and the client's own work is in it.

On a machine that is busy with other things, all of it waits for a processor, and the gateway, with more steps than its parts, most.
Linux tells how long a thread has waited so: where that is more than a few ms, the comparison says little. The processor time that
the gateway takes beyond its parts depends less on what else runs; the gateway's own waiting is tested in virtual time.
"""

from __future__ import annotations

import asyncio
import dataclasses
import statistics
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import riva.client.proto.riva_tts_pb2 as rtts
import riva.client.proto.riva_tts_pb2_grpc as rtts_grpc

from voicefsm.adapters.channels import RivaChannel, RivaChannelSettings
from voicefsm.adapters.nim import LlmSettings, NimLanguageModel
from voicefsm.calls import write
from voicefsm.client import Conversation, SessionOptions
from voicefsm.client.events import TtsCancelled, TurnCompleted
from voicefsm.ports import GenerationRequest, Message
from voicefsm.runtime.speakable import SentenceCutter
from voicefsm.scripted import ScriptedLlm, ScriptedRiva, magpie_like
from voicefsm.values import Backend

RATE_HZ = 16000
FRAME_MS = 20
FIRST_TOKEN_MS, TOKEN_MS = 40, 5
"""Timing of the model, as published of small ones on large cards."""
LANGUAGE = "en-US"
QUESTION = "Tell me a story."
STORY = (
    "It began long ago in a small town by the sea. "
    + "Every evening the boats came home, and the whole town came to see them. " * 8
)
HEARD_S = 0.3
"""How much of the reply is heard before it is cancelled."""
SETTLE_S = 0.3
"""How long after the cancellation the server is watched."""
WAIT_S_MAX = 20.0
OVERHEAD_MS_MAX = 10.0
CANCEL_MS_MAX = 50.0

OpenGateway = Callable[[str, str], AbstractAsyncContextManager[int]]
"""Makes a gateway with a Riva (HOST:PORT) and a model server (base URL) behind it, and yields its port."""


@dataclasses.dataclass(frozen=True, slots=True)
class Round:
    """One comparison."""

    sentence_ms: float
    """The model alone: asked, to its first sentence."""
    audio_ms: float
    """The voice alone: asked, to its first audio."""
    whole_ms: float
    """The gateway: asked, to the first audio at the client."""
    cancelled_ms: float
    """The client's cancellation, to the end of the call at the server."""
    late_texts: int
    """Texts of the cancelled reply that reached the server after its client knew."""
    processor_ms: float = 0.0
    """Processor time of the gateway, less that of its parts; the client's and the servers' own is in it."""
    starved_ms: float = 0.0
    """How long our thread could have run, and had no processor."""

    @property
    def overhead_ms(self) -> float:
        """What the gateway adds."""
        return self.whole_ms - self.sentence_ms - self.audio_ms


@dataclasses.dataclass(frozen=True, slots=True)
class Overhead:
    """All rounds."""

    rounds: tuple[Round, ...]

    @property
    def overhead_ms(self) -> float:
        """In the median."""
        return statistics.median(round_.overhead_ms for round_ in self.rounds)

    @property
    def cancelled_ms(self) -> float:
        """In the median."""
        return statistics.median(round_.cancelled_ms for round_ in self.rounds)

    @property
    def late_texts(self) -> int:
        """In all rounds."""
        return sum(round_.late_texts for round_ in self.rounds)

    @property
    def is_good(self) -> bool:
        """Whether the goals are met."""
        return self.overhead_ms <= OVERHEAD_MS_MAX and self.cancelled_ms <= CANCEL_MS_MAX and self.late_texts == 0


class Stopwatch:
    """What passes while something is measured: time on the loop's clock, processor time, and waiting for a processor."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._now()
        self.ms = self.processor_ms = self.starved_ms = 0.0

    def stop(self) -> Self:
        """Read all three."""
        self.ms, self.processor_ms, self.starved_ms = (now - began for now, began in zip(self._now(), self._began, strict=True))
        return self

    def _now(self) -> tuple[float, float, float]:
        return self._loop.time() * 1000, time.process_time() * 1000, _waited_ns() / 1e6


def _waited_ns() -> int:
    """How long this thread has waited for a processor, ever; 0 where the system does not tell."""
    try:
        return int(Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0


async def measure(gateway: OpenGateway, rounds: int) -> Overhead:
    """Compare so many times, after one round that warms everything up."""
    riva = ScriptedRiva(tts=magpie_like(first_chunk_bytes=0, residue=0.0))
    llm = ScriptedLlm([STORY], first_token_ms=FIRST_TOKEN_MS, token_ms=TOKEN_MS)
    async with riva, llm, gateway(riva.target, llm.base_url) as port:
        model = NimLanguageModel(LlmSettings(base_url=llm.base_url))
        voice = RivaChannel(Backend.TTS, RivaChannelSettings(target=riva.target))
        async with aclosing(model), aclosing(voice), _conversation(port) as conversation:
            done = [await _round(riva, model, voice, conversation) for _ in range(rounds + 1)]
    return Overhead(tuple(done[1:]))


@asynccontextmanager
async def _conversation(port: int) -> AsyncGenerator[Conversation]:
    """A client that plays what it hears."""
    async with Conversation.connect(f"127.0.0.1:{port}", SessionOptions(language_code=LANGUAGE)) as conversation:
        playing = asyncio.create_task(_play(conversation))
        try:
            yield conversation
        finally:
            playing.cancel()


async def _play(conversation: Conversation) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        conversation.player.render(RATE_HZ * FRAME_MS // 1000)
        due += FRAME_MS / 1000
        await asyncio.sleep(due - loop.time())


async def _round(riva: ScriptedRiva, model: NimLanguageModel, voice: RivaChannel, conversation: Conversation) -> Round:
    async with asyncio.timeout(WAIT_S_MAX):
        sentence, model_alone = await _first_sentence(model)
        voice_alone = await _first_audio(voice, sentence)
        whole = await _through_the_gateway(conversation)
        await asyncio.sleep(HEARD_S)
        cancelled_ms, late_texts = await _cancel(riva, conversation)
    return Round(
        sentence_ms=model_alone.ms,
        audio_ms=voice_alone.ms,
        whole_ms=whole.ms,
        cancelled_ms=cancelled_ms,
        late_texts=late_texts,
        processor_ms=whole.processor_ms - model_alone.processor_ms - voice_alone.processor_ms,
        starved_ms=whole.starved_ms + model_alone.starved_ms + voice_alone.starved_ms,
    )


async def _first_sentence(model: NimLanguageModel) -> tuple[str, Stopwatch]:
    """The sentence that the gateway would speak first, at the moment it is there."""
    cutter, watch = SentenceCutter(is_eager=True), Stopwatch()
    request = GenerationRequest((Message("user", QUESTION),), temperature=0.0, tokens_max=512)
    async with aclosing(model.stream(request)) as pieces:
        async for piece in pieces:
            if isinstance(piece, str) and (sentences := cutter.feed(piece)):
                return sentences[0], watch.stop()
    raise AssertionError("the story has a first sentence")


async def _first_audio(riva: RivaChannel, sentence: str) -> Stopwatch:
    """On the bare wire: that the gateway waits until there is enough to begin with is its own doing."""
    watch = Stopwatch()
    call = rtts_grpc.RivaSpeechSynthesisStub(riva.get()).SynthesizeOnline()
    await write(call, rtts.SynthesizeSpeechRequest(text=sentence, language_code=LANGUAGE, sample_rate_hz=RATE_HZ))
    response = await call.read()
    watch.stop()
    call.cancel()
    assert response.audio, "the sentence has a sound"
    return watch


async def _through_the_gateway(conversation: Conversation) -> Stopwatch:
    watch, player = Stopwatch(), conversation.player
    heard, push = asyncio.Event(), player.push

    def notice(*audio: Any, **end: Any) -> None:
        push(*audio, **end)
        heard.set()

    player.push = notice  # type: ignore[method-assign]  # audio is no event of the client
    await conversation.send_text(QUESTION)
    await heard.wait()
    player.push = push  # type: ignore[method-assign]
    return watch.stop()


async def _cancel(riva: ScriptedRiva, conversation: Conversation) -> tuple[float, int]:
    """(ms until the server's call was over, texts that reached the server after the client was told)."""
    loop, calls = asyncio.get_running_loop(), len(riva.tts.cancelled_at)
    began = loop.time()
    await conversation.cancel()
    async for event in conversation:
        if isinstance(event, TtsCancelled):
            texts = len(riva.tts.asked)
        if isinstance(event, TurnCompleted):
            break
    await asyncio.sleep(SETTLE_S)
    assert len(riva.tts.cancelled_at) > calls, "the reply was still being spoken"
    return (riva.tts.cancelled_at[calls] - began) * 1000, len(riva.tts.asked) - texts


def told(overhead: Overhead) -> str:
    """The table, and the summary as its last line."""
    rows = {
        "the model alone, first sentence": [r.sentence_ms for r in overhead.rounds],
        "the voice alone, first audio": [r.audio_ms for r in overhead.rounds],
        "through the gateway, first audio": [r.whole_ms for r in overhead.rounds],
        "what the gateway adds": [r.overhead_ms for r in overhead.rounds],
        "processor time it adds": [r.processor_ms for r in overhead.rounds],
        "cancelled, to the end at the server": [r.cancelled_ms for r in overhead.rounds],
        "waited for a processor meanwhile": [r.starved_ms for r in overhead.rounds],
    }
    lines = [f"{'ms':36} {'median':>8} {'least':>8} {'most':>8}"]
    lines += [f"{name:36} {statistics.median(of):8.1f} {min(of):8.1f} {max(of):8.1f}" for name, of in rows.items()]
    verdict = "ok" if overhead.is_good else "TOO SLOW"
    lines.append(
        f"bench overhead: {verdict}, the gateway adds {overhead.overhead_ms:.1f} ms to the first audio "
        f"(at most {OVERHEAD_MS_MAX:.0f}), a cancelled reply is over at the server after {overhead.cancelled_ms:.1f} ms "
        f"(at most {CANCEL_MS_MAX:.0f}), {overhead.late_texts} texts after it; medians of {len(overhead.rounds)}"
    )
    return "\n".join(lines)

"""Backends in memory, for virtual time.

Theory of operation: every wait of a fake is an `asyncio.sleep` on the running loop, so a loop with a virtual clock drives them and
two runs of the same script are equal. Every fake keeps what it was asked (`requests`), the streams it handed out (`streams`) and
how many of them were cut short (`aborted`), so that a test asserts counts and contents and never time.

The voice of `FakeSynthesizer` is a ramp: sample k of a reply is `ramp(k, 1)`, never zero, so that a test sees every lost, repeated
or reordered sample, and tells the voice from silence.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import numpy as np

from voicefsm.errors import BackendError
from voicefsm.ports import (
    GenerationRequest,
    Hypothesis,
    RecognitionRequest,
    Samples,
    SpokenAudio,
    SpokenWord,
    SynthesisRequest,
    WantedCall,
)
from voicefsm.values import Backend

ASR_BYTES_PER_MS = 32
"""16 kHz PCM16, as every recogniser port gets it."""

WAITING_MAX = 10_000
"""Most hypotheses or segments a fake holds for a reader that does not read."""

RAMP_PERIOD_SAMPLES = 32_000
"""Samples after which the voice of `FakeSynthesizer` begins again at 1."""

_TOKEN = re.compile(r"\s*\S+|\s+$")
_WORD = re.compile(r"\S+")


def ramp(start: int, count: int) -> Samples:
    """The fake voice from sample `start` of a reply: 1, 2, 3, … `RAMP_PERIOD_SAMPLES`, 1, 2, …; shape (count,)."""
    return ((np.arange(start, start + count) % RAMP_PERIOD_SAMPLES) + 1).astype(np.int16)


def tokens(text: str) -> list[str]:
    """`text` in the pieces `FakeLanguageModel` writes it in: words, each with the space before it."""
    return _TOKEN.findall(text)


# --- recogniser --------------------------------------------------------------------------------------------------------------


Heard = Hypothesis | BackendError | None
"""What a fake recogniser hears: words, a failure, or the end of the stream."""


class FakeRecognitionStream:
    """One open stream of a `FakeRecognizer`; the test's hand on what is heard."""

    def __init__(self, script: Sequence[tuple[int, Heard]], *, finalizes: bool) -> None:
        self.received_ms = 0.0
        """Length of the audio sent so far."""
        self.finalized = 0
        """How often a final was asked for."""
        self.at_once = 0
        """How many pieces could not wait."""
        self.quiet = 0
        """How many could wait longer."""
        self.is_finished = False
        """No more audio comes."""
        self.is_open = True
        """False once the session left the stream."""
        self._script = list(script)
        self._finalizes = finalizes
        self._partial = ""
        self._heard: asyncio.Queue[Heard] = asyncio.Queue(WAITING_MAX)

    def send(self, pcm: bytes, *, at_once: bool = False, is_quiet: bool = False) -> None:
        """Count the audio; hear what the script has for this much of it."""
        self.at_once += at_once
        self.quiet += is_quiet
        self.received_ms += len(pcm) / ASR_BYTES_PER_MS
        while self._script and self._script[0][0] <= self.received_ms:
            self._put(self._script.pop(0)[1])

    def finalize(self) -> None:
        """Hear the last partial as a final, empty when there was none; nothing at all with `finalizes=False`."""
        self.finalized += 1
        if self._finalizes:
            self.hear(Hypothesis(self._partial, is_final=True))

    async def room(self) -> None:
        """See `ports.RecognitionStream`."""

    def finish(self) -> None:
        """See `ports.RecognitionStream`."""
        self.is_finished = True
        self._put(None)

    def hear(self, hypothesis: Hypothesis) -> None:
        """Let the session hear this, now."""
        self._put(hypothesis)

    def fail(self, error: BackendError | None = None) -> None:
        """Let the stream break, now."""
        self._put(error or BackendError(Backend.ASR, "The fake recogniser was told to fail."))

    def end(self) -> None:
        """Let the server close the stream with OK, now."""
        self._put(None)

    def leave(self) -> None:
        """Nothing arrives any more."""
        self.is_open = False
        self._put(None)

    def _put(self, item: Heard) -> None:
        if isinstance(item, Hypothesis):
            self._partial = "" if item.is_final else item.text
        self._heard.put_nowait(item)

    async def __aiter__(self) -> AsyncIterator[Hypothesis]:
        """What was heard, as it comes; nothing more once the stream was left."""
        while (item := await self._heard.get()) is not None and self.is_open:
            if isinstance(item, BackendError):
                raise item
            yield item


class FakeRecognizer:
    """A `Recognizer` that hears what its script says after so much audio, or what the test lets a stream `hear()`.

    `script` holds (ms of audio received on the stream, what is heard then), in order; `scripts` gives stream k its own instead.
    `open_errors[k]` refuses the k-th attempt to open a stream.
    """

    def __init__(
        self,
        script: Sequence[tuple[int, Heard]] = (),
        *,
        scripts: Sequence[Sequence[tuple[int, Heard]]] = (),
        open_errors: Mapping[int, BackendError] | None = None,
        open_ms: int = 0,
        finalizes: bool = True,
    ) -> None:
        self.requests: list[RecognitionRequest] = []
        self.streams: list[FakeRecognitionStream] = []
        self._script, self._scripts = script, scripts
        self._open_errors = open_errors or {}
        self._open_ms, self._finalizes = open_ms, finalizes

    async def languages(self) -> frozenset[str]:
        """See `ports.Recognizer`. It does not say: whatever a test speaks is fine."""
        return frozenset()

    @property
    def stream(self) -> FakeRecognitionStream:
        """The stream opened last."""
        return self.streams[-1]

    @asynccontextmanager
    async def open(self, request: RecognitionRequest) -> AsyncGenerator[FakeRecognitionStream]:
        """See `ports.Recognizer`."""
        attempt = len(self.requests)
        self.requests.append(request)
        await asyncio.sleep(self._open_ms / 1000)
        if attempt in self._open_errors:
            raise self._open_errors[attempt]
        nth = len(self.streams)
        script = self._scripts[nth] if nth < len(self._scripts) else self._script
        stream = FakeRecognitionStream(script, finalizes=self._finalizes)
        self.streams.append(stream)
        try:
            yield stream
        finally:
            stream.leave()


# --- synthesizer -------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class FakeVoice:
    """How a `FakeSynthesizer` sounds."""

    char_ms: int = 60
    """Length of the audio of one character."""
    chunk_ms: int = 100
    """Length of one piece of audio."""
    first_chunk_ms: int = 50
    """Wait before the first piece of each segment."""
    chunk_period_ms: int = 5
    """Wait before each later piece; less than `chunk_ms` is faster than real time."""
    times_words: bool = True
    """Whether the pieces carry word timings."""
    sound: Callable[[int, int], Samples] = ramp
    """(first sample of the reply, samples) -> what it sounds like, shape (samples,)."""


class FakeSynthesisStream:
    """The voice of one reply of a `FakeSynthesizer`."""

    def __init__(self, request: SynthesisRequest, voice: FakeVoice, errors: Mapping[int, BackendError]) -> None:
        self.request = request
        self.spoken: list[tuple[int, str]] = []
        """Every segment asked for: (index, text)."""
        self.finished = False
        """Whether the session said that no more text comes."""
        self.delivered_samples = 0
        """How much audio the session took."""
        self.is_open = True
        """False once the session left the stream."""
        self.drained = False
        """Whether everything was delivered."""
        self._voice, self._errors = voice, errors
        self._segments: asyncio.Queue[tuple[int, str] | None] = asyncio.Queue(WAITING_MAX)

    def speak(self, index: int, text: str) -> None:
        """See `ports.SynthesisStream`."""
        self.spoken.append((index, text))
        self._segments.put_nowait((index, text))

    def finish(self) -> None:
        """See `ports.SynthesisStream`."""
        self.finished = True
        self._segments.put_nowait(None)

    def leave(self) -> None:
        """See `ports.SynthesisStream`."""
        if self.is_open:
            self.is_open = False
            self._segments.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[SpokenAudio]:
        """See `ports.SynthesisStream`."""
        while (segment := await self._segments.get()) is not None:
            async for piece in self._segment(*segment):
                if not self.is_open:
                    return
                yield piece
                self.delivered_samples += len(piece.samples)
        self.drained = self.is_open

    async def _segment(self, index: int, text: str) -> AsyncIterator[SpokenAudio]:
        if index in self._errors:
            raise self._errors[index]
        voice, rate_hz = self._voice, self.request.sample_rate_hz
        length_ms = len(text) * voice.char_ms
        words = [SpokenWord(found[0], found.end() * voice.char_ms) for found in _WORD.finditer(text)] if voice.times_words else []
        for start_ms in range(0, length_ms, voice.chunk_ms):
            await asyncio.sleep((voice.chunk_period_ms if start_ms else voice.first_chunk_ms) / 1000)
            end_ms = min(start_ms + voice.chunk_ms, length_ms)
            count = end_ms * rate_hz // 1000 - start_ms * rate_hz // 1000
            # A word comes with the piece that holds its end: its timing is there before its last sample is heard.
            known = [word for word in words if word.end_ms <= end_ms or end_ms == length_ms]
            words = words[len(known) :]
            yield SpokenAudio(index, voice.sound(self.delivered_samples, count), tuple(known))


class FakeSynthesizer:
    """A `Synthesizer` with the ramp for a voice. `errors[i]` breaks the reply at its segment i."""

    def __init__(self, voice: FakeVoice | None = None, *, errors: Mapping[int, BackendError] | None = None) -> None:
        self.requests: list[SynthesisRequest] = []
        self.streams: list[FakeSynthesisStream] = []
        self.errors = dict(errors or {})
        self._voice = voice or FakeVoice()

    async def voices(self) -> Mapping[str, tuple[str, ...]]:
        """See `ports.Synthesizer`. It does not say."""
        return {}

    @property
    def stream(self) -> FakeSynthesisStream:
        """The stream opened last."""
        return self.streams[-1]

    @property
    def aborted(self) -> int:
        """Replies left before all their audio was delivered."""
        return sum(not stream.is_open and not stream.drained for stream in self.streams)

    @asynccontextmanager
    async def open(self, request: SynthesisRequest) -> AsyncGenerator[FakeSynthesisStream]:
        """See `ports.Synthesizer`."""
        self.requests.append(request)
        stream = FakeSynthesisStream(request, self._voice, self.errors)
        self.streams.append(stream)
        try:
            yield stream
        finally:
            stream.leave()


# --- language model ----------------------------------------------------------------------------------------------------------

Reply = str | BackendError | Sequence[str | BackendError | WantedCall]
"""A text (written word by word), a failure before the first token, or the exact pieces, with a failure or tool calls among them."""


class FakeLanguageModel:
    """A `LanguageModel` that gives its replies in order, and the last one for ever after."""

    def __init__(self, replies: Sequence[Reply] = ("Hello there.",), *, first_token_ms: int = 50, token_ms: int = 10) -> None:
        self.requests: list[GenerationRequest] = []
        self.completed = 0
        """Replies written to their end."""
        self.aborted = 0
        """Replies closed before their end."""
        self._replies = replies
        self._first_token_ms, self._token_ms = first_token_ms, token_ms

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[str | WantedCall]:
        """See `ports.LanguageModel`. The messages are copied: a test sees what was sent, not what became of it."""
        self.requests.append(dataclasses.replace(request, messages=tuple(request.messages)))
        reply = self._replies[min(len(self.requests), len(self._replies)) - 1]
        try:
            async for piece in self._write(reply):
                yield piece
        except (asyncio.CancelledError, GeneratorExit):
            self.aborted += 1
            raise
        self.completed += 1

    async def _write(self, reply: Reply) -> AsyncIterator[str | WantedCall]:
        pieces = tokens(reply) if isinstance(reply, str) else [reply] if isinstance(reply, BackendError) else reply
        for k, piece in enumerate(pieces):
            await asyncio.sleep((self._token_ms if k else self._first_token_ms) / 1000)
            if isinstance(piece, BackendError):
                raise piece
            yield piece

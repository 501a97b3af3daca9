"""A Riva ASR server that hears what its script says.

Theory of operation: the script is a list of lines, each with a moment and an action. The moment is `At(ms)` of audio received on
the stream, or `ON_FORCE_EOU`, which takes one `force_eou` of the client; the action is an answer, a failure, a close, or a fault.
A test can also act at a moment of its own through `streams[k]`. Like Riva, the server answers every `chunk_ms` of audio with one
response, empty if there is nothing to say, puts a space before every result after the first final, echoes the id, and insists on
the configuration first.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
import riva.client.proto.riva_asr_pb2 as rasr
import riva.client.proto.riva_asr_pb2_grpc as rasr_grpc

from voicefsm.scripted.faults import Close, Fail, FallSilent, StopReading, settle

BYTES_PER_MS = 32
ACTIONS_MAX = 10_000
"""Most actions that wait to be carried out on one stream."""


# --- the script --------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """One result of an answer."""

    text: str
    is_final: bool = False
    stability: float = 0.1
    words: tuple[tuple[str, int, int], ...] = ()
    """(word, start_ms, end_ms)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """One response, of any number of results."""

    results: tuple[Result, ...] = ()


Action = Answer | Fail | Close | FallSilent | StopReading


@dataclasses.dataclass(frozen=True, slots=True)
class At:
    """A moment: this much audio has been received."""

    ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class OnForceEou:
    """A moment: the client asked for a final."""


ON_FORCE_EOU = OnForceEou()
EMPTY = Answer()

Line = tuple[At | OnForceEou, Action]


def partial(text: str, stability: float = 0.1) -> Answer:
    """A hypothesis. Stability 1.0 is the first-pass end of utterance."""
    return Answer((Result(text, stability=stability),))


def final(text: str, *words: tuple[str, int, int]) -> Answer:
    """A final, with (word, start_ms, end_ms) for each word if times are wanted."""
    return Answer((Result(text, is_final=True, stability=1.0, words=words),))


@dataclasses.dataclass(frozen=True, slots=True)
class AsrScript:
    """What a scripted recogniser does."""

    lines: Sequence[Line] = ()
    """For every stream from its beginning, in order of `At`."""
    by_stream: Sequence[Sequence[Line]] = ()
    """Lines for the first, second, … stream instead; streams beyond get `lines`."""
    chunk_ms: int = 80
    """One response for this much audio."""
    finalizes: bool = True
    """Whether a `force_eou` without a line of its own finalises the last partial; servers before 2.25.1 do not."""
    models: Sequence[tuple[str, str]] = (("scripted-asr", "en-US"),)
    """(name, language codes separated by commas); another language is refused as Riva does it."""
    streams_max: int = 1000
    """Streams beyond this many at a time are refused with RESOURCE_EXHAUSTED."""
    records_audio: bool = False
    """Keep the audio of every stream."""


# --- one stream --------------------------------------------------------------------------------------------------------------


class AsrStream:
    """One call, as the test sees it."""

    def __init__(self, script: AsrScript, lines: Sequence[Line]) -> None:
        self.config = rasr.StreamingRecognitionConfig()
        """What the client asked for."""
        self.received_ms = 0.0
        """Audio received."""
        self.audio = bytearray()
        """The audio itself, with `records_audio`."""
        self.messages = 0
        """Audio messages received."""
        self.force_eous = 0
        """How often the client asked for a final."""
        self.closed = asyncio.Event()
        """Set once the call is over."""
        self.is_cancelled = False
        """Whether the client cancelled the call."""
        self._script = script
        self._timed = [line for line in lines if isinstance(line[0], At)]
        self._on_force_eou = [action for moment, action in lines if isinstance(moment, OnForceEou)]
        self._actions: asyncio.Queue[Action] = asyncio.Queue(ACTIONS_MAX)
        self._answered_ms = 0
        self._partial = ""
        self._id = ""
        self._finals = 0
        self._is_frozen = False

    def act(self, action: Action) -> None:
        """Do this now."""
        self._actions.put_nowait(action)

    async def configure(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Take the first message, and refuse it as Riva does."""
        request = await context.read()
        if request is grpc.aio.EOF:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no messages received")
        if request.WhichOneof("streaming_request") != "streaming_config":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "first message must contain streaming_config")
        self.config, self._id = request.streaming_config, request.id.value
        language = self.config.config.language_code
        if not any(language in codes.split(",") for _, codes in self._script.models):
            details = f"Error: Unavailable model requested given these parameters: language_code={language}; type=online;"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, details)

    async def listen(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Take audio until the client half-closes, and queue what the script has to say to it."""
        self._queue_due()
        while not self._is_frozen and (request := await context.read()) is not grpc.aio.EOF:
            self.messages += 1
            self.received_ms += len(request.audio_content) / BYTES_PER_MS
            if self._script.records_audio:
                self.audio += request.audio_content
            self._take(request.audio_content, is_last=request.runtime_config.get("force_eou") == "true")
        await settle()
        if not self._is_frozen:
            self.act(Close())

    def _take(self, audio: bytes, *, is_last: bool) -> None:  # noqa: ARG002 (a stream that listens needs the audio)
        """Answer one message; `is_last`: the client wants the final of what it has sent."""
        self._queue_due()
        if is_last:
            self._finalize()

    def _queue_due(self) -> None:
        """What the audio so far calls for: the lines that are due, or else one empty response for each chunk."""
        before = self._actions.qsize()
        while self._timed and self._timed[0][0].ms <= self.received_ms:  # type: ignore[union-attr]
            self.act(self._timed.pop(0)[1])
        chunks = int(self.received_ms - self._answered_ms) // self._script.chunk_ms
        self._answered_ms += chunks * self._script.chunk_ms
        if chunks and self._actions.qsize() == before:
            self.act(EMPTY)

    def _finalize(self) -> None:
        self.force_eous += 1
        if self._on_force_eou:
            self.act(self._on_force_eou.pop(0))
        elif self._script.finalizes:
            self.act(final(self._partial))

    async def answer(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Carry out what is queued until the stream is over."""
        while not isinstance(action := await self._actions.get(), Close):
            match action:
                case Answer():
                    await context.write(self._response(action))
                case Fail():
                    await context.abort(action.code, action.details)
                case FallSilent() | StopReading():
                    self._is_frozen = isinstance(action, StopReading)
                    await asyncio.Event().wait()

    def _response(self, answer: Answer) -> rasr.StreamingRecognizeResponse:
        response = rasr.StreamingRecognizeResponse()
        response.id.value = self._id
        for result in answer.results:
            self._add(response, result)
        return response

    def _add(self, response: rasr.StreamingRecognizeResponse, result: Result) -> None:
        text = f" {result.text}" if self._finals else result.text
        alternative = rasr.SpeechRecognitionAlternative(transcript=text, confidence=0.9 if result.is_final else 0.0)
        for word, start_ms, end_ms in result.words:
            alternative.words.add(word=word, start_time=start_ms, end_time=end_ms)
        response.results.add(
            alternatives=[alternative],
            is_final=result.is_final,
            stability=result.stability,
            audio_processed=self.received_ms / 1000,
        )
        self._finals += result.is_final
        self._partial = "" if result.is_final else result.text


class ScriptedAsr(rasr_grpc.RivaSpeechRecognitionServicer):  # type: ignore[misc]
    """The service. `streams` are the calls so far, in order."""

    def __init__(self, script: AsrScript) -> None:
        self.script = script
        self.streams: list[AsrStream] = []

    @property
    def stream(self) -> AsrStream:
        """The call that came last."""
        return self.streams[-1]

    @property
    def open_streams(self) -> int:
        """Calls that are alive."""
        return sum(not stream.closed.is_set() for stream in self.streams)

    async def StreamingRecognize(self, _: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:  # noqa: N802, the name on the wire
        """One stream."""
        if self.open_streams >= self.script.streams_max:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "The server is at its capacity.")
        stream = self._open()
        self.streams.append(stream)
        try:
            await _converse(stream, context)
        except asyncio.CancelledError:
            stream.is_cancelled = True
            raise
        finally:
            stream.closed.set()

    def _open(self) -> AsrStream:
        """The next stream."""
        nth = len(self.streams)
        lines = self.script.by_stream[nth] if nth < len(self.script.by_stream) else self.script.lines
        return AsrStream(self.script, lines)

    async def GetRivaSpeechRecognitionConfig(self, *_: object) -> rasr.RivaSpeechRecognitionConfigResponse:  # noqa: N802
        """The models."""
        response = rasr.RivaSpeechRecognitionConfigResponse()
        for name, languages in self.script.models:
            response.model_config.add(model_name=name, parameters={"type": "online", "language_code": languages})
        return response


async def _converse(stream: AsrStream, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    await stream.configure(context)
    listening = asyncio.create_task(stream.listen(context))
    try:
        await stream.answer(context)
    finally:
        listening.cancel()

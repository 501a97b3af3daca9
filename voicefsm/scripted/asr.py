"""A Riva ASR server that hears what its script says.

Theory of operation: the script is a list of lines, each with a moment and an action. The moment is `At(ms)` of audio received on
the stream, or `ON_FORCE_EOU`, which takes one `force_eou` of the client; the action is an answer, a failure, a close, or a fault.
A test can also act at a moment of its own through `streams[k]`. Like Riva, the server answers every `chunk_ms` of audio with one
response, empty if there is nothing to say, puts a space before every result after the first final, echoes the id, and insists on
the configuration first.

What real servers were seen to do besides (never finalise, go stale, kill what is idle) is a field of the script; what none should
do is a `Flaw`, one for each item of the conformance list, for the tests that prove that the item can fail.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
import riva.client.proto.riva_asr_pb2 as rasr
import riva.client.proto.riva_asr_pb2_grpc as rasr_grpc
import riva.client.proto.riva_audio_pb2 as raudio

from voicefsm.scripted.faults import Close, Fail, FallSilent, StopReading, settle

BYTES_PER_MS = 32
RATE_HZ_MIN, RATE_HZ_MAX = 8000, 96000
SLOW_AHEAD_MS = 6000
"""How far ahead of real time a server with `Flaw.SLOW_REPLAY` can hear."""
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
    audio_ms: float | None = None
    """`audio_processed` of its results; None: all that was received."""


@dataclasses.dataclass(frozen=True, slots=True)
class GoStale:
    """Answer every chunk ever after, and hear nothing."""


class Flaw(enum.StrEnum):
    """One thing that a server does and Riva does not."""

    NONE = ""
    TAKES_AUDIO_FIRST = "takes audio before the configuration"
    TAKES_NOTHING = "takes a stream without a message"
    TAKES_A_SECOND_CONFIGURATION = "takes a second configuration"
    TAKES_ANY_LANGUAGE = "takes a language it does not have"
    TAKES_ANY_FORMAT = "takes stereo, any rate and any encoding"
    ANSWERS_WORDS_ONLY = "answers only when it has something to say"
    CLIENT_CHUNKS = "works on the client's chunks"
    WRONG_CLOCK = "audio_processed runs twice as fast"
    ALWAYS_INTERIM = "sends partials that nobody asked for"
    ALWAYS_STABLE = "calls every partial stable"
    NO_BLANK = "puts no blank before a continuation"
    WORDS_ON_PARTIALS = "times the words of partials"
    WORDS_IN_SECONDS = "times words in seconds"
    ONE_FINAL = "finalises one utterance and no more, unless it is asked to"
    FORCE_ENDS_STREAM = "ends the stream when a final is asked for"
    NO_FLUSH = "says nothing more once the client has half-closed"
    NO_ECHO = "echoes no id"
    SLOW_REPLAY = "loses audio that comes faster than it was spoken"


Action = Answer | Fail | Close | FallSilent | StopReading | GoStale


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
    chunk_work_ms: int = 0
    """How long the server works on each, before it answers."""
    finalizes: bool = True
    """Whether a `force_eou` without a line of its own finalises the last partial; servers before 2.25.1 do not."""
    first_pass: bool = True
    """Whether partials of stability 1.0 announce the end of an utterance (`SpellingAsr`)."""
    never_final: bool = False
    """Partials only, which go on and on (`SpellingAsr`)."""
    empty_finals: bool = False
    """Finals without a word (`SpellingAsr`)."""
    phantoms: bool = False
    """Finals of a word that nobody said, in silence (`SpellingAsr`)."""
    misses_first_word: bool = False
    """Finals lack the first word of their utterance (`SpellingAsr`)."""
    vad_probability: float | None = None
    """What results carry as the probability of a neural voice detector, where one is deployed."""
    idle_ms_max: int = 0
    """A stream without audio for so long is dead: its next audio fails. 0: never."""
    flaw: Flaw = Flaw.NONE
    """What it does wrong on purpose."""
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
        self._began_ms = 0.0
        self._finals = 0
        self._is_frozen = self._is_stale = self._is_over = False

    def act(self, action: Action) -> None:
        """Do this now."""
        self._actions.put_nowait(action)

    async def configure(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Take the first message, and refuse it as Riva does."""
        request = await context.read()
        if request is grpc.aio.EOF:
            self._is_over = self._script.flaw is Flaw.TAKES_NOTHING
            request = rasr.StreamingRecognizeRequest()
            await self._insist(context, "no messages received", unless=Flaw.TAKES_NOTHING)
        elif request.WhichOneof("streaming_request") != "streaming_config":
            await self._insist(context, "first message must contain streaming_config", unless=Flaw.TAKES_AUDIO_FIRST)
        self.config, self._id = request.streaming_config, request.id.value
        config = self.config.config
        language = config.language_code
        if request.HasField("streaming_config") and not self._has_model(language):
            details = f"Error: Unavailable model requested given these parameters: language_code={language}; type=online;"
            await self._insist(context, details, unless=Flaw.TAKES_ANY_LANGUAGE)
        if refusal := _refusal(config):
            await self._insist(context, refusal, unless=Flaw.TAKES_ANY_FORMAT)
        self._begin()

    def _begin(self) -> None:
        """The configuration is known."""

    def _has_model(self, language: str) -> bool:
        return any(language in codes.split(",") for _, codes in self._script.models)

    async def _insist(self, context: grpc.aio.ServicerContext[Any, Any], details: str, *, unless: Flaw) -> None:
        """Refuse the call."""
        if self._script.flaw is not unless:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, details)

    async def listen(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Take audio until the client half-closes, and queue what the script has to say to it."""
        self._queue_faults()
        while not self._is_frozen and not self._is_over and (request := await self._next(context)) is not grpc.aio.EOF:
            if request.HasField("streaming_config") and self._script.flaw is not Flaw.TAKES_A_SECOND_CONFIGURATION:
                self.act(Fail(grpc.StatusCode.INVALID_ARGUMENT, "streaming_config was already received"))
                return
            self.messages += 1
            self.received_ms += len(request.audio_content) / BYTES_PER_MS
            if self._script.records_audio:
                self.audio += request.audio_content
            self._take(self._not_lost(request.audio_content), is_last=request.runtime_config.get("force_eou") == "true")
        await settle()
        if not self._is_frozen:
            self._flush()
            self.act(Close())

    async def _next(self, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """The next message; one that comes after too long a silence kills the stream."""
        reading = asyncio.ensure_future(context.read())
        try:
            limit_ms = self._script.idle_ms_max
            done, _ = await asyncio.wait([reading], timeout=limit_ms / 1000 if limit_ms else None)
            request = await reading
        finally:
            reading.cancel()
        if not done and request is not grpc.aio.EOF:
            details = "inference request for sequence to model must specify the START flag on the first request of the sequence"
            self.act(Fail(grpc.StatusCode.INVALID_ARGUMENT, details))
            return grpc.aio.EOF
        return request

    def _not_lost(self, audio: bytes) -> bytes:
        """The audio of a message; silence instead of it where the server does not keep up."""
        if self._script.flaw is not Flaw.SLOW_REPLAY:
            return audio
        now_ms = asyncio.get_running_loop().time() * 1000
        self._began_ms = self._began_ms or now_ms
        return audio if self.received_ms <= now_ms - self._began_ms + SLOW_AHEAD_MS else bytes(len(audio))

    def _flush(self) -> None:
        """The client has half-closed."""

    def _end(self) -> None:
        """The server has."""
        self._is_over = True
        self.act(Close())

    def _take(self, audio: bytes, *, is_last: bool) -> None:  # noqa: ARG002 (a stream that listens needs the audio)
        """Answer one message; `is_last`: the client wants the final of what it has sent."""
        self._queue_due()
        if is_last:
            self._finalize()

    def _queue_due(self) -> None:
        """What the audio so far calls for: the lines that are due, or else one empty response for each chunk."""
        due = self._queue_faults()
        chunks = int(self.received_ms - self._answered_ms) // self._script.chunk_ms
        self._answered_ms += chunks * self._script.chunk_ms
        for _ in range(chunks - due):
            self.act(EMPTY)

    def _queue_faults(self) -> int:
        """The lines that are due; how many."""
        due = 0
        while self._timed and self._timed[0][0].ms <= self.received_ms:  # type: ignore[union-attr]
            self.act(self._timed.pop(0)[1])
            due += 1
        return due

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
                    await asyncio.sleep(self._script.chunk_work_ms / 1000)
                    await context.write(self._response(EMPTY if self._is_stale else action))
                case GoStale():
                    self._is_stale = True
                case Fail():
                    await context.abort(action.code, action.details)
                case FallSilent() | StopReading():
                    self._is_frozen = isinstance(action, StopReading)
                    await asyncio.Event().wait()

    def _response(self, answer: Answer) -> rasr.StreamingRecognizeResponse:
        response = rasr.StreamingRecognizeResponse()
        if self._script.flaw is not Flaw.NO_ECHO:
            response.id.value = self._id
        audio_ms = self.received_ms if answer.audio_ms is None else answer.audio_ms
        for result in answer.results:
            if result.is_final or self._wants_interim:
                self._add(response, result, audio_ms)
        return response

    @property
    def _wants_interim(self) -> bool:
        return self.config.interim_results or self._script.flaw is Flaw.ALWAYS_INTERIM

    def _add(self, response: rasr.StreamingRecognizeResponse, result: Result, audio_ms: float) -> None:
        text = f" {result.text}" if self._finals and self._script.flaw is not Flaw.NO_BLANK else result.text
        alternative = rasr.SpeechRecognitionAlternative(transcript=text, confidence=0.9 if result.is_final else 0.0)
        for word, start_ms, end_ms in result.words:
            alternative.words.add(word=word, start_time=start_ms, end_time=end_ms)
        added = response.results.add(
            alternatives=[alternative],
            is_final=result.is_final,
            stability=result.stability,
            audio_processed=audio_ms / 1000,
        )
        if self._script.vad_probability is not None:
            added.pipeline_states.vad_probabilities.append(self._script.vad_probability)
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
        return self._make_stream(self.script.by_stream[nth] if nth < len(self.script.by_stream) else self.script.lines)

    def _make_stream(self, lines: Sequence[Line]) -> AsrStream:
        return AsrStream(self.script, lines)

    async def GetRivaSpeechRecognitionConfig(self, *_: object) -> rasr.RivaSpeechRecognitionConfigResponse:  # noqa: N802
        """The models."""
        response = rasr.RivaSpeechRecognitionConfigResponse()
        for name, languages in self.script.models:
            response.model_config.add(model_name=name, parameters={"type": "online", "language_code": languages})
        return response


def _refusal(config: rasr.RecognitionConfig) -> str:
    """What is wrong with the format of the audio, as Riva tells it."""
    if config.encoding not in (raudio.AudioEncoding.ENCODING_UNSPECIFIED, raudio.AudioEncoding.LINEAR_PCM):
        return "Only LINEAR_PCM encoding is supported."
    if config.sample_rate_hertz and not RATE_HZ_MIN <= config.sample_rate_hertz <= RATE_HZ_MAX:
        return f"Sample rate must be between {RATE_HZ_MIN} and {RATE_HZ_MAX} Hz."
    if config.audio_channel_count > 1:
        return "Only mono audio supported."
    return ""


async def _converse(stream: AsrStream, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    await stream.configure(context)
    listening = asyncio.create_task(stream.listen(context))
    try:
        await stream.answer(context)
    finally:
        listening.cancel()

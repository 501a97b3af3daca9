"""Riva speech recognition: one `StreamingRecognize` call per session, open from its first frame to its last.

Theory of operation: `send` fills a chunk, full chunks and finalise marks wait in an outbox, and one writer task hands the outbox
to gRPC. The reader is whoever iterates, so that nothing is read that nobody takes. Whatever ends the call (a status, an overflow,
a server that stopped answering) is raised there, once, as a `BackendError`.

Riva answers every chunk it processes, with empty results if need be. That makes its answers a heartbeat (`heartbeat.py`): when
audio flows and none comes in its time, the server is stuck even though TCP and gRPC are content, and the stream is `Stalled`.

`finalize()` sends a little silence with `force_eou` (servers before 2.25.1 ignore the mark and endpoint by themselves). That
silence is in the server's clock and not in the session's; `InsertedSilence` takes it out of the word times again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import riva.client.proto.riva_asr_pb2 as rasr
import riva.client.proto.riva_asr_pb2_grpc as rasr_grpc
import riva.client.proto.riva_audio_pb2 as raudio

from voicefsm.adapters.channels import (
    FunctionSettings,
    RivaChannel,
    RivaChannelSettings,
    beside,
    is_cancelled_from_outside,
)
from voicefsm.adapters.heartbeat import Heartbeat
from voicefsm.calls import half_close, write
from voicefsm.errors import BackendError, Stalled
from voicefsm.events import Word
from voicefsm.ports import Hypothesis, RecognitionRequest
from voicefsm.values import Backend, setting

RATE_HZ = 16000
BYTES_PER_MS = 2 * RATE_HZ // 1000
ENDPOINT_STEP_MS = 80
"""Riva's endpointing windows are multiples of this."""
FINALIZE_SILENCE_MS = 80
"""Silence that carries `force_eou`: one chunk of the server, so that the mark is looked at without delay."""
ROOM_MS = 1000
"""Unsent audio up to which there is room for more that is sent faster than it was spoken."""
TICK_MS = 20
"""How long an overdue server may still surprise us."""
INSERTIONS_KEPT = 64
"""Finalise marks whose place is remembered; words older than that many marks do not come any more."""


@dataclasses.dataclass(frozen=True, slots=True)
class RivaAsrSettings:
    """How speech is recognised."""

    model: str = setting("", unit="", doc="Name of the ASR model; empty lets the server choose by language.")
    function_id: str = setting("", unit="", doc="Sent as function-id, for hosted services that tell servers apart by it (NVCF).")
    function_version_id: str = setting("", unit="", doc="Sent as function-version-id.")
    chunk_ms: int = setting(
        80,
        unit="ms",
        ge=20,
        le=200,
        doc="Audio per message in long speech. Longer saves CPU (0.2 ms of it per message), shorter brings words sooner. When "
        "speech ends or a reply may be cut, every frame goes at once.",
    )
    quiet_chunk_ms: int = setting(
        160,
        unit="ms",
        ge=20,
        le=400,
        doc="Audio per message while nobody speaks. The first frame of speech takes it along.",
    )
    buffer_ms_max: int = setting(
        5000,
        unit="ms",
        ge=200,
        le=60000,
        doc="Unsent audio at which the recogniser counts as failed: it takes less than is spoken.",
    )
    answer_ms_max: int = setting(
        3000,
        unit="ms",
        ge=200,
        le=60000,
        doc="How long the first answer of a stream, or its end, may take before the recogniser counts as failed.",
    )
    stall_ms: int = setting(
        500,
        unit="ms",
        ge=100,
        le=60000,
        doc="How much longer than the server's own chunk, which is learned, an answer may take while audio flows before the stream "
        "counts as stalled. Raise it for a server that does not answer every chunk.",
    )
    refusal_ms_max: int = setting(
        50, unit="ms", ge=0, le=2000, doc="How long to watch for a refusal of the configuration before the stream counts as open."
    )
    first_pass_ms: int = setting(
        240, unit="ms", ge=0, le=3000, doc="Silence after which the recogniser announces the end of an utterance; 0 leaves it out."
    )
    automatic_punctuation: bool = setting(True, unit="", doc="Ask for punctuation and capitals.")
    word_times: bool = setting(True, unit="", doc="Ask for the time of each word.")
    profanity_filter: bool = setting(False, unit="", doc="Ask for profanity to be masked.")
    verbatim: bool = setting(False, unit="", doc="Ask for words as spoken: numbers and dates are not written as figures.")
    boosted_phrases: tuple[str, ...] = setting((), unit="", doc="Phrases the recogniser should expect.")
    phrase_boost: float = setting(
        4.0, unit="", ge=-100, le=100, doc="How much it should expect them; Riva suggests 4 to 100 by model."
    )
    custom_configuration: tuple[str, ...] = setting(
        (), unit="", doc="Further key:value pairs for the Riva pipeline, for example apply_partial_itn:true."
    )


class RivaRecognizer:
    """`ports.Recognizer` on Riva. One per process; `aclose()` it at the end."""

    def __init__(self, settings: RivaAsrSettings, channel_settings: RivaChannelSettings) -> None:
        self._settings = settings
        function = FunctionSettings(settings.function_id, settings.function_version_id)
        self._channel = RivaChannel(Backend.ASR, channel_settings, function=function)

    async def aclose(self) -> None:
        """Close the channel. Harmless twice."""
        await self._channel.aclose()

    @asynccontextmanager
    async def open(self, request: RecognitionRequest) -> AsyncGenerator[RivaRecognitionStream]:
        """See `ports.Recognizer`."""
        metadata = [("traceparent", request.traceparent)] if request.traceparent else None
        call = self._stub().StreamingRecognize(metadata=metadata)
        try:
            await self._configure(call, request)
            stream = RivaRecognitionStream(call, self._settings, self._channel)
            async with beside(stream.write()):
                yield stream
        finally:
            call.cancel()

    async def _configure(self, call: grpc.aio.StreamStreamCall, request: RecognitionRequest) -> None:
        """Connect, send the configuration, and watch a moment for its refusal."""
        open_ms_max = self._channel.settings.open_ms_max
        try:
            async with asyncio.timeout(open_ms_max / 1000):
                await write(call, rasr.StreamingRecognizeRequest(streaming_config=streaming_config(self._settings, request)))
        except TimeoutError:
            raise self._channel.silent(f"could not be reached within {open_ms_max} ms") from None
        # A server that answers sooner accepts sooner; most answer only when audio comes, and refuse at once.
        answer = asyncio.ensure_future(call.initial_metadata())
        await asyncio.wait([answer], timeout=self._settings.refusal_ms_max / 1000)
        answer.cancel()
        if call.done():
            raise self._channel.failed(await call.code(), await call.details())

    async def check_health(self) -> None:
        """Return when the server says that it is well, or says nothing about it. Raises `BackendError`."""
        await self._channel.check_health()

    async def ready(self) -> None:
        """Return when the server would do its work now. Raises `BackendError` saying why it would not."""
        await self.check_health()
        models = await self.models()
        if not models:
            raise self._channel.silent("lists no model")
        if self._settings.model not in {"", *models}:
            raise self._channel.lacking(f"streaming model {self._settings.model!r}", models)

    async def models(self) -> Mapping[str, frozenset[str]]:
        """The streaming models: name -> language codes. Raises `BackendError`."""
        request = rasr.RivaSpeechRecognitionConfigRequest()
        listing = await self._channel.ask(self._stub().GetRivaSpeechRecognitionConfig(request))
        return {
            m.model_name: _languages(m.parameters) for m in listing.model_config if m.parameters.get("type", "online") == "online"
        }

    async def languages(self) -> frozenset[str]:
        """Every language code some streaming model has; empty when the server has no model. Raises `BackendError`."""
        return frozenset().union(*(await self.models()).values())

    def _stub(self) -> rasr_grpc.RivaSpeechRecognitionStub:
        return rasr_grpc.RivaSpeechRecognitionStub(self._channel.get())


def _languages(parameters: Mapping[str, str]) -> frozenset[str]:
    return frozenset(code.strip() for code in parameters.get("language_code", "").split(",") if code.strip())


# --- the configuration -------------------------------------------------------------------------------------------------------


def streaming_config(settings: RivaAsrSettings, request: RecognitionRequest) -> rasr.StreamingRecognitionConfig:
    """The first message of a stream."""
    config = rasr.RecognitionConfig(
        encoding=raudio.AudioEncoding.LINEAR_PCM,
        sample_rate_hertz=RATE_HZ,
        language_code=request.language_code,
        max_alternatives=1,
        audio_channel_count=1,
        model=settings.model,
        profanity_filter=settings.profanity_filter,
        verbatim_transcripts=settings.verbatim,
        enable_automatic_punctuation=settings.automatic_punctuation,
        enable_word_time_offsets=settings.word_times,
        endpointing_config=endpointing(request.silence_ms, settings.first_pass_ms),
        custom_configuration=dict(_pairs(settings.custom_configuration)),
    )
    if settings.boosted_phrases:
        config.speech_contexts.append(rasr.SpeechContext(phrases=settings.boosted_phrases, boost=settings.phrase_boost))
    return rasr.StreamingRecognitionConfig(config=config, interim_results=True)


def endpointing(silence_ms: int, first_pass_ms: int) -> rasr.EndpointingConfig:
    """Windows rounded down to Riva's step. The first pass must come before the end, or it is left out."""
    stop_ms = max(silence_ms // ENDPOINT_STEP_MS * ENDPOINT_STEP_MS, ENDPOINT_STEP_MS)
    config = rasr.EndpointingConfig(stop_history=stop_ms)
    early_ms = min(first_pass_ms // ENDPOINT_STEP_MS * ENDPOINT_STEP_MS, stop_ms - ENDPOINT_STEP_MS)
    if early_ms > 0:
        config.stop_history_eou = early_ms
    return config


def _pairs(entries: Iterable[str]) -> list[tuple[str, str]]:
    return [(key.strip(), value.strip()) for key, _, value in (entry.partition(":") for entry in entries)]


# --- one stream --------------------------------------------------------------------------------------------------------------


class RivaRecognitionStream:
    """`ports.RecognitionStream` on one call."""

    def __init__(self, call: grpc.aio.StreamStreamCall, settings: RivaAsrSettings, channel: RivaChannel) -> None:
        self._call, self._settings, self._channel = call, settings, channel
        self._chunk = bytearray()
        self._was_quiet = False
        """When audio was sent last, nobody spoke."""
        self._outbox: deque[rasr.StreamingRecognizeRequest | None] = deque()
        """What is to be written; None: nothing more."""
        self._outbox_bytes = 0
        self._more = asyncio.Event()
        self._failure: BackendError | None = None
        self._posted_bytes = 0
        self._silence = InsertedSilence()
        self._heartbeat = Heartbeat(stall_ms=settings.stall_ms, first_ms=settings.answer_ms_max)
        self._watch: asyncio.TimerHandle | None = None
        self._is_suspect = False
        """The server was overdue at the last look."""
        self._less = asyncio.Event()
        self._takes_audio = True
        self._partial: tuple[str, bool] = ("", False)
        self._processed_ms = 0.0

    def send(self, pcm: bytes, *, at_once: bool = False, is_quiet: bool = False) -> None:
        """See `ports.RecognitionStream`. Too much unsent audio fails the stream: the iterator raises it."""
        self._chunk += pcm
        enough_ms = self._settings.quiet_chunk_ms if is_quiet else self._settings.chunk_ms
        if at_once or (not is_quiet and self._was_quiet) or len(self._chunk) >= enough_ms * BYTES_PER_MS:
            self._flush()
        self._was_quiet = is_quiet

    async def room(self) -> None:
        """See `ports.RecognitionStream`."""
        while self._takes_audio and self._outbox_bytes > ROOM_MS * BYTES_PER_MS:
            self._less.clear()
            await self._less.wait()

    def finalize(self) -> None:
        """See `ports.RecognitionStream`."""
        self._flush()
        self._silence.insert(self._posted_bytes // BYTES_PER_MS)
        self._heartbeat.finalized()
        self._post(bytes(FINALIZE_SILENCE_MS * BYTES_PER_MS), {"force_eou": "true"})

    def finish(self) -> None:
        """See `ports.RecognitionStream`."""
        self._flush()
        self._outbox.append(None)
        self._more.set()

    def _flush(self) -> None:
        """Hand the chunk in progress to the writer, however short it is."""
        if self._chunk:
            self._post(bytes(self._chunk), {})
            self._chunk.clear()

    def _post(self, audio: bytes, runtime_config: dict[str, str]) -> None:
        if self._failure is not None:
            return
        self._outbox.append(rasr.StreamingRecognizeRequest(audio_content=audio, runtime_config=runtime_config))
        self._posted_bytes += len(audio)
        self._outbox_bytes += len(audio)
        self._more.set()
        if self._outbox_bytes > self._settings.buffer_ms_max * BYTES_PER_MS:
            self._fail(f"did not take {self._outbox_bytes // BYTES_PER_MS} ms of audio; what was said in them is lost")

    def _fail(self, what: str, kind: type[BackendError] = BackendError) -> None:
        """Fail, for the first reason only. The reader learns it from the cancelled call."""
        self._failure = self._failure or self._channel.silent(what, kind)
        self._outbox.clear()
        self._call.cancel()

    async def write(self) -> None:
        """Hand the outbox to gRPC until the call is over; the reader learns how it ended."""
        try:
            while await self._write_next():
                self._less.set()
        finally:
            self._takes_audio = False
            self._less.set()
            self._stop_watching()
        # The status follows what the reader has not read yet. If it never comes, the reader must not wait for ever.
        await asyncio.sleep(self._settings.answer_ms_max / 1000)
        if not self._call.done():
            self._fail("takes no more audio")

    async def _write_next(self) -> bool:
        """Write the oldest message; False when the call takes no more."""
        while not self._outbox:
            self._more.clear()
            await self._more.wait()
        request = self._outbox.popleft()
        if request is None:
            await half_close(self._call)
            return False
        if not await write(self._call, request):
            return False
        self._outbox_bytes -= len(request.audio_content)
        self._heartbeat.sent(_now_ms(), len(request.audio_content) / BYTES_PER_MS)
        self._look_again()
        return self._failure is None

    def _look_again(self) -> None:
        """Look at the server when its answer is due; one timer at most, and not one for every message."""
        due_ms = self._heartbeat.due_ms
        if self._watch is None and due_ms is not None:
            self._watch = asyncio.get_running_loop().call_later(max(0.0, due_ms - _now_ms()) / 1000, self._look)

    def _look(self) -> None:
        """Is the server overdue, and still so a tick later? The answer may be here already, and we too busy to have read it."""
        self._watch, due_ms = None, self._heartbeat.due_ms
        if due_ms is None or _now_ms() < due_ms:
            self._is_suspect = False
        elif self._is_suspect:
            self._fail(f"answered nothing for {self._heartbeat.silent_ms(_now_ms()):.0f} ms although audio flows", Stalled)
            return
        else:
            self._is_suspect = True
            self._watch = asyncio.get_running_loop().call_later(TICK_MS / 1000, self._look)
            return
        self._look_again()

    def _stop_watching(self) -> None:
        """Nothing is sent any more: no answer is due."""
        if self._watch is not None:
            self._watch.cancel()

    async def __aiter__(self) -> AsyncIterator[Hypothesis]:
        """See `ports.RecognitionStream`."""
        while (response := await self._read()) is not grpc.aio.EOF:
            self._note(response)
            for hypothesis in self._hypotheses(response):
                yield hypothesis

    async def _read(self) -> Any:
        """The next response, or EOF when the server closed the stream with OK or the stream was left."""
        try:
            return await self._call.read()
        except asyncio.CancelledError:
            if is_cancelled_from_outside():
                raise
            if self._failure is not None:
                raise self._failure from None
            return grpc.aio.EOF
        except grpc.aio.AioRpcError as error:
            raise self._failure or self._channel.failed(error.code(), error.details()) from error

    def _note(self, response: rasr.StreamingRecognizeResponse) -> None:
        """The server's heart beats."""
        told_ms = max((result.audio_processed * 1000 for result in response.results), default=0.0)
        self._processed_ms = told_ms if math.isfinite(told_ms) else 0.0
        is_final = any(result.is_final for result in response.results)
        self._heartbeat.answered(_now_ms(), self._processed_ms, is_final=is_final)

    def _hypotheses(self, response: rasr.StreamingRecognizeResponse) -> Iterator[Hypothesis]:
        """What is new in a response: its finals as one, then its partials as one."""
        heard = [result for result in response.results if result.alternatives]
        if finals := [result for result in heard if result.is_final]:
            self._partial = ("", False)
            yield self._final(finals)
        if partials := [result for result in heard if not result.is_final]:
            stability = min(result.stability for result in partials)
            partial = (_text(partials), stability >= 1.0)
            if partial[0] and partial != self._partial:
                self._partial = partial
                yield Hypothesis(partial[0], is_final=False, stability=stability, audio_ms=self._audio_ms)

    def _final(self, results: Sequence[rasr.StreamingRecognitionResult]) -> Hypothesis:
        words = tuple(
            Word(word.word.strip(), self._silence.media_ms(word.start_time), self._silence.media_ms(word.end_time))
            for result in results
            for word in result.alternatives[0].words
        )
        return Hypothesis(_text(results), is_final=True, stability=1.0, words=words, audio_ms=self._audio_ms)

    @property
    def _audio_ms(self) -> int:
        """How far the server had come in what it was sent, when it said the last response; 0 when it does not tell."""
        return self._silence.media_ms(round(self._processed_ms))


def _text(results: Iterable[rasr.StreamingRecognitionResult]) -> str:
    """The results as one text; each may carry the space that joins it to the one before."""
    texts = (result.alternatives[0].transcript.strip() for result in results)
    return " ".join(text for text in texts if text)


class InsertedSilence:
    """Maps the server's clock to the session's: the silences of `finalize()` exist for the server only."""

    def __init__(self) -> None:
        self._places: deque[tuple[int, int]] = deque(maxlen=INSERTIONS_KEPT)
        """(where on the server's clock a silence begins, length of the silences before it), in order."""
        self._total_ms = 0

    def insert(self, server_ms: int) -> None:
        """A silence of `FINALIZE_SILENCE_MS` begins at `server_ms` of all audio sent."""
        self._places.append((server_ms, self._total_ms))
        self._total_ms += FINALIZE_SILENCE_MS

    def media_ms(self, server_ms: int) -> int:
        """Media time of the session; a moment within a silence is the moment the silence was put in."""
        for begin_ms, before_ms in reversed(self._places):
            if server_ms > begin_ms:
                return max(server_ms - FINALIZE_SILENCE_MS, begin_ms) - before_ms
        return server_ms - (self._places[0][1] if self._places else 0)


def _now_ms() -> float:
    return asyncio.get_running_loop().time() * 1000

"""The Riva speech recognition service, on Riva's own generated stubs.

What Riva does, done here because its clients rely on it: the configuration first, then audio only; audio is worked off in chunks of
the server's own length, and every chunk is answered, with no results if need be; every text after a stream's first final begins
with a blank; `runtime_config{"force_eou": "true"}` ends the utterance and the stream goes on; half-close flushes a last final; a
stream without audio for a minute is dead, and its next chunk fails with the START flag message.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable

import grpc
import grpc.aio
import numpy as np
from riva.client.proto import riva_asr_pb2 as asr
from riva.client.proto import riva_asr_pb2_grpc as asr_grpc

from voicefsm.embedded.audio import Intake
from voicefsm.embedded.decoders import DecoderPool, NoDecoder
from voicefsm.embedded.pocketsphinx_engine import LANGUAGE, RATE_HZ
from voicefsm.embedded.recognition import Recognition, Result
from voicefsm.embedded.recognition_config import MODEL, OFFLINE, ONLINE, check, expected, hearing
from voicefsm.embedded.refusal import Context, Refused, refusals
from voicefsm.embedded.settings import EmbeddedSettings
from voicefsm.embedded.voices import Samples

RECORDING_CHUNK_MS = 1000
_FORCE_EOU = "force_eou"
_log = logging.getLogger(__name__)


class RecognitionService(asr_grpc.RivaSpeechRecognitionServicer):  # type: ignore[misc]
    """`RivaSpeechRecognition`."""

    def __init__(self, pool: DecoderPool, settings: EmbeddedSettings) -> None:
        self._pool = pool
        self._settings = settings

    async def GetRivaSpeechRecognitionConfig(  # noqa: N802
        self, request: asr.RivaSpeechRecognitionConfigRequest, _: Context
    ) -> asr.RivaSpeechRecognitionConfigResponse:
        """The two models: one recogniser, for streams and for recordings. An unknown name lists nothing."""
        response = asr.RivaSpeechRecognitionConfigResponse()
        for kind in (ONLINE, OFFLINE):
            name = f"{MODEL}-{kind}"
            parameters = {
                "language_code": LANGUAGE,
                "sample_rate_hertz": str(RATE_HZ),
                "streaming": str(kind == ONLINE),
                "type": kind,
            }
            if request.model_name in ("", name):
                response.model_config.add(model_name=name, parameters=parameters)
        return response

    async def Recognize(self, request: asr.RecognizeRequest, context: Context) -> asr.RecognizeResponse:  # noqa: N802
        """A whole recording."""
        response = asr.RecognizeResponse()
        if request.HasField("id"):
            response.id.CopyFrom(request.id)
        async with refusals(context), self._stream(request.config, OFFLINE) as stream:
            await stream.recognize(request.audio, response)
        return response

    async def StreamingRecognize(self, _: AsyncIterator[asr.StreamingRecognizeRequest], context: Context) -> None:  # noqa: N802
        """One stream, as described at the top."""
        async with refusals(context):
            first = await context.read()
            if first is grpc.aio.EOF:
                raise Refused("no messages received")
            if not first.HasField("streaming_config"):
                raise Refused("first message must contain streaming_config")
            requests = _Requests(context, self._settings.asr_idle_ms_max)
            async with self._stream(first.streaming_config.config, ONLINE) as stream:
                await stream.converse(first, requests, context)
            # A dead stream holds no decoder; it fails when its client speaks again.
            await requests.refuse_audio()

    @contextlib.asynccontextmanager
    async def _stream(self, config: asr.RecognitionConfig, kind: str) -> AsyncIterator[_Stream]:
        """A decoder of its own, set up as the client wants it. Raises `Refused`."""
        declared = check(config, kind)
        phrases, weight = expected(config.speech_contexts, self._settings.asr_phrases_max)
        try:
            async with self._pool.lease() as decoder:
                if unknown := await self._pool.run(lambda: decoder.begin_session(phrases, weight)):
                    _log.warning("speech_contexts: no pronunciation for %s; phrases with it are left out", ", ".join(unknown))
                recognition = Recognition(decoder, hearing(config, self._settings))
                yield _Stream(self._pool, recognition, Intake(declared, RATE_HZ), config, self._settings)
        except NoDecoder:
            raise Refused(
                f"All {self._pool.streams_max} recognisers are in use: close a stream, or raise embedded.asr_streams_max.",
                grpc.StatusCode.RESOURCE_EXHAUSTED,
            ) from None


class _Requests:
    """The messages of a call after its first, until the client has been idle for too long."""

    def __init__(self, context: Context, idle_ms_max: int) -> None:
        self._context = context
        self._idle_ms_max = idle_ms_max
        self._reading: asyncio.Future[asr.StreamingRecognizeRequest] | None = None
        self.is_over = False
        """The client has half-closed."""

    async def __aiter__(self) -> AsyncIterator[asr.StreamingRecognizeRequest]:
        """Ends at half-close, and when the client is idle."""
        while (request := await self._next(self._idle_ms_max / 1000)) is not None:
            yield request

    async def refuse_audio(self) -> None:
        """Wait for the client's next message. Raises `Refused` when there is one."""
        if await self._next(None) is not None:
            raise Refused(
                f"inference request for sequence to model '{MODEL}-{ONLINE}' must specify the START flag on the first request of "
                f"the sequence: there was no audio for {self._idle_ms_max} ms. Send silence, or open a new stream."
            )

    async def _next(self, timeout_s: float | None) -> asr.StreamingRecognizeRequest | None:
        """The next message; None at half-close and after the timeout. A read that timed out goes on."""
        if self.is_over:
            return None
        self._reading = self._reading or asyncio.ensure_future(self._context.read())
        done, _ = await asyncio.wait([self._reading], timeout=timeout_s)
        if not done:
            return None
        request, self._reading = self._reading.result(), None
        self.is_over = request is grpc.aio.EOF
        return None if self.is_over else request


class _Stream:
    """The audio of one client, chunk by chunk through its decoder."""

    def __init__(
        self, pool: DecoderPool, recognition: Recognition, intake: Intake, config: asr.RecognitionConfig, settings: EmbeddedSettings
    ) -> None:
        self._pool = pool
        self._recognition = recognition
        self._intake = intake
        self._settings = settings
        self._has_word_times = config.enable_word_time_offsets
        self._waiting: Samples = np.zeros(0, np.int16)
        """Less than a chunk."""
        self._processed_samples = 0
        self._has_final = False

    async def converse(self, first: asr.StreamingRecognizeRequest, requests: _Requests, context: Context) -> None:
        """Answer the client until it half-closes or is idle."""
        has_interim = first.streaming_config.interim_results

        async def answer(results: Iterable[Result]) -> None:
            response = asr.StreamingRecognizeResponse()
            if first.HasField("id"):
                response.id.CopyFrom(first.id)
            self._fill(response, (result for result in results if result.is_final or has_interim))
            await context.write(response)

        async for request in requests:
            if request.HasField("streaming_config"):
                raise Refused("streaming_config was already received")
            async for results in self._hear(request.audio_content, self._settings.asr_chunk_ms):
                await answer(results)
            if request.runtime_config.get(_FORCE_EOU) == "true":
                had_audio, results = await self._force()
                if had_audio or results:
                    await answer(results)
        if requests.is_over:
            results = await self._finish()
            if results:
                await answer(results)

    async def recognize(self, audio: bytes, response: asr.RecognizeResponse) -> None:
        """Fill in the results of a whole recording. Raises `Refused`."""
        if not audio:
            raise Refused("empty audio")
        finals: list[Result] = []
        async for results in self._hear(audio, RECORDING_CHUNK_MS):
            finals += (result for result in results if result.is_final)
            self._has_final = bool(finals)
            if self._processed_samples > self._settings.asr_recording_s_max * RATE_HZ:
                raise Refused(
                    f"The recording is longer than {self._settings.asr_recording_s_max} s (embedded.asr_recording_s_max)."
                )
        for result in [*finals, *await self._finish()]:
            response.results.add(
                alternatives=[self._alternative(result)], channel_tag=1, audio_processed=self._processed_samples / RATE_HZ
            )

    async def _hear(self, data: bytes, chunk_ms: int) -> AsyncIterator[list[Result]]:
        """The results of each chunk that is full by now."""
        self._waiting = np.concatenate((self._waiting, self._intake.push(data)))
        size = RATE_HZ * chunk_ms // 1000
        while len(self._waiting) >= size:
            chunk, self._waiting = self._waiting[:size], self._waiting[size:]
            yield await self._recognise(chunk)

    async def _force(self) -> tuple[bool, list[Result]]:
        """End the utterance: whether there was audio left for it, and the finals."""
        rest, self._waiting = self._waiting, self._waiting[:0]
        results = await self._recognise(rest) if len(rest) else []
        finals = [result for result in results if result.is_final]
        return bool(len(rest)), [*finals, *await self._pool.run(self._recognition.force)]

    async def _finish(self) -> list[Result]:
        """The client sends no more: the last finals; an empty one if there never was any."""
        self._waiting = np.concatenate((self._waiting, self._intake.finish()))
        _, results = await self._force()
        return results if results or self._has_final else [Result("", is_final=True, stability=1.0)]

    async def _recognise(self, chunk: Samples) -> list[Result]:
        self._processed_samples += len(chunk)
        return await self._pool.run(lambda: self._recognition.hear(chunk))

    def _fill(self, response: asr.StreamingRecognizeResponse, results: Iterable[Result]) -> None:
        for result in results:
            alternative = self._alternative(result)
            if self._has_final and result.text:
                alternative.transcript = " " + result.text
            response.results.add(
                alternatives=[alternative],
                is_final=result.is_final,
                stability=result.stability,
                channel_tag=1,
                audio_processed=self._processed_samples / RATE_HZ,
            )
            self._has_final |= result.is_final

    def _alternative(self, result: Result) -> asr.SpeechRecognitionAlternative:
        alternative = asr.SpeechRecognitionAlternative(transcript=result.text)
        if result.words:
            alternative.confidence = sum(word.confidence for word in result.words) / len(result.words)
            alternative.language_code.append(LANGUAGE)
        for word in result.words if self._has_word_times else ():
            alternative.words.add(
                word=word.text,
                start_time=word.start_ms,
                end_time=word.end_ms,
                confidence=word.confidence,
                language_code=LANGUAGE,
            )
        return alternative

"""The Riva speech synthesis service, on Riva's own generated stubs.

`SynthesizeOnline` takes any number of texts in one call (wheels since 2.25) and speaks them in order, each as soon as it comes;
every response carries the id and the text it belongs to, and the words that are spoken in it if the client asked for word times.
Audio begins before half-close; cancelling the call stops the engine within one of its buffers. The options `tts_pace` and
`tts_first_chunk_ms` slow it down to what a real engine does.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing

import grpc
import grpc.aio
from riva.client.proto import riva_audio_pb2 as riva_audio
from riva.client.proto import riva_tts_pb2 as tts
from riva.client.proto import riva_tts_pb2_grpc as tts_grpc

from voicefsm.embedded.audio import RATE_HZ_MAX, RATE_HZ_MIN, Outlet
from voicefsm.embedded.refusal import Context, Refused, refusals
from voicefsm.embedded.settings import EmbeddedSettings
from voicefsm.embedded.synthesis import Synthesizer, speakable
from voicefsm.embedded.voices import TimedWord, Voice

_ENCODINGS = (riva_audio.AudioEncoding.ENCODING_UNSPECIFIED, riva_audio.AudioEncoding.LINEAR_PCM)


class SynthesisService(tts_grpc.RivaSpeechSynthesisServicer):  # type: ignore[misc]
    """`RivaSpeechSynthesis`."""

    def __init__(self, synthesizer: Synthesizer, settings: EmbeddedSettings) -> None:
        self._synthesizer = synthesizer
        self._settings = settings
        self._streams = 0

    async def GetRivaSynthesisConfig(  # noqa: N802
        self, request: tts.RivaSynthesisConfigRequest, context: Context
    ) -> tts.RivaSynthesisConfigResponse:
        """One model for each engine and language; its voices are `voice_name` + "." + each of `subvoices`."""
        models: dict[str, list[Voice]] = defaultdict(list)
        for voice in self._synthesizer.voices:
            models[voice.model].append(voice)
        if request.model_name and request.model_name not in models:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"unknown TTS model '{request.model_name}' (there is {', '.join(models)})"
            )
        response = tts.RivaSynthesisConfigResponse()
        for model, voices in models.items():
            if request.model_name in ("", model):
                response.model_config.add(model_name=model, parameters=self._parameters(model, voices))
        return response

    async def Synthesize(self, request: tts.SynthesizeSpeechRequest, context: Context) -> tts.SynthesizeSpeechResponse:  # noqa: N802
        """One text, in one response."""
        whole = self._head(request)
        async with refusals(context), _Place(self):
            async for part in self._speak(request, paced=False):
                whole.audio += part.audio
                whole.meta.words.extend(part.meta.words)
        return whole

    async def SynthesizeOnline(self, _: AsyncIterator[tts.SynthesizeSpeechRequest], context: Context) -> None:  # noqa: N802
        """Texts as they come, audio as it is made."""
        async with refusals(context), _Place(self):
            while (request := await context.read()) is not grpc.aio.EOF:
                async with aclosing(self._speak(request, paced=True)) as parts:
                    async for part in parts:
                        await context.write(part)

    async def _speak(self, request: tts.SynthesizeSpeechRequest, *, paced: bool) -> AsyncGenerator[tts.SynthesizeSpeechResponse]:
        """The responses to one text; at least one. Raises `Refused`."""
        voice = self._check(request)
        rate_hz = request.sample_rate_hz or self._synthesizer.rate_hz(voice)
        outlet = Outlet(self._synthesizer.rate_hz(voice), rate_hz, self._settings.tts_chunk_ms)
        if paced:
            await asyncio.sleep(self._settings.tts_first_chunk_ms / 1000)
        pace = _Pace(self._settings.tts_pace, rate_hz)
        words: list[TimedWord] = []
        text = speakable(request.text)
        if text:
            async with aclosing(self._synthesizer.speak(text, voice)) as pieces:
                async for piece in pieces:
                    words += piece.words
                    for chunk in outlet.push(piece.samples):
                        yield self._response(request, chunk, words)
                        words = []
                        if paced:
                            await pace.wait(len(chunk))
        for chunk in outlet.finish() or [b""]:
            yield self._response(request, chunk, words)
            words = []

    def _check(self, request: tts.SynthesizeSpeechRequest) -> Voice:
        """The voice to speak with. Raises `Refused` for what cannot be served."""
        if request.encoding not in _ENCODINGS:
            raise Refused("Only LINEAR_PCM encoding is supported.")
        if request.sample_rate_hz and not RATE_HZ_MIN <= request.sample_rate_hz <= RATE_HZ_MAX:
            raise Refused(f"sample_rate_hz must be between {RATE_HZ_MIN} and {RATE_HZ_MAX}, or 0 (the voice's own).")
        if request.HasField("zero_shot_data") or request.custom_dictionary:
            raise Refused("zero_shot_data and custom_dictionary are not supported by these voices.")
        if len(request.text) > self._settings.tts_text_chars_max:
            limit = self._settings.tts_text_chars_max
            raise Refused(
                f"The text has {len(request.text)} characters, at most {limit} are spoken in one request: send it in parts."
            )
        voice = self._synthesizer.find(request.voice_name, request.language_code)
        if voice is None:
            asked = f"language_code={request.language_code}; voice_name={request.voice_name};"
            remedy = "GetRivaSynthesisConfig lists the voices"
            raise Refused(f"Error: Unavailable model requested given these parameters: {asked} ({remedy})")
        return voice

    def _response(
        self, request: tts.SynthesizeSpeechRequest, audio: bytes, words: Iterable[TimedWord]
    ) -> tts.SynthesizeSpeechResponse:
        response = self._head(request)
        response.audio = audio
        if request.enable_word_time_offsets:
            for word in words:
                response.meta.words.add(word=word.text, start_time=word.start_ms, end_time=word.end_ms)
        return response

    def _head(self, request: tts.SynthesizeSpeechRequest) -> tts.SynthesizeSpeechResponse:
        response = tts.SynthesizeSpeechResponse()
        response.meta.text, response.meta.processed_text = request.text, speakable(request.text)
        if request.HasField("id"):
            response.id.CopyFrom(request.id)
        return response

    def _parameters(self, model: str, voices: list[Voice]) -> dict[str, str]:
        return {
            "language_code": voices[0].language_code,
            "voice_name": model,
            "subvoices": ",".join(f"{voice.speaker}:{number}" for number, voice in enumerate(voices)),
            "sample_rate_hz": str(self._synthesizer.rate_hz(voices[0])),
            "encoding": "LINEAR_PCM",
        }

    def enter(self) -> None:
        """Take a place among the syntheses at work. Raises `Refused` when there is none."""
        if self._streams >= self._settings.tts_streams_max:
            raise Refused(
                f"All {self._settings.tts_streams_max} places are taken: wait, or raise embedded.tts_streams_max.",
                grpc.StatusCode.RESOURCE_EXHAUSTED,
            )
        self._streams += 1

    def leave(self) -> None:
        """Give it back."""
        self._streams -= 1


class _Place:
    """One of the service's places, for the length of a call."""

    def __init__(self, service: SynthesisService) -> None:
        self._service = service

    async def __aenter__(self) -> None:
        self._service.enter()

    async def __aexit__(self, *_: object) -> None:
        self._service.leave()


class _Pace:
    """Holds audio back to a multiple of real time."""

    def __init__(self, factor: float, rate_hz: int) -> None:
        self._factor = factor
        self._rate_hz = rate_hz
        self._since = asyncio.get_running_loop().time()
        self._samples = 0

    async def wait(self, chunk_bytes: int) -> None:
        """Return when the next chunk after this one is due."""
        self._samples += chunk_bytes // 2
        if self._factor:
            due = self._since + self._samples / self._rate_hz / self._factor
            await asyncio.sleep(due - asyncio.get_running_loop().time())

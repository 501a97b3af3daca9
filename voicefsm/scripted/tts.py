"""A Riva TTS server whose every sample is known.

Theory of operation: the audio of a text is `voice(text, …)`, a ramp whose start depends on the text. A test that knows what was
asked can say what must be heard, sample by sample: nothing lost, nothing twice, nothing out of order.

There are two generations of the service on the wire. `new` takes a stream of texts and answers each with its id. `old` takes the
first text only and ends the call with OK after it, without a word about the others (Riva before 2.25).
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import zlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import numpy as np
import riva.client.proto.riva_tts_pb2 as rtts

from voicefsm.scripted.faults import Close, Fail, FallSilent, settle

RAMP_PERIOD_SAMPLES = 32_000
_WORD = re.compile(r"\S+")

Voice = Callable[[str, int, int], np.ndarray[Any, np.dtype[np.int16]]]


def voice(text: str, rate_hz: int, char_ms: int = 60) -> np.ndarray[Any, np.dtype[np.int16]]:
    """The audio of a text: `len(text) * char_ms` of a ramp that is never zero and begins where the text says; shape (n,)."""
    count = len(text) * char_ms * rate_hz // 1000
    return ((zlib.crc32(text.encode()) % RAMP_PERIOD_SAMPLES + np.arange(count)) % RAMP_PERIOD_SAMPLES + 1).astype(np.int16)


# --- the script --------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong with one text."""

    what: Fail | Close | FallSilent
    after_ms: int = 0
    """Audio of this text delivered before."""


@dataclasses.dataclass(frozen=True, slots=True)
class TtsScript:
    """What a scripted synthesizer does."""

    is_old: bool = False
    """One text for each call, the others are lost without a word."""
    char_ms: int = 60
    """Audio of one character."""
    voice: Voice = voice
    """What speaks: (text, rate in Hz, milliseconds per character) to `len(text) * char_ms` of audio."""
    chunk_bytes: int = 4096
    """Audio of one response; an odd number splits samples."""
    first_chunk_ms: int = 0
    """Wait before the first response to each text."""
    chunk_period_ms: int = 0
    """Wait before each later one."""
    times_words: bool = True
    """Whether responses carry word timings, when asked for."""
    repeats_words: bool = False
    """Whether each response carries the timings of the whole text again."""
    echoes_ids: bool = True
    """Whether responses carry the id of their request."""
    silent_texts: Sequence[str] = ()
    """Texts that are answered with no audio at all."""
    faults: Mapping[int, Fault] = dataclasses.field(default_factory=dict)
    """By number of the text, counted from 0 over the server's life."""
    voices: Sequence[tuple[str, str, str]] = (("scripted-tts", "en-US", "Scripted-Voice"),)
    """(model, language codes, voice name); another language or voice is refused."""
    streams_max: int = 1000
    """Calls beyond this many at a time are refused with RESOURCE_EXHAUSTED."""


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One text, as the server received it."""

    call: int
    """Number of the call, from 0."""
    text: str
    id: str
    language_code: str
    voice_name: str
    sample_rate_hz: int


class EndCall(Exception):
    """The script ends the call with OK."""


class ScriptedTts:
    """The service, and what it has seen."""

    def __init__(self, script: TtsScript) -> None:
        self.script = script
        self.asked: list[Asked] = []
        """Every text, in order of arrival."""
        self.calls = 0
        """Calls begun."""
        self.cancelled = 0
        """Calls that the client cancelled."""
        self.produced_bytes = 0
        """Audio handed to gRPC."""
        self.open_calls = 0
        """Calls that are alive."""

    # --- the wire ---

    async def online(self, _: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """`SynthesizeOnline` since 2.25: texts in, audio out, until the client half-closes."""
        async with self._call(context) as call:
            while (request := await context.read()) is not grpc.aio.EOF:
                await self._speak(call, request, context)
            await settle()

    async def online_old(self, request: rtts.SynthesizeSpeechRequest, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """`SynthesizeOnline` before 2.25: one text in."""
        async with self._call(context) as call:
            await self._speak(call, request, context)

    async def config(self, *_: object) -> rtts.RivaSynthesisConfigResponse:
        """`GetRivaSynthesisConfig`."""
        response = rtts.RivaSynthesisConfigResponse()
        for model, languages, name in self.script.voices:
            response.model_config.add(model_name=model, parameters={"language_code": languages, "voice_name": name})
        return response

    # --- what it does ---

    @asynccontextmanager
    async def _call(self, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncGenerator[int]:
        """One call, counted; its number."""
        if self.open_calls >= self.script.streams_max:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "The server is at its capacity.")
        self.open_calls += 1
        self.calls += 1
        try:
            yield self.calls - 1
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        except EndCall:
            pass
        finally:
            self.open_calls -= 1

    async def _speak(self, call: int, request: rtts.SynthesizeSpeechRequest, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Answer one text."""
        nth = self._note(call, request)
        await self._refuse_unknown(request, context)
        audio, fault = self._audio(request), self.script.faults.get(nth)
        if fault is not None:
            audio = audio[: fault.after_ms * request.sample_rate_hz // 1000 * 2]
        for start in range(0, len(audio), self.script.chunk_bytes):
            await asyncio.sleep((self.script.chunk_period_ms if start else self.script.first_chunk_ms) / 1000)
            chunk = audio[start : start + self.script.chunk_bytes]
            await context.write(self._response(request, chunk, is_first=start == 0))
            self.produced_bytes += len(chunk)
        if fault is not None:
            await self._break(fault, context)

    def _note(self, call: int, request: rtts.SynthesizeSpeechRequest) -> int:
        asked = Asked(call, request.text, request.id.value, request.language_code, request.voice_name, request.sample_rate_hz)
        self.asked.append(asked)
        return len(self.asked) - 1

    async def _refuse_unknown(self, request: rtts.SynthesizeSpeechRequest, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        known = self.script.voices
        if not any(request.language_code in codes.split(",") and request.voice_name in ("", name) for _, codes, name in known):
            details = f"Error: no voice {request.voice_name!r} for language {request.language_code!r}"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, details)

    def _audio(self, request: rtts.SynthesizeSpeechRequest) -> bytes:
        if request.text in self.script.silent_texts:
            return b""
        return self.script.voice(request.text, request.sample_rate_hz, self.script.char_ms).tobytes()

    def _response(self, request: rtts.SynthesizeSpeechRequest, chunk: bytes, *, is_first: bool) -> rtts.SynthesizeSpeechResponse:
        response = rtts.SynthesizeSpeechResponse(audio=chunk)
        response.meta.text = request.text
        if self.script.echoes_ids:
            response.id.value = request.id.value
        if (is_first or self.script.repeats_words) and self.script.times_words and request.enable_word_time_offsets:
            for found in _WORD.finditer(request.text):
                span_ms = found.start() * self.script.char_ms, found.end() * self.script.char_ms
                response.meta.words.add(word=found[0], start_time=span_ms[0], end_time=span_ms[1])
        return response

    async def _break(self, fault: Fault, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        match fault.what:
            case Fail(code, details):
                await context.abort(code, details)
            case Close():
                raise EndCall
            case FallSilent():
                await asyncio.Event().wait()

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
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import grpc.aio
import numpy as np
import riva.client.proto.riva_tts_pb2 as rtts

from voicefsm.scripted.faults import Close, Fail, FallSilent, settle

RAMP_PERIOD_SAMPLES = 32_000
FRAME_MS = 256 / 22.05
"""The frame that FastPitch's durations count."""
ServicerContext: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_WORD = re.compile(r"\S+")

Voice = Callable[[str, int, int], np.ndarray[Any, np.dtype[np.int16]]]


def voice(text: str, rate_hz: int, char_ms: int = 60) -> np.ndarray[Any, np.dtype[np.int16]]:
    """The audio of a text: `len(text) * char_ms` of a ramp that is never zero and begins where the text says; shape (n,)."""
    count = len(text) * char_ms * rate_hz // 1000
    return ((zlib.crc32(text.encode()) % RAMP_PERIOD_SAMPLES + np.arange(count)) % RAMP_PERIOD_SAMPLES + 1).astype(np.int16)


# --- the script --------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Stall:
    """Make nothing for a while, and go on."""

    ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong with one text."""

    what: Fail | Close | FallSilent | Stall
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
    audio_ms_max: int = 20_000
    """Audio of one text; what is longer is cut without a word."""
    one_word_share: float = 1.0
    """How much of the audio of a text of one word comes; some voices swallow the rest."""
    lost_bytes: int = 0
    """Bytes at the end of each text that never come."""

    chunk_bytes: int = 4096
    """Audio of one response; an odd number splits samples."""
    first_chunk_bytes: int = 0
    """Audio of the first response to each text; 0: as of the others."""
    first_chunk_ms: int = 0
    """Wait before the first response to each text …"""
    load_ms: int = 0
    """… and so much more for each other call that is open."""
    chunk_period_ms: int = 0
    """Wait before each later one."""
    residue: float = 0.0
    """How much of the time that a cancelled text would have needed the server is busy with it and makes nothing else."""
    runs_ahead: bool = False
    """Makes audio at its own pace, whether anybody takes it or not; else flow control holds it back."""
    waits_for_half_close: bool = False
    """Says nothing before the client has half-closed."""
    drops_on_half_close: bool = False
    """Says nothing more once the client has half-closed."""

    times_words: bool = True
    """Whether responses carry word timings, when asked for."""
    repeats_words: bool = False
    """Whether each response carries the timings of the whole text again."""
    word_ms_late: int = 0
    """How much later than they are the timings say that words are."""
    predicts_durations: bool = False
    """Whether the first response to each text carries the durations of its characters, as FastPitch does."""
    echoes_ids: bool = True
    """Whether responses carry the id of their request …"""
    echoes_texts: bool = True
    """… and its text."""

    silent_texts: Sequence[str] = ()
    """Texts that are answered with no audio at all."""
    faults: Mapping[int, Fault] = dataclasses.field(default_factory=dict)
    """By number of the text, counted from 0 over the server's life."""
    fault_of: Callable[[str], Fault | None] = lambda _: None
    """What goes wrong with a text because of what stands in it."""
    voices: Sequence[tuple[str, str, str]] = (("scripted-tts", "en-US", "Scripted-Voice"),)
    """(model, language codes, voice name); another language or voice is refused."""
    subvoices: str = ""
    """"NAME:id,…" of every voice."""
    checks_voice: bool = True
    """Whether a voice it does not have is refused …"""
    checks_language: bool = True
    """… and a language."""
    text_chars_max: int = 2000
    """Longer texts are refused."""
    streams_max: int = 1000
    """Calls beyond this many at a time are refused …"""
    full: Fail = Fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "The server is at its capacity.")
    """… with this."""


def magpie_like(**fields: Any) -> TtsScript:
    """Timing as published of Magpie TTS at 22.05 kHz: 68 ms to a first chunk of 10 ms, then 139.5 ms of audio every 11 ms."""
    timing = {"first_chunk_ms": 68, "load_ms": 4, "first_chunk_bytes": 441, "chunk_bytes": 6152, "chunk_period_ms": 11}
    return TtsScript(**timing | {"residue": 1.0} | fields)


def fastpitch_like(**fields: Any) -> TtsScript:
    """Timing as published of FastPitch at 22.05 kHz: 22 ms to the first 0.93 s of audio, 3 ms to each further; an old server."""
    timing = {"first_chunk_ms": 22, "load_ms": 7, "chunk_bytes": 41012, "chunk_period_ms": 3}
    return TtsScript(**timing | {"is_old": True, "times_words": False, "predicts_durations": True} | fields)


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


CANCELLED = (asyncio.CancelledError, grpc.aio.InternalError)
"""How a call learns that its client has cancelled: a write that waits fails a moment before gRPC cancels the call's task."""


class _Call:
    """One call, and how its responses go out: each when the one before was taken, or without waiting for it."""

    def __init__(self, number: int, context: ServicerContext, *, runs_ahead: bool) -> None:
        self.number, self.context, self._runs_ahead = number, context, runs_ahead
        self._writing: asyncio.Task[None] | None = None
        """The last response that nobody waited for; it waits for those before it."""

    async def write(self, response: rtts.SynthesizeSpeechResponse) -> None:
        """Hand one response to gRPC."""
        if self._runs_ahead:
            self._writing = asyncio.create_task(self._write_after(self._writing, response))
        else:
            await self.context.write(response)

    async def _write_after(self, before: asyncio.Task[None] | None, response: rtts.SynthesizeSpeechResponse) -> None:
        if before is not None:
            await before
        await self.context.write(response)

    async def drain(self) -> None:
        """Wait until every response was taken."""
        if self._writing is not None:
            await self._writing


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
        """Audio made."""
        self.asked_at: list[float] = []
        """When each text arrived, on the clock of the loop, in seconds."""
        self.cancelled_at: list[float] = []
        """When each call ended that the client cancelled."""
        self._busy_until = 0.0
        self.open_calls = 0
        """Calls that are alive."""

    # --- the wire ---

    async def online(self, _: object, context: ServicerContext) -> None:
        """`SynthesizeOnline` since 2.25: texts in, audio out, until the client half-closes."""
        async with self._call(context) as call:
            if self.script.drops_on_half_close:
                await self._converse_until_half_close(call)
                return
            waiting: list[rtts.SynthesizeSpeechRequest] = []
            while (request := await context.read()) is not grpc.aio.EOF:
                waiting.append(request)
                while waiting and not self.script.waits_for_half_close:
                    await self._speak(call, waiting.pop(0))
            for request in waiting:
                await self._speak(call, request)
            await settle()

    async def online_old(self, request: rtts.SynthesizeSpeechRequest, context: ServicerContext) -> None:
        """`SynthesizeOnline` before 2.25: one text in."""
        async with self._call(context) as call:
            await self._speak(call, request)

    async def config(self, *_: object) -> rtts.RivaSynthesisConfigResponse:
        """`GetRivaSynthesisConfig`."""
        response = rtts.RivaSynthesisConfigResponse()
        for model, languages, name in self.script.voices:
            parameters = {"language_code": languages, "voice_name": name, "subvoices": self.script.subvoices}
            response.model_config.add(model_name=model, parameters={key: value for key, value in parameters.items() if value})
        return response

    # --- what it does ---

    @asynccontextmanager
    async def _call(self, context: ServicerContext) -> AsyncGenerator[_Call]:
        """One call, counted."""
        if self.open_calls >= self.script.streams_max:
            await context.abort(self.script.full.code, self.script.full.details)
        self.open_calls += 1
        self.calls += 1
        call, is_cancelled = _Call(self.calls - 1, context, runs_ahead=self.script.runs_ahead), False
        try:
            yield call
            await call.drain()
        except CANCELLED:
            is_cancelled = True
            raise
        except EndCall:
            pass
        finally:
            self.open_calls -= 1
            self._note_end(call.number, is_cancelled=is_cancelled)

    async def _converse_until_half_close(self, call: _Call) -> None:
        """Answer texts; half-close ends it all, once something was said."""
        before, speaking = self.produced_bytes, asyncio.create_task(asyncio.sleep(0))
        try:
            while (request := await call.context.read()) is not grpc.aio.EOF:
                speaking = asyncio.create_task(self._speak_after(speaking, call, request))
            if self.produced_bytes == before:
                await speaking
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)

    async def _speak_after(self, before: asyncio.Task[None], call: _Call, request: rtts.SynthesizeSpeechRequest) -> None:
        await before
        await self._speak(call, request)

    async def _speak(self, call: _Call, request: rtts.SynthesizeSpeechRequest) -> None:
        """Answer one text."""
        nth = self._note(call.number, request)
        await self._refuse(request, call.context)
        audio = self._audio(request)
        fault = self.script.faults.get(nth) or self.script.fault_of(request.text)
        breaks_at = len(audio) if fault is None else fault.after_ms * request.sample_rate_hz // 1000 * 2
        parts = (
            [audio[:breaks_at]] if fault is None or not isinstance(fault.what, Stall) else [audio[:breaks_at], audio[breaks_at:]]
        )
        async with self._model(len(audio)):
            await self._deliver(call, request, parts[0], begun=False)
            if fault is not None:
                await self._break(fault, call.context)
            for part in parts[1:]:
                await self._deliver(call, request, part, begun=True)

    async def _deliver(self, call: _Call, request: rtts.SynthesizeSpeechRequest, audio: bytes, *, begun: bool) -> None:
        """Make the audio, chunk by chunk."""
        for nth, chunk in enumerate(self._chunks(audio, begun=begun)):
            is_first = nth == 0 and not begun
            await asyncio.sleep((self._first_chunk_ms() if is_first else self.script.chunk_period_ms) / 1000)
            self.produced_bytes += len(chunk)
            await call.write(self._response(request, chunk, is_first=is_first))

    def _first_chunk_ms(self) -> int:
        return self.script.first_chunk_ms + self.script.load_ms * (self.open_calls - 1)

    def _chunks(self, audio: bytes, *, begun: bool) -> Iterator[bytes]:
        start = 0
        while start < len(audio):
            is_small = start == 0 and not begun and self.script.first_chunk_bytes
            end = start + (self.script.first_chunk_bytes if is_small else self.script.chunk_bytes)
            yield audio[start:end]
            start = end

    @asynccontextmanager
    async def _model(self, audio_bytes: int) -> AsyncGenerator[None]:
        """The model, for one text. If its call is cancelled, the model goes on with it for a while, and makes nothing else."""
        loop, script = asyncio.get_running_loop(), self.script
        await asyncio.sleep(self._busy_until - loop.time())
        needed_s = (script.first_chunk_ms + audio_bytes // script.chunk_bytes * script.chunk_period_ms) / 1000
        done_at = loop.time() + needed_s
        try:
            yield
        except CANCELLED:
            self._busy_until = loop.time() + max(0.0, done_at - loop.time()) * script.residue
            raise

    def _note_end(self, _call: int, *, is_cancelled: bool) -> None:
        if is_cancelled:
            self.cancelled += 1
            self.cancelled_at.append(asyncio.get_running_loop().time())

    def _note(self, call: int, request: rtts.SynthesizeSpeechRequest) -> int:
        asked = Asked(call, request.text, request.id.value, request.language_code, request.voice_name, request.sample_rate_hz)
        self.asked.append(asked)
        self.asked_at.append(asyncio.get_running_loop().time())
        return len(self.asked) - 1

    async def _refuse(self, request: rtts.SynthesizeSpeechRequest, context: ServicerContext) -> None:
        """Texts that are too long, and languages and voices that are not there."""
        script, invalid = self.script, grpc.StatusCode.INVALID_ARGUMENT
        if len(request.text) > script.text_chars_max:
            await context.abort(invalid, f"Error: the text has more than {script.text_chars_max} characters")
        language, name = request.language_code, request.voice_name
        fitting = [known for _, codes, known in script.voices if language in codes.split(",") or not script.checks_language]
        names = {"", *fitting, *(f"{known}.{sub.split(':')[0]}" for known in fitting for sub in script.subvoices.split(",") if sub)}
        if not fitting or (script.checks_voice and name not in names):
            await context.abort(invalid, f"Error: no voice {name!r} for language {language!r}")

    def _audio(self, request: rtts.SynthesizeSpeechRequest) -> bytes:
        script = self.script
        if request.text in script.silent_texts:
            return b""
        samples = script.voice(request.text, request.sample_rate_hz, script.char_ms)
        share = script.one_word_share if len(request.text.split()) == 1 else 1.0
        samples = samples[: min(int(len(samples) * share), script.audio_ms_max * request.sample_rate_hz // 1000)]
        audio = samples.tobytes()
        return audio[: len(audio) - script.lost_bytes]

    def _response(self, request: rtts.SynthesizeSpeechRequest, chunk: bytes, *, is_first: bool) -> rtts.SynthesizeSpeechResponse:
        script = self.script
        response = rtts.SynthesizeSpeechResponse(audio=chunk)
        if script.echoes_texts:
            response.meta.text = request.text
        if script.echoes_ids:
            response.id.value = request.id.value
        if (is_first or script.repeats_words) and script.times_words and request.enable_word_time_offsets:
            for found in _WORD.finditer(request.text):
                start_ms, end_ms = (place * script.char_ms + script.word_ms_late for place in found.span())
                response.meta.words.add(word=found[0], start_time=start_ms, end_time=end_ms)
        if is_first and script.predicts_durations:
            response.meta.processed_text = request.text.upper()
            response.meta.predicted_durations.extend([script.char_ms / FRAME_MS] * len(request.text))
        return response

    async def _break(self, fault: Fault, context: ServicerContext) -> None:
        match fault.what:
            case Fail(code, details):
                await context.abort(code, details)
            case Close():
                raise EndCall
            case FallSilent():
                await asyncio.Event().wait()
            case Stall(ms):
                await asyncio.sleep(ms / 1000)

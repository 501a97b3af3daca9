"""Riva speech synthesis: one `SynthesizeOnline` call per reply, text going in while audio comes out.

Theory of operation: `speak` cuts its text into pieces that are short enough to be cancelled cheaply (a cancelled request occupies
the server's queue until it is synthesised) and queues them. A feeder task writes them to the call, a few ahead of what is spoken;
the reader is whoever iterates, so that the server's run-ahead is bounded by flow control. Each request carries an id and each
response echoes it: that says which piece a sound belongs to. Where a server has no ids, the text that it echoes says it, or else
the length of what came says how much was spoken.

Servers before 2.25 take one text for each call. Asked for more, they end the call with OK after the first text and say nothing
about the others. What was never answered when a call ends with OK is therefore asked for again, piece by piece. Nothing is lost
and nothing doubled. A server that does this to one reply after the other is an old one (`ServerAge`), and replies go piece by piece
from the start for a while; a healthy one that restarts does it once.

A server that owes us something (a piece was sent and not answered, or no more pieces come) must say something within a limit. One
that owes us nothing may be silent for as long as the model thinks.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import math
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import accumulate
from typing import Any

import grpc
import grpc.aio
import numpy as np
import riva.client.proto.riva_audio_pb2 as raudio
import riva.client.proto.riva_tts_pb2 as rtts
import riva.client.proto.riva_tts_pb2_grpc as rtts_grpc

from voicefsm.adapters.channels import (
    FunctionSettings,
    RivaChannel,
    RivaChannelSettings,
    beside,
    is_cancelled_from_outside,
)
from voicefsm.adapters.patience import Patience
from voicefsm.calls import half_close, write
from voicefsm.errors import BackendError
from voicefsm.ports import Samples, SpokenAudio, SpokenWord, SynthesisRequest
from voicefsm.values import Backend, setting


class InputMode(enum.StrEnum):
    """How text reaches the server."""

    AUTO = "auto"
    """Streaming until the server turns out to be an old one."""
    STREAMING = "streaming"
    """One call for each reply."""
    UNARY = "unary"
    """One call for each piece of text."""


@dataclasses.dataclass(frozen=True, slots=True)
class RivaTtsSettings:
    """How replies are spoken."""

    input_mode: InputMode = setting(
        InputMode.AUTO,
        unit="",
        doc="auto, streaming (one call for each reply, Riva 2.25 and later) or unary (one for each piece of text).",
    )
    segment_chars_max: int = setting(
        50,
        unit="characters",
        ge=20,
        le=200,
        doc="Longest text of one request. Shorter frees a cancelled server sooner, longer has fewer audible joins.",
    )
    texts_ahead_max: int = setting(
        2,
        unit="requests",
        ge=1,
        le=1000,
        doc="Requests that the server has and has not begun to answer; a cancelled reply may leave them there.",
    )
    segments_waiting_max: int = setting(
        500, unit="requests", ge=1, le=10000, doc="Requests of one reply that may wait; more count as a failure."
    )
    first_audio_ms_max: int = setting(
        5000, unit="ms", ge=100, le=60000, doc="How long a request may wait for its first audio before the server counts as failed."
    )
    chunk_ms_max: int = setting(
        3000, unit="ms", ge=100, le=60000, doc="How long the server may pause within a text before it counts as failed."
    )
    start_ms_min: int = setting(
        40,
        unit="ms",
        ge=0,
        le=1000,
        doc="Audio of a reply that must be there before any of it is played: some servers begin with a few ms, and pause.",
    )
    run_ahead_bytes: int = setting(
        16384,
        unit="bytes",
        ge=1024,
        le=1 << 20,
        doc="Audio the server may roughly produce before it is taken (flow control).",
    )
    function_id: str = setting("", unit="", doc="Sent as function-id, for hosted services that tell servers apart by it (NVCF).")
    function_version_id: str = setting("", unit="", doc="Sent as function-version-id.")
    word_times: bool = setting(True, unit="", doc="Ask for the time of each word; without it, what was heard is estimated.")


class RivaSynthesizer:
    """`ports.Synthesizer` on Riva. One per process; `aclose()` it at the end."""

    def __init__(self, settings: RivaTtsSettings, channel_settings: RivaChannelSettings) -> None:
        self.settings = settings
        function = FunctionSettings(settings.function_id, settings.function_version_id)
        self.channel = RivaChannel(Backend.TTS, channel_settings, run_ahead_bytes=settings.run_ahead_bytes, function=function)
        self.age = ServerAge()

    @property
    def is_piecewise(self) -> bool:
        """Whether in the next reply each piece of text gets a call of its own: as set, or because the server looks old."""
        mode = self.settings.input_mode
        return mode is InputMode.UNARY or (mode is InputMode.AUTO and self.age.is_old)

    async def aclose(self) -> None:
        """Close the channel. Harmless twice."""
        await self.channel.aclose()

    @asynccontextmanager
    async def open(self, request: SynthesisRequest) -> AsyncGenerator[RivaSynthesisStream]:
        """See `ports.Synthesizer`."""
        stream = RivaSynthesisStream(self, request)
        self.age.replies += 1
        async with beside(stream.feed()):
            try:
                yield stream
            finally:
                stream.leave()

    async def check_health(self) -> None:
        """Return when the server says that it is well, or says nothing about it. Raises `BackendError`."""
        await self.channel.check_health()

    async def ready(self) -> None:
        """Return when the server would do its work now. Raises `BackendError` saying why it would not."""
        await self.check_health()
        if not await self.voices():
            raise self.channel.silent("lists no voice")

    async def voices(self) -> Mapping[str, tuple[str, ...]]:
        """Language code -> names for `SynthesisRequest.voice_name`, sorted; empty without a model. Raises `BackendError`."""
        listing = await self.channel.ask(self.stub().GetRivaSynthesisConfig(rtts.RivaSynthesisConfigRequest()))
        voices: dict[str, set[str]] = {}
        for model in listing.model_config:
            for language, name in _voices(model.parameters):
                voices.setdefault(language, set()).add(name)
        return {language: tuple(sorted(names)) for language, names in sorted(voices.items())}

    def stub(self) -> rtts_grpc.RivaSpeechSynthesisStub:
        """The service."""
        return rtts_grpc.RivaSpeechSynthesisStub(self.channel.get())


OLD_LOSSES_MIN = 2
"""Replies in a row that lost texts, each begun after the one before had, of an old server. A restart can cut many, but at once."""
OLD_REPLIES_MAX = 100
"""After so many replies an old server is tried again: it may have been replaced."""


class ServerAge:
    """Whether the server takes one text for each call, by how it dealt with the replies so far."""

    def __init__(self) -> None:
        self.losses = 0
        """Replies in a row that lost texts."""
        self.replies = 0
        """Replies begun since the last of them."""

    @property
    def is_old(self) -> bool:
        """Whether the next reply should go piece by piece."""
        return self.losses >= OLD_LOSSES_MIN and self.replies < OLD_REPLIES_MAX

    def lost(self, losses_before: int) -> None:
        """A reply that began when `losses` was `losses_before` lost all texts but its first."""
        if self.losses == losses_before:  # else it ran beside one that has been counted
            self.losses, self.replies = losses_before + 1, 0

    def took_more(self) -> None:
        """A call has answered more than one text: this is a new server."""
        self.losses = 0


def _voices(parameters: Mapping[str, str]) -> list[tuple[str, str]]:
    """(language, voice name) of one model. Subvoices are "NAME:id,…"; one that begins with a language speaks only that."""
    name = parameters.get("voice_name", "")
    subvoices = [entry.split(":")[0].strip() for entry in parameters.get("subvoices", "").split(",") if entry.strip()]
    languages = [code.strip() for code in parameters.get("language_code", "").split(",") if code.strip()]
    if not subvoices:
        return [(language, name) for language in languages if name]
    own = {sub: [code for code in languages if sub.lower().startswith(code.lower() + ".")] for sub in subvoices}
    return [(language, f"{name}.{sub}") for sub in subvoices for language in own[sub] or languages]


# --- text --------------------------------------------------------------------------------------------------------------------

_RESERVED = str.maketrans(dict.fromkeys("{}<>*", " "))
"""Characters that make Magpie's preprocessor fail or say odd things."""


def pieces(text: str, chars_max: int) -> list[str]:
    """`text` without reserved characters in pieces of at most `chars_max` characters with something to say in each.

    Cut after a clause where there is one, or else after a word that can stand there, into parts of about the same length, never a
    single word at the end: some voices swallow it. A longer word is cut.
    """
    text = text.encode(errors="ignore").decode()  # half a surrogate pair cannot be sent
    text = " ".join(text.translate(_RESERVED).split())
    found = []
    while text:
        end = _cut(text, chars_max)
        found.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return [piece for piece in found if any(char.isalnum() for char in piece)]


_CLAUSE_END = re.compile(r"[,;:.!?…–—、，।]\s")  # noqa: RUF001, those are meant


def _cut(text: str, chars_max: int) -> int:
    """Where the first piece of `text` ends."""
    if len(text) <= chars_max:
        return len(text)
    count = math.ceil(len(text) / chars_max)
    share = math.ceil(len(text) / count)
    clauses = [found.start() + 1 for found in _CLAUSE_END.finditer(text, share // 2, chars_max + 1)]
    words = [found.start() for found in re.finditer(" ", text[: chars_max + 1])]
    not_before_the_last = [end for end in words if " " in text[end + 1 :]]
    least_pieces = [end for end in not_before_the_last if len(text) - end - 1 <= (count - 1) * chars_max]
    after_long_words = [end for end in least_pieces if end - text.rfind(" ", 0, end) > LITTLE_WORD_CHARS_MAX + 1]
    return min(
        clauses or after_long_words or least_pieces or not_before_the_last or words or [chars_max], key=lambda end: abs(end - share)
    )


LITTLE_WORD_CHARS_MAX = 3
"""Words up to this length (a, the, of, to) lean on the next one: a voice that stops after them sounds lost."""
CHAR_MS = 65
"""Speaking rate assumed where nothing better is known: 15 characters a second."""
AHEAD_S_MAX = 0.5
"""How long a piece waits for those before it to be answered, while we listen and nothing comes."""
WORDS_SKIPPED_MAX = 4
"""How many words of a text may go untimed between two that are."""

# --- one reply ---------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True, eq=False)
class _Piece:
    """One request, and how far its answer has come."""

    index: int
    """The segment of the caller."""
    id: str
    text: str
    is_sent: bool = False
    offset_samples: int | None = None
    """Audio of the segment before this piece; None until it is known."""
    _odd_byte: bytes = b""
    """Half a sample at the end of the last chunk."""
    _last_span_ms: tuple[int, int] = (-1, -1)
    """Of the last word that was timed."""
    _words_found: int = 0
    """Words of the text that have their time."""
    _is_predicted: bool = False
    """Whether durations came."""

    def samples(self, chunk: bytes) -> Samples:
        """The whole samples of a chunk, which may begin or end within one."""
        data = self._odd_byte + chunk
        even = len(data) // 2 * 2
        self._odd_byte = data[even:]
        return np.frombuffer(data[:even], np.dtype("<i2")).astype(np.int16, copy=False)

    def new_words(self, timings: Iterable[rtts.WordTiming]) -> Iterator[tuple[str, int]]:
        """(word, end_ms) of the timings that were not there before; a server may repeat what it said."""
        for timing in timings:
            span_ms = (timing.start_time, timing.end_time)
            if span_ms > self._last_span_ms:
                self._last_span_ms = span_ms
                yield self._spelling(timing.word), timing.end_time

    def predicted_words(self, meta: rtts.SynthesizeSpeechResponseMetadata) -> list[tuple[str, int]]:
        """(word, end_ms) by the durations that the model planned, which come with the first audio; none if it told none."""
        if self._is_predicted or not meta.predicted_durations:
            return []
        if not all(0 <= duration < math.inf for duration in meta.predicted_durations):
            return []
        self._is_predicted = True
        return list(words_of_durations(self.text, meta.processed_text, meta.predicted_durations))

    def _spelling(self, word: str) -> str:
        """`word` as it stands in the text, where it can be found among the next few; servers normalise what they speak."""
        ours = self.text.split()
        for nth in range(self._words_found, min(self._words_found + WORDS_SKIPPED_MAX, len(ours))):
            if _letters(ours[nth]) == _letters(word):
                self._words_found = nth + 1
                return ours[nth]
        return word


def _letters(word: str) -> str:
    return "".join(char for char in word.casefold() if char.isalnum())


_TOKEN = re.compile(r"\{[^{}]*\}|.", re.DOTALL)
"""What a duration is for: a phoneme in braces, or a character."""
FRAME_MS = 256 / 22.05
"""The frame of FastPitch's durations: 256 samples at 22.05 kHz, or 512 at 44.1 kHz."""
SECONDS_MAX = 0.5
"""A mean duration beyond it counts frames; no sound of speech is so long, and none shorter than half a frame."""


def words_of_durations(text: str, processed_text: str, durations: Sequence[float]) -> Iterator[tuple[str, int]]:
    """(word, end_ms) for each word of `text`, by the duration of each token of what the server made of it.

    Riva's proto does not name the unit of the durations, and calls them experimental: frames and seconds are told apart by size.
    Where there are not as many durations as tokens, they are shared out.
    """
    processed = processed_text.strip() or text
    tokens = _TOKEN.findall(processed)
    ends_ms = [0.0, *accumulate(durations)]
    unit_ms = FRAME_MS if ends_ms[-1] > SECONDS_MAX * len(durations) else 1000.0
    ends = [nth for nth, token in enumerate(tokens) if token.isspace() and not tokens[nth - 1].isspace()] + [len(tokens)]
    names = text.split() if len(text.split()) == len(ends) else processed.split()
    for name, end in zip(names, ends, strict=False):
        yield name, round(ends_ms[round(end * len(durations) / len(tokens))] * unit_ms)


class RivaSynthesisStream:
    """`ports.SynthesisStream`."""

    def __init__(self, server: RivaSynthesizer, request: SynthesisRequest) -> None:
        self._server, self._settings, self._request = server, server.settings, request
        self._pending: deque[_Piece] = deque()
        """What was not answered yet, sent or not, in order."""
        self._current: _Piece | None = None
        """What the server is speaking."""
        self._is_piecewise, self._losses_before = server.is_piecewise, server.age.losses
        self._answered = 0
        """Pieces that the streaming call answered."""
        self._has_ids = False
        """Whether a response carried an id."""
        self._segment = (-1, 0)
        """The segment being spoken, and how many samples of it were delivered."""
        self._parts = 0
        self._is_finished = self._has_left = self._is_half_closed = False
        self._failure: BackendError | None = None
        self._call: grpc.aio.StreamStreamCall | None = None
        self._wake_feeder, self._wake_reader = asyncio.Event(), asyncio.Event()
        self._patience = Patience()
        self._is_reading = False

    # --- for the session ---

    def speak(self, index: int, text: str) -> None:
        """See `ports.SynthesisStream`. Too much waiting text fails the reply: the iterator raises it."""
        for text_piece in pieces(text, self._settings.segment_chars_max):
            self._parts += 1
            self._pending.append(_Piece(index, f"{index}.{self._parts}", text_piece))
        if len(self._pending) > self._settings.segments_waiting_max:
            self._fail(self._server.channel.silent(f"left more than {self._settings.segments_waiting_max} texts waiting"))
        self._wake()

    def finish(self) -> None:
        """See `ports.SynthesisStream`."""
        self._is_finished = True
        self._wake()

    def leave(self) -> None:
        """See `ports.SynthesisStream`. Nothing is asked for and nothing arrives afterwards."""
        self._has_left = True
        self._patience.close()
        self._hang_up()

    async def __aiter__(self) -> AsyncIterator[SpokenAudio]:
        """See `ports.SynthesisStream`."""
        held: list[SpokenAudio] = []
        missing = self._request.sample_rate_hz * self._settings.start_ms_min // 1000
        try:
            async for spoken in self._all():
                missing -= len(spoken.samples)
                held.append(spoken)
                while missing <= 0 and held:
                    yield held.pop(0)
        except BackendError:
            for spoken in held:
                yield spoken
            raise
        for spoken in held:
            yield spoken

    async def _all(self) -> AsyncIterator[SpokenAudio]:
        """What the server delivers, as it comes."""
        if not self._is_piecewise:
            async for spoken in self._streamed():
                yield spoken
            self._refuse_losses()
        while (piece := await self._next_pending()) is not None:
            async for spoken in self._alone(piece):
                yield spoken

    def _fail(self, failure: BackendError) -> None:
        self._failure = self._failure or failure
        self._hang_up()

    def _hang_up(self) -> None:
        if self._call is not None:
            self._call.cancel()
        self._wake()

    def _wake(self) -> None:
        self._wake_feeder.set()
        self._wake_reader.set()

    # --- one call for the reply ---

    async def feed(self) -> None:
        """Write pieces to the streaming call as they come; begin it with the first."""
        if self._is_piecewise or (piece := await self._next_unsent()) is None:
            return
        try:
            call = self._call = self._begin()
        except BackendError as error:
            self._fail(error)
            return
        while piece is not None:
            piece.is_sent = True
            self._rearm()
            self._wake_reader.set()
            if not await write(call, self._message(piece)):
                return
            piece = await self._next_unsent()
        if self._has_left:
            return
        self._is_half_closed = True
        self._rearm()
        await half_close(call)

    async def _next_unsent(self) -> _Piece | None:
        """The next piece to write; None when there will be none. The server has few that it has not begun to answer.

        A piece that no sound comes of is never answered: when nothing has come for a while and we listen, the next one is due.
        """
        while not self._has_left:
            unsent = next((piece for piece in self._pending if not piece.is_sent), None)
            if unsent is not None and sum(piece.is_sent for piece in self._pending) < self._settings.texts_ahead_max:
                return unsent
            if unsent is None and self._is_finished:
                return None
            self._wake_feeder.clear()
            try:
                async with asyncio.timeout(None if unsent is None else AHEAD_S_MAX):
                    await self._wake_feeder.wait()
            except TimeoutError:
                if self._is_reading:
                    return unsent
        return None

    async def _streamed(self) -> AsyncIterator[SpokenAudio]:
        """What the streaming call delivers until the server ends it."""
        while self._call is None:
            if self._has_left or (self._is_over() and not self._pending):
                return
            self._wake_reader.clear()
            await self._wake_reader.wait()
        while (response := await self._read(self._call)) is not grpc.aio.EOF:
            if (piece := self._piece_of(response)) is not None:
                yield self._spoken(piece, response)

    def _piece_of(self, response: rtts.SynthesizeSpeechResponse) -> _Piece | None:
        """Whose audio this is. Pieces before it have had theirs, or were answered with nothing."""
        self._has_ids |= bool(response.id.value)
        for nth, piece in enumerate(self._pending):
            if piece.is_sent and self._is_answer(response, piece):
                self._answered += nth + 1
                if self._answered > 1:
                    self._server.age.took_more()
                for _ in range(nth + 1):
                    self._current = self._pending.popleft()
                self._wake_feeder.set()
                return piece
        if self._current is None and self._pending:
            # A server that names nothing: this can only be the first.
            self._answered, self._current = 1, self._pending.popleft()
        return self._current

    def _is_answer(self, response: rtts.SynthesizeSpeechResponse, piece: _Piece) -> bool:
        """By its id, or by its text where there is no id; a text that is being spoken is not taken for its double."""
        if response.id.value:
            return bool(response.id.value == piece.id)
        is_current = self._current is not None and self._current.text == response.meta.text
        return bool(response.meta.text == piece.text) and not is_current

    def _refuse_losses(self) -> None:
        """The streaming call ended with OK. With `input_mode` streaming, that must have answered everything."""
        if not self._has_ids and self._sounds_whole():
            self._pending.clear()
        lost = sum(piece.is_sent for piece in self._pending)
        if lost and self._settings.input_mode is InputMode.STREAMING and not self._has_left:
            what = f"ended the call with {lost} texts unspoken: it takes one text for each call (set input_mode to auto)"
            raise self._server.channel.silent(what)

    def _sounds_whole(self) -> bool:
        """Whether a server without ids has spoken what it did not name, or named like what it spoke: by the length of what came."""
        if self._current is None or not self._is_half_closed:
            return False
        first = len(self._current.text)
        whole = first + sum(len(piece.text) for piece in self._pending)
        samples = self._segment[1] - (self._current.offset_samples or 0)
        return samples * 1000 / self._request.sample_rate_hz > (first + whole) / 2 * CHAR_MS

    # --- one call for each piece ---

    async def _next_pending(self) -> _Piece | None:
        while not self._is_over() and not self._pending:
            self._wake_reader.clear()
            await self._wake_reader.wait()
        return self._pending.popleft() if self._pending and not self._has_left else None

    async def _alone(self, piece: _Piece) -> AsyncIterator[SpokenAudio]:
        """One piece, in a call of its own."""
        self._current = None
        call = self._call = self._begin()
        self._is_half_closed = True
        try:
            async with asyncio.timeout(self._settings.first_audio_ms_max / 1000):
                if await write(call, self._message(piece)):
                    await half_close(call)
        except TimeoutError:
            raise self._overdue() from None
        while (response := await self._read(call)) is not grpc.aio.EOF:
            if self._answered == 1 and response.audio:  # lost in the streaming call, and spoken alone
                self._server.age.lost(self._losses_before)
            self._current = piece
            yield self._spoken(piece, response)

    # --- both ---

    def _is_over(self) -> bool:
        """Whether no more text can come."""
        if self._failure is not None:
            raise self._failure
        return self._is_finished or self._has_left

    def _begin(self) -> grpc.aio.StreamStreamCall:
        metadata = [("traceparent", self._request.traceparent)] if self._request.traceparent else None
        return self._server.stub().SynthesizeOnline(metadata=metadata)

    def _message(self, piece: _Piece) -> rtts.SynthesizeSpeechRequest:
        message = rtts.SynthesizeSpeechRequest(
            text=piece.text,
            language_code=self._request.language_code,
            voice_name=self._request.voice_name,
            encoding=raudio.AudioEncoding.LINEAR_PCM,
            sample_rate_hz=self._request.sample_rate_hz,
            enable_word_time_offsets=self._settings.word_times,
        )
        message.id.value = piece.id
        return message

    async def _read(self, call: grpc.aio.StreamStreamCall) -> Any:
        """The next response, or EOF when the server ended the call with OK or the reply was left."""
        self._is_reading = True
        self._rearm()
        try:
            return await self._patience.wait(call.read())
        except TimeoutError:
            raise self._overdue() from None
        except asyncio.CancelledError:
            if is_cancelled_from_outside():
                raise
            if self._failure is not None:
                raise self._failure from None
            if not self._has_left:
                raise self._server.channel.failed(grpc.StatusCode.CANCELLED, "the connection was given up") from None
            return grpc.aio.EOF
        except grpc.aio.AioRpcError as error:
            raise self._failure or self._server.channel.failed(error.code(), error.details()) from error
        finally:
            self._is_reading = False

    def _rearm(self) -> None:
        """Set the reader's patience by what the server owes."""
        is_first = any(piece.is_sent for piece in self._pending)
        if not is_first and not self._is_half_closed:
            self._patience.until(None)
            return
        limit_ms = self._settings.first_audio_ms_max if is_first or self._current is None else self._settings.chunk_ms_max
        self._patience.until(asyncio.get_running_loop().time() + limit_ms / 1000)

    def _overdue(self) -> BackendError:
        return self._server.channel.silent("owes audio and sent none in time")

    def _spoken(self, piece: _Piece, response: rtts.SynthesizeSpeechResponse) -> SpokenAudio:
        index, delivered = self._segment
        if index != piece.index:
            delivered = 0
        if piece.offset_samples is None:
            piece.offset_samples = delivered
        samples = piece.samples(response.audio)
        self._segment = (piece.index, delivered + len(samples))
        offset_ms = piece.offset_samples * 1000 // self._request.sample_rate_hz
        timed = list(piece.new_words(response.meta.words))
        predicted = [] if timed else piece.predicted_words(response.meta)
        words = tuple(SpokenWord(text, offset_ms + end_ms) for text, end_ms in timed or predicted)
        return SpokenAudio(piece.index, samples, words, is_predicted=bool(predicted))

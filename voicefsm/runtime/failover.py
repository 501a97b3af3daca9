"""Several servers behind one port: each call goes to the first that is well, and what becomes of it is noted.

Theory of operation. `Servers` holds the servers of one backend in order of preference, each with its breaker. A call asks the
first whose breaker lets it; when none does, it fails at once with how long to wait, as if the server had said so, and the
session's machine decides what its user experiences. Nothing is repeated here: the next attempt is the machine's as well, and finds
another server because the breaker of the first has opened. When the first is well again (a probe, or the health check, says so)
the next call goes to it; calls that run stay where they are.

Only what tells of the server counts against it: a request it refuses for good (`BackendError.retryable` is false) does not, nor
does one that our own limits kept from it (`Crowded`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Generic, TypeVar

from voicefsm.errors import BackendError, Crowded
from voicefsm.ports import (
    GenerationRequest,
    LanguageModel,
    RecognitionRequest,
    RecognitionStream,
    Recognizer,
    SpokenAudio,
    SynthesisRequest,
    SynthesisStream,
    Synthesizer,
    WantedCall,
)
from voicefsm.runtime.breaker import Breaker, BreakerSettings
from voicefsm.values import Backend, Shape, setting

T_co = TypeVar("T_co", covariant=True)


@dataclasses.dataclass(frozen=True, slots=True)
class FailoverSettings:
    """Where the backends are, if not all in one place or more than one of a kind. Each list is in order of preference."""

    asr_targets: tuple[str, ...] = setting(
        (), unit="addresses", le=8, shape=Shape.HOST_PORT, doc="Riva servers that recognise speech; empty: riva.target alone."
    )
    tts_targets: tuple[str, ...] = setting(
        (), unit="addresses", le=8, shape=Shape.HOST_PORT, doc="Riva servers that speak; empty: riva.target alone."
    )
    llm_base_urls: tuple[str, ...] = setting(
        (), unit="addresses", le=8, shape=Shape.URL, doc="Language model servers; empty: llm.base_url alone."
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Server(Generic[T_co]):
    """One server of a backend."""

    name: str
    """Where it is."""
    port: T_co
    breaker: Breaker


class Attempt:
    """One call. It succeeds once at most, and may fail after that."""

    def __init__(self, breaker: Breaker, now_ms: Callable[[], int]) -> None:
        self._breaker, self._now_ms = breaker, now_ms
        self._is_probe = breaker.ask(now_ms())

    def succeeded(self) -> None:
        """The server has done something useful."""
        self._is_probe = False
        self._breaker.succeeded()

    def failed(self, error: BackendError) -> None:
        """It has not."""
        if error.retryable and not isinstance(error, Crowded):
            now_ms, wanted_ms = self._now_ms(), error.retry_after_ms
            self._breaker.failed(now_ms, error.message, is_probe=self._is_probe, retry_after_ms=wanted_ms)
            self._is_probe = False

    def left(self) -> None:
        """The call is over."""
        self._breaker.left(is_probe=self._is_probe)


class Servers(Generic[T_co]):
    """The servers of one backend, in order of preference."""

    def __init__(self, backend: Backend, ports: Mapping[str, T_co], settings: BreakerSettings, now_ms: Callable[[], int]) -> None:
        """`ports` by where they are."""
        failures_max = 1 if len(ports) > 1 else None
        self._backend, self._now_ms = backend, now_ms
        self.all: Sequence[Server[T_co]] = tuple(
            Server(name, port, Breaker(settings, failures_max=failures_max)) for name, port in ports.items()
        )

    @contextmanager
    def attempt(self) -> Iterator[tuple[T_co, Attempt]]:
        """The server for a call, and whom to tell how it goes. Raises `BackendError` when all of them are left alone."""
        server = self._choose()
        attempt = Attempt(server.breaker, self._now_ms)
        try:
            yield server.port, attempt
        except BackendError as error:
            attempt.failed(error)
            raise
        finally:
            attempt.left()

    def _choose(self) -> Server[T_co]:
        now_ms = self._now_ms()
        waits_ms = [server.breaker.wait_ms(now_ms) for server in self.all]
        for server, wait_ms in zip(self.all, waits_ms, strict=True):
            if not wait_ms:
                return server
        problem = self.all[waits_ms.index(min(waits_ms))].breaker.problem
        raise BackendError(
            self._backend,
            f"The {self._backend.upper()} server has failed and is left alone for {min(waits_ms)} ms: {problem}",
            remedy=f"Is it running at {' or '.join(server.name for server in self.all)}? `voicefsm doctor` checks it.",
            retry_after_ms=min(waits_ms),
        )


class FailoverRecognizer:
    """`ports.Recognizer`."""

    def __init__(self, servers: Servers[Recognizer]) -> None:
        self._servers = servers

    async def languages(self) -> frozenset[str]:
        """See `ports.Recognizer`."""
        with self._servers.attempt() as (recognizer, attempt):
            languages = await recognizer.languages()
            attempt.succeeded()
            return languages

    @asynccontextmanager
    async def open(self, request: RecognitionRequest) -> AsyncGenerator[RecognitionStream]:
        """See `ports.Recognizer`. A stream that opens is a server that works: there may be nothing to hear for long."""
        with self._servers.attempt() as (recognizer, attempt):
            async with recognizer.open(request) as stream:
                attempt.succeeded()
                yield stream


class FailoverLanguageModel:
    """`ports.LanguageModel`."""

    def __init__(self, servers: Servers[LanguageModel]) -> None:
        self._servers = servers

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[str | WantedCall]:
        """See `ports.LanguageModel`."""
        with self._servers.attempt() as (model, attempt):
            async with aclosing(model.stream(request)) as pieces:
                async for piece in pieces:
                    attempt.succeeded()
                    yield piece


class FailoverSynthesizer:
    """`ports.Synthesizer`."""

    def __init__(self, servers: Servers[Synthesizer]) -> None:
        self._servers = servers

    async def voices(self) -> Mapping[str, tuple[str, ...]]:
        """See `ports.Synthesizer`."""
        with self._servers.attempt() as (synthesizer, attempt):
            voices = await synthesizer.voices()
            attempt.succeeded()
            return voices

    @asynccontextmanager
    async def open(self, request: SynthesisRequest) -> AsyncGenerator[SynthesisStream]:
        """See `ports.Synthesizer`."""
        with self._servers.attempt() as (synthesizer, attempt):
            async with synthesizer.open(request) as stream:
                yield _Noted(stream, attempt)


class _Noted:
    """A `ports.SynthesisStream` whose first audio is noted."""

    def __init__(self, stream: SynthesisStream, attempt: Attempt) -> None:
        self._stream, self._attempt = stream, attempt

    def speak(self, index: int, text: str) -> None:
        self._stream.speak(index, text)

    def finish(self) -> None:
        self._stream.finish()

    def leave(self) -> None:
        self._stream.leave()

    async def __aiter__(self) -> AsyncIterator[SpokenAudio]:
        async for audio in self._stream:
            self._attempt.succeeded()
            yield audio

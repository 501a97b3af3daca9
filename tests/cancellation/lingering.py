"""Fakes that take a moment to let go, as servers do: without it nobody could be cancelled while a stream is being closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

from voicefsm.adapters.memory_store import MemoryStore
from voicefsm.errors import StoreError
from voicefsm.ports import GenerationRequest, RecognitionRequest, SynthesisRequest, WantedCall
from voicefsm.runtime.timers import LoopClock
from voicefsm.simulation.fakes import (
    FakeLanguageModel,
    FakeRecognitionStream,
    FakeRecognizer,
    FakeSynthesisStream,
    FakeSynthesizer,
)

LINGER_S = 0.01


async def _linger() -> None:
    await asyncio.sleep(LINGER_S)


class LingeringStore(MemoryStore):
    """Takes a moment for everything; its second write fails."""

    def __init__(self) -> None:
        super().__init__(LoopClock(), 10)
        self._writes = 0

    async def find(self, token: str) -> bytes | None:
        await _linger()
        return await super().find(token)

    async def claim(self, token: str) -> tuple[int, bytes] | None:
        await _linger()
        return await super().claim(token)

    async def save(self, token: str, owner: int, data: bytes, *, keep_ms: int) -> bool:
        await _linger()
        self._writes += 1
        if self._writes == 2:
            raise StoreError("Away.")
        return await super().save(token, owner, data, keep_ms=keep_ms)

    async def forget(self, token: str, owner: int) -> None:
        await _linger()
        await super().forget(token, owner)


class LingeringRecognizer(FakeRecognizer):
    """Its streams are left slowly, and have room for more only after a while."""

    @asynccontextmanager
    async def open(self, request: RecognitionRequest) -> AsyncGenerator[FakeRecognitionStream]:
        async with super().open(request) as stream:
            stream.room = _linger  # type: ignore[method-assign]
            try:
                yield stream
            finally:
                await asyncio.sleep(LINGER_S)


class LingeringSynthesizer(FakeSynthesizer):
    """Its streams are entered and left slowly."""

    @asynccontextmanager
    async def open(self, request: SynthesisRequest) -> AsyncGenerator[FakeSynthesisStream]:
        async with super().open(request) as stream:
            await asyncio.sleep(LINGER_S)
            try:
                yield stream
            finally:
                await asyncio.sleep(LINGER_S)


class LingeringLanguageModel(FakeLanguageModel):
    """Its replies are closed slowly."""

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[str | WantedCall]:
        async with aclosing(super().stream(request)) as pieces:
            try:
                async for piece in pieces:
                    yield piece
            finally:
                await asyncio.sleep(LINGER_S)

"""The decoders of the process: a bounded number, each used by one stream at a time.

A decoder is big (about 100 MB) and takes a quarter of a second to load. The first is loaded before the server is ready, the others
when streams want them; they are kept. What a decoder does runs in threads, because it is C that takes milliseconds and releases the
GIL; a stream's calls follow one another, so no decoder is ever used by two threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from voicefsm.embedded.pocketsphinx_engine import Decoder, SpeechModel

T = TypeVar("T")


class NoDecoder(Exception):
    """All are in use."""


class DecoderPool:
    """Hands decoders out and takes them back. One per process and event loop."""

    def __init__(self, model: SpeechModel, streams_max: int) -> None:
        self.streams_max = streams_max
        self._model = model
        self._idle: list[Decoder] = []
        self._leases = 0
        self._threads = ThreadPoolExecutor(max_workers=os.cpu_count() or 2, thread_name_prefix="recognition")

    async def load(self) -> None:
        """Load the first decoder."""
        self._idle.append(await self.run(self._model.decoder))

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread. A caller that is cancelled leaves only when it is done: until then its decoder is in use."""
        running = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(running)
        finally:
            while not running.done():  # cancelled, perhaps more than once: milliseconds
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([running])

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Decoder]:
        """A decoder for one stream. Raises `NoDecoder` when `streams_max` are out."""
        if self._leases >= self.streams_max:
            raise NoDecoder
        self._leases += 1
        try:
            decoder = self._idle.pop() if self._idle else await self.run(self._model.decoder)
            try:
                yield decoder
            finally:
                self._idle.append(decoder)
        finally:
            self._leases -= 1

    def close(self) -> None:
        """Free all. No stream may be left."""
        self._threads.shutdown()
        for decoder in self._idle:
            decoder.close()
        self._idle.clear()

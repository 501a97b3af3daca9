"""All voices of the process, and one text through one of them, streamed from a worker thread into the event loop.

Engines are far faster than real time. What they make of one text waits in a queue whose length the longest text bounds; so no
engine, and no lock of one, ever waits for a slow client.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import AsyncGenerator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from html import unescape

from voicefsm.embedded.espeak_engine import EspeakEngine
from voicefsm.embedded.flite_engine import FliteEngine
from voicefsm.embedded.voices import Engine, Piece, Voice

_SPEAK = re.compile(r"\s*<speak\b.*</speak>\s*", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_SPOKEN = re.compile(r"[^\W_]")


class Synthesizer:
    """The engines that are there. One per process."""

    def __init__(self, engines: Iterable[Engine]) -> None:
        self._engines = {voice: engine for engine in engines for voice in engine.voices}
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="synthesis")

    @property
    def voices(self) -> Sequence[Voice]:
        """All voices, the default of each language first."""
        return tuple(self._engines)

    def find(self, name: str, language_code: str) -> Voice | None:
        """The voice called `name` (with or without its speaker; empty: any) of a language (empty: any)."""
        for voice in self._engines:
            is_language = language_code.lower() in ("", voice.language_code.lower())
            if is_language and name in ("", voice.model, voice.name):
                return voice
        return None

    def rate_hz(self, voice: Voice) -> int:
        """The native sample rate of a voice."""
        return self._engines[voice].sample_rate_hz

    async def speak(self, text: str, voice: Voice) -> AsyncGenerator[Piece]:
        """Speak `text`. Leaving early (`aclosing`) stops the engine at once. Raises RuntimeError when the engine fails."""
        loop, queue, is_left = asyncio.get_running_loop(), asyncio.Queue[Piece | None](), threading.Event()

        def emit(piece: Piece) -> bool:
            loop.call_soon_threadsafe(queue.put_nowait, piece)
            return not is_left.is_set()

        def work() -> None:
            try:
                if not is_left.is_set():
                    self._engines[voice].speak(text, voice, emit)
            finally:
                loop.call_soon_threadsafe(queue.put_nowait, None)

        working = loop.run_in_executor(self._threads, work)
        try:
            while (piece := await queue.get()) is not None:
                yield piece
            await working
        finally:
            is_left.set()

    async def warm_up(self) -> None:
        """Say a word with each engine: the first one loads its data."""
        for engine in {id(engine): engine for engine in self._engines.values()}.values():
            async with aclosing(self.speak("ready", engine.voices[0])) as pieces:
                async for _ in pieces:
                    pass

    def close(self) -> None:
        """Wait for the threads. No call may be left."""
        self._threads.shutdown()


def engines(words_per_minute: int, *, with_flite: bool) -> list[Engine]:
    """espeak-ng, and flite where it is installed."""
    found: list[Engine] = [EspeakEngine(words_per_minute)]
    if with_flite:
        with contextlib.suppress(OSError):  # not installed: fewer voices, nothing else
            found.append(FliteEngine())
    return found


def speakable(text: str) -> str:
    """What is to be said of a text: SSML loses its tags; a text without a letter or figure says nothing."""
    if _SPEAK.fullmatch(text):
        text = unescape(_TAG.sub(" ", text)).strip()
    return text if _SPOKEN.search(text) else ""

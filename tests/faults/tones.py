"""Words as tones, and a Riva recogniser that reads them: what it hears follows from the samples alone.

Word k is a tone of its own, 180 ms long, with 120 ms of silence after it. A recogniser that is killed in mid-sentence and hears
the audio again must say the same words; one that lost or doubled audio says others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import grpc.aio
import numpy as np
import riva.client.proto.riva_asr_pb2 as rasr
from numpy.typing import NDArray

from voicefsm.scripted import AsrScript, ScriptedAsr

RATE_HZ = 16000
TONE_MS, GAP_MS = 180, 120
FIRST_HZ, STEP_HZ = 400, 60
BLOCK = RATE_HZ // 200
LOUD = 1000
SHORTEST_BLOCKS = 20
"""A run of sound shorter than 100 ms is no word."""
STOP_MS = 800

Samples = NDArray[np.int16]


def spoken(words: Sequence[int]) -> Samples:
    """The audio of these words; shape (n,)."""
    times = np.arange(TONE_MS * RATE_HZ // 1000) / RATE_HZ
    gap = np.zeros(GAP_MS * RATE_HZ // 1000)
    parts = [part for word in words for part in (np.sin(2 * np.pi * (FIRST_HZ + STEP_HZ * word) * times), gap)]
    return (8000 * np.concatenate(parts)).astype(np.int16)


def named(word: int) -> str:
    """How a transcript spells it."""
    return f"word{word}"


class Reader:
    """Takes such audio apart, whatever pieces it comes in."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.silence_ms = 0
        self._rest: Samples = np.zeros(0, np.int16)
        self._run: list[Samples] = []

    def read(self, pcm: bytes) -> Iterator[None]:
        """Take audio; gives the caller a look after every 5 ms."""
        self._rest = np.concatenate((self._rest, np.frombuffer(pcm, "<i2")))
        while len(self._rest) >= BLOCK:
            block, self._rest = self._rest[:BLOCK], self._rest[BLOCK:]
            if np.abs(block.astype(np.int32)).max() > LOUD:
                self._run.append(block)
                self.silence_ms = 0
            else:
                self._end_word()
                self.silence_ms += 5
            yield

    def finish(self) -> str:
        """The utterance is over."""
        self._end_word()
        words, self.words = self.words, []
        return " ".join(words)

    def _end_word(self) -> None:
        run, self._run = self._run, []
        if len(run) >= SHORTEST_BLOCKS:
            sound = np.concatenate(run[1:-1])
            crossings = np.count_nonzero(np.diff(np.signbit(sound)))
            hz = crossings * RATE_HZ / 2 / len(sound)
            self.words.append(named(round((hz - FIRST_HZ) / STEP_HZ)))


class ToneAsr(ScriptedAsr):
    """The service."""

    def __init__(self) -> None:
        super().__init__(AsrScript())

    async def StreamingRecognize(self, _: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:  # noqa: N802
        """One stream: an answer to every message, as Riva gives one to each of its chunks."""
        request = await context.read()
        stop_ms = request.streaming_config.config.endpointing_config.stop_history or STOP_MS
        reader, processed, said = Reader(), 0.0, ""
        while (request := await context.read()) is not grpc.aio.EOF:
            processed += len(request.audio_content) / 2 / RATE_HZ
            response = rasr.StreamingRecognizeResponse()
            for _ in reader.read(request.audio_content):
                if reader.silence_ms == stop_ms and reader.words:
                    _add(response, reader.finish(), processed, is_final=True)
            if request.runtime_config.get("force_eou") == "true":
                _add(response, reader.finish(), processed, is_final=True)
            elif (text := " ".join(reader.words)) and text != said:
                _add(response, text, processed, is_final=False)
            said = " ".join(reader.words)
            if not response.results:
                response.results.add(audio_processed=processed)
            await context.write(response)
        await asyncio.sleep(0)


def _add(response: rasr.StreamingRecognizeResponse, text: str, processed: float, *, is_final: bool) -> None:
    alternative = rasr.SpeechRecognitionAlternative(transcript=text)
    stability = 1.0 if is_final else 0.1
    response.results.add(alternatives=[alternative], is_final=is_final, stability=stability, audio_processed=processed)

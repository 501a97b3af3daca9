"""Speech recognition of one stream: samples in, results out. Synchronous; the servicer runs it in a worker thread.

Theory of operation. A voice activity detector looks at every frame of 20 ms; the `Endpointer` makes utterances of its answers.
Only utterances are decoded, with a little audio from before their onset (the pre-roll). When the speaker pauses (first pass), the
decoder finishes and its text is announced as a partial of stability 1.0; if the speaker goes on, the decoder starts on a new part
and the utterance's text is all parts in a row. So the final, at the stop, says what the announcement said, and costs nothing more.

Everything is a function of the samples alone: a recording sent faster than real time gives the same results as live.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import webrtcvad

from voicefsm.embedded.endpointing import FRAME_MS, Edge, Endpointer, Windows
from voicefsm.embedded.pocketsphinx_engine import RATE_HZ, HeardWord
from voicefsm.embedded.voices import Samples

_FRAME_SAMPLES = RATE_HZ * FRAME_MS // 1000
_NOTHING: Samples = np.zeros(0, np.int16)
_FLOOR_RMS = 6.0
_FLOOR = np.random.default_rng(0).normal(0, _FLOOR_RMS, (50, _FRAME_SAMPLES)).astype(np.int16)
"""A second of noise, far below any room's, under everything that is decoded: after digital silence, which clients do send, the
recogniser takes the room's own noise for speech."""
UNSTABLE, FIRST_PASS = 0.1, 1.0


class Decoder(Protocol):
    """What is needed of `pocketsphinx_engine.Decoder`."""

    def start(self, pre_roll: Samples) -> None:
        """Begin, with what was there before the onset."""

    def process(self, samples: Samples) -> None:
        """Decode more."""

    def partial(self) -> str:
        """What was heard so far."""

    def finish(self) -> Sequence[HeardWord]:
        """End."""


@dataclasses.dataclass(frozen=True, slots=True)
class Hearing:
    """How a stream is to be heard."""

    windows: Windows
    vad_mode: int
    pre_roll_frames: int
    utterance_frames_max: int


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """Something heard."""

    text: str
    is_final: bool
    stability: float
    """Of a partial: `FIRST_PASS` when the utterance is probably over, else `UNSTABLE`. Of a final: 1."""
    words: tuple[HeardWord, ...] = ()
    """Of a final; times from the first sample of the stream."""


class Recognition:
    """What one stream says."""

    def __init__(self, decoder: Decoder, hearing: Hearing) -> None:
        self._decoder = decoder
        self._hearing = hearing
        self._endpointer = Endpointer(hearing.windows)
        self._vad = webrtcvad.Vad(hearing.vad_mode)
        self._rest = _NOTHING
        """Less than a frame, not looked at yet."""
        self._recent: deque[Samples] = deque(maxlen=hearing.pre_roll_frames + hearing.windows.start_frames)
        """The last frames that no decoder got."""
        self._frames = 0
        """Frames looked at, since the beginning of the stream."""
        self._utterance = _Utterance()

    def hear(self, samples: Samples) -> list[Result]:
        """Take more audio, at 16 kHz: the finals in it, then the newest partial if it changed."""
        results = list(self._finals(samples))
        return [*results, *self._partial()]

    def force(self) -> list[Result]:
        """End the utterance now, as the client asks: its final, or nothing if nothing was said."""
        # Less than a frame stays behind for the next utterance: no word hides in 20 ms.
        return list(self._stop())

    def _finals(self, samples: Samples) -> Iterator[Result]:
        pending: list[Samples] = []
        for frame in self._cut(samples):
            self._frames += 1
            edge = self._endpointer.push(is_voiced=self._vad.is_speech(frame.tobytes(), RATE_HZ))
            if edge in (Edge.STARTED, Edge.RESUMED):
                self._open()
            (pending if self._utterance.is_open else self._recent).append(_with_floor(frame, self._frames))
            if edge in (Edge.PAUSED, Edge.STOPPED):
                self._decode(pending)
                self._pause()
            if edge is Edge.STOPPED or self._is_too_long():
                self._decode(pending)
                yield from self._stop()
        self._decode(pending)

    def _cut(self, samples: Samples) -> Iterator[Samples]:
        """Whole frames; the rest is kept."""
        audio = np.concatenate((self._rest, samples))
        whole = len(audio) // _FRAME_SAMPLES * _FRAME_SAMPLES
        self._rest = audio[whole:]
        yield from audio[:whole].reshape(-1, _FRAME_SAMPLES)

    def _open(self) -> None:
        """Begin a part of the utterance, with the frames before it. The onset lies in the start window."""
        frames = list(self._recent)
        self._recent.clear()
        self._utterance.open(self._frames - 1 - len(frames))
        onset = max(0, len(frames) + 1 - self._hearing.windows.start_frames)
        self._decoder.start(np.concatenate([_NOTHING, *frames[:onset]]))
        self._decode(frames[onset:])

    def _decode(self, frames: list[Samples]) -> None:
        for frame in frames:  # one by one, so that what is heard does not depend on how the client cuts its audio
            self._decoder.process(frame)
        frames.clear()

    def _pause(self) -> None:
        """Finish the part of the utterance that is open, if one is."""
        if self._utterance.is_open:
            self._utterance.close(self._decoder.finish())

    def _stop(self) -> Iterator[Result]:
        self._pause()
        self._endpointer.reset()
        words, self._utterance = tuple(self._utterance.words), _Utterance()
        if words:
            yield Result(" ".join(word.text for word in words), is_final=True, stability=1.0, words=words)

    def _is_too_long(self) -> bool:
        return self._utterance.is_open and self._frames - self._utterance.first_frame >= self._hearing.utterance_frames_max

    def _partial(self) -> Iterator[Result]:
        """The utterance so far, if that is news."""
        text = self._utterance.text_with(self._decoder.partial() if self._utterance.is_open else "")
        stability = UNSTABLE if self._utterance.is_open else FIRST_PASS
        if text and self._utterance.announce(text, stability):
            yield Result(text, is_final=False, stability=stability)


def _with_floor(frame: Samples, number: int) -> Samples:
    mixed: Samples = np.clip(frame.astype(np.int32) + _FLOOR[number % len(_FLOOR)], -32768, 32767).astype(np.int16)
    return mixed


class _Utterance:
    """The words of one utterance, part by part."""

    def __init__(self) -> None:
        self.words: list[HeardWord] = []
        self.is_open = False
        """Whether a part is being decoded."""
        self.first_frame = 0
        """Where that part begins."""
        self._announced = ("", 0.0)

    def open(self, first_frame: int) -> None:
        self.is_open, self.first_frame = True, first_frame

    def close(self, words: Sequence[HeardWord]) -> None:
        self.is_open = False
        offset_ms = self.first_frame * FRAME_MS
        self.words += (
            dataclasses.replace(word, start_ms=word.start_ms + offset_ms, end_ms=word.end_ms + offset_ms) for word in words
        )

    def text_with(self, more: str) -> str:
        return " ".join([*(word.text for word in self.words), *more.split()])

    def announce(self, text: str, stability: float) -> bool:
        """Whether this was not said already."""
        is_news = (text, stability) != self._announced
        self._announced = (text, stability)
        return is_news

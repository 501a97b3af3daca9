"""One ASR stream as the session uses it: how far it has been fed, and where its clock stands on the session's.

A stream counts the samples it was sent. The session's media time has gaps the stream does not know of, and the stream hears silence
that nobody sent (a muted client is kept alive with it). `StreamClock` remembers each place where the two part.
"""

from __future__ import annotations

import asyncio
from collections import deque

from voicefsm.audio.samples import SAMPLES_PER_MS
from voicefsm.events import Word
from voicefsm.ports import RecognitionStream
from voicefsm.runtime.unfinalised import Piece, Unfinalised

PLACES_KEPT = 64
"""Places where the clocks part that are remembered; words from before them do not come any more."""


class StreamClock:
    """From a stream's samples to the session's."""

    def __init__(self, start: int) -> None:
        self._places: deque[tuple[int, int]] = deque([(0, start)], maxlen=PLACES_KEPT)
        """(stream sample, media sample) from which on both run together."""
        self._length = 0

    @property
    def end(self) -> int:
        """Media time one past the stream's last sample."""
        stream, media = self._places[-1]
        return media + self._length - stream

    def add(self, start: int, samples: int) -> None:
        """The stream is sent what was heard from media time `start` on."""
        if start != self.end:
            self._places.append((self._length, start))
        self._length += samples

    def insert(self, samples: int) -> None:
        """The stream is sent silence that nobody heard."""
        end = self.end
        self._length += samples
        self._places.append((self._length, end))

    def media(self, sample: int) -> int:
        """Media time of a sample of the stream; one in a silence that nobody heard is the moment it was put in."""
        later: int | None = None
        for stream, media in reversed(self._places):
            if sample >= stream:
                return media + sample - stream if later is None else min(media + sample - stream, later)
            later = media
        return self._places[0][1]

    def media_ms(self, ms: int) -> int:
        """The same in milliseconds."""
        return self.media(ms * SAMPLES_PER_MS) // SAMPLES_PER_MS


class Line:
    """A stream, fed from what is unfinalised: what it missed faster than it was spoken, and then frame by frame."""

    def __init__(self, stream: RecognitionStream, start: int) -> None:
        """`start`: media time of the first sample it is to hear."""
        self.stream = stream
        self.clock = StreamClock(start)
        self.is_live = False
        """It has heard what there was, and gets every frame as it comes."""
        self.catches_up_at = start
        """Media time at which it knows as much as the stream before it did."""

    @property
    def fed(self) -> int:
        """Media time one past the last sample it was sent."""
        return self.clock.end

    def send(self, piece: Piece, *, at_once: bool = False, is_quiet: bool = False) -> None:
        """Queue a piece: see `ports.RecognitionStream`."""
        self.clock.add(piece.start, len(piece.pcm) // 2)
        self.stream.send(piece.pcm, at_once=at_once, is_quiet=is_quiet)

    def send_silence(self, samples: int) -> None:
        """Queue silence that nobody heard, so that the server does not give the stream up."""
        self.clock.insert(samples)
        self.stream.send(bytes(2 * samples), at_once=True)

    async def catch_up(self, unfinalised: Unfinalised) -> None:
        """Send what the stream missed, as fast as the server takes it."""
        while missed := list(unfinalised.since(self.fed)):
            for piece in missed:
                self.send(piece)
                await self.stream.room()
                await asyncio.sleep(0)
        self.is_live = True

    def placed(self, words: tuple[Word, ...]) -> tuple[Word, ...]:
        """Words with times since the session's first sample rather than the stream's."""
        return tuple(Word(word.text, self.clock.media_ms(word.start_ms), self.clock.media_ms(word.end_ms)) for word in words)

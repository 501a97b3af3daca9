"""The near end that no final covers yet: what a new recogniser has to hear when the old one is lost.

Audio lies here from the moment it is heard, sent or not, until a final is said about it. What nobody spoke into is no use to a new
stream beyond a short run-up, so that quiet sessions keep little.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator

from voicefsm.audio.samples import SAMPLES_PER_MS

RUN_UP = 200 * SAMPLES_PER_MS
"""What comes before the first voiced frame of a word and may belong to it."""


@dataclasses.dataclass(slots=True)
class Piece:
    """Some audio. Not frozen: see `AudioFrame`."""

    start: int
    """Media time of its first sample, in samples since the session's first."""
    pcm: bytes
    """16 kHz PCM16."""
    is_voiced: bool
    """The detector hears speech in it."""

    @property
    def end(self) -> int:
        """Media time one past its last sample."""
        return self.start + len(self.pcm) // 2


class Unfinalised:
    """The pieces, in order, within two limits: one for speech, and a shorter one for quiet."""

    def __init__(self, *, ms_max: int, quiet_ms_max: int) -> None:
        self._max, self._quiet_max = ms_max * SAMPLES_PER_MS, min(ms_max, quiet_ms_max) * SAMPLES_PER_MS
        self._pieces: deque[Piece] = deque()
        self._length = 0
        self._voiced = 0
        """Voiced pieces."""

    @property
    def has_speech(self) -> bool:
        """The detector heard speech that is not final."""
        return self._voiced > 0

    @property
    def start(self) -> int | None:
        """Media time of the first sample that is kept."""
        return self._pieces[0].start if self._pieces else None

    def add(self, piece: Piece, *, is_quiet: bool) -> list[Piece]:
        """Keep a piece; return what had to go for it. `is_quiet`: nothing that was said is open, and all was sent."""
        self._pieces.append(piece)
        self._length += len(piece.pcm) // 2
        self._voiced += piece.is_voiced
        limit = self._quiet_max if is_quiet and not self._voiced else self._max
        gone = []
        while self._length > limit:
            gone.append(self._drop())
        return gone

    def forget_utterance(self, said_until: int, processed_until: int) -> None:
        """A final has told what was said until `said_until`, and its recogniser has heard until `processed_until`.

        The next utterance may have begun in between, in the same chunk of the recogniser: what is voiced after the silence that
        follows the last word stays, with a run-up.
        """
        cut = min(processed_until, self._pieces[-1].end - RUN_UP) if self._pieces else processed_until
        is_last_word = True
        for piece in self._pieces:
            if piece.end <= said_until:
                continue
            if piece.is_voiced and not is_last_word:
                cut = min(cut, piece.start - RUN_UP)
                break
            is_last_word = is_last_word and piece.is_voiced
        self.forget(max(said_until, cut))

    def forget(self, until: int) -> None:
        """Everything before this media time is final."""
        while self._pieces and self._pieces[0].end <= until:
            self._drop()
        if self._pieces and self._pieces[0].start < until:
            first = self._drop()
            kept = Piece(until, first.pcm[2 * (until - first.start) :], first.is_voiced)
            self._pieces.appendleft(kept)
            self._length += len(kept.pcm) // 2
            self._voiced += kept.is_voiced

    def since(self, sample: int) -> Iterator[Piece]:
        """The pieces from a media time on. One that began before it comes from there on."""
        for piece in tuple(self._pieces):
            if piece.start >= sample:
                yield piece
            elif piece.end > sample:
                yield Piece(sample, piece.pcm[2 * (sample - piece.start) :], piece.is_voiced)

    def _drop(self) -> Piece:
        piece = self._pieces.popleft()
        self._length -= len(piece.pcm) // 2
        self._voiced -= piece.is_voiced
        return piece

"""Where utterances begin and end: voiced and unvoiced frames in, edges out. Pure; time is counted in frames of `FRAME_MS`.

    SILENCE ──start──> SPEECH ──first pass──> PAUSE ──stop──> SILENCE
                         ^                      │
                         └───────resume─────────┘

An utterance starts when enough of the last `start_frames` are voiced. After `first_pass_frames` of silence its end is announced,
and after `stop_frames` it is over; if the speaker goes on in between, the announcement is taken back by more text, as Riva does
with `stop_history_eou` and `stop_history`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections import deque

FRAME_MS = 20


class Edge(enum.Enum):
    """What changed with a frame."""

    STARTED = enum.auto()
    """An utterance begins; its onset lies within the last `start_frames`."""
    PAUSED = enum.auto()
    """First pass: the utterance is probably over."""
    RESUMED = enum.auto()
    """It was not: the speaker goes on."""
    STOPPED = enum.auto()
    """The utterance is over."""


@dataclasses.dataclass(frozen=True, slots=True)
class Windows:
    """How long the endpointer looks, in frames, and what share of a window decides."""

    start_frames: int
    start_share: float
    """Share of voiced frames that starts an utterance."""
    stop_frames: int
    stop_share: float
    """Share of unvoiced frames that ends it."""
    first_pass_frames: int
    """0, or not under `stop_frames`: no first pass."""
    first_pass_share: float


class Endpointer:
    """The endpointer of one stream."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._onset: deque[bool] = deque(maxlen=windows.start_frames)
        """Frames since the last edge that silence made, in which speech is looked for."""
        self._recent: deque[bool] = deque(maxlen=max(windows.stop_frames, windows.first_pass_frames))
        self.in_utterance = False
        self.in_pause = False

    def push(self, *, is_voiced: bool) -> Edge | None:
        """Take the next frame."""
        self._onset.append(is_voiced)
        self._recent.append(is_voiced)
        if not self.in_utterance:
            return self._start()
        return self._stop() or (self._resume() if self.in_pause else self._pause())

    def reset(self) -> None:
        """The utterance was ended from outside."""
        self._onset.clear()
        self._recent.clear()
        self.in_utterance = self.in_pause = False

    def _start(self) -> Edge | None:
        self.in_utterance = self._is_onset()
        return Edge.STARTED if self.in_utterance else None

    def _stop(self) -> Edge | None:
        if not self._is_silence(self._windows.stop_frames, self._windows.stop_share):
            return None
        self.reset()
        return Edge.STOPPED

    def _pause(self) -> Edge | None:
        if not self._is_silence(self._windows.first_pass_frames, self._windows.first_pass_share):
            return None
        self._onset.clear()
        self.in_pause = True
        return Edge.PAUSED

    def _resume(self) -> Edge | None:
        if not self._is_onset():
            return None
        self.in_pause = False
        return Edge.RESUMED

    def _is_onset(self) -> bool:
        return sum(self._onset) >= self._windows.start_share * self._windows.start_frames

    def _is_silence(self, frames: int, share: float) -> bool:
        if not 0 < frames <= len(self._recent):
            return False
        return sum(not self._recent[-back] for back in range(1, frames + 1)) >= share * frames

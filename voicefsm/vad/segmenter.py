"""Stretches of near-end speech, with debounced edges.

Theory of operation. Each frame is voiced or not. An onset is k voiced frames among the last k + 1: one frame may be missed, a
click (one or two frames) is not enough. While the far end or its echo is audible k is larger, because what is left of our own
voice also makes voiced frames; frames that residual echo explains do not count at all. The stretch is over when no frame has
been voiced for the hangover. Everything is counted in samples of the capture clock: there is no other time here.
"""

from __future__ import annotations

import dataclasses
import enum

from voicefsm.audio.samples import FRAME_MS, FRAME_SAMPLES, SAMPLES_PER_MS
from voicefsm.vad.settings import VadSettings


class EdgeKind(enum.Enum):
    """The two edges of a stretch of speech."""

    STARTED = "started"
    ENDED = "ended"


@dataclasses.dataclass(frozen=True, slots=True)
class Edge:
    """A stretch of near-end speech begins or is over."""

    kind: EdgeKind
    onset_sample: int
    """First sample of its first voiced frame, on the capture clock."""
    last_voiced_sample: int
    """One past the last sample of its last voiced frame."""
    voiced_ms: int
    """Length of its voiced frames."""


class Segmenter:
    """Finds the edges of one near end."""

    def __init__(self, settings: VadSettings) -> None:
        self._need, self._need_far = settings.onset_frames, settings.onset_far_frames
        self._hangover_samples = settings.hangover_ms * SAMPLES_PER_MS
        self.speaking = False
        """True between the two edges of a stretch."""
        self._recent = 0
        """The last frames, one bit each, the newest lowest: 1 is voiced."""
        self._onset = self._last_voiced = self._voiced_frames = 0

    @property
    def voiced_ms(self) -> int:
        """Length of the voiced frames of the stretch in progress; 0 when there is none."""
        return self._voiced_frames * FRAME_MS if self.speaking else 0

    @property
    def is_near(self) -> bool:
        """A stretch is in progress, or what may become one."""
        return self.speaking or self._recent != 0

    def feed(self, capture_sample: int, *, voiced: bool, echo_only: bool = False, far_active: bool = False) -> Edge | None:
        """Take one frame that begins at `capture_sample`, 16 kHz. Return the edge it completes."""
        counts = voiced and not echo_only
        end = capture_sample + FRAME_SAMPLES
        if self.speaking:
            return self._continue(end, counts=counts)
        return self._watch(end, self._need_far if far_active else self._need, counts=counts)

    def _watch(self, end: int, need: int, *, counts: bool) -> Edge | None:
        """Outside a stretch: is this an onset?"""
        self._recent = (self._recent << 1 | counts) & (1 << max(self._need, self._need_far) + 1) - 1
        window = self._recent & (1 << need + 1) - 1
        if not counts or window.bit_count() < need:
            return None
        self.speaking, self._voiced_frames = True, window.bit_count()
        self._onset = end - window.bit_length() * FRAME_SAMPLES
        self._last_voiced = end
        return self._edge(EdgeKind.STARTED)

    def _continue(self, end: int, *, counts: bool) -> Edge | None:
        """Inside a stretch: is it over?"""
        if counts:
            self._last_voiced = end
            self._voiced_frames += 1
        if end - self._last_voiced < self._hangover_samples:
            return None
        self.speaking, self._recent = False, 0
        return self._edge(EdgeKind.ENDED)

    def _edge(self, kind: EdgeKind) -> Edge:
        return Edge(kind, self._onset, self._last_voiced, self._voiced_frames * FRAME_MS)

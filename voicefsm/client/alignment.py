"""Which far-end sample left the loudspeaker when a microphone sample was taken.

An audio callback hands over a captured block and takes a block to render. The captured block was taken a while ago, the rendered
one will be heard in a while; the device says when. Between two blocks that were rendered one after the other the position moves on
sample by sample, in silence it stands still. Times are seconds on the device's clock.
"""

from __future__ import annotations

import dataclasses
from collections import deque

BLOCKS_MAX = 200
"""Rendered blocks remembered: 4 s of 20 ms, more than any device buffers."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Block:
    heard_s: float
    position: int
    flowing: int


class Alignment:
    """What was rendered lately, and when it is heard."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._blocks: deque[_Block] = deque(maxlen=BLOCKS_MAX)

    def rendered(self, heard_s: float, position: int, flowing: int) -> None:
        """A block whose first sample is heard at `heard_s`: `flowing` far-end samples from `position` on, the rest silence."""
        self._blocks.append(_Block(heard_s, position, flowing))

    def position_at(self, time_s: float) -> int:
        """Far-end position at the loudspeaker at that time; 0 before anything was rendered."""
        for block in reversed(self._blocks):
            if block.heard_s <= time_s:
                return block.position + min(block.flowing, int((time_s - block.heard_s) * self._rate_hz))
        return self._blocks[0].position if self._blocks else 0

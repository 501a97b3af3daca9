"""WebRTC's AEC3, through the wheel `pywebrtc-audio`: the canceller of machines without libspeexdsp.

It suppresses residual echo, hence near-end speech too in double talk: fine evidence, a worse signal for the recogniser than a
linear canceller's. It works in frames of 10 ms; the wheel takes two at once and releases the GIL.
"""

from __future__ import annotations

import pywebrtc_audio

from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, Samples
from voicefsm.errors import LocalProtocolError


class Aec3Canceller:
    """One session's canceller. Implements `ports.EchoCanceller`."""

    name = "aec3"

    def __init__(self) -> None:
        self._aec3: pywebrtc_audio.EchoCanceller | None = pywebrtc_audio.EchoCanceller(RATE_HZ, 1, 0)

    def process(self, near: Samples, far: Samples) -> Samples:
        """`near` without its echo of `far`; all shape (320,). Raises `LocalProtocolError` on another shape or after `close()`."""
        if self._aec3 is None:
            raise LocalProtocolError("The echo canceller was used after close().")
        if near.shape != (FRAME_SAMPLES,) or far.shape != (FRAME_SAMPLES,):
            raise LocalProtocolError(f"The echo canceller takes frames of {FRAME_SAMPLES} samples, not {near.shape}, {far.shape}.")
        out: Samples = self._aec3.process(near, far)
        return out

    def close(self) -> None:
        """Free native memory. Harmless twice."""
        self._aec3 = None

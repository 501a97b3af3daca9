"""The MDF echo canceller of libspeexdsp through the PyPI package `speexdsp` (extra `[speexdsp]`).

Supported because it is what many installations have. It leaks about 97 kB a session and holds the GIL; `adapters/speex.py`
calls the same library without either. It reads beyond short buffers, so shapes are checked here.
"""

from __future__ import annotations

import importlib
from typing import Protocol, cast

import numpy as np

from voicefsm.aec.settings import AecSettings
from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, SAMPLES_PER_MS, Samples
from voicefsm.errors import LocalProtocolError, SettingsError

REMEDY = "In a checkout, run pip install '.[speexdsp]' (needs a compiler, swig, libspeexdsp-dev), or set aec.canceller = speex."


class _Binding(Protocol):
    """What the package gives us."""

    def process(self, near: bytes, far: bytes) -> bytes:
        """PCM16 of one frame each."""


def _create(tail_samples: int) -> _Binding:
    """A canceller of the package. Raises `SettingsError` when it cannot be imported, whatever the reason."""
    try:
        package = importlib.import_module("speexdsp")
    except ImportError as error:
        raise SettingsError(f"The package speexdsp cannot be imported: {error}.", remedy=REMEDY) from error
    return cast(_Binding, package.EchoCanceller.create(FRAME_SAMPLES, tail_samples, RATE_HZ))


class SpeexDspCanceller:
    """One session's canceller. Implements `ports.EchoCanceller`."""

    name = "speexdsp"

    def __init__(self, settings: AecSettings) -> None:
        """Raises `SettingsError` when the package cannot be imported."""
        self._binding: _Binding | None = _create(settings.tail_ms * SAMPLES_PER_MS)

    def process(self, near: Samples, far: Samples) -> Samples:
        """`near` without its echo of `far`; all shape (320,). Raises `LocalProtocolError` on another shape or after `close()`."""
        if self._binding is None:
            raise LocalProtocolError("The echo canceller was used after close().")
        if near.shape != (FRAME_SAMPLES,) or far.shape != (FRAME_SAMPLES,):
            raise LocalProtocolError(f"The echo canceller takes frames of {FRAME_SAMPLES} samples, not {near.shape}, {far.shape}.")
        return np.frombuffer(self._binding.process(near.tobytes(), far.tobytes()), np.int16)

    def close(self) -> None:
        """Drop the binding's object, which frees part of its native memory. Harmless twice."""
        self._binding = None

"""The MDF echo canceller of libspeexdsp, called directly through ctypes.

Why not the package `speexdsp` alone: it leaks about 97 kB a session, holds the GIL while it computes, reads beyond buffers
that are too short and does not import on Python 3.12 (docs/adr). The library is the same; here it is freed, checked, and runs
without the GIL. What comes out is linear: near end minus estimated echo, no residual suppression. That is what a recogniser
wants.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools

import numpy as np

from voicefsm.aec.settings import AecSettings
from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, SAMPLES_PER_MS, Samples
from voicefsm.errors import LocalProtocolError, SettingsError

REMEDY = "Install libspeexdsp (Debian: apt-get install libspeexdsp1; macOS: brew install speexdsp), or set aec.canceller = aec3."

_SET_SAMPLING_RATE = 24
_NAMES = (
    "libspeexdsp.so.1",
    "libspeexdsp.1.dylib",
    "/opt/homebrew/lib/libspeexdsp.1.dylib",
    "/usr/local/lib/libspeexdsp.1.dylib",
)


@functools.cache
def library() -> ctypes.CDLL | None:
    """The system's libspeexdsp with its functions declared; None where it is not installed."""
    for name in _NAMES:
        try:
            return _declared(ctypes.CDLL(name))
        except OSError:
            continue
    found = ctypes.util.find_library("speexdsp")
    return _declared(ctypes.CDLL(found)) if found else None


def _declared(lib: ctypes.CDLL) -> ctypes.CDLL:
    """Give the functions their C types."""
    pointer = ctypes.c_void_p
    lib.speex_echo_state_init.argtypes = [ctypes.c_int, ctypes.c_int]
    lib.speex_echo_state_init.restype = pointer
    lib.speex_echo_ctl.argtypes = [pointer, ctypes.c_int, pointer]
    lib.speex_echo_cancellation.argtypes = [pointer, pointer, pointer, pointer]
    lib.speex_echo_cancellation.restype = None
    lib.speex_echo_state_destroy.argtypes = [pointer]
    lib.speex_echo_state_destroy.restype = None
    return lib


class SpeexCanceller:
    """One session's canceller. Implements `ports.EchoCanceller`."""

    name = "speex"

    def __init__(self, settings: AecSettings) -> None:
        """Raises `SettingsError` when libspeexdsp is not installed."""
        lib = library()
        if lib is None:
            raise SettingsError("The echo canceller speex needs libspeexdsp, which is not installed.", remedy=REMEDY)
        self._lib = lib
        self._near, self._far, self._out = (np.zeros(FRAME_SAMPLES, np.int16) for _ in range(3))
        # Taking an array's address costs more than copying a frame into an array whose address is known.
        self._addresses = tuple(a.ctypes.data for a in (self._near, self._far, self._out))
        self._state: int | None = lib.speex_echo_state_init(FRAME_SAMPLES, settings.tail_ms * SAMPLES_PER_MS)
        lib.speex_echo_ctl(self._state, _SET_SAMPLING_RATE, ctypes.byref(ctypes.c_int(RATE_HZ)))

    def process(self, near: Samples, far: Samples) -> Samples:
        """`near` without its echo of `far`; all shape (320,). Raises `LocalProtocolError` on another shape or after `close()`."""
        if self._state is None:
            raise LocalProtocolError("The echo canceller was used after close().")
        if near.shape != (FRAME_SAMPLES,) or far.shape != (FRAME_SAMPLES,):
            raise LocalProtocolError(f"The echo canceller takes frames of {FRAME_SAMPLES} samples, not {near.shape}, {far.shape}.")
        self._near[:] = near
        self._far[:] = far
        self._lib.speex_echo_cancellation(self._state, *self._addresses)
        return self._out.copy()

    def close(self) -> None:
        """Free native memory. Harmless twice."""
        state, self._state = self._state, None
        if state is not None:
            self._lib.speex_echo_state_destroy(state)

    def __del__(self) -> None:
        if getattr(self, "_state", None) is not None:
            self.close()

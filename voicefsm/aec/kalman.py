"""The project's own echo canceller and gate, in C (voicefsm/aec/native), called through ctypes.

Why ctypes: one shared library serves every Python, and a call releases the GIL. The library is built when the package is
(hatch_build.py); where there was no compiler it is absent, `library()` is None, and another canceller takes over, which the log and
`doctor` say.

Memory is one numpy array per session, so nothing can leak; the library allocates nothing and keeps no state but tables and weights.
The array, a quarter of a megabyte, comes with the first frame: a session whose microphone is muted from the start never has it.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voicefsm.audio.samples import FRAME_SAMPLES, Samples
from voicefsm.errors import LocalProtocolError, SettingsError

HOP_SAMPLES = 160
"""10 ms: what the library works in."""
REMEDY = "Install a C compiler and install voicefsm again, or use a wheel for this platform."
_ALIGNMENT = 64
_WEIGHTS = "gate.npz"
_FIRST, _FEATURES, _LAST = 5, 160, 2
_REPORT = _FIRST + _FEATURES + _LAST
"""A report: the mean squares of near end, what is left, what was taken away and reference; the probability; what the gate saw; the
mean square of the echo that the filter expected, and the mean of its product with the near end."""
ASK_THE_GATE = -1.0


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled library with its functions declared, tables made and weights loaded; None where it was not built."""
    for path in sorted(Path(__file__).parent.glob("native/_ear.*")):
        try:
            return _declared(ctypes.CDLL(str(path)))
        except (OSError, AttributeError):  # of another platform, or of another version
            continue
    return None


def _declared(lib: ctypes.CDLL) -> ctypes.CDLL:
    pointer = ctypes.c_void_p
    for function in (lib.ear_init, lib.ear_reset, lib.ear_moved, lib.ear_forget, lib.ear_clear):
        function.argtypes, function.restype = [pointer], None
    lib.ear_missed.argtypes, lib.ear_missed.restype = [pointer, pointer, ctypes.c_int], None
    lib.ear_process.argtypes = [pointer, pointer, pointer, pointer, ctypes.c_int, pointer, ctypes.c_float]
    lib.ear_process.restype = None
    trained = np.ascontiguousarray(weights())
    if lib.ear_report_size() != 4 * _REPORT:
        raise AttributeError("The library is of another version.")
    if 4 * len(trained) != lib.ear_weights_size():
        raise SettingsError(f"The weights {_WEIGHTS} do not fit the compiled echo canceller.", remedy=REMEDY)
    lib.ear_init(trained.ctypes.data)
    return lib


def weights() -> NDArray[np.float32]:
    """The gate's weights in the order of the struct `Weights`. They come from training/gate."""
    with np.load(Path(__file__).parent / _WEIGHTS) as kept:
        trained: NDArray[np.float32] = kept["weights"].astype(np.float32)
    return trained


class KalmanCanceller:
    """One session's canceller and gate. Implements `ports.GatedCanceller`. Not thread-safe; sessions are independent."""

    name = "kalman"

    def __init__(self) -> None:
        """Raises `SettingsError` where the library was not built."""
        lib = library()
        if lib is None:
            raise SettingsError("The echo canceller kalman was not compiled when voicefsm was installed.", remedy=REMEDY)
        self._lib = lib
        self._memory: NDArray[np.uint8] | None = None
        self._state: int | None = None
        """Where in it the library's struct begins; None before the first frame and after `close()`."""
        self._is_closed = False
        self._near, self._far, self._out = (np.zeros(FRAME_SAMPLES, np.int16) for _ in range(3))
        self._report = np.zeros(lib.ear_report_size() // 4, np.float32)
        # Taking an array's address costs more than copying a frame into an array whose address is known.
        self._addresses = tuple(a.ctypes.data for a in (self._near, self._far, self._out))
        self._report_address = self._report.ctypes.data
        self._first, self._last = self._report.data[:_FIRST], self._report.data[-_LAST:]
        self.powers = (0.0, 0.0, 0.0, 0.0)
        """Mean squares of the last call: near end, what is left of it, what was taken away, reference."""
        self.fit = (0.0, 0.0)
        """Of the last call: mean square of the echo that the filter expected, and mean of its product with the near end.

        They are about the same where the near end holds that echo, whatever else it holds; the latter is about 0 where it does not.
        """
        self.speech = 0.0
        """How likely near-end speech is, at the end of the last call: 0 to 1."""

    @property
    def features(self) -> NDArray[np.float32]:
        """What the gate saw of the last hop. For training."""
        return self._report[_FIRST:-_LAST]

    def process(self, near: Samples, far: Samples, *, speech: float = ASK_THE_GATE) -> Samples:
        """`near` without its echo of `far`; both of shape (160,) or (320,).

        `speech` is the truth about the talker, 0 or 1, where somebody knows it: training does.
        Raises `LocalProtocolError` on another shape or after `close()`.
        """
        samples = len(near)
        state = self._state if self._state is not None else self._begin()
        if near.shape != far.shape or samples not in (HOP_SAMPLES, FRAME_SAMPLES):
            raise LocalProtocolError(f"The echo canceller takes 160 or 320 samples, not {near.shape}, {far.shape}.")
        self._near[:samples] = near
        self._far[:samples] = far
        self._lib.ear_process(state, *self._addresses, samples // HOP_SAMPLES, self._report_address, speech)
        near_power, left_power, echo_power, far_power, self.speech = self._first.tolist()
        expected, product = self._last.tolist()
        self.powers, self.fit = (near_power, left_power, echo_power, far_power), (expected, product)
        return self._out[:samples].copy()

    def moved(self) -> None:
        """The echo's delay had jumped and the reference has followed: forget what was learnt meanwhile."""
        if self._state is not None:
            self._lib.ear_moved(self._state)

    def forget(self) -> None:
        """The reference had never been in its place: forget what was learnt."""
        if self._state is not None:
            self._lib.ear_forget(self._state)

    def clear(self) -> None:
        """No echo was ever heard on this line: rest, until told to forget."""
        if self._state is not None:
            self._lib.ear_clear(self._state)

    def missed(self, far: Samples) -> None:
        """The reference of the last frames was this, shape (n * 160,), and not silence: the client's report of it came late."""
        if len(far) and not self._is_closed:
            state = self._state if self._state is not None else self._begin()
            past = np.ascontiguousarray(far[: len(far) // HOP_SAMPLES * HOP_SAMPLES])
            self._lib.ear_missed(state, past.ctypes.data, len(past) // HOP_SAMPLES)

    def close(self) -> None:
        """No more calls; the memory is free. Harmless twice."""
        self._memory = self._state = None
        self._is_closed = True

    def _begin(self) -> int:
        """The first frame: make the library's struct. Raises `LocalProtocolError` after `close()`."""
        if self._is_closed:
            raise LocalProtocolError("The echo canceller was used after close().")
        self._memory = np.zeros(self._lib.ear_size() + _ALIGNMENT, np.uint8)
        self._state = -(-self._memory.ctypes.data // _ALIGNMENT) * _ALIGNMENT
        self._lib.ear_reset(self._state)
        return self._state

"""How long after the reference the microphone hears it, found out by listening.

Theory of operation. Every 200 ms the microphone's last 200 ms are correlated with the last second of the reference, at 4 kHz, which
is where speech is loud and rooms are least in the way. One spectrum each and their product: the cross spectrum, whose phase is the
delay. The products of the last second or so are added up as they are, because the echo keeps its phase from one to the next while
everything else, the user above all, does not. Then only the phase is kept (generalised cross correlation with phase transform), so
that a voice's own periods do not look like delays, and the peak of its inverse is the delay.

A peak is believed when it stands out of the rest and the one before it was at the same place. The work is cut into steps that are
done in different frames; a step takes a few tens of microseconds. None is done while the reference or the microphone is silent,
nor, on a line that is known to be clear, while nothing is audible; and every second estimate is left out on a line that was
listened to for long and has no echo.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, SAMPLES_PER_MS, SILENT_FRAME, Samples

DELAY_MS_MAX = 800
"""The longest delay that is found, what the search is `ahead` included."""

_DOWN = 4
"""The signals are thinned out by this."""
_HOP_FRAMES = 10
_HOP = _HOP_FRAMES * FRAME_SAMPLES // _DOWN
"""Thinned samples of the microphone per estimate: 200 ms."""
_SIZE = 4096
"""Of the transforms: about a second, of which delays up to `_SIZE - _HOP` are found."""
_EDGE = 80
"""Samples over which a window rises and falls: 20 ms."""
_LAGS = DELAY_MS_MAX * SAMPLES_PER_MS // _DOWN
_BAND_HZ = (200, 1700)
_KEPT = 0.75
"""Share of the older cross spectra that is kept with each new one: 0.8 s."""
_FAR_POWER_MIN = 30.0**2
"""Mean square of a reference that can be heard at all: -61 dB full scale."""
_SILENT_HOPS_MAX, _CLEAR_SILENT_HOPS_MAX = _SIZE // _HOP + 1, 1
"""A reference that fell silent before so many hops is sought no more. What is left of it reaches few delays only, and
there a talker's voice looks like it by chance: on a clear line it is sought while it is heard."""
_NEAR_POWER_MIN = 1.0
"""Mean square of a microphone that is not muted ..."""
_AUDIBLE_POWER_MIN = 15.0**2
"""... and of one with something in it that could be an echo: -67 dB full scale."""
_VAIN_MAX = 50
"""After so many estimates in vain, 10 s of far end, it is taken for a headset ..."""
_FOUND = 10
"""... where one that is believed outweighs so many: some are by chance, two in 12 s at the most."""
_PEAK_MIN = 6.5
"""A peak stands out when it is so many standard deviations of the correlation high …"""
_PEAK_SURE = 14.0
"""… and leaves no doubt from here on."""
_SAME = 2 * SAMPLES_PER_MS
"""Two peaks so close are the same."""

Floats = NDArray[np.float32]
Spectrum = NDArray[np.complex64]


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """Where the echo is."""

    delay_samples: float
    """The microphone hears the reference so much later, 16 kHz."""
    confidence: float
    """0 … 1: how far the peak stands out."""


class _Peak(NamedTuple):
    lag: float
    height: float


_TRANSFORM, _ADD, _JUDGE = 1, 2, 3
"""Which frame of a hop does what for the hop before."""
_FILTER_TAPS = 32
_ROW = 16
"""Thinned samples per row of the matrix product."""


@functools.cache
def _thinning() -> Floats:
    """Shape (inputs, _ROW): the low pass for `_ROW` outputs at once."""
    n = np.arange(_FILTER_TAPS) - (_FILTER_TAPS - 1) / 2
    cutoff = 2 * 1800 / RATE_HZ
    taps = cutoff * np.sinc(cutoff * n) * np.kaiser(_FILTER_TAPS, 5.0)
    matrix = np.zeros((_ROW * _DOWN + _FILTER_TAPS - _DOWN, _ROW), np.float32)
    for k in range(_ROW):
        matrix[k * _DOWN : k * _DOWN + _FILTER_TAPS, k] = taps
    return matrix


class _Thinned:
    """The last of a signal at 4 kHz, appended a hop at a time, and thinned when somebody looks at it: often nobody does."""

    def __init__(self, size: int) -> None:
        self._tail = np.zeros(len(_thinning()) - _ROW * _DOWN, np.float32)
        """The end of the last hop that was thinned, where the low pass of the next one begins."""
        self._frames: list[Samples] = []
        """Of the hop in progress."""
        self._hops: deque[list[Samples]] = deque()
        """Those that are complete and not thinned."""
        self._hops_max = -(-size // _HOP)
        self._samples = np.zeros(size, np.float32)

    def put(self, frame: Samples) -> None:
        """Take the next frame of a hop; nobody writes to it any more."""
        self._frames.append(frame)

    def turn(self) -> None:
        """The hop is complete: append it."""
        self._hops.append(self._frames)
        self._frames = []
        if len(self._hops) > self._hops_max:  # nothing is left of the oldest
            self._tail = self._hops.popleft()[-1][-len(self._tail) :].astype(np.float32)

    @property
    def samples(self) -> Floats:
        """The newest last."""
        while self._hops:
            self._append(self._hops.popleft())
        return self._samples

    @property
    def power(self) -> float:
        """Mean square of the last hop."""
        newest = self.samples[-_HOP:]
        return float(np.dot(newest, newest)) / _HOP

    def _append(self, frames: list[Samples]) -> None:
        self._samples[:-_HOP] = self._samples[_HOP:]
        newest = self._samples[-_HOP:]
        if all(frame is SILENT_FRAME for frame in frames) and not self._tail.any():
            newest[:] = 0
            return
        signal: Floats = np.concatenate((self._tail, *frames), dtype=np.float32)
        self._tail = signal[-len(self._tail) :].copy()
        rows, width = _HOP // _ROW, len(_thinning())
        view: Floats = np.ndarray((rows, width), np.float32, signal, 0, (_ROW * _DOWN * 4, 4))
        newest[:] = (view.copy() @ _thinning()).ravel()


class DelayEstimator:
    """The delay between one loudspeaker's reference and one microphone."""

    def __init__(self, *, ahead_ms: int = 0) -> None:
        """`ahead_ms`: look for delays from minus this on, at the price of hearing about them so much later. Whole hops count."""
        self._ahead = -(-ahead_ms * SAMPLES_PER_MS // (_HOP * _DOWN)) * _HOP
        self._near = _Thinned(_HOP + self._ahead)
        self._far = _Thinned(_SIZE)
        self._band = _band()
        self._sum: Spectrum = np.zeros(_SIZE // 2 + 1, np.complex64)
        self._frame = 0
        self._silent_hops = _SILENT_HOPS_MAX
        self._spectrum: Spectrum | None = None
        """Of the reference, from one step to the next."""
        self._last: _Peak | None = None
        self._skip_hops = 0
        self._vain = 0
        """How many estimates were in vain; far below 0 where an echo has been found."""
        self._looks = False
        """An estimate is made of this hop."""
        self.is_clear = False
        """Nobody ever heard an echo on this line; who says so says when it is over."""

    def push(self, near: Samples, far: Samples) -> Estimate | None:
        """Take 20 ms of microphone and reference, shape (320,); return what is believed, in the frame it is found, else None."""
        index = self._frame % _HOP_FRAMES
        self._frame += 1
        estimate = self._step(index)
        self._near.put(near)
        self._far.put(far)
        return estimate

    def forget(self) -> None:
        """The reference is read elsewhere from now on: what was added up, and what is half before and half after, is of no use."""
        self._sum[:] = 0
        self._last = None
        self._skip_hops = 2 + self._ahead // _HOP
        self._vain, self._looks = 0, False

    def _step(self, index: int) -> Estimate | None:
        """A share of the work on the hop that was completed."""
        if index == 0 and self._frame > 1:
            self._turn()
        if not self._looks:
            return None
        if index == _TRANSFORM:
            self._spectrum = _transform(self._far.samples * _tapered(_SIZE))
        elif index == _ADD:
            self._add()
        elif index == _JUDGE:
            return self._judge(self._peak())
        return None

    def _turn(self) -> None:
        self._skip_hops = max(0, self._skip_hops - 1)
        self._near.turn()
        self._far.turn()
        loud = self._far.power > _FAR_POWER_MIN
        self._silent_hops = 0 if loud else min(self._silent_hops + 1, _SILENT_HOPS_MAX)
        is_sought = self._silent_hops < (_CLEAR_SILENT_HOPS_MAX if self.is_clear else _SILENT_HOPS_MAX)
        self._looks = is_sought and not self._skip_hops and self._is_worth_it()

    def _is_worth_it(self) -> bool:
        """Can an echo be in the microphone's hop, and does it not have to wait for the next one?"""
        is_turn = self._vain < _VAIN_MAX or self._frame // _HOP_FRAMES % 2 == 0
        near = self._near.samples[:_HOP]
        return is_turn and float(np.dot(near, near)) > _HOP * (_AUDIBLE_POWER_MIN if self.is_clear else _NEAR_POWER_MIN)

    def _add(self) -> None:
        """One more cross spectrum. The microphone's is whitened, lest one loud word of the user outweighs a second of echo."""
        segment = np.zeros(_SIZE, np.float32)
        np.multiply(self._near.samples[:_HOP], _tapered(_HOP), out=segment[-_HOP:])
        near = _transform(segment)
        near *= self._band / (np.abs(near) + 1.0)
        assert self._spectrum is not None
        self._sum *= _KEPT
        self._sum += near * self._spectrum.conj()
        self._spectrum = None  # another session's can have the memory meanwhile

    def _peak(self) -> _Peak:
        """The highest point of the correlation, between its samples."""
        correlation = np.fft.irfft(self._sum * (self._band / (np.abs(self._sum) + 1.0)), _SIZE)[:_LAGS]
        at = int(correlation.argmax())
        height = float(correlation[at])
        spread = float(np.sqrt(np.dot(correlation, correlation) / _LAGS)) + 1e-9
        before, after = float(correlation[max(0, at - 1)]), float(correlation[min(_LAGS - 1, at + 1)])
        bend = before - 2 * height + after
        between = 0.5 * (before - after) / bend if bend < 0 else 0.0
        return _Peak((at + between) * _DOWN - self._ahead * _DOWN, height / spread)

    def _judge(self, peak: _Peak) -> Estimate | None:
        """Believe it if it stands out and is where the last one was."""
        last, self._last = self._last, peak if peak.height >= _PEAK_MIN else None
        if self._last is None or last is None or abs(last.lag - peak.lag) > _SAME:
            self._vain += 1
            return None
        self._vain -= _FOUND
        return Estimate(peak.lag, min(1.0, peak.height / _PEAK_SURE))


def _transform(signal: Floats) -> Spectrum:
    """Of `_SIZE` samples; numpy keeps single precision, its types do not say so."""
    spectrum: NDArray[np.complexfloating] = np.fft.rfft(signal)
    return spectrum.astype(np.complex64, copy=False)


@functools.cache
def _tapered(size: int) -> Floats:
    """A window with soft edges: hard ones of both signals would be found to lie at a delay of 0."""
    edge = np.sin(np.linspace(0, np.pi / 2, _EDGE)) ** 2
    window = np.ones(size, np.float32)
    window[:_EDGE], window[-_EDGE:] = edge, edge[::-1]
    return window


@functools.cache
def _band() -> Floats:
    """Weights of the transform's lines."""
    hz = np.fft.rfftfreq(_SIZE, _DOWN / RATE_HZ)
    inside = (hz >= _BAND_HZ[0]) & (hz <= _BAND_HZ[1])
    return np.asarray(inside, np.float32)

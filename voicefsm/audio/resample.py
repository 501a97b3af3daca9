"""Streaming sample rate conversion with exact accounting.

Theory of operation. A conversion by L/M is a low-pass filter on a grid L times as fine as the input, of which every M-th
point is kept. Output k needs the input up to sample floor(k * M / L), so after n input samples there are exactly floor(n * L
/ M) outputs, for any way of cutting the input into pieces.

Q input samples make P outputs, and these P are linear in the Q samples and the history before them: one matrix. A message is
a handful of such blocks, hence one small matrix product, which numpy does about ten times faster than P dot products.

Bit-exactness. Coefficients are integers (scaled by 2**_SCALE_BITS), products are summed in float64, and every sum stays far
below 2**53: no rounding happens before the last step, so that the order of summation, and with it the cut of the input,
cannot matter.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from voicefsm.audio.samples import RATES_HZ, Samples

_SCALE_BITS = 20
_STOPBAND_DB = 66.0
_PASSBAND = 0.86
"""Where the pass band ends, relative to half of the lower rate; the stop band begins at 1."""
_BLOCK_INPUTS = 48
"""Inputs per block, roughly: more makes the matrix larger, fewer makes the products smaller."""


class _Plan:
    """What is the same for every stream between two rates."""

    def __init__(self, rate_in_hz: int, rate_out_hz: int) -> None:
        common = math.gcd(rate_in_hz, rate_out_hz)
        self.up, self.down = rate_out_hz // common, rate_in_hz // common
        taps = _low_pass(rate_in_hz * self.up, min(rate_in_hz, rate_out_hz) / 2, self.up, self.down)
        self.delay_samples = (len(taps) - 1) // 2 // self.down
        self.history = -(-len(taps) // self.up)
        steps = max(1, _BLOCK_INPUTS // self.down)
        self.inputs, self.outputs = steps * self.down, steps * self.up
        self.matrix = self._matrix(taps)

    def _matrix(self, taps: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shape (history + inputs, outputs): column k holds the coefficients of output k."""
        matrix = np.zeros((self.history + self.inputs, self.outputs))
        for k in range(self.outputs):
            at, phase = divmod(k * self.down, self.up)
            polyphase = taps[phase :: self.up]
            rows = self.history + at - np.arange(len(polyphase))
            matrix[rows, k] = polyphase
        return matrix


def _low_pass(rate_hz: int, stop_hz: float, up: int, down: int) -> NDArray[np.float64]:
    """Integer taps of a linear-phase low-pass at `rate_hz`; each polyphase branch sums to 1, so that a constant stays constant.

    Its delay is a whole number of output samples.
    """
    width = 2 * math.pi * stop_hz * (1 - _PASSBAND) / rate_hz
    half = math.ceil((_STOPBAND_DB - 8) / (2.285 * width) / 2 / down) * down
    n = np.arange(-half, half + 1)
    cutoff = stop_hz * (1 + _PASSBAND) / rate_hz
    beta = 0.1102 * (_STOPBAND_DB - 8.7)
    taps = cutoff * np.sinc(cutoff * n) * np.kaiser(2 * half + 1, beta)
    for phase in range(up):
        taps[phase::up] *= 1 / taps[phase::up].sum()
    scaled: NDArray[np.float64] = np.rint(taps * 2**_SCALE_BITS)
    return scaled


_plan = functools.cache(_Plan)


class Resampler:
    """One direction of one stream, PCM16 to PCM16."""

    def __init__(self, rate_in_hz: int, rate_out_hz: int) -> None:
        """Rates are any of 8000, 16000, 24000 and 48000 Hz."""
        assert rate_in_hz in RATES_HZ, rate_in_hz
        assert rate_out_hz in RATES_HZ, rate_out_hz
        self._plan = None if rate_in_hz == rate_out_hz else _plan(rate_in_hz, rate_out_hz)
        self.reset()

    @property
    def delay_samples(self) -> int:
        """Group delay, in output samples: what entered at time t comes out this much later."""
        return self._plan.delay_samples if self._plan else 0

    @property
    def history_samples(self) -> int:
        """How many input samples an output can depend on."""
        return self._plan.history if self._plan else 0

    def reset(self) -> None:
        """Start over: silence before, counters at zero."""
        # `_kept` begins `history` samples before the input of the next output whose phase is zero.
        self._kept: Samples = np.zeros(self.history_samples, np.int16)
        self._skip = 0

    def process(self, samples: Samples) -> Samples:
        """Take n samples, shape (n,); return those outputs that are complete now. Without conversion it returns its argument."""
        plan = self._plan
        if plan is None:
            return samples
        kept = np.concatenate((self._kept, samples))
        total = (len(kept) - plan.history) * plan.up // plan.down
        out = _convolve(plan, kept, total)[self._skip :]
        steps = total // plan.up
        self._kept = kept[steps * plan.down :]
        self._skip = total - steps * plan.up
        return out


def _convolve(plan: _Plan, kept: Samples, total: int) -> Samples:
    """The first `total` outputs of the stream whose history and input is `kept`."""
    blocks = -(-total // plan.outputs)
    padded = np.zeros(plan.history + blocks * plan.inputs)
    usable = min(len(padded), len(kept))
    padded[:usable] = kept[:usable]
    windows = np.lib.stride_tricks.as_strided(
        padded, (blocks, plan.history + plan.inputs), (plan.inputs * padded.itemsize, padded.itemsize), writeable=False
    )
    # The copy lets numpy hand the product to BLAS, which takes no overlapping rows.
    sums = (np.ascontiguousarray(windows) @ plan.matrix).ravel()[:total]
    sums *= 2.0**-_SCALE_BITS
    return np.clip(np.rint(sums, out=sums), -32768, 32767, out=sums).astype(np.int16)

"""ITU-T G.711 mu-law, both ways, by table.

A code is the inverse of sign, exponent (3 bits) and mantissa (4 bits) of the magnitude plus a bias of 33, on a 14-bit scale.
Both directions are pure functions of one sample, so both are a table: 256 entries to decode, 65536 to encode.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voicefsm.audio.samples import Samples

_BIAS = 33
_MAGNITUDE_MAX = 8191


def _decoded() -> Samples:
    """The sample each of the 256 codes stands for."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent = (code >> 4 & 7).astype(np.int32)
    magnitude = ((code & 15) * 2 + _BIAS << exponent) - _BIAS
    return (np.where(code & 128, -magnitude, magnitude) * 4).astype(np.int16)


def _encoded() -> NDArray[np.uint8]:
    """The code of each sample, indexed by the sample's bits as an unsigned number."""
    sample = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    # Negative samples are complemented, not negated: so says the reference software (ITU-T G.191).
    magnitude = np.minimum((np.where(sample < 0, ~sample, sample) >> 2) + _BIAS, _MAGNITUDE_MAX)
    exponent = np.log2(magnitude).astype(np.int32) - 5
    mantissa = magnitude >> (exponent + 1) & 15
    sign = np.where(sample < 0, 128, 0)
    code: NDArray[np.uint8] = (~(sign | exponent << 4 | mantissa) & 255).astype(np.uint8)
    return code


_DECODED = _decoded()
_ENCODED = _encoded()


def decode(data: bytes) -> Samples:
    """Mu-law bytes to PCM16, shape (len(data),)."""
    return _DECODED[np.frombuffer(data, np.uint8)]


def encode(samples: Samples) -> bytes:
    """PCM16, shape (n,), to n mu-law bytes."""
    return _ENCODED[samples.view(np.uint16)].tobytes()

from __future__ import annotations

import numpy as np

from voicefsm.audio import mulaw


def reference_encode(sample: int) -> int:
    """ITU-T G.191, one sample at a time, as the standard writes it."""
    magnitude = min(((~sample if sample < 0 else sample) >> 2) + 33, 0x1FFF)
    segment = 1 + (magnitude >> 6).bit_length()
    code = (8 - segment) << 4 | 15 - (magnitude >> segment & 15)
    return code | 0x80 if sample >= 0 else code


def reference_decode(code: int) -> int:
    exponent, mantissa = ~code >> 4 & 7, ~code & 15
    step = 4 << (exponent + 1)
    magnitude = (0x80 << exponent) + step * mantissa + step // 2 - 4 * 33
    return magnitude if code & 0x80 else -magnitude


def test_every_sample_is_encoded_as_the_standard_says():
    """Otherwise a telephone hears a noise we do not."""
    samples = np.arange(-32768, 32768).astype(np.int16)
    assert list(mulaw.encode(samples)) == [reference_encode(int(s)) for s in samples]


def test_every_code_is_decoded_as_the_standard_says():
    """Otherwise we hear a telephone distorted."""
    assert mulaw.decode(bytes(range(256))).tolist() == [reference_decode(c) for c in range(256)]


def test_decoding_and_encoding_again_changes_nothing():
    """Otherwise every hop adds noise. Minus zero becomes zero: it is the same sound."""
    codes = bytes(c for c in range(256) if c != 0x7F)
    assert mulaw.encode(mulaw.decode(codes)) == codes


def test_nothing_in_nothing_out():
    """Otherwise an empty message takes the session down."""
    assert mulaw.encode(mulaw.decode(b"")) == b""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicefsm.audio.ring import Ring
from voicefsm.errors import LocalProtocolError


@given(
    capacity=st.integers(1, 50),
    writes=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 80)), max_size=8),
    first=st.integers(-20, 700),
    count=st.integers(0, 120),
)
def test_it_is_an_endless_array_that_forgets(capacity, writes, first, count):
    """Otherwise the canceller is fed a reference from another moment. Each write is (gap before, length)."""
    ring, model = Ring(capacity), np.zeros(2000, np.int16)
    for gap, length in writes:
        at = ring.end + gap
        samples = np.arange(at + 1, at + 1 + length).astype(np.int16)
        ring.append(at, samples)
        model[at : at + length] = samples
        assert ring.end == at + length
    expected = [model[i] if max(0, ring.end - capacity) <= i < ring.end else 0 for i in range(first, first + count)]
    assert ring.read(first, count).tolist() == expected


def test_the_past_is_not_rewritten():
    """Otherwise two replies share a position and nobody knows which was heard."""
    ring = Ring(10)
    ring.append(0, np.ones(5, np.int16))
    with pytest.raises(LocalProtocolError):
        ring.append(4, np.ones(1, np.int16))


def test_what_was_read_stays():
    """Otherwise a frame changes under the canceller when the ring turns."""
    ring = Ring(4)
    ring.append(0, np.ones(4, np.int16))
    frame = ring.read(0, 4)
    ring.append(4, np.zeros(4, np.int16))
    assert frame.tolist() == [1, 1, 1, 1]


def test_silence_takes_no_memory():
    """Otherwise a session that never hears the assistant, a muted one above all, pays for its reference."""
    ring = Ring(1 << 20)
    tracemalloc.start()
    try:
        ring.append(5000, np.zeros(0, np.int16))
        assert ring.read(4000, 2000).tolist() == [0] * 2000
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    ring.append(5000, np.ones(1, np.int16))
    assert ring.read(4999, 3).tolist() == [0, 1, 0]

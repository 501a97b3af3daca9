from __future__ import annotations

import ctypes
import ctypes.util
import threading

import numpy as np
import pytest

from voicefsm.adapters import speex
from voicefsm.adapters.speex import SpeexCanceller
from voicefsm.aec.settings import AecSettings
from voicefsm.errors import SettingsError

FRAME = 320

needs_library = pytest.mark.skipif(speex.library() is None, reason=f"NOT TESTED: libspeexdsp is missing. {speex.REMEDY}")


def test_a_missing_library_is_the_operators_to_install(monkeypatch):
    """Otherwise a machine without libspeexdsp fails in the first call instead of at start, and says nothing useful."""
    monkeypatch.setattr(speex, "library", lambda: None)
    with pytest.raises(SettingsError, match="apt-get install libspeexdsp1"):
        SpeexCanceller(AecSettings())


def test_it_looks_under_every_name(monkeypatch):
    """Otherwise macOS, or a library in an odd place, goes without."""
    tried = []

    def load(name: str) -> None:
        tried.append(name)
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(ctypes.util, "find_library", {}.get)
    assert speex.library.__wrapped__() is None
    assert "libspeexdsp.so.1" in tried
    assert any(name.endswith(".dylib") for name in tried)


@needs_library
def test_the_tail_is_what_it_models():
    """Otherwise the setting does nothing: an echo 150 ms late is out of reach of 100 ms and within 200 ms."""

    def erle_db(tail_ms: int) -> float:
        canceller = SpeexCanceller(AecSettings(tail_ms=tail_ms))
        random = np.random.default_rng(1)
        far = (random.standard_normal(16000 * 3) * 3000).astype(np.int16)
        mic = np.concatenate((np.zeros(2400, np.int16), far[:-2400])) // 2
        out = np.concatenate([canceller.process(mic[i : i + FRAME], far[i : i + FRAME]) for i in range(0, len(mic), FRAME)])
        canceller.close()
        return float(10 * np.log10(np.mean(mic[32000:].astype(float) ** 2) / np.mean(out[32000:].astype(float) ** 2)))

    assert erle_db(200) > erle_db(100) + 6


@needs_library
def test_it_knows_the_sample_rate():
    """Otherwise its notch filter, meant to take out DC, takes the bass out of low voices."""
    canceller, silence = SpeexCanceller(AecSettings()), np.zeros(FRAME, np.int16)
    tone = (10000 * np.sin(2 * np.pi * 100 * np.arange(16000) / 16000)).astype(np.int16)
    out = np.concatenate([canceller.process(tone[i : i + FRAME], silence) for i in range(0, len(tone), FRAME)])
    canceller.close()
    assert 20 * np.log10(out[8000:].astype(float).std() / tone[8000:].std()) > -3


@needs_library
def test_an_abandoned_canceller_is_freed(monkeypatch):
    """Otherwise a session that dies without close() leaves its memory behind."""
    freed = []
    canceller = SpeexCanceller(AecSettings())
    destroy = canceller._lib.speex_echo_state_destroy

    class Library:
        def __getattr__(self, name):
            return getattr(speex.library(), name)

        def speex_echo_state_destroy(self, state):
            freed.append(state)
            destroy(state)

    canceller._lib = Library()  # type: ignore[assignment]
    canceller.__del__()
    canceller.close()
    assert len(freed) == 1


@needs_library
def test_sessions_run_in_threads():
    """Otherwise two sessions in two threads corrupt each other."""
    frame = np.arange(FRAME).astype(np.int16)
    results = []

    def session() -> None:
        canceller = SpeexCanceller(AecSettings())
        results.append(np.concatenate([canceller.process(frame, frame) for _ in range(100)]))
        canceller.close()

    threads = [threading.Thread(target=session) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(results[0], r) for r in results[1:])
    assert len(results) == 4

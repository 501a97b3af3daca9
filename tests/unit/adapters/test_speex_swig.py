from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from voicefsm.adapters.speex_swig import SpeexDspCanceller
from voicefsm.aec.settings import AecSettings
from voicefsm.errors import SettingsError


def test_a_package_that_does_not_import_is_the_operators_to_install(monkeypatch):
    """Otherwise Python 3.12, where the package builds and does not import, ends in a traceback."""
    monkeypatch.setitem(sys.modules, "speexdsp", None)
    with pytest.raises(SettingsError, match=r"\.\[speexdsp\]"):
        SpeexDspCanceller(AecSettings())


def test_the_package_is_called_as_it_wants(monkeypatch):
    """Otherwise the extra breaks unnoticed, for it is not installed here: frame, tail and rate in samples, PCM16 as bytes."""
    made = []

    class EchoCanceller:
        @staticmethod
        def create(*arguments):
            made.append(arguments)
            return EchoCanceller()

        def process(self, near, far):
            assert len(near) == len(far) == 640
            return (np.frombuffer(near, np.int16) - np.frombuffer(far, np.int16)).tobytes()

    monkeypatch.setitem(sys.modules, "speexdsp", types.SimpleNamespace(EchoCanceller=EchoCanceller))
    canceller = SpeexDspCanceller(AecSettings(tail_ms=100))
    out = canceller.process(np.full(320, 5, np.int16), np.full(320, 2, np.int16))
    assert made == [(320, 1600, 16000)]
    assert out.tolist() == [3] * 320
    canceller.close()

"""The user's voice."""

from __future__ import annotations

import numpy as np
import pytest

from voicefsm.demo.voice import PEAK, trim
from voicefsm.errors import VoiceFsmError


def test_the_first_sample_of_an_utterance_is_its_onset():
    """If this fails every latency counts the silence before the user's first sound."""
    spoken = np.concatenate([np.full(1000, 3), np.full(50, 8000), np.zeros(20), np.full(50, -4000), np.zeros(900)]).astype(np.int16)
    cut = trim(spoken)
    assert len(cut) == 120
    assert abs(cut[0] - PEAK) <= 1
    assert cut[-1] == -PEAK // 2


def test_a_silent_voice_is_an_error():
    """If this fails the demo waits for an answer to a question nobody asked."""
    with pytest.raises(VoiceFsmError, match="silence"):
        trim(np.zeros(1000, np.int16))

from __future__ import annotations

import pytest

from voicefsm.adapters.webrtc_vad import WebRtcVoiceDetector
from voicefsm.simulation.acoustics import noise, pcm
from voicefsm.vad.settings import VadSettings


def test_the_mode_reaches_the_library():
    """Otherwise the setting does nothing: noise that mode 0 takes for speech, mode 3 does not."""
    hiss = pcm(noise(1, 2, level_db=-60))
    voiced = [
        sum(detector.is_speech(hiss[i : i + 320]) for i in range(0, len(hiss), 320))
        for detector in (WebRtcVoiceDetector(VadSettings(mode=mode)) for mode in (0, 3))
    ]
    assert voiced[0] > 2 * voiced[1]


def test_a_frame_of_another_length_is_refused():
    """Otherwise the library reads something else than 20 ms."""
    with pytest.raises(Exception, match="frame"):
        WebRtcVoiceDetector(VadSettings()).is_speech(pcm(noise(1, 0.019, level_db=-20)))

"""What every voice detector must do, whichever it is."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest

from voicefsm.adapters.webrtc_vad import WebRtcVoiceDetector
from voicefsm.ports import VoiceDetector
from voicefsm.simulation.acoustics import noise, pcm, voice
from voicefsm.vad.settings import VadSettings

FRAME = 320

MAKERS: dict[str, Callable[[], VoiceDetector]] = {
    f"webrtc mode {mode}": functools.partial(WebRtcVoiceDetector, VadSettings(mode=mode)) for mode in range(4)
}


@pytest.fixture(params=MAKERS)
def detector(request) -> VoiceDetector:
    return MAKERS[request.param]()


def share(detector: VoiceDetector, samples: np.ndarray) -> float:
    """Of frames taken for speech."""
    return float(np.mean([detector.is_speech(samples[i : i + FRAME]) for i in range(0, len(samples) - FRAME + 1, FRAME)]))


def test_silence_is_no_speech(detector):
    """Otherwise the user speaks for ever."""
    assert share(detector, np.zeros(16000, np.int16)) == 0


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("pitch_hz", [110, 210])
def test_a_voice_is_speech(detector, seed, pitch_hz):
    """Otherwise nobody is heard."""
    assert share(detector, pcm(voice(seed, 2, level_db=-25, pitch_hz=pitch_hz))) > 0.8


def test_it_takes_read_only_frames(detector):
    """Otherwise the shared silent frame is an error."""
    frame = pcm(noise(1, 0.02, level_db=-40))
    frame.flags.writeable = False
    assert detector.is_speech(frame) in (True, False)


def test_it_says_true_or_false(detector):
    """Otherwise a library's integer ends up in the bit pattern of the segmenter."""
    assert isinstance(detector.is_speech(pcm(voice(1, 0.02))), bool)


def test_detectors_are_apart():
    """Otherwise one caller's noise decides about another's speech."""
    speech = pcm(voice(1, 1))
    first, second, third = (WebRtcVoiceDetector(VadSettings()) for _ in range(3))
    share(second, pcm(noise(1, 5, level_db=-20)))
    assert share(first, speech) == share(third, speech)

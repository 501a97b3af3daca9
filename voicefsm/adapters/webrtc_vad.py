"""The voice detector of WebRTC, through the package `webrtcvad-wheels`."""

from __future__ import annotations

import webrtcvad

from voicefsm.audio.samples import RATE_HZ, Samples
from voicefsm.vad.settings import VadSettings


class WebRtcVoiceDetector:
    """A Gaussian mixture over six bands; a few microseconds a frame. Implements `ports.VoiceDetector`."""

    def __init__(self, settings: VadSettings) -> None:
        self._vad = webrtcvad.Vad(settings.mode)

    def is_speech(self, frame: Samples) -> bool:
        """`frame` has shape (320,), 16 kHz."""
        return bool(self._vad.is_speech(frame.data, RATE_HZ))

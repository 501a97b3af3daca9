"""A line on which our own voice was never heard: a headset, a telephone. Who talks over us is heard at once; an echo ends that."""

from __future__ import annotations

import numpy as np
import pytest

from voicefsm.acoustics.signals import pcm
from voicefsm.acoustics.talker import voice
from voicefsm.adapters.echo import choose_canceller
from voicefsm.adapters.webrtc_vad import WebRtcVoiceDetector
from voicefsm.aec import kalman
from voicefsm.aec.reference import Reference
from voicefsm.audio.samples import FRAME_SAMPLES, Samples
from voicefsm.bench.turns import pilot
from voicefsm.ports import GatedCanceller
from voicefsm.runtime.hearing import Hearing, HearingSettings
from voicefsm.vad.segmenter import EdgeKind

pytestmark = pytest.mark.skipif(kalman.library() is None, reason="NOT TESTED: the library was not compiled")

AHEAD = 8000
"""Samples that are sent before they are played."""
CLEAR_FRAMES = 150
"""Frames of our voice after which a line is known, its pauses included."""


class Line:
    """A client's microphone, and our voice in its earphone."""

    def __init__(self, far: np.ndarray) -> None:
        settings = HearingSettings()
        self._far, self._sent, self._at = far, 0, 0
        self._reference = Reference(16000, settings.aec)
        self._canceller = choose_canceller(settings.aec).make()
        self._hearing = Hearing(
            settings,
            canceller=self._canceller,
            detector=WebRtcVoiceDetector(settings.vad),
            reference=self._reference,
            input_rate_hz=16000,
        )

    @property
    def powers(self) -> tuple[float, ...]:
        """Of the canceller's last frame."""
        assert isinstance(self._canceller, GatedCanceller)
        return self._canceller.powers

    def hear(self, near: np.ndarray) -> list[int]:
        """So many whole frames; after which of them speech began, counted from 1."""
        began = []
        for k in range(len(near) // FRAME_SAMPLES):
            if (due := self._at + AHEAD) > self._sent:
                self._reference.append(self._sent, self._far[self._sent : due])
                self._sent = due
            frame = near[k * FRAME_SAMPLES : (k + 1) * FRAME_SAMPLES]
            heard = self._hearing.hear(frame, self._at, self._at)
            began += [k + 1 for edge in heard.edges if edge.kind is EdgeKind.STARTED]
            self._at += FRAME_SAMPLES
        return began


OURS = pcm(voice(17, 8, level_db=-24, pitch_hz=210))
SILENCE = np.zeros(CLEAR_FRAMES * FRAME_SAMPLES, np.int16)


def test_who_talks_over_us_is_heard_after_four_frames():
    """Otherwise barge-in on a headset waits for a network that is wary of an echo there never was: 20 to 60 ms."""
    began = []
    for talker in range(8):
        line = Line(OURS)
        assert line.hear(SILENCE) == []
        began += line.hear(pcm(voice(talker, 0.4, level_db=-24)))
    assert len(began) == 8
    assert began.count(4) >= 6, "by chance a talker now and then looks like our own voice, for a frame"
    assert max(began) <= 5


def tones(reply: int) -> Samples:
    """A voice that is like many others by chance."""
    return pilot.pcm(pilot.frames(reply, np.arange(400)))


def test_who_talks_over_tones_is_heard_as_soon():
    """Otherwise who by chance looks like what we said half a second ago waits for it to pass."""
    began = []
    for talker in range(24):
        line = Line(tones(talker + 1))
        line.hear(SILENCE)
        began += line.hear(pcm(voice(talker, 0.4, level_db=-24)))[:1]
    assert len(began) == 24
    assert began.count(4) >= 23


def test_a_talker_is_not_learnt_as_an_echo(monkeypatch):
    """Otherwise the filter takes the user's voice for an echo of ours and takes it away, and no interruption is heard to its end.

    Over tones each of them now and then looks like what we say, for a moment.
    """
    forgot: list[None] = []
    monkeypatch.setattr(kalman.KalmanCanceller, "forget", lambda _: forgot.append(None))
    for talker in range(24):
        line = Line(tones(talker + 1))
        line.hear(SILENCE)
        assert line.hear(pcm(voice(talker, 3, level_db=-24)))
    assert forgot == []


def test_a_click_is_no_talker():
    """Otherwise each key that is pressed near a headset stops the assistant."""
    line = Line(OURS)
    line.hear(SILENCE)
    random = np.random.default_rng(1)
    keys = np.zeros(20 * FRAME_SAMPLES)
    for at in range(0, len(keys) - 300, 1300):
        keys[at : at + 300] += random.normal(0, 5000, 300) * np.exp(-np.arange(300) / 60)
    assert line.hear(np.asarray(keys, np.int16)) == []


@pytest.mark.parametrize("delay_ms", [12, 35, 60])
def test_an_echo_that_begins_later_is_no_talker(delay_ms):
    """Otherwise a headset that is unplugged makes the assistant interrupt itself."""
    line = Line(OURS)
    line.hear(SILENCE)
    begins = CLEAR_FRAMES * FRAME_SAMPLES - delay_ms * 16
    echo = np.asarray(OURS[begins : begins + 100 * FRAME_SAMPLES] * 0.06, np.int16)
    assert line.hear(echo) == []


def test_an_echo_that_begins_later_is_learnt():
    """Otherwise a filter that was long sure that there is none lets it through for many seconds."""
    ours = pcm(voice(31, 20, level_db=-22, pitch_hz=150))
    random = np.random.default_rng(1)
    near = random.normal(0, 3, len(ours))
    begins, counts_from = 15 * 16000, 17 * 16000
    room = random.normal(0, 1, 1500) * np.exp(-np.arange(1500) / 250)
    near[begins:] += 0.1 * np.convolve(ours, room / np.linalg.norm(room))[begins - 400 : len(ours) - 400]
    microphone = np.asarray(near, np.int16)
    line = Line(ours)
    line.hear(microphone[:counts_from])
    before = after = 0.0
    for at in range(counts_from, len(ours), FRAME_SAMPLES):
        line.hear(microphone[at : at + FRAME_SAMPLES])
        before, after = before + line.powers[0], after + line.powers[1]
    assert after < before / 10

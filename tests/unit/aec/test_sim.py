from __future__ import annotations

import numpy as np
import pytest

from voicefsm.acoustics.delay import Delay, read
from voicefsm.acoustics.rooms import random_room, responses
from voicefsm.acoustics.signals import at_active_level, pcm, room_noise, through
from voicefsm.aec import kalman
from voicefsm.aec.sim import factory
from voicefsm.simulation.acoustics import voice

RATE, HOP = 16000, 160

pytestmark = pytest.mark.skipif(kalman.library() is None, reason="NOT TESTED: the library was not compiled")


@pytest.mark.parametrize("delay_ms", [0, 120, 400])
def test_a_scene_with_reports_is_cancelled(delay_ms):
    """Otherwise a benchmark measures something else than what a session gets."""
    room, delay = responses(random_room(3, rt60_s=0.3)), Delay(ms=delay_ms)
    far = voice(1, 10, pitch_hz=200)
    heard = read(far, np.arange(len(far)) - delay.samples(0, len(far)))
    mic = pcm(at_active_level(through(heard, room.echo), -30) + room_noise(np.random.default_rng(1), len(far), -65))
    sent, system, out = pcm(far), factory(None), []
    for at in range(0, len(mic) - HOP + 1, HOP):
        if at and at % (20 * HOP) == 0:
            system.on_ack(at - 20 * HOP, at - 20 * HOP - delay_ms * 16 + 80)
        out.append(system.process(mic[at : at + HOP], sent[at : at + HOP]))
    left = np.concatenate(out)
    late = slice(6 * RATE, None)
    assert len(left) == len(mic)
    assert 10 * np.log10(np.mean(mic[late].astype(float) ** 2) / np.mean(left[late].astype(float) ** 2)) >= 20
    assert not system.near_end
    assert 0 <= system.speech <= 1

from __future__ import annotations

import numpy as np
import pytest

from voicefsm.acoustics.delay import read
from voicefsm.acoustics.rooms import random_room, responses
from voicefsm.acoustics.signals import at_active_level, pcm, room_noise, through
from voicefsm.aec import kalman
from voicefsm.aec.sim import factory
from voicefsm.simulation.acoustics import voice

RATE, HOP = 16000, 160

pytestmark = pytest.mark.skipif(kalman.library() is None, reason="NOT TESTED: the library was not compiled")


def played(delay, seconds):
    """A far end through a room, with reports that are 200 ms old: microphone, output and, per hop, whether somebody is heard."""
    room = responses(random_room(3, rt60_s=0.3))
    far = voice(1, seconds, pitch_hz=200)
    heard = read(far, np.arange(len(far)) - delay)
    mic = pcm(at_active_level(through(heard, room.echo), -30) + room_noise(np.random.default_rng(1), len(far), -65))
    sent, system, out, near_end = pcm(far), factory(None), [], []
    for at in range(0, len(mic) - HOP + 1, HOP):
        if at and at % (20 * HOP) == 0:
            then = at - 20 * HOP
            system.on_ack(then, then - int(delay[then]) + 80)
        out.append(system.process(mic[at : at + HOP], sent[at : at + HOP]))
        near_end.append(system.near_end)
    assert 0 <= system.speech <= 1
    return mic, np.concatenate(out), np.array(near_end)


def erle_db(mic, left, since_s):
    late = slice(since_s * RATE, None)
    return 10 * np.log10(np.mean(mic[late].astype(float) ** 2) / np.mean(left[late].astype(float) ** 2))


@pytest.mark.parametrize("delay_ms", [-60, 0, 120, 400])
def test_a_scene_with_reports_is_cancelled(delay_ms):
    """Otherwise a benchmark measures something else than what a session gets. In some scenes echo comes before what is sent."""
    mic, left, near_end = played(np.full(10 * RATE, delay_ms * 16), 10)
    assert len(left) == len(mic)
    assert erle_db(mic, left, 6) >= 20
    assert not near_end[-100:].any()


@pytest.mark.parametrize("jump_ms", [-40, 60, 120])
def test_a_delay_that_jumps_is_nobody(jump_ms):
    """Otherwise each jump is a false barge-in: reports tell of it up to 400 ms later."""
    delay = np.full(12 * RATE, 120 * 16)
    delay[6 * RATE :] += jump_ms * 16
    mic, left, near_end = played(delay, 12)
    told = near_end[600:800]
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate(([0], told.astype(int), [0])))))[::2]
    assert max(runs, default=0) < 6, f"{10 * max(runs)} ms in a row"
    assert erle_db(mic, left, 9) >= 20

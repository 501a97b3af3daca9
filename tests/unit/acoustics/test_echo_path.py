"""The echo as a stream: the same as the whole signal at once."""

from __future__ import annotations

import numpy as np
import pytest

from voicefsm.acoustics.delay import Delay, read
from voicefsm.acoustics.echo_path import Convolver, EchoPath
from voicefsm.acoustics.loudspeaker import BASS_CUT, Distortion, bent
from voicefsm.acoustics.rooms import random_room, responses
from voicefsm.acoustics.signals import Signal, floats, gain, through
from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, Samples

RESPONSE = responses(random_room(3)).echo
FRAMES = 100


def rendered(seed: int = 1) -> Samples:
    return (np.random.default_rng(seed).standard_normal(FRAMES * FRAME_SAMPLES) * 3000).astype(np.int16)


def streamed(path: EchoPath, samples: Samples) -> Signal:
    return np.concatenate([path.process(samples[at : at + FRAME_SAMPLES]) for at in range(0, len(samples), FRAME_SAMPLES)])


@pytest.mark.parametrize("length", [1, 320, 321, 5000])
def test_partitions_are_a_convolution(length):
    """Otherwise the room of the closed loop would not be the room of the scenes."""
    response = np.random.default_rng(length).standard_normal(length)
    signal = floats(rendered())
    convolver = Convolver(response)
    frames = [convolver.process(signal[at : at + FRAME_SAMPLES]) for at in range(0, len(signal), FRAME_SAMPLES)]
    assert np.concatenate(frames) == pytest.approx(through(signal, response), abs=1e-9)


@pytest.mark.parametrize("distortion", Distortion)
@pytest.mark.parametrize(
    "delay",
    [Delay(), Delay(ms=900), Delay(ms=120.3), Delay(ms=250, drift_ppm=100, jump_ms=-40, jump_at_s=1.0), Delay(ms=900, jump_ms=60)],
    ids=["0", "900", "fraction", "moving", "late"],
)
def test_the_stream_is_the_whole(delay, distortion):
    """Otherwise frames would have seams, or the delay would depend on where they begin."""
    samples = rendered()
    loudspeaker = bent(through(floats(samples), BASS_CUT), distortion)
    if distortion is Distortion.STRONG:
        loudspeaker = through(loudspeaker, BASS_CUT)
    late = read(loudspeaker, np.arange(len(samples)) - delay.samples(0, len(samples)))
    expected = through(late, RESPONSE) * gain(-10)
    heard = streamed(EchoPath(RESPONSE, loss_db=10, delay=delay, distortion=distortion), samples)
    assert heard == pytest.approx(expected, abs=1e-5)  # reading at a whole position has two ways, which differ by -110 dB


def test_a_drift_without_a_delay_has_no_seams():
    """Otherwise each frame would end in a click: what is read there lies between samples that are not there yet."""
    samples = rendered()
    delays = np.maximum(16, Delay(drift_ppm=50).samples(0, len(samples)))
    late = read(through(floats(samples), BASS_CUT), np.arange(float(len(samples))) - delays)
    heard = streamed(EchoPath(np.ones(1), loss_db=0, delay=Delay(drift_ppm=50)), samples)
    assert heard == pytest.approx(late, abs=1e-5)


def test_the_loss_is_what_it_says():
    """Otherwise a room of 20 dB could be one of 10."""
    samples = rendered()
    heard = streamed(EchoPath(RESPONSE, loss_db=20), samples)
    lost_db = 10 * np.log10(np.mean(floats(samples) ** 2) / np.mean(heard[FRAME_SAMPLES * 20 :] ** 2))
    assert lost_db == pytest.approx(20, abs=1.5)


def test_a_click_is_heard_after_the_delay_and_the_way():
    """Otherwise the closed loop would be shorter or longer than it says."""
    path = EchoPath(RESPONSE, loss_db=0, delay=Delay(ms=200))
    click = np.zeros(FRAMES * FRAME_SAMPLES, np.int16)
    click[0] = 20000
    heard = streamed(path, click)
    assert np.argmax(np.abs(heard)) == 200 * RATE_HZ // 1000 + np.argmax(np.abs(RESPONSE))
    assert path.seconds == 2.0

"""What every echo canceller must do, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from voicefsm.adapters import speex
from voicefsm.adapters.aec3 import Aec3Canceller
from voicefsm.adapters.echo import NullCanceller
from voicefsm.adapters.speex import SpeexCanceller
from voicefsm.adapters.speex_swig import SpeexDspCanceller
from voicefsm.aec.kalman import KalmanCanceller
from voicefsm.aec.settings import AecSettings
from voicefsm.errors import LocalProtocolError, SettingsError
from voicefsm.ports import EchoCanceller
from voicefsm.simulation.acoustics import noise, pcm, room, through, voice

FRAME = 320
LEAD = 320
SETTINGS = AecSettings()

MAKERS: dict[str, Callable[[], EchoCanceller]] = {
    "kalman": KalmanCanceller,
    "speex": lambda: SpeexCanceller(SETTINGS),
    "speexdsp": lambda: SpeexDspCanceller(SETTINGS),
    "aec3": Aec3Canceller,
    "none": NullCanceller,
}
CANCELLING = ["kalman", "speex", "speexdsp", "aec3"]


def made(name: str) -> EchoCanceller:
    try:
        return MAKERS[name]()
    except SettingsError as missing:
        pytest.skip(f"NOT TESTED: {missing}")


@pytest.fixture(params=MAKERS)
def canceller(request) -> Iterator[EchoCanceller]:
    canceller = made(request.param)
    yield canceller
    canceller.close()


@pytest.fixture(params=CANCELLING)
def cancelling(request) -> Iterator[EchoCanceller]:
    canceller = made(request.param)
    yield canceller
    canceller.close()


def cancelled(canceller: EchoCanceller, mic: np.ndarray, far: np.ndarray) -> np.ndarray:
    """A whole recording, the reference 20 ms early."""
    reference = np.concatenate((far[LEAD:], np.zeros(LEAD, np.int16)))
    return np.concatenate([canceller.process(mic[i : i + FRAME], reference[i : i + FRAME]) for i in range(0, len(mic), FRAME)])


def power_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(samples.astype(float) ** 2) + 1e-9))


def test_it_has_a_name_and_returns_frames(canceller):
    """Otherwise the recogniser gets something that is not 20 ms of PCM16."""
    frame = np.arange(FRAME).astype(np.int16)
    for _ in range(3):
        out = canceller.process(frame, frame)
        assert out.shape == (FRAME,)
        assert out.dtype == np.int16
    assert canceller.name in MAKERS


def test_a_frame_it_returned_stays(canceller):
    """Otherwise the audio queued for the recogniser changes under it."""
    loud, quiet = pcm(voice(1, 0.02)), np.zeros(FRAME, np.int16)
    first = canceller.process(loud, quiet)
    copy = first.copy()
    canceller.process(quiet, loud)
    assert np.array_equal(first, copy)


def test_it_does_not_write_into_its_arguments(canceller):
    """Otherwise the shared silent frame becomes noise in every session."""
    near, far = pcm(voice(1, 0.02)), np.zeros(FRAME, np.int16)
    near.flags.writeable = far.flags.writeable = False
    before = near.copy()
    canceller.process(near, far)
    assert np.array_equal(near, before)


def test_closing_twice_is_harmless(canceller):
    """Otherwise a session that ends twice takes the process down."""
    canceller.close()
    canceller.close()


def test_after_close_it_refuses(cancelling):
    """Otherwise a late frame reads freed memory."""
    cancelling.close()
    with pytest.raises(LocalProtocolError, match="close"):
        cancelling.process(np.zeros(FRAME, np.int16), np.zeros(FRAME, np.int16))


@pytest.mark.parametrize(("near", "far"), [(319, 320), (320, 319), (321, 321), (0, 320)])
def test_other_lengths_are_refused(cancelling, near, far):
    """Otherwise native code reads beyond the buffer."""
    with pytest.raises(LocalProtocolError, match="320"):
        cancelling.process(np.zeros(near, np.int16), np.zeros(far, np.int16))


@pytest.mark.parametrize("seed", [1, 2])
def test_echo_is_taken_out(cancelling, seed):
    """Otherwise there is no barge-in on loudspeakers: at least 10 dB after 3 s of aligned echo."""
    far = voice(seed, 8, pitch_hz=200)
    echo = through(far, room(seed)) * 10 ** (-10 / 20) + noise(seed, 8, level_db=-70)
    mic = pcm(echo)
    out = cancelled(cancelling, mic, pcm(far))
    late = slice(3 * 16000, None)
    assert power_db(mic[late]) - power_db(out[late]) >= 10


def test_a_talker_survives(cancelling):
    """Otherwise the recogniser gets silence while the user speaks and we do not: near-end speech alone loses less than 3 dB."""
    near = pcm(voice(3, 3))
    out = cancelled(cancelling, near, np.zeros_like(near))
    assert abs(power_db(out[16000:]) - power_db(near[16000:])) < 3


def test_a_talker_survives_double_talk(cancelling):
    """Otherwise barge-ins are swallowed: as loud as the echo, the talker must be at most 10 dB lower afterwards."""
    far = voice(4, 8, pitch_hz=200)
    echo = through(far, room(4)) * 10 ** (-10 / 20)
    near = np.zeros_like(echo)
    near[5 * 16000 :] = voice(54, 3, level_db=-30)
    out = cancelled(cancelling, pcm(echo + near), pcm(far))
    assert power_db(out[5 * 16000 :]) > power_db(pcm(near)[5 * 16000 :]) - 10


def test_sessions_are_apart(cancelling):
    """Otherwise one caller's echo path is another's."""
    other = made(cancelling.name)
    far, mic = pcm(voice(5, 1)), pcm(voice(6, 1))
    cancelled(other, pcm(noise(1, 1, level_db=-20)), far)
    third = made(cancelling.name)
    assert np.array_equal(cancelled(cancelling, mic, far), cancelled(third, mic, far))


@pytest.mark.parametrize("name", ["kalman", "speex", "aec3"])
def test_a_thousand_sessions_leave_nothing_behind(name):
    """Otherwise the process grows with every call. The package speexdsp does; that is why it is not the default."""
    made(name).close()
    frame = np.zeros(FRAME, np.int16)

    def sessions(count: int) -> None:
        for _ in range(count):
            canceller = made(name)
            canceller.process(frame, frame)
            canceller.close()

    sessions(100)
    before = resident_kib()
    sessions(1000)
    assert resident_kib() - before < 8 * 1024, "more than 8 KiB stay behind per session"


def resident_kib() -> int:
    """Resident memory now."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4
    except FileNotFoundError:
        pytest.skip("NOT TESTED: this system does not tell the resident memory of a process")


def test_speex_is_there_or_said_to_be_missing():
    """Otherwise a whole suite is skipped and nobody notices: without the library the adapter must refuse, not pretend."""
    if speex.library() is None:
        with pytest.raises(SettingsError, match="libspeexdsp"):
            SpeexCanceller(SETTINGS)
    else:
        SpeexCanceller(SETTINGS).close()

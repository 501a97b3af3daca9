from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from voicefsm.acoustics.rooms import random_room, responses
from voicefsm.acoustics.signals import at_active_level, pcm, room_noise, through
from voicefsm.aec import kalman
from voicefsm.aec.kalman import KalmanCanceller
from voicefsm.errors import SettingsError
from voicefsm.ports import EchoCanceller, GatedCanceller
from voicefsm.simulation.acoustics import voice

RATE = 16000
FRAME = 320
SILENCE = np.zeros(FRAME, np.int16)
KIBIBYTES_MAX = 256

needs_library = pytest.mark.skipif(kalman.library() is None, reason="NOT TESTED: the library was not compiled")


def scene(seed: int, seconds: float, *, near_db: float | None = None, near_from: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Microphone and reference: an echo of -30 dBFS, noise 35 dB below it, a talker from `near_from` on."""
    room = responses(random_room(seed, rt60_s=0.3))
    far = voice(seed, seconds, pitch_hz=200)
    mic = at_active_level(through(far, room.echo), -30) + room_noise(np.random.default_rng(seed), len(far), -65)
    if near_db is not None:
        talker = voice(seed + 50, seconds - near_from)
        mic[-len(talker) :] += at_active_level(through(talker, room.near), near_db)
    return pcm(mic), pcm(far)


def run(canceller: KalmanCanceller, mic: np.ndarray, far: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is left, and the probabilities of near-end speech per frame."""
    out, speech = [], []
    for at in range(0, len(mic) - FRAME + 1, FRAME):
        out.append(canceller.process(mic[at : at + FRAME], far[at : at + FRAME]))
        speech.append(canceller.speech)
    return np.concatenate(out), np.array(speech)


def erle_db(mic: np.ndarray, out: np.ndarray, start_s: float, end_s: float | None = None) -> float:
    part = slice(int(start_s * RATE), None if end_s is None else int(end_s * RATE))
    before, after = (np.mean(np.square(x[part].astype(float))) for x in (mic[: len(out)], out))
    return float(10 * np.log10(before / (after + 1e-9)))


@needs_library
def test_it_is_a_gated_canceller():
    """Otherwise hearing judges by level what a network has judged better."""
    canceller: EchoCanceller = KalmanCanceller()
    assert isinstance(canceller, GatedCanceller)


@needs_library
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_reaches_20_db_within_two_seconds_and_more_later(seed):
    """Otherwise the first answer of every call is heard by the recogniser."""
    mic, far = scene(seed, 8)
    out, _ = run(KalmanCanceller(), mic, far)
    assert erle_db(mic, out, 2, 3) >= 18
    assert erle_db(mic, out, 4) >= 22


@needs_library
def test_a_talker_over_the_echo_keeps_the_filter():
    """Otherwise the echo is back after each barge-in: 2 s of double talk cost less than 6 dB afterwards."""
    mic, far = scene(4, 10)
    mixed, _ = scene(4, 10)
    talker = at_active_level(voice(54, 2), -30)
    mixed[5 * RATE : 5 * RATE + len(talker)] = pcm(mixed[5 * RATE : 5 * RATE + len(talker)] / 32767 + talker)
    undisturbed, disturbed = (run(KalmanCanceller(), m, far)[0] for m in (mic, mixed))
    assert erle_db(mic, disturbed, 7.2, 8.2) >= erle_db(mic, undisturbed, 7.2, 8.2) - 6


@needs_library
def test_without_far_end_nothing_is_touched():
    """Otherwise the recogniser hears the user less well than a telephone would."""
    mic = pcm(voice(3, 2))
    out, _ = run(KalmanCanceller(), mic, np.zeros_like(mic))
    assert np.array_equal(out, mic[: len(out)])


@needs_library
def test_the_filter_survives_silence():
    """Otherwise every reply begins with echo: after 20 s without far end the first second is cancelled like the one before."""
    mic, far = scene(5, 8)
    canceller = KalmanCanceller()
    run(canceller, mic, far)
    quiet = pcm(room_noise(np.random.default_rng(1), 20 * RATE, -65))
    run(canceller, quiet, np.zeros_like(quiet))
    out, _ = run(canceller, mic, far)
    assert erle_db(mic, out, 0, 1) >= 18


def rested(canceller: KalmanCanceller, mic: np.ndarray, far: np.ndarray) -> float:
    """In what share of the frames nothing was cancelled nor learnt."""
    idle = []
    for at in range(0, len(mic) - FRAME + 1, FRAME):
        canceller.process(mic[at : at + FRAME], far[at : at + FRAME])
        idle.append(canceller.fit == (0, 0))
    return float(np.mean(idle))


def headset(seed: int, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Microphone and reference of a line that has noise and no echo."""
    far = voice(seed, seconds, pitch_hz=200)
    return pcm(room_noise(np.random.default_rng(seed), len(far), -65)), pcm(far)


@needs_library
def test_it_rests_on_a_headset():
    """Otherwise most callers pay for an echo that they do not have. A frame in four holds a hop that is looked at all the same."""
    mic, far = headset(10, 18)
    canceller = KalmanCanceller()
    assert rested(canceller, mic[: 8 * RATE], far[: 8 * RATE]) == 0
    run(canceller, mic[8 * RATE : 13 * RATE], far[8 * RATE : 13 * RATE])
    assert rested(canceller, mic[13 * RATE : 14 * RATE], far[13 * RATE : 14 * RATE]) > 0.6
    talker = pcm(at_active_level(voice(60, 1), -30))
    assert rested(canceller, talker, far[14 * RATE : 15 * RATE]) < 0.2
    run(canceller, mic[15 * RATE : 16 * RATE], far[15 * RATE : 16 * RATE])
    assert rested(canceller, mic[16 * RATE :], far[16 * RATE :]) > 0.6


@needs_library
def test_on_a_line_said_to_be_clear_it_rests_until_told_to_forget():
    """Otherwise the first seconds of each call, and all that its caller says, cost twice as much; or an echo is never learnt."""
    mic, far = scene(5, 8)
    canceller = KalmanCanceller()
    run(canceller, *headset(10, 1))
    canceller.clear()
    out, _ = run(canceller, mic[: 2 * RATE], far[: 2 * RATE])
    assert np.array_equal(out, mic[: 2 * RATE])
    assert rested(canceller, mic[: 2 * RATE], far[: 2 * RATE]) == 1
    canceller.forget()
    out, _ = run(canceller, mic, far)
    assert erle_db(mic, out, 4) >= 22


@needs_library
@pytest.mark.parametrize("seed", [11, 12])
def test_it_never_rests_where_there_is_an_echo(seed):
    """Otherwise an echo comes back in pieces: talkers over it and pauses are no reason."""
    mic, far = scene(seed, 24, near_db=-25, near_from=14)
    assert rested(KalmanCanceller(), mic, far) == 0


@needs_library
def test_a_line_whose_reference_was_moved_is_listened_to_again():
    """Otherwise an echo that was found after a long time is cancelled in every eighth hop."""
    mic, far = headset(13, 13)
    for told in (KalmanCanceller.moved, KalmanCanceller.forget):
        canceller = KalmanCanceller()
        run(canceller, mic, far)
        assert rested(canceller, mic[:RATE], far[:RATE]) > 0.3
        told(canceller)
        assert rested(canceller, mic[:RATE], far[:RATE]) == 0


@needs_library
def test_a_report_that_came_late_corrects_the_past():
    """Otherwise the first frames of a reply reverberate without a reference: what was missed is known afterwards."""
    mic, far = scene(6, 8)
    learnt = KalmanCanceller(), KalmanCanceller()
    for canceller in learnt:
        run(canceller, mic, far)
        run(canceller, np.zeros(RATE, np.int16), np.zeros(RATE, np.int16))
    late = 5 * FRAME
    without_start = far.copy()
    without_start[:late] = 0
    forgotten, _ = run(learnt[0], mic, without_start)
    run(learnt[1], mic[:late], without_start[:late])
    learnt[1].missed(far[:late])
    corrected, _ = run(learnt[1], mic[late:], far[late:])
    after = slice(0, int(0.2 * RATE))
    assert erle_db(mic[late:][after], corrected[after], 0) >= erle_db(mic[late:][after], forgotten[late:][after], 0) + 3


@needs_library
def test_a_reference_put_right_brings_the_filter_back():
    """Otherwise a jump of the network costs as long as a beginning: half a second later the echo is gone again."""
    mic, far = scene(7, 10)
    jump, wrong = 1600, 8 * FRAME
    canceller = KalmanCanceller()
    at = 5 * RATE // FRAME * FRAME
    run(canceller, mic[:at], far[:at])
    run(canceller, mic[at : at + wrong], far[at - jump : at - jump + wrong])
    canceller.moved()
    out, _ = run(canceller, mic[at + wrong :], far[at + wrong :])
    assert erle_db(mic[at + wrong :], out, 0.5, 2) >= 16


@needs_library
def test_the_gate_is_the_network_that_was_trained():
    """Otherwise training judges another network than the one that runs: numpy and C agree to a thousandth on every hop."""
    mic, far = scene(8, 3, near_db=-30, near_from=1.5)
    canceller, net = KalmanCanceller(), Net(kalman.weights())
    for at in range(0, len(mic) - 160 + 1, 160):
        canceller.process(mic[at : at + 160], far[at : at + 160])
        assert net.infer(canceller.features) == pytest.approx(canceller.speech, abs=1e-3)


class Net:
    """The network of native/gate.h in numpy."""

    def __init__(self, weights: np.ndarray) -> None:
        self._weights = weights.astype(np.float64)
        self._state = np.zeros(48)

    def infer(self, features: np.ndarray) -> float:
        at = 0

        def take(*shape: int) -> np.ndarray:
            nonlocal at
            at += (size := int(np.prod(shape)))
            return self._weights[at - size : at].reshape(shape)

        dense = np.maximum(0, features @ take(160, 32) + take(32))
        given = dense @ take(32, 144) + take(144)
        kept = self._state @ take(48, 144) + take(144)
        reset, update = (1 / (1 + np.exp(-(given[i : i + 48] + kept[i : i + 48]))) for i in (0, 48))
        fresh = np.tanh(given[96:] + reset * kept[96:])
        self._state = (1 - update) * fresh + update * self._state
        return float(1 / (1 + np.exp(-(self._state @ take(48) + take(1)[0]))))


@needs_library
def test_the_gate_tells_a_talker_from_echo():
    """Otherwise the assistant interrupts itself, or nobody else can: medians over two seconds of each."""
    mic, far = scene(9, 6, near_db=-30, near_from=4.0)
    _, speech = run(KalmanCanceller(), mic, far)
    assert np.median(speech[100:200]) < 0.2
    assert np.median(speech[225:]) > 0.8


@needs_library
def test_a_session_is_small():
    """Otherwise a thousand of them do not fit."""
    library = kalman.library()
    assert library is not None
    assert library.ear_size() <= KIBIBYTES_MAX * 1024


@needs_library
def test_its_memory_comes_with_the_first_frame_and_goes_with_the_session():
    """Otherwise a thousand muted sessions hold 250 MB for echoes that they never hear."""
    library = kalman.library()
    assert library is not None
    tracemalloc.start()
    try:
        canceller = KalmanCanceller()
        canceller.moved()
        canceller.forget()
        canceller.missed(SILENCE[:0])
        idle, _ = tracemalloc.get_traced_memory()
        canceller.process(SILENCE, SILENCE)
        working, _ = tracemalloc.get_traced_memory()
        canceller.close()
        closed, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert idle < 20_000
    assert library.ear_size() < working - idle < library.ear_size() + 20_000
    assert closed < idle + 20_000


@needs_library
def test_a_library_of_another_version_is_none(monkeypatch):
    """Otherwise an upgrade that left an old library behind could not start, instead of using another canceller."""

    class Old:
        @property
        def ear_init(self):
            raise AttributeError("undefined symbol: ear_init")

    monkeypatch.setattr("voicefsm.aec.kalman.ctypes.CDLL", lambda _path: Old())
    assert kalman.library.__wrapped__() is None


@needs_library
def test_weights_that_do_not_fit_are_named(monkeypatch):
    """Otherwise the gate would read past its weights."""
    monkeypatch.setattr(kalman, "weights", lambda: np.zeros(7, np.float32))
    with pytest.raises(SettingsError, match="do not fit"):
        kalman.library.__wrapped__()


def test_where_it_was_not_compiled_it_says_so(monkeypatch):
    """Otherwise a missing compiler looks like a defect of the program."""
    monkeypatch.setattr(kalman, "library", lambda: None)
    with pytest.raises(SettingsError, match="compile"):
        KalmanCanceller()


@needs_library
def test_it_leaves_the_arithmetic_of_the_process_alone():
    """Otherwise loading it rounds everybody's smallest numbers to zero."""
    KalmanCanceller().close()
    assert np.float64(5e-324) * np.float64(1.0) > 0
    assert 5e-324 / 1.0 > 0

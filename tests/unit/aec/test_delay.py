from __future__ import annotations

import weakref

import numpy as np
import pytest

from voicefsm.acoustics.delay import read
from voicefsm.aec.delay import DelayEstimator, Estimate, _Thinned
from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, SAMPLES_PER_MS, SILENT_FRAME, Samples
from voicefsm.simulation.acoustics import Signal, noise, pcm, room, through, voice

SECONDS = 8


def far_end(seed: int, seconds: float = SECONDS) -> Signal:
    return voice(seed, seconds)


def echo(far: Signal, delay: Signal, seed: int) -> Signal:
    """What the microphone hears of it 12 dB down, in a room whose direct path has no delay of its own."""
    late = read(far, np.arange(len(far)) - delay)
    return 0.25 * through(late, room(seed, delay_ms=0))


def estimates(near: Samples, far: Samples, estimator: DelayEstimator | None = None) -> dict[int, Estimate]:
    """By frame."""
    estimator, found = estimator or DelayEstimator(), {}
    for frame in range(len(near) // FRAME_SAMPLES):
        at = slice(frame * FRAME_SAMPLES, (frame + 1) * FRAME_SAMPLES)
        estimate = estimator.push(near[at], far[at] if far[at].any() else SILENT_FRAME)
        if estimate:
            found[frame] = estimate
    return found


def held(found: dict[int, Estimate], frames: int) -> np.ndarray:
    """The estimate that is in force at each frame, in milliseconds."""
    out, last = np.full(frames, np.nan), np.nan
    for frame in range(frames):
        last = found[frame].delay_samples / SAMPLES_PER_MS if frame in found else last
        out[frame] = last
    return out


@pytest.mark.parametrize("delay_ms", [0, 40, 120, 400, 700])
@pytest.mark.parametrize("seed", [1, 2])
def test_it_finds_the_delay_in_the_first_second_of_speech(delay_ms, seed):
    """Otherwise a client that cannot say where it is has no canceller."""
    far = far_end(seed)
    near = echo(far, np.full(len(far), delay_ms * 16.0), seed) + noise(seed, SECONDS, level_db=-65)
    found = held(estimates(pcm(near), pcm(far)), SECONDS * 50)
    ready = 50 + delay_ms // 20
    assert np.mean(np.abs(found[ready:] - delay_ms) < 4) >= 0.95


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_user_does_not_mislead_it(seed):
    """Otherwise the reference jumps whenever somebody speaks. The user as loud as the echo, in noise."""
    far = far_end(seed)
    user = voice(seed + 100, SECONDS, level_db=-32, pitch_hz=200)
    near = echo(far, np.full(len(far), 200 * 16.0), seed) + user + noise(seed, SECONDS, level_db=-50)
    found = held(estimates(pcm(near), pcm(far)), SECONDS * 50)
    assert np.mean(np.abs(found[100:] - 200) < 4) >= 0.95


@pytest.mark.parametrize("jump_ms", [60, -60, 200])
def test_it_follows_a_jump_in_about_a_second(jump_ms):
    """Otherwise a device change ends cancellation."""
    waits = []
    for seed in range(4):
        far = far_end(seed)
        delay = np.where(np.arange(len(far)) < 4 * RATE_HZ, 250.0, 250.0 + jump_ms) * SAMPLES_PER_MS
        found = held(estimates(pcm(echo(far, delay, seed)), pcm(far)), SECONDS * 50)
        waits.append(np.argmax(np.abs(found[200:] - 250 - jump_ms) < 4) / 50)
        assert np.abs(found[-1] - 250 - jump_ms) < 4
    assert np.median(waits) <= 1.1


@pytest.mark.parametrize("ppm", [100, 300])
def test_it_tells_fractions_of_a_sample(ppm):
    """Otherwise drift cannot be learnt from it."""
    far = far_end(3)
    delay = 150.0 * SAMPLES_PER_MS + ppm * 1e-6 * np.arange(len(far))
    found = estimates(pcm(echo(far, delay, 3)), pcm(far))
    frames, lags = np.array(list(found)), np.array([e.delay_samples for e in found.values()])
    kept = frames > 100
    slope = np.polyfit(frames[kept] * FRAME_SAMPLES, lags[kept], 1)[0]
    assert slope == pytest.approx(ppm * 1e-6, abs=40e-6)


@pytest.mark.parametrize("seed", range(4))
def test_without_an_echo_it_believes_nothing(seed):
    """Otherwise a user with a headset hears the reference jump about. Steady wrong beliefs would be worst."""
    near = voice(seed + 50, 12, pitch_hz=210) + noise(seed, 12, level_db=-50)
    found = estimates(pcm(near), pcm(far_end(seed, 12)))
    assert len(found) <= 2


def test_a_talker_who_silences_the_far_end_is_no_echo():
    """Otherwise a headset is one line in four taken for a loudspeaker as soon as somebody barges in."""
    pitches, seconds = np.random.default_rng(5), 16
    for seed in range(30, 46):
        far = voice(seed, seconds, level_db=-22, pitch_hz=pitches.uniform(100, 240))
        talker = voice(seed + 100, seconds, level_db=-24, pitch_hz=pitches.uniform(100, 240))
        near = noise(seed, seconds, level_db=-70)
        for begins in range(3 * RATE_HZ // 2, len(far), 4 * RATE_HZ):  # for 1.6 s; the far end falls silent after 0.1 s
            ends = begins + 16 * RATE_HZ // 10
            near[begins:ends] += talker[begins:ends]
            far[begins + RATE_HZ // 10 : ends + RATE_HZ // 2] = 0
        estimator = DelayEstimator(ahead_ms=200)
        estimator.is_clear = True
        assert not estimates(pcm(near), pcm(far), estimator)


def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each estimate."""
    made: list[int] = []
    peak = DelayEstimator._peak

    def counted(self: DelayEstimator) -> object:
        made.append(1)
        return peak(self)

    monkeypatch.setattr(DelayEstimator, "_peak", counted)
    return made


@pytest.mark.parametrize("seed", range(3))
def test_a_headset_is_looked_at_half_as_often(monkeypatch, seed):
    """Otherwise most callers pay for an echo that they do not have. The first 10 s of far end are looked at in full."""
    seconds = 30
    near, far = pcm(voice(seed + 50, seconds, pitch_hz=210) + noise(seed, seconds, level_db=-50)), pcm(far_end(seed, seconds))
    made, estimator = looks(monkeypatch), DelayEstimator()
    counts: list[int] = []
    for start in range(0, seconds, 10):
        part = slice(start * RATE_HZ, (start + 10) * RATE_HZ)
        estimates(near[part], far[part], estimator)
        counts.append(len(made) - sum(counts))
    assert counts[0] >= 45
    assert counts[2] <= 30


@pytest.mark.parametrize(("level_db", "looked_at"), [(-75, 0), (-55, 45)])
def test_a_line_known_to_be_clear_is_looked_at_only_where_something_is_audible(monkeypatch, level_db, looked_at):
    """Otherwise most callers pay for an echo that they do not have; never looked at, one that begins would not be placed."""
    made, estimator = looks(monkeypatch), DelayEstimator()
    estimator.is_clear = True
    estimates(pcm(noise(1, 10, level_db=level_db)), pcm(far_end(1, 10)), estimator)
    assert looked_at <= len(made) <= looked_at * 2


def test_an_echo_that_was_found_is_looked_at_in_every_hop_for_ever(monkeypatch):
    """Otherwise a jump is found later than before. Here the echo is gone for 10 s."""
    far = far_end(2, 20)
    near = echo(far, np.full(len(far), 100 * 16.0), 2)
    near[10 * RATE_HZ :] = 0
    made = looks(monkeypatch)
    estimates(pcm(near + noise(2, 20, level_db=-60)), pcm(far))
    assert len(made) >= 90


def test_an_echo_after_a_long_time_without_one_is_found():
    """Otherwise who pulls the plug of the headset has no canceller. It takes a second or two."""
    far = far_end(3, 30)
    near = echo(far, np.full(len(far), 100 * 16.0), 3)
    near[: 25 * RATE_HZ] = 0
    found = held(estimates(pcm(near + noise(3, 30, level_db=-60)), pcm(far)), 30 * 50)
    assert np.mean(np.abs(found[27 * 50 :] - 100) < 4) >= 0.95


def test_a_muted_microphone_costs_nothing(monkeypatch):
    """Otherwise listeners pay for looking into digital silence."""
    far = pcm(far_end(4))
    made = looks(monkeypatch)
    estimates(np.zeros_like(far), far)
    assert not made


def test_a_silent_reference_costs_and_tells_nothing():
    """Otherwise the room's noise is correlated with itself."""
    near = pcm(voice(1, 4))
    assert not estimates(near, np.zeros_like(near))


@pytest.mark.parametrize("delay_ms", [-150, -60, 20, 300])
def test_looking_ahead_it_finds_an_echo_that_precedes_its_reference(delay_ms):
    """Otherwise a client whose reports are late is never found out."""
    far = far_end(4)
    heard = echo(far, np.full(len(far), 200 * 16.0), 4)
    reference = read(far, np.arange(len(far)) - (200.0 - delay_ms) * SAMPLES_PER_MS)
    found = held(estimates(pcm(heard), pcm(reference), DelayEstimator(ahead_ms=200)), SECONDS * 50)
    assert np.mean(np.abs(found[100:] - delay_ms) < 4) >= 0.95


def test_forgetting_it_starts_anew():
    """Otherwise a corrected reference is corrected again by what was heard before."""
    far = far_end(5)
    mic, reference = pcm(echo(far, np.full(len(far), 100 * 16.0), 5)), pcm(far)
    estimator = DelayEstimator()
    half = 4 * RATE_HZ
    assert estimates(mic[:half], reference[:half], estimator)
    estimator.forget()
    later = estimates(mic[half:], reference[half:], estimator)
    assert min(later) >= 20
    assert all(abs(e.delay_samples - 1600) < 64 for e in later.values())


HOP_FRAMES, KEPT_HOPS = 10, 2


def thinned(hops: list[list[Samples]], *, is_looked_at: bool) -> _Thinned:
    signal = _Thinned(KEPT_HOPS * HOP_FRAMES * FRAME_SAMPLES // 4)
    for hop in hops:
        for frame in hop:
            signal.put(frame)
        signal.turn()
        if is_looked_at:
            assert signal.samples.any()
    return signal


@pytest.mark.parametrize("sounding", ["s", "ss", "sssss", "ss-", "s-s", "ss--s", "sss-s-"])
def test_who_looks_late_sees_the_same(sounding):
    """Otherwise what was said while nobody looked is sought in the wrong place, or a click where silence begins."""
    rng = np.random.default_rng(6)
    talk = [[rng.integers(-9000, 9000, FRAME_SAMPLES).astype(np.int16) for _ in range(HOP_FRAMES)] for _ in sounding]
    late = [hop if sounds == "s" else [SILENT_FRAME] * HOP_FRAMES for hop, sounds in zip(talk, sounding, strict=True)]
    early = [hop if sounds == "s" else [SILENT_FRAME.copy()] * HOP_FRAMES for hop, sounds in zip(talk, sounding, strict=True)]
    signal, expected = thinned(late, is_looked_at=False), thinned(early, is_looked_at=True)
    np.testing.assert_array_equal(signal.samples, expected.samples)
    assert signal.power == expected.power


def test_what_nobody_looks_at_is_let_go():
    """Otherwise a microphone beside a silent loudspeaker is kept for as long as the session lasts."""
    hops = [[np.ones(FRAME_SAMPLES, np.int16) for _ in range(HOP_FRAMES)] for _ in range(KEPT_HOPS + 1)]
    kept = [weakref.ref(hop[0]) for hop in hops]
    signal = thinned(hops, is_looked_at=False)
    hops.clear()
    assert [frame() is None for frame in kept] == [True] + [False] * KEPT_HOPS
    assert signal.samples.any()

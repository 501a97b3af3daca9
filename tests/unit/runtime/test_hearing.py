from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from voicefsm.adapters.echo import NullCanceller, choose_canceller
from voicefsm.adapters.webrtc_vad import WebRtcVoiceDetector
from voicefsm.aec import kalman
from voicefsm.aec.reference import Reference
from voicefsm.audio.resample import Resampler
from voicefsm.audio.samples import RATE_HZ, RATES_HZ
from voicefsm.errors import InvalidMessage
from voicefsm.runtime.hearing import Heard, HeardEdge, Hearing, HearingSettings
from voicefsm.simulation.acoustics import Signal, noise, pcm, room, through, voice
from voicefsm.vad.segmenter import EdgeKind

SETTINGS = HearingSettings()
AHEAD = RATE_HZ // 5
ALL_AT_ONCE = dataclasses.replace(SETTINGS, aec=dataclasses.replace(SETTINGS.aec, recogniser_hold_ms=0))
"""The recogniser gets the linear signal as it is."""


class CountingCanceller(NullCanceller):
    """Does nothing, and counts."""

    def __init__(self) -> None:
        self.processed = self.closed = 0

    def process(self, near, far):
        self.processed += 1
        return near

    def close(self):
        self.closed += 1


def hearing(canceller=None, *, rate=RATE_HZ, far_rate=RATE_HZ, trusted=False, settings=SETTINGS) -> tuple[Hearing, Reference]:
    reference = Reference(far_rate, SETTINGS.aec)
    ear = Hearing(
        settings,
        canceller=canceller or choose_canceller(SETTINGS.aec).make(),
        detector=WebRtcVoiceDetector(SETTINGS.vad),
        reference=reference,
        input_rate_hz=rate,
        client_echo_cancellation=trusted,
    )
    return ear, reference


def converse(ear: Hearing, reference: Reference, mic: Signal, far: Signal | None = None, *, step: int = 320, **how) -> list[Heard]:
    """A session: the far end is sent 200 ms ahead and rendered without delay. All at 16 kHz."""
    near, played = pcm(mic), pcm(far if far is not None else np.zeros(0))
    reference.append(0, played[:AHEAD])
    heard = []
    for at in range(0, len(near) - step + 1, step):
        ahead = played[at + AHEAD : at + AHEAD + step]
        if len(ahead):
            reference.append(at + AHEAD, ahead)
        heard.append(ear.hear(near[at : at + step], at, min(at, len(played)), **how))
    ear.close()
    return heard


def edges(heard: list[Heard]) -> list[HeardEdge]:
    return [edge for h in heard for edge in h.edges]


def quiet(seconds: float) -> Signal:
    return noise(9, seconds, level_db=-65)


def utterance(start: float, length: float, total: float, level_db: float = -25) -> Signal:
    """A voice between two silences."""
    signal = quiet(total)
    at = int(start * RATE_HZ)
    speech = voice(1, length, level_db=level_db)
    signal[at : at + len(speech)] += speech
    return signal


def test_an_utterance_has_two_edges_where_it_is():
    """Otherwise turns begin and end at the wrong time, or not at all."""
    started, ended = edges(converse(*hearing(), utterance(1, 1.5, 4)))
    assert (started.kind, ended.kind) == (EdgeKind.STARTED, EdgeKind.ENDED)
    assert abs(started.onset_ms - 1000) <= 40
    assert abs(ended.last_voiced_ms - 2500) <= 140
    assert ended.evidence.voiced_ms >= 1000
    assert -35 <= started.evidence.near_db <= -15
    assert -35 <= ended.evidence.near_db <= -15, "the level of the silence after it"
    assert ended.onset_ms == started.onset_ms


def test_an_edge_says_how_long_ago():
    """Otherwise the core places it on its clock by the time of its arrival, and a 200 ms message is 200 ms late."""
    for step in (160, 320, 3200):
        ear, reference = hearing()
        for number, heard in enumerate(converse(ear, reference, utterance(1, 1, 3), step=step)):
            end_ms = (number + 1) * step // 16
            for edge in heard.edges:
                assert edge.onset_ms + edge.onset_ago_ms == pytest.approx(end_ms, abs=1)
                assert edge.last_voiced_ms + edge.last_voiced_ago_ms == pytest.approx(end_ms, abs=1)


def test_an_onset_is_seen_within_100_ms():
    """Otherwise the pause cannot come within 100 ms."""
    ear, reference = hearing()
    (first, *_) = [h for h in converse(ear, reference, utterance(1, 1, 3)) if h.edges]
    assert first.edges[0].onset_ago_ms <= 100


@pytest.mark.parametrize("step", [160, 480, 1600, 3200])
def test_the_length_of_messages_does_not_matter(step):
    """Otherwise clients that send 100 ms take turns differently from those that send 20."""
    by_frame, by_step = (converse(*hearing(), utterance(1, 1, 3.2), step=s) for s in (320, step))
    audio = [np.concatenate([h.samples for h in heard]) for heard in (by_frame, by_step)]
    common = min(map(len, audio))
    assert np.array_equal(audio[0][:common], audio[1][:common])
    assert [(e.kind, e.onset_ms, e.last_voiced_ms) for e in edges(by_frame)] == [
        (e.kind, e.onset_ms, e.last_voiced_ms) for e in edges(by_step)
    ]


@pytest.mark.parametrize("rate", RATES_HZ)
def test_every_rate_is_heard_alike(rate):
    """Otherwise a telephone is answered later than a browser."""
    samples = Resampler(RATE_HZ, rate).process(pcm(utterance(1, 1.5, 4)))
    ear, _ = hearing(rate=rate)
    step = rate // 50
    heard = [ear.hear(samples[at : at + step], at, 0) for at in range(0, len(samples) - step + 1, step)]
    started, ended = edges(heard)
    assert abs(started.onset_ms - 1000) <= 60
    assert abs(ended.last_voiced_ms - 2500) <= 160
    assert sum(len(h.samples) for h in heard) >= 4 * RATE_HZ - 320


def echo_scene(seed: int, near_db: float | None = None) -> tuple[Signal, Signal]:
    """Microphone and loudspeaker: 8 s of far end, its echo 10 dB lower; a talker from second 6 to 7.5, `near_db` above the echo."""
    far = voice(seed, 8, pitch_hz=200)
    mic = through(far, room(seed)) * 10 ** (-10 / 20) + quiet(8)
    if near_db is not None:
        mic[6 * RATE_HZ : int(7.5 * RATE_HZ)] += voice(seed + 50, 1.5, level_db=-30 + near_db)
    return mic, far


@pytest.mark.parametrize("seed", range(4))
def test_our_own_voice_is_not_the_user(seed):
    """Otherwise the assistant interrupts itself, from the first second on."""
    mic, far = echo_scene(seed)
    ear, reference = hearing()
    heard = converse(ear, reference, mic, far)
    assert edges(heard) == []
    assert ear.erle_db >= 6


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("near_db", [0, 6])
def test_the_user_is_heard_over_our_voice(seed, near_db):
    """Otherwise there is no barge-in on loudspeakers."""
    mic, far = echo_scene(seed, near_db)
    started = [e for e in edges(converse(*hearing(), mic, far)) if e.kind is EdgeKind.STARTED]
    assert started
    assert 5960 <= started[0].onset_ms <= 6400


def test_the_recogniser_hears_the_linear_signal_without_echo():
    """Otherwise the assistant's words come back as the user's."""
    mic, far = echo_scene(1)
    late = slice(4 * RATE_HZ, None)
    out = np.concatenate([h.samples for h in converse(*hearing(), mic, far)])[late].astype(float)
    assert np.mean(pcm(mic)[late].astype(float) ** 2) > 10 * np.mean(out**2)


def test_the_canceller_rests_while_there_is_no_far_end():
    """Otherwise the most expensive part of a frame is spent on nothing, most of the time."""
    canceller = CountingCanceller()
    far = np.concatenate((np.zeros(2 * RATE_HZ), voice(1, 1), np.zeros(3 * RATE_HZ)))
    converse(*hearing(canceller), quiet(6), far)
    echo_frames = (SETTINGS.aec.tail_ms + SETTINGS.aec.echo_hold_ms) // 20
    assert 50 + echo_frames <= canceller.processed <= 50 + echo_frames + 5


def test_deaf_is_silence_and_no_onset():
    """Otherwise MODE_DISABLED is interrupted all the same."""
    heard = converse(*hearing(), utterance(1, 1.5, 4), deaf=True)
    assert edges(heard) == []
    assert not any(h.samples.any() for h in heard)
    assert sum(len(h.samples) for h in heard) == 4 * RATE_HZ


def test_what_began_before_deafness_ends():
    """Otherwise the core waits for the end of a stretch of speech for ever."""
    ear, _ = hearing()
    samples = pcm(utterance(0.5, 2, 3))
    heard = [ear.hear(samples[at : at + 320], at, 0, deaf=at >= RATE_HZ) for at in range(0, len(samples), 320)]
    assert [e.kind for e in edges(heard)] == [EdgeKind.STARTED, EdgeKind.ENDED]


def test_a_client_that_cancels_echo_is_trusted():
    """Otherwise a headset user must shout over a reference that the microphone never hears."""
    canceller = CountingCanceller()
    far = voice(2, 4)
    ear, reference = hearing(canceller, trusted=True)
    heard = converse(ear, reference, utterance(1, 1, 4, level_db=-30), far)
    assert [e.kind for e in edges(heard)] == [EdgeKind.STARTED, EdgeKind.ENDED]
    assert canceller.processed == 0
    assert ear.evidence.far_db == -96


def test_hiss_is_no_speech():
    """Otherwise a silent room is a user who never stops: the detector alone takes this for speech."""
    assert edges(converse(*hearing(), noise(1, 5, level_db=-55))) == []


def test_a_skipped_gap_is_told():
    """Otherwise the recogniser's word times are early by it and nobody knows."""
    ear, _ = hearing()
    frame = np.zeros(320, np.int16)
    assert ear.hear(frame, 0, 0).skipped_ms == 0
    heard = ear.hear(frame, 320 + 60 * RATE_HZ, 0)
    assert heard.skipped_ms == 59_000
    assert len(heard.samples) == RATE_HZ + 320


def test_a_step_back_leaves_everything_as_it_was():
    """Otherwise one bad message corrupts the session that survives it."""
    ear, _ = hearing()
    frame = np.zeros(320, np.int16)
    ear.hear(frame, 0, 0)
    with pytest.raises(InvalidMessage):
        ear.hear(frame, 0, 0)
    assert len(ear.hear(frame, 320, 0).samples) == 320


def test_less_than_a_frame_is_kept_for_later():
    """Otherwise 10 ms messages are lost or padded."""
    ear, _ = hearing()
    heard = [ear.hear(np.full(160, 7, np.int16), at, None) for at in (0, 160)]
    assert [len(h.samples) for h in heard] == [0, 320]


def test_closing_frees_the_canceller():
    """Otherwise every session leaves 100 kB of native memory."""
    canceller = CountingCanceller()
    hearing(canceller)[0].close()
    assert canceller.closed == 1


def loudspeaker(seed: int, playing: list[tuple[int, int]], total: int) -> tuple[Signal, Signal, np.ndarray]:
    """A far end that plays only in the given stretches of samples: what was sent, what was rendered, the position at each time."""
    plays = np.zeros(total, bool)
    for begin, end in playing:
        plays[begin:end] = True
    sent = voice(seed, plays.sum() / RATE_HZ, pitch_hz=200)
    out = np.zeros(total)
    out[plays] = sent
    return sent, out, np.concatenate(([0], np.cumsum(plays)[:-1]))


def overhear(mic: Signal, sent: Signal, position: np.ndarray, settings: HearingSettings = SETTINGS) -> list[Heard]:
    """A session whose client reports the position exactly, once a frame."""
    ear, reference = hearing(settings=settings)
    heard: list[Heard] = []
    near, far, at_far = pcm(mic), pcm(sent), 0
    for at in range(0, len(near) - 319, 320):
        ahead = min(len(far), int(position[at]) + AHEAD)
        reference.append(at_far, far[at_far:ahead])
        at_far = max(at_far, ahead)
        heard.append(ear.hear(near[at : at + 320], at, int(position[at])))
    ear.close()
    return heard


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("offset", [0, 137, 300])
@pytest.mark.parametrize("paused", [False, True])
def test_replies_that_begin_pause_and_end_are_not_the_user(seed, offset, paused):
    """Otherwise every reply interrupts itself in its first 100 ms, or at its end.

    It is heard before the first report that tells it plays, and silent before the first that tells it does not.
    """
    starts = [8000 + offset + turn * (72000 + 53 * seed) for turn in range(6)]
    playing = [(s, s + 48000) for s in starts]
    if paused:
        playing = [p for s in starts for p in ((s, s + 24000 + offset), (s + 35000 + offset, s + 48000))]
    sent, out, position = loudspeaker(seed, playing, 28 * RATE_HZ)
    mic = through(out, room(seed)) * 10 ** (-10 / 20) + quiet(28)
    assert edges(overhear(mic, sent, position)) == []


def test_the_start_of_a_reply_is_cancelled_like_the_rest():
    """Otherwise the recogniser hears the first syllable of every reply: 40 to 200 ms after a start, once converged."""
    erle_db = []
    for seed in range(3):
        starts = range(8137, 20 * RATE_HZ, 4 * RATE_HZ)
        sent, out, position = loudspeaker(seed, [(s, s + 48000) for s in starts], 21 * RATE_HZ)
        mic = through(out, room(seed)) * 10 ** (-10 / 20) + quiet(21)
        linear = np.concatenate([h.samples for h in overhear(mic, sent, position, ALL_AT_ONCE)]).astype(float)
        for start in starts[2:]:
            early = slice(start + 640, start + 3200)
            before, after = pcm(mic)[early].astype(float), linear[early]
            erle_db.append(10 * np.log10(np.mean(before**2) / np.mean(after**2)))
    assert np.median(erle_db) > 12


@pytest.mark.parametrize("seed", range(3))
def test_a_pause_does_not_cut_the_user_who_caused_it(seed):
    """Otherwise the pause ends the evidence for itself, and playout resumes over the user. Speech from 6 to 7.5 s, pause at 6.1."""
    total = 10 * RATE_HZ
    sent, out, position = loudspeaker(seed, [(0, int(6.1 * RATE_HZ))], total)
    mic = through(out, room(seed)) * 10 ** (-10 / 20) + quiet(10)
    mic[6 * RATE_HZ : int(7.5 * RATE_HZ)] += voice(seed + 50, 1.5, level_db=-25)
    started, ended = edges(overhear(mic, sent, position))
    assert 5960 <= started.onset_ms <= 6300
    assert 7300 <= ended.last_voiced_ms <= 7700
    assert ended.evidence.voiced_ms >= 800


def test_the_canceller_never_adds_an_echo():
    """Otherwise the loudspeaker's sudden silence is heard by the recogniser as our own voice, inverted."""
    sent, out, position = loudspeaker(1, [(0, 6 * RATE_HZ)], 7 * RATE_HZ)
    mic = pcm(through(out, room(1)) * 10 ** (-10 / 20) + quiet(7))
    ear, reference = hearing(settings=ALL_AT_ONCE)
    reference.append(0, pcm(sent))
    for at in range(0, len(mic) - 319, 320):
        frame = mic[at : at + 320]
        left = ear.hear(frame, at, int(position[at])).samples.astype(float)
        assert np.mean(left**2) <= 1.3 * np.mean(frame.astype(float) ** 2) + 1
    ear.close()


@pytest.mark.parametrize("level_db", [-34, -28, -22])
def test_the_first_reply_of_a_session_can_be_interrupted_on_a_line_without_echo(level_db):
    """Otherwise a user with a headset talks in vain until the assistant has spoken for a while."""
    far = voice(100, 4, level_db=-22)
    mic = utterance(1.2, 1.2, 4, level_db)
    onsets = [edge.onset_ms for edge in edges(converse(*hearing(), mic, far)) if edge.kind is EdgeKind.STARTED]
    assert onsets
    assert 1150 <= onsets[0] <= 1500


@pytest.mark.skipif(kalman.library() is None, reason="NOT TESTED: the library was not compiled")
def test_the_recogniser_hears_no_echo_and_every_syllable_of_the_user():
    """Otherwise it makes words of what is left of our own voice; or the first syllable of each barge-in is missing."""
    mic, far = echo_scene(2, near_db=10)
    ear, reference = hearing()
    heard = converse(ear, reference, mic, far)
    left = np.concatenate([h.samples for h in heard]).astype(float)
    late = SETTINGS.aec.recogniser_hold_ms * 16
    alone, user = left[3 * RATE_HZ : 6 * RATE_HZ], left[6 * RATE_HZ : int(7.5 * RATE_HZ)]
    assert np.mean(alone == 0) > 0.8, "most of what is echo only is silence"
    loud = np.mean(user.reshape(-1, 320) ** 2, axis=1) > 100.0**2
    assert np.argmax(loud) * 20 <= 60, "the user begins at once: nothing of him waited"
    assert len(left) >= len(mic) - late - 640

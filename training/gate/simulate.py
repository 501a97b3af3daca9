"""Scenes to train with, and what the ear makes of them: `python training/gate/simulate.py --corpus DIR --out DIR --seeds 0:600`.

A scene is 24 s: an assistant that speaks in turns, a user who talks over it or into its pauses or not at all, a room, a
loudspeaker, a delay that drifts and jumps, noise, a channel. The reference is aligned as well as reports allow. The canceller of
the gateway itself (voicefsm/aec/native) is run on it, told the truth about the talker, and its features are kept, with the truth.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
from corpus import Corpus, noise, varied

from voicefsm.acoustics.delay import Delay, read
from voicefsm.acoustics.loudspeaker import Distortion, played
from voicefsm.acoustics.rooms import random_room, responses
from voicefsm.acoustics.signals import Signal, active_level_db, at_active_level, gain, pcm, through
from voicefsm.aec.kalman import ASK_THE_GATE, KalmanCanceller
from voicefsm.audio import mulaw
from voicefsm.audio.samples import RATE_HZ

HOP = 160
SECONDS = 24
SAMPLES = SECONDS * RATE_HZ
_ACTIVE_DB = 28.0
"""The talker counts as speaking within this much of his level ..."""
_BRIDGED_HOPS = 12
"""... and in pauses up to this long."""
_WRONG_SHARE = 0.08
_UNKNOWN_SHARE = 0.35


def _pick(random: np.random.Generator, items: list) -> object:
    return items[int(random.integers(len(items)))]


def far_end(random: np.random.Generator, corpus: Corpus) -> tuple[Signal, int]:
    """What the assistant says, and the number of its speaker."""
    who = int(random.integers(len(corpus.far)))
    out, at = np.zeros(SAMPLES), int(random.uniform(0.1, 2.0) * RATE_HZ)
    while True:
        for _ in range(int(random.integers(1, 4))):
            utterance = _pick(random, corpus.far[who])
            if at + len(utterance) > SAMPLES:
                return out * gain(random.uniform(-8, 5)), who
            out[at : at + len(utterance)] = utterance
            at += len(utterance) + int(random.uniform(0.1, 0.5) * RATE_HZ)
        at += int(random.uniform(0.4, 2.5) * RATE_HZ)


def near_end(random: np.random.Generator, corpus: Corpus, not_speaker: int) -> Signal:
    """What the user says, dry."""
    others = [i for i in range(len(corpus.near)) if len(corpus.near) - i != len(corpus.far) - not_speaker]
    who, out = others[int(random.integers(len(others)))], np.zeros(SAMPLES)
    at = int(random.uniform(0.3, 6.0) * RATE_HZ)
    while True:
        utterance = varied(random, _pick(random, corpus.near[who]))
        if at + len(utterance) > SAMPLES:
            return out
        out[at : at + len(utterance)] += utterance
        at += len(utterance) + int(random.choice([random.uniform(0.2, 1.0), random.uniform(1.5, 6.0)]) * RATE_HZ)


def spoken(near: Signal) -> np.ndarray:
    """Per hop: is the user speaking? Pauses inside words and between quick ones belong to it."""
    power = np.mean(np.square(near.reshape(-1, HOP)), axis=1)
    if not power.any():
        return np.zeros(len(power), bool)
    active = power > 10 ** ((active_level_db(near) - _ACTIVE_DB) / 10)
    where = np.flatnonzero(active)
    for a, b in itertools.pairwise(where.tolist()):
        if b - a <= _BRIDGED_HOPS:
            active[a:b] = True
    return active


def channel(random: np.random.Generator, mic: Signal) -> Signal:
    """What a telephone, a codec or a network does to it."""
    if random.random() < 0.2:  # a telephone's band
        spectrum = np.fft.rfft(mic)
        hz = np.fft.rfftfreq(len(mic), 1 / RATE_HZ)
        spectrum[(hz < random.uniform(50, 300)) | (hz > random.uniform(3300, 3900))] *= 0.003
        mic = np.fft.irfft(spectrum, len(mic))
    if random.random() < 0.2:
        mic = mulaw.decode(mulaw.encode(pcm(mic))) / 32767
    if random.random() < 0.15:  # coarse quantisation relative to the level, as codecs leave it
        frames = mic.reshape(-1, 320)
        size = np.sqrt(np.mean(np.square(frames), axis=1, keepdims=True)) * random.uniform(0.02, 0.1) + 1e-6
        mic = (frames + size * random.standard_normal(frames.shape)).reshape(-1)
    if random.random() < 0.25:  # lost frames: silence, or the frame before again
        frames = mic.reshape(-1, 320).copy()
        for i in np.flatnonzero(random.random(len(frames)) < random.uniform(0.002, 0.05)):
            frames[i] = frames[i - 1] if random.random() < 0.5 else 0
        mic = frames.reshape(-1)
    return mic


def reports(random: np.random.Generator, delay: Delay) -> tuple[np.ndarray, np.ndarray]:
    """Where the gateway believes the reference to be, relative to the microphone, per sample; the hops at which it found a jump."""
    every, late = (int(x) for x in random.choice([(20, 20), (20, 20), (2, 1), (2, 8)]))
    error = random.uniform(-10, 10) * RATE_HZ / 1000
    track, hops = delay.samples(0, SAMPLES)[::HOP], SAMPLES // HOP
    believed, moved, last, known = np.zeros(hops), np.zeros(hops, bool), None, 0
    precise = random.random() < 0.8
    for hop in range(hops):
        at = hop // every * every - late
        if hop % every == 0 and at >= 0:
            found = track[at]
            if last is not None and abs(found - last) > 64:
                moved[hop], known = True, 0
            last, known = found, known + 1
        ppm = delay.drift_ppm if precise and (known >= 8 or hop > 400) else 0.0
        if last is not None:
            believed[hop] = last + (hop - max(at, 0)) * HOP * ppm * 1e-6
        else:
            believed[hop] = track[0]
    return np.repeat(believed + error, HOP), moved


def scene(seed: int, corpus: Corpus) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Microphone, aligned reference (PCM), truth per hop, hops of jumps."""
    random = np.random.default_rng([seed, 77])
    room = responses(
        random_room(
            int(random.integers(1 << 30)), rt60_s=float(random.choice([random.uniform(0.15, 0.7), random.uniform(0.5, 0.7)]))
        )
    )
    kind = str(random.choice(["far", "double", "near"], p=[0.34, 0.56, 0.1]))
    far, who = far_end(random, corpus) if kind != "near" else (np.zeros(SAMPLES), 0)
    far = pcm(far) / 32767
    near_db, against_echo = random.uniform(-42, -18), random.choice([-15, -10, -10, -10, -5, 0, 0, 5, 10, 15])
    near = np.zeros(SAMPLES)
    if kind != "far":
        near = at_active_level(through(near_end(random, corpus, who), room.near), near_db)
    delay = Delay(
        ms=float(random.choice([0, random.uniform(0, 60), random.uniform(60, 500)])),
        drift_ppm=float(random.choice([0, 0, random.uniform(-120, 120)])),
        jump_ms=float(random.choice([0, random.uniform(-100, 200)])),
        jump_at_s=float(random.uniform(3, SECONDS - 3)),
    )
    echo = np.zeros(SAMPLES)
    if kind != "near" and random.random() < 0.9:
        distortion = Distortion(random.choice(["none", "mild", "mild", "strong"]))
        heard = read(played(far, distortion), np.arange(SAMPLES) - delay.samples(0, SAMPLES))
        echo = through(heard, room.echo)
        if echo.any():
            echo = at_active_level(echo, near_db - against_echo)
    mic = near + echo + noise(random, SAMPLES, corpus.near) * gain(near_db - random.choice([35, 30, 25, 20, 15, 10, 6]))
    if random.random() < 0.3:
        mic = mic + noise(random, SAMPLES, corpus.near) * gain(near_db - random.uniform(5, 25))
    mic = channel(random, mic)
    offset, moved = reports(random, delay)
    if random.random() < _UNKNOWN_SHARE:
        _hide(random, far, offset, moved)
    lead = _lead(random, delay)
    if random.random() < _WRONG_SHARE:  # a client whose reports are wrong: the echo comes before its reference
        lead -= int(random.uniform(0, 60) * RATE_HZ / 1000)
    aligned = read(far, np.arange(SAMPLES) - offset + lead)
    return pcm(mic), pcm(aligned), spoken(near), moved


def _hide(random: np.random.Generator, far: Signal, offset: np.ndarray, moved: np.ndarray) -> None:
    """A device that is late, and a client that does not know: until the echo was found by ear, the reference comes too early."""
    begins = int(np.argmax(np.abs(far) > 0.01)) // HOP
    found = min(len(moved) - 1, begins + int(random.uniform(60, 220)))
    offset[: found * HOP] -= random.uniform(20, 420) * RATE_HZ / 1000
    moved[found] = True


def _lead(random: np.random.Generator, delay: Delay) -> int:
    """How much earlier the reference is fed; what was not sent yet cannot be."""
    ahead = (delay.ms + min(0.0, delay.jump_ms)) * RATE_HZ / 1000
    return int(min(random.choice([256, 320, 480]), max(0, ahead) + 100))


def features(mic: np.ndarray, far: np.ndarray, truth: np.ndarray, moved: np.ndarray, *, told: bool) -> np.ndarray:
    """Shape (hops, FEATURES), float16."""
    ear, out = KalmanCanceller(), []
    for hop in range(len(truth)):
        if moved[hop]:
            ear.moved()
        at = slice(hop * HOP, (hop + 1) * HOP)
        late = float(truth[max(0, hop - 3)])
        ear.process(mic[at], far[at], speech=late if told else ASK_THE_GATE)
        out.append(ear.features.astype(np.float16))
    ear.close()
    return np.array(out)


def main() -> None:
    """Write one file per seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(arguments.corpus)
    first, end = map(int, arguments.seeds.split(":"))
    for seed in range(first, end):
        mic, far, truth, moved = scene(seed, corpus)
        kept = features(mic, far, truth, moved, told=seed % 3 == 0)
        np.savez_compressed(arguments.out / f"{seed:06}.npz", features=kept, truth=truth)


if __name__ == "__main__":
    main()

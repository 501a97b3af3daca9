"""Speech and sounds to train with: synthetic voices that this project can make, recorded prompts from Debian, and noises.

The prompts (packages asterisk-core-sounds-{en,es,fr,it,ru}-g722, CC-BY-SA, five human speakers) are decoded with ffmpeg once.
Nothing of the corpus is committed.
"""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import numpy as np

from voicefsm.acoustics.signals import Signal, at_active_level, room_noise
from voicefsm.audio.samples import RATE_HZ
from voicefsm.bench.echo.voices import TRAINING, UTTERANCE_DB, Cast, Recordings, Speaker, resampled, trimmed

PROMPTS = Path("/usr/share/asterisk/sounds")
_PROMPT_S = (0.35, 12.0)
CAST = dataclasses.replace(
    TRAINING,
    far=(*TRAINING.far, Speaker("espeak", "en-us+m1", 1.1), Speaker("espeak", "en-gb-x-rp+f4", 0.95)),
    near=(*TRAINING.near, Speaker("flite", "awb", 0.93), Speaker("espeak", "en-us+whisper")),
)


class Corpus:
    """Everybody who may speak. A speaker is a list of utterances; far end and near end never share one in a scene."""

    def __init__(self, directory: Path) -> None:
        """Prepares `directory` on first use, which takes some minutes."""
        self.far: list[list[Signal]] = []
        self.near: list[list[Signal]] = []
        recordings = Recordings(directory / "synthetic")
        recordings.prepare(CAST)
        self._add_cast(recordings, CAST)
        for speaker in sorted(path for path in PROMPTS.iterdir() if path.is_dir()):
            prompts = _prompts(speaker, directory / f"{speaker.name}.npz")
            # The longer half of the prompts is what assistants say; anything is what users say.
            self.far.append([prompt for prompt in prompts if len(prompt) > 1.5 * RATE_HZ])
            self.near.append(prompts)

    def _add_cast(self, recordings: Recordings, cast: Cast) -> None:
        self.far += [[recordings.utterance(who, text) for text in cast.far_texts] for who in cast.far]
        self.near += [[recordings.utterance(who, text) for text in cast.near_short + cast.near_long] for who in cast.near]


def _prompts(speaker: Path, cache: Path) -> list[Signal]:
    """The recordings of one human speaker."""
    if not cache.exists():
        found = {}
        for path in sorted(speaker.rglob("*.g722")):
            command = ["ffmpeg", "-v", "error", "-f", "g722", "-i", str(path), "-ar", str(RATE_HZ), "-ac", "1", "-f", "s16le", "-"]
            spoken = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.int16) / 32768
            if _PROMPT_S[0] * RATE_HZ < len(spoken) < _PROMPT_S[1] * RATE_HZ and np.abs(spoken).max() > 0.02:
                found[path.stem + str(len(found))] = spoken.astype(np.float32)
        np.savez(cache, **found)
    with np.load(cache) as kept:
        return [np.clip(at_active_level(trimmed(kept[name].astype(np.float64)), UTTERANCE_DB), -1, 1) for name in kept.files]


# --- noises: what is not speech, and must not be taken for it -----------------------------------------------------------------


def _hum(random: np.random.Generator, samples: int) -> Signal:
    t = np.arange(samples) / RATE_HZ
    base = random.choice([50.0, 60.0, random.uniform(80, 200)])
    parts = [random.uniform(0.2, 1) / k * np.sin(2 * np.pi * base * k * t + random.uniform(0, 6)) for k in range(1, 12)]
    return np.sum(parts, axis=0) + 0.05 * random.standard_normal(samples)


def _traffic(random: np.random.Generator, samples: int) -> Signal:
    wave = np.cumsum(random.standard_normal(samples))
    wave -= np.convolve(wave, np.ones(800) / 800, "same")
    slow = np.interp(
        np.arange(samples), RATE_HZ * np.arange(samples // RATE_HZ + 2), random.uniform(0.2, 1, samples // RATE_HZ + 2)
    )
    return wave * slow + 0.3 * np.std(wave) * room_noise(random, samples, 0.0)


def _clicks(random: np.random.Generator, samples: int) -> Signal:
    """Typing, doors, dishes: short bursts of filtered noise."""
    out = np.zeros(samples)
    at = 0
    while True:
        at += int(random.exponential(random.choice([0.15, 0.6])) * RATE_HZ) + 400
        length = int(random.uniform(0.004, 0.12) * RATE_HZ)
        if at + length > samples:
            return out
        burst = random.standard_normal(length) * np.exp(-np.arange(length) / (length / random.uniform(2, 6)))
        kernel = np.hanning(int(random.integers(3, 24)))
        out[at : at + length] += np.convolve(burst, kernel / kernel.sum(), "same") * random.uniform(0.2, 1)


def _tones(random: np.random.Generator, samples: int) -> Signal:
    """Music, ring tones, horns, sirens: harmonic, and without the rhythm of speech."""
    out, at = np.zeros(samples), 0
    siren = random.random() < 0.3
    while at < samples:
        length = min(samples - at, int(random.uniform(0.1, 2.0) * RATE_HZ))
        t = np.arange(length) / RATE_HZ
        for _ in range(int(random.integers(1, 4))):
            pitch = 110 * 2 ** (random.integers(0, 40) / 12)
            sweep = 1 + (0.3 * np.sin(2 * np.pi * random.uniform(0.3, 3) * t) if siren else 0)
            phase = 2 * np.pi * np.cumsum(pitch * sweep * np.ones(length)) / RATE_HZ
            envelope = np.minimum(1, np.minimum(t / 0.02, (t[-1] - t) / 0.02 + 0.01)) * np.exp(-t * random.uniform(0, 3))
            out[at : at + length] += envelope * sum(np.sin(k * phase) / k ** random.uniform(0.5, 2) for k in range(1, 7))
        at += length + int(random.choice([0, random.uniform(0, 0.6)]) * RATE_HZ)
    return out


def _breath(random: np.random.Generator, samples: int) -> Signal:
    """Coughs, breaths, sniffs, barks: broad bursts of a tenth to half a second, some with a few voiced periods."""
    out, at = np.zeros(samples), 0
    while True:
        at += int(random.uniform(0.6, 5) * RATE_HZ)
        length = int(random.uniform(0.08, 0.5) * RATE_HZ)
        if at + length > samples:
            return out
        t = np.arange(length) / length
        kernel = np.hanning(int(random.integers(3, 14)))
        burst = (
            np.convolve(random.standard_normal(length), kernel, "same") * np.minimum(1, 12 * t) * np.exp(-t * random.uniform(2, 7))
        )
        if random.random() < 0.3:
            pitch = random.uniform(150, 600) * (1 - 0.4 * t)
            burst += 2 * np.sign(np.sin(2 * np.pi * np.cumsum(pitch) / RATE_HZ)) * np.exp(-t * 5) * burst.std()
        out[at : at + length] += burst


def noise(random: np.random.Generator, samples: int, babble: list[list[Signal]]) -> Signal:
    """Any of them, at 0 dB of its own active level; `babble` are speakers for a crowd."""
    kind = random.choice(
        ["room", "hum", "traffic", "clicks", "tones", "breath", "babble"], p=[0.25, 0.08, 0.15, 0.14, 0.13, 0.1, 0.15]
    )
    makers = {"hum": _hum, "traffic": _traffic, "clicks": _clicks, "tones": _tones, "breath": _breath}
    if kind == "room":
        return room_noise(random, samples, 0.0)
    if kind == "babble":
        made = sum(_talk(random, samples, babble[int(random.integers(len(babble)))]) for _ in range(int(random.integers(4, 9))))
    else:
        made = makers[str(kind)](random, samples)
    return at_active_level(np.asarray(made) + 1e-6 * random.standard_normal(samples), 0.0)


def _talk(random: np.random.Generator, samples: int, speaker: list[Signal]) -> Signal:
    """One speaker, without pause."""
    parts, length = [], 0
    while length < samples:
        parts.append(speaker[int(random.integers(len(speaker)))])
        length += len(parts[-1])
    return np.roll(np.concatenate(parts), int(random.integers(samples)))[:samples]


def varied(random: np.random.Generator, utterance: Signal) -> Signal:
    """Somebody else: the same words at another speed and pitch."""
    return resampled(utterance, float(random.uniform(0.88, 1.14))) if random.random() < 0.6 else utterance

"""Which scenes are built: mixed ones, from which the headline figures come, and sweeps over one factor."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from voicefsm.acoustics.loudspeaker import Distortion
from voicefsm.bench.echo.scene import Condition, Kind

LEVELS_DB = (-10.0, 0.0, 10.0)
"""The talker relative to the echo."""
MIXED_S = 60.0
COLD_S = 14.0
SWEEP_S = 40.0
_OTHER_WORDS = 50_000
"""Double talk of a seed has other words than its far-end scene."""

_NEAR_DB = (-36.0, -30.0, -24.0)
_NEAR_TO_NOISE_DB = (15.0, 25.0, 35.0)
_DELAYS_MS = (0.0, 40.0, 120.0, 250.0, 400.0)
_DRIFTS_PPM = (0.0, 0.0, 0.0, 50.0, 100.0)
_JUMPS_MS = (0.0, 0.0, 0.0, 60.0, -40.0, 120.0)
_DISTORTIONS = (Distortion.NONE, Distortion.MILD, Distortion.MILD, Distortion.STRONG)
_RT60_S = (0.15, 0.7)


def mixed(seed: int, kind: Kind, seconds: float = MIXED_S) -> Condition:
    """What a server meets: any talker, any room, any way there. Most have no drift and no jump, half a mild loudspeaker."""
    random = np.random.default_rng([seed, 9])
    near_db, near_to_echo_db = random.choice(_NEAR_DB), random.choice(LEVELS_DB)
    return Condition(
        seed=seed,
        kind=kind,
        seconds=seconds,
        room=seed,
        rt60_s=round(random.uniform(*_RT60_S), 3),
        delay_ms=float(random.choice(_DELAYS_MS)),
        drift_ppm=float(random.choice(_DRIFTS_PPM)),
        jump_ms=0.0 if kind is Kind.COLD else float(random.choice(_JUMPS_MS)),
        distortion=_DISTORTIONS[random.integers(len(_DISTORTIONS))],
        echo_db=float(near_db - near_to_echo_db),
        near_to_echo_db=float(near_to_echo_db),
        noise_db=float(near_db - random.choice(_NEAR_TO_NOISE_DB)),
    )


def mixed_scenes(seed: int) -> tuple[Condition, ...]:
    """The three scenes of a seed: far end only, double talk, and a barge-in into the first turn of a session."""
    return (
        mixed(seed, Kind.FAR),
        mixed(seed + _OTHER_WORDS, Kind.DOUBLE),
        mixed(seed + _OTHER_WORDS, Kind.COLD, COLD_S),
    )


CHANNELS: Mapping[str, Mapping[str, float | bool]] = {
    "babble": {"babble": True},
    "loss": {"loss": 0.03},
    "mulaw": {"mulaw": True},
}
"""What can be wrong on the way to the server, and in the room: people who talk elsewhere in it, lost frames, a codec."""


def channel_scenes(seed: int) -> tuple[tuple[str, Condition], ...]:
    """Far end and double talk in mixed conditions, each over one of the channels, in turn; with the channel's name."""
    name = list(CHANNELS)[seed % len(CHANNELS)]
    far, double, _ = mixed_scenes(seed)
    return tuple((name, dataclasses.replace(condition, **CHANNELS[name])) for condition in (far, double))  # type: ignore[arg-type]


BASE = Condition(seed=1, kind=Kind.FAR, seconds=SWEEP_S, room=41, rt60_s=0.4, delay_ms=120, distortion=Distortion.MILD)
"""What a sweep starts from."""
SWEEPS: Mapping[str, Sequence[object]] = {
    "delay_ms": (0.0, 40.0, 120.0, 250.0, 400.0, 600.0, 900.0),
    "drift_ppm": (0.0, 50.0, 100.0, 300.0),
    "rt60_s": (0.2, 0.4, 0.6),
    "distortion": tuple(Distortion),
    "jump_ms": (0.0, 60.0, -40.0, 200.0),
    "noise_db": (-65.0, -55.0, -48.0),
}
"""Factor and values; the names are those of `Condition`."""
QUICK_SWEEPS: Mapping[str, Sequence[object]] = {
    "delay_ms": (0.0, 400.0, 900.0),
    "drift_ppm": (0.0, 100.0),
    "rt60_s": (0.2, 0.6),
    "distortion": tuple(Distortion),
}


def sweep(factor: str, value: object, seeds: Iterable[int] = (1, 2)) -> tuple[Condition, ...]:
    """Far-end scenes that differ from `BASE` in one factor, and in words and room among each other."""
    return tuple(dataclasses.replace(BASE, seed=seed, room=BASE.room + seed, **{factor: value}) for seed in seeds)  # type: ignore[arg-type]


def damage_scenes(level_db: float, seeds: Iterable[int] = range(10, 16)) -> tuple[Condition, ...]:
    """Double talk at one level in rooms of 0.2, 0.4 and 0.6 s: what is left of the talker?"""
    return tuple(
        dataclasses.replace(
            BASE,
            seed=seed,
            kind=Kind.DOUBLE,
            seconds=MIXED_S,
            room=BASE.room + seed,
            rt60_s=0.2 + 0.2 * (seed % 3),
            near_to_echo_db=level_db,
        )
        for seed in seeds
    )


def near_scenes(seeds: Iterable[int] = range(20, 23)) -> tuple[Condition, ...]:
    """The talker alone, in a quiet and a noisy room: cancellation must not touch what has no echo in it."""
    return tuple(
        dataclasses.replace(BASE, seed=seed, kind=Kind.NEAR, room=BASE.room + seed, noise_db=noise_db)
        for seed in seeds
        for noise_db in (-65.0, -48.0)
    )

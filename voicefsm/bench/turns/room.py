"""A loudspeaker in a room instead of a line without echo: the microphone also hears what the client renders, in a closed loop.

Tones are no speech, and a canceller that is good at tones says nothing. So in a room the assistant speaks with a real voice, and
the recording is written afterwards in the voice of tones, from what was rendered sample by sample: the scorer reads it as ever.
"""

from __future__ import annotations

import dataclasses
import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from voicefsm.acoustics.delay import Delay
from voicefsm.acoustics.echo_path import EchoPath
from voicefsm.acoustics.rooms import random_room, responses
from voicefsm.acoustics.signals import pcm
from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, Samples
from voicefsm.bench.turns import pilot, voices
from voicefsm.bench.turns.score import Figure, share
from voicefsm.bench.turns.stimuli import Item

LOSS_DB_MIN, LOSS_DB_MAX = 6.0, 20.0
"""Echo return loss: how far the echo lies below what is rendered."""
NEVER_QUIET = ("noisy_interruption",)
"""Categories in which the assistant is never alone: a pause may be the noise's doing."""
DELAY_MS_MAX = 400.0
DRIFT_PPM = 50.0
USER_AFTER_S = 1.0
"""What happens within this time after something the user did, or that happened near them, is not the assistant's own doing …"""
TURN_AFTER_S = 3.0
"""… and a turn that is over within this time was somebody's."""
HOUR_S = 3600.0

Run = tuple[int, int, int, int]
"""(place in the recording, epoch, far-end position, length)."""


def room_of(item_id: str) -> EchoPath:
    """The room of an item, the same each time: any loudspeaker, loss, delay and drift."""
    seed = zlib.crc32(item_id.encode())
    random = np.random.default_rng([seed, 11])
    delay = Delay(ms=float(random.uniform(1.0, DELAY_MS_MAX)), drift_ppm=float(random.choice([-DRIFT_PPM, 0.0, DRIFT_PPM])))
    return EchoPath(responses(random_room(seed)).echo, loss_db=float(random.uniform(LOSS_DB_MIN, LOSS_DB_MAX)), delay=delay)


@lru_cache(maxsize=2000)
def spoken(text: str) -> Samples:
    """A piece of a reply in a real voice; the first that is installed."""
    return pcm(voices.installed()[0].speak(text))


def in_tones(runs: Iterable[Run], ends: Mapping[int, int], samples: int) -> Samples:
    """A recording of what was rendered, in the voice of tones, shape (samples,).

    `ends` says of the replies that were heard to their end how long they were, in samples; a broken frame at the end is left out.
    """
    recording = np.zeros(samples, np.int16)
    first_of: dict[int, int] = {}
    for at, epoch, position, length in runs:
        place = position - first_of.setdefault(epoch, position)
        numbers = np.arange(place // FRAME_SAMPLES, -(-(place + length) // FRAME_SAMPLES))
        if epoch in ends:
            numbers[numbers == ends[epoch] // FRAME_SAMPLES - 1] = pilot.END_FRAME
        voice = pilot.pcm(pilot.frames(epoch % pilot.REPLIES_MAX, numbers))[place % FRAME_SAMPLES :][: min(length, samples - at)]
        recording[at : at + len(voice)] = voice
    return recording


# --- what the assistant did to itself ----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Alone:
    """What the assistant did while nobody else could be heard, over all items."""

    far_end_s: float
    """Rendered in that time."""
    pauses: int
    cancels: int
    turns: int
    """Turns that were answered, whoever they were of …"""
    ghost_turns: int
    """… and those that were nobody's."""


def alone(items: Sequence[Item], calls: Mapping[str, Mapping[str, Any]]) -> Alone:
    """Add up the notes and the rendered audio of calls, by item id, outside of everything that happens in an item."""
    far_end_s, pauses, cancels, turns, ghosts = 0.0, 0, 0, 0, 0
    for item in items:
        call = calls.get(item.id)
        if call is None or item.category in NEVER_QUIET:
            continue
        busy = [(one.start_s, one.end_s) for one in item.happenings] + list(item.speech)
        far_end_s += sum(run[3] for run in call["spans"] if not _is_busy(run[0] / RATE_HZ, busy)) / RATE_HZ
        lonely = [(kind, about) for at_ms, kind, about in call["notes"] if not _is_busy(at_ms / 1000, busy)]
        pauses += sum(kind == "pause" for kind, _ in lonely)
        cancels += sum(kind == "cancel" and "barge_in" in about for kind, about in lonely)
        answered_s = [at_ms / 1000 for at_ms, kind, about in call["notes"] if kind == "state" and "> processing" in about]
        turns += len(answered_s)
        ghosts += sum(not _is_busy(at_s, busy, TURN_AFTER_S) for at_s in answered_s)
    return Alone(far_end_s, pauses, cancels, turns, ghosts)


def figures(found: Alone) -> dict[str, Figure]:
    """How often the assistant paused and cut itself in an hour of its own voice; n is in seconds of that voice."""
    return {
        "self_cancels_per_hour": _rate(found.cancels, found.far_end_s),
        "self_pauses_per_hour": _rate(found.pauses, found.far_end_s),
        "ghost_turns": share([True] * found.ghost_turns + [False] * (found.turns - found.ghost_turns)),
    }


def calls_of(items: Sequence[Item], runs: Path, name: str) -> dict[str, Mapping[str, Any]]:
    """What the clients noted, by item id."""
    found = {item.id: runs / item.id / name for item in items}
    return {id_: json.loads(path.read_text()) for id_, path in found.items() if path.exists()}


def _is_busy(at_s: float, busy: Sequence[tuple[float, float]], after_s: float = USER_AFTER_S) -> bool:
    return any(start - 0.1 <= at_s <= end + after_s for start, end in busy)


_Z = 1.959964


def _rate(count: int, seconds: float) -> Figure:
    """Events in an hour, with Byar's approximation of Poisson's interval."""
    if not seconds:
        return Figure(None, 0)
    low = count * (1 - 1 / (9 * count) - _Z / (3 * math.sqrt(count))) ** 3 if count else 0.0
    more = count + 1
    high = more * (1 - 1 / (9 * more) + _Z / (3 * math.sqrt(more))) ** 3
    hours = seconds / HOUR_S
    return Figure(count / hours, round(seconds), low / hours, high / hours)

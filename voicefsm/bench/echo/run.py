"""Subjects through scenes, one row of results for each.

A scene is built once, heard by every subject and thrown away: what stays is numbers. Processes share nothing but the directory of
recordings.
"""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from voicefsm.acoustics.signals import floats
from voicefsm.audio.samples import SAMPLES_PER_MS, Samples
from voicefsm.bench.echo import metrics
from voicefsm.bench.echo.metrics import TICK_SAMPLES, Erle, Flags, Misfires, Quality
from voicefsm.bench.echo.scene import Condition, Kind, Scene, Stretch, Studio
from voicefsm.bench.echo.subjects import Entry, Subject, entry
from voicefsm.bench.echo.voices import Cast, Recordings

REPORT_TICKS = 20
"""A client reports its playout every 200 ms, and the report is 200 ms on its way."""
REPORT_ERROR_MS = 10.0
"""Its idea of its own latency is wrong by up to this, the same all session long."""
FIRST_S = 2.0
"""The cold start: false triggers from here on are counted per hour, those before per session."""


class Heard(NamedTuple):
    """What a subject made of a scene."""

    out: Samples
    belief: Flags
    cost_ns: NDArray[np.int64]
    """CPU time of each tick, shape (ticks,)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """CPU time per frame of 20 ms, medians."""

    audible_us: float
    """While the far end or its reverberation is audible."""
    quiet_us: float


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One subject in one scene."""

    part: str
    """What the scene was built for."""
    canceller: str
    condition: Condition
    erle: Erle
    converged_s: float
    false: Misfires
    """After the cold start; in a scene without far end of the time in which nobody speaks."""
    cold_trigger: bool | None
    """A false trigger within `FIRST_S` of the first turn; None where the talker speaks then."""
    latencies_ms: tuple[float, ...]
    """Of each barge-in; infinite when missed."""
    quality: Quality
    cost: Cost


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A scene to be heard by some subjects."""

    part: str
    condition: Condition
    cancellers: tuple[str, ...]
    with_quality: bool = True
    """Compare what is left of the talker: needs pystoi, and costs more than all other metrics."""


def listen(subject: Subject, scene: Scene) -> Heard:
    """Stream a scene through a subject, 10 ms at a time, with the playout reports of its client."""
    ticks = len(scene.mic) // TICK_SAMPLES
    out, belief = np.empty(ticks * TICK_SAMPLES, np.int16), np.zeros(ticks, np.bool_)
    cost_ns = np.zeros(ticks, np.int64)
    error = np.random.default_rng([scene.condition.seed, 77]).uniform(-REPORT_ERROR_MS, REPORT_ERROR_MS) * SAMPLES_PER_MS
    clock = time.thread_time_ns
    for tick in range(ticks):
        if tick % REPORT_TICKS == 0 and tick >= REPORT_TICKS:
            at = (tick - REPORT_TICKS) * TICK_SAMPLES
            subject.on_ack(at, round(at - scene.delay[at] - error))
        piece = slice(tick * TICK_SAMPLES, (tick + 1) * TICK_SAMPLES)
        begun = clock()
        out[piece] = subject.process(scene.mic[piece], scene.far[piece])
        cost_ns[tick] = clock() - begun
        belief[tick] = subject.near_end
    return Heard(out, belief, cost_ns)


def measure(part: str, name: str, chosen: Entry, scene: Scene, *, with_quality: bool) -> Row:
    """One subject in one scene."""
    heard = listen(chosen.make(scene), scene)
    condition = scene.condition
    mic, out = floats(scene.mic), floats(heard.out)
    is_active = metrics.active(scene.echo, condition.echo_db) if condition.kind is not Kind.NEAR else np.zeros_like(heard.belief)
    quality = metrics.quality(scene.near, mic, out, scene.near_speech if with_quality else ())
    return Row(
        part=part,
        canceller=name,
        condition=condition,
        erle=metrics.erle(is_active, mic, out),
        converged_s=metrics.convergence_s(is_active, mic, out),
        false=_false(heard.belief, scene, chosen.need_ms),
        cold_trigger=_cold_trigger(heard.belief, scene, chosen.need_ms),
        latencies_ms=tuple(metrics.latencies_ms(heard.belief, scene.near_speech, chosen.need_ms)),
        quality=quality,
        cost=_cost(heard, scene),
    )


def _false(belief: Flags, scene: Scene, need_ms: int) -> Misfires:
    if scene.condition.kind is Kind.NEAR:
        silence = (Stretch(0.0, len(belief) / 100),)
        return metrics.false_triggers(belief, silence, scene.near_speech, need_ms)
    from_s = scene.far_turns[0].start_s + FIRST_S
    return metrics.false_triggers(belief, scene.far_turns, scene.near_speech, need_ms, from_s=from_s)


def _cold_trigger(belief: Flags, scene: Scene, need_ms: int) -> bool | None:
    if scene.condition.kind in {Kind.NEAR, Kind.COLD}:
        return None
    begin_s = scene.far_turns[0].start_s
    return metrics.triggered_between(belief, begin_s, begin_s + FIRST_S, need_ms)


def _cost(heard: Heard, scene: Scene) -> Cost:
    frames = len(heard.cost_ns) // 2
    frame_us = heard.cost_ns[: 2 * frames].reshape(frames, 2).sum(axis=1) / 1000
    audible = metrics.marked(scene.far_turns, len(heard.belief))[: 2 * frames : 2]
    medians = [float(np.median(part)) if len(part) else float("nan") for part in (frame_us[audible], frame_us[~audible])]
    return Cost(*medians)


# --- many ---------------------------------------------------------------------------------------------------------------------


def run(jobs: Sequence[Job], directory: Path, cast: Cast, *, procs: int) -> Iterator[list[Row]]:
    """Do the jobs in so many processes; yields the rows of each job as it is done, in the order of the jobs.

    The lines of `cast` must be recorded in `directory`.
    """
    work = functools.partial(_work, directory, cast)
    if procs == 1:
        yield from map(work, jobs)
        return
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read by numpy in the new processes
    with ProcessPoolExecutor(procs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, jobs)


def _work(directory: Path, cast: Cast, job: Job) -> list[Row]:
    scene = _studio(directory, cast).build(job.condition)
    return [measure(job.part, name, entry(name), scene, with_quality=job.with_quality) for name in job.cancellers]


@functools.cache
def _studio(directory: Path, cast: Cast) -> Studio:
    return Studio(Recordings(directory), cast)

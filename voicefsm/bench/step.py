"""What the machine costs: time per step, memory per session, work left to the cyclic garbage collector.

Theory of operation. The facts of a recorded session are fed to a fresh context, again and again, and every step is timed. Between
two rounds a fixed loop of plain Python is timed as well: a figure in microseconds says something about one computer, its ratio to
that loop says something about the machine. Memory is what tracemalloc sees; garbage is what a collection finds after a session
that was run to its end and forgotten, with the collector off meanwhile.
"""

from __future__ import annotations

import collections
import gc
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from voicefsm.context import Context, TurnSettings
from voicefsm.events import Fact
from voicefsm.machine import registered_models, step
from voicefsm.table import key_of, name_of

CALIBRATION_CALLS = 100
"""Empty calls in the loop that a step is compared with."""
CONTEXT_BYTES_MAX = 2048
"""What a context may take for its slots and lists, texts apart."""
LIBRARY_BYTES_MAX = 256
"""What the `transitions` library may add to a session."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Times of one kind, in nanoseconds."""

    count: int
    median_ns: float
    p95_ns: float


@dataclass(frozen=True, slots=True)
class StepTimes:
    """How long steps took."""

    all: Spread
    by_fact: Mapping[str, Spread]
    """The most frequent first."""
    calibration_ns: float
    """Median of the loop of `CALIBRATION_CALLS` empty calls."""


@dataclass(frozen=True, slots=True)
class SessionMemory:
    """What one session costs the core, in bytes."""

    context: int
    """Slots and lists of a context, without its texts."""
    library: int
    """Allocated by the `transitions` library in a whole conversation, and still there at its end."""
    registered: int
    """Models that the library's machine knows: none, whatever the number of sessions."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """What closed sessions leave to the cyclic collector, on average."""

    objects: float
    by_type: Mapping[str, float]
    """The most frequent first."""


# --- time --------------------------------------------------------------------------------------------------------------------


def time_steps(facts: Sequence[Fact], turns: TurnSettings, *, rounds: int) -> StepTimes:
    """Feed the facts of a session to `rounds` fresh contexts. A garbage collection never falls into a step."""
    times: dict[str, list[int]] = collections.defaultdict(list)
    loops: list[int] = []
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        _round(facts, Context(settings=turns), collections.defaultdict(list))  # warm up
        for _ in range(rounds):
            _round(facts, Context(settings=turns), times)
            loops.append(calibrate())
    finally:
        if was_enabled:
            gc.enable()
    by_count = sorted(times.items(), key=lambda item: -len(item[1]))
    everything = [ns for kind in times.values() for ns in kind]
    return StepTimes(_spread(everything), {name: _spread(kind) for name, kind in by_count}, statistics.median(loops))


def _round(facts: Sequence[Fact], context: Context, times: Mapping[str, list[int]]) -> None:
    now = time.perf_counter_ns
    for fact in facts:
        begun = now()
        step(context, fact)
        took = now() - begun
        times[name_of(key_of(fact))].append(took)


def calibrate() -> int:
    """How long the loop takes that others are compared with: `CALIBRATION_CALLS` empty calls, in ns."""
    begun = time.perf_counter_ns()
    for _ in range(CALIBRATION_CALLS):
        _nothing()
    return time.perf_counter_ns() - begun


def _nothing() -> None:
    pass


def _spread(times_ns: Sequence[int]) -> Spread:
    ordered = sorted(times_ns)
    return Spread(len(ordered), statistics.median(ordered), ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)])


# --- memory ------------------------------------------------------------------------------------------------------------------


def weigh(facts: Sequence[Fact], turns: TurnSettings, *, sessions: int) -> SessionMemory:
    """Hold so many sessions at once, each in the middle of the same conversation, and see what they are made of."""
    contexts = [Context(settings=turns) for _ in range(sessions)]
    _feed(facts, Context(settings=turns))  # what is made once per process is no session's
    tracemalloc.start()
    try:
        for context in contexts:
            _feed(facts, context)
        traces = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/transitions/*")])
    finally:
        tracemalloc.stop()
    library = sum(statistic.size for statistic in traces.statistics("filename"))
    return SessionMemory(_own_bytes(contexts[0]), library // sessions, registered_models())


def _feed(facts: Sequence[Fact], context: Context) -> None:
    for fact in facts:
        step(context, fact)


def _own_bytes(context: Context) -> int:
    return sum(map(sys.getsizeof, (context, context.deadlines, context.effects, context.raised)))


def litter(play: Callable[[], object], *, sessions: int) -> Garbage:
    """Play whole sessions to their ends, and see what only the cyclic collector could free."""
    play()  # what is made once per process is no session's
    was_enabled, flags, kept = gc.isenabled(), gc.get_debug(), len(gc.garbage)
    gc.collect()
    gc.disable()
    try:
        for _ in range(sessions):
            play()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found = collections.Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.garbage[kept:])
    finally:
        gc.set_debug(flags)
        del gc.garbage[kept:]
        if was_enabled:
            gc.enable()
    return Garbage(found.total() / sessions, {name: count / sessions for name, count in found.most_common()})

"""`voicefsm bench echo` from what was wished for to the verdict."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from voicefsm.bench.echo import report
from voicefsm.bench.echo.conditions import (
    LEVELS_DB,
    QUICK_SWEEPS,
    SWEEPS,
    channel_scenes,
    damage_scenes,
    mixed_scenes,
    near_scenes,
    sweep,
)
from voicefsm.bench.echo.run import REPORT_ERROR_MS, Job, Row, run
from voicefsm.bench.echo.scene import Condition
from voicefsm.bench.echo.subjects import entry
from voicefsm.bench.echo.summary import CHANNEL, DAMAGE, MIXED, NEAR_ONLY, Figures, broken, figures, plain, read_limits
from voicefsm.bench.echo.voices import Recordings, bench_cast

SWEEP = "sweep"
PARTS = (MIXED, CHANNEL, SWEEP, DAMAGE, NEAR_ONLY)


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """What to measure, and what to leave behind."""

    cancellers: tuple[str, ...]
    seeds: range
    """Of the mixed conditions and the channels."""
    parts: tuple[str, ...] = PARTS
    is_quick: bool = False
    """A few scenes of each part: to see that it works, not how well."""
    procs: int = 1
    recordings: Path | None = None
    """Where the voices are kept; without, they are spoken anew."""
    limits: Path | None = None
    json_file: Path | None = None
    picture: Path | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What came of it."""

    text: str
    """Tables; the last line is a summary."""
    is_good: bool


def _in_silence(done: int, scenes: int) -> None:
    """Tell nobody."""


def measure(wish: Wish, tell: Callable[[int, int], None] = _in_silence) -> Verdict:
    """Build, listen, sum up, write; `tell` is called with the number of scenes done.

    Raises `SettingsError` when a canceller or the limits cannot be loaded, `VoiceFsmError` when there are no voices.
    """
    limits = read_limits(wish.limits) if wish.limits else {}
    for name in wish.cancellers:
        entry(name)
    jobs = [Job(part, condition, wish.cancellers) for part, condition in plan(wish)]
    results = {name: figures(rows) for name, rows in _by_canceller(wish, _heard(wish, jobs, tell)).items()}
    missed = broken(results, limits)
    if wish.json_file:
        wish.json_file.write_text(json.dumps(_document(wish, jobs, results), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if wish.picture:
        from voicefsm.bench.echo.picture import draw  # noqa: PLC0415  # matplotlib is of the extra [bench]

        draw(wish.picture, results)
    hours = sum(job.condition.seconds for job in jobs) / 3600
    lines = [report.report(results), "", *map(str, missed), report.last_line(results, missed, len(jobs), hours)]
    return Verdict("\n".join(lines), not missed)


def plan(wish: Wish) -> list[tuple[str, Condition]]:
    """The scenes, each with the part it belongs to."""
    quick = wish.is_quick
    scenes: list[tuple[str, Condition]] = []
    if MIXED in wish.parts:
        scenes += [(MIXED, condition) for seed in wish.seeds for condition in mixed_scenes(seed)]
    if CHANNEL in wish.parts:
        scenes += [(f"{CHANNEL}:{name}", condition) for seed in wish.seeds for name, condition in channel_scenes(seed)]
    if SWEEP in wish.parts:
        for factor, values in (QUICK_SWEEPS if quick else SWEEPS).items():
            for value in values:
                name = f"{value:g}" if isinstance(value, float) else str(value)
                scenes += [(f"{factor}={name}", condition) for condition in sweep(factor, value, (1,) if quick else (1, 2))]
    if DAMAGE in wish.parts:
        seeds = range(10, 11 if quick else 16)
        scenes += [(DAMAGE, condition) for level_db in LEVELS_DB for condition in damage_scenes(level_db, seeds)]
    if NEAR_ONLY in wish.parts:
        scenes += [(NEAR_ONLY, condition) for condition in near_scenes(range(20, 21 if quick else 23))]
    return scenes


def _heard(wish: Wish, jobs: Sequence[Job], tell: Callable[[int, int], None]) -> list[Row]:
    """Record the voices, do the jobs."""
    cast = bench_cast()
    rows: list[Row] = []
    with ExitStack() as stack:
        directory = wish.recordings or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voicefsm-voices-")))
        Recordings(directory).prepare(cast)
        for done, more in enumerate(run(jobs, directory, cast, procs=wish.procs), start=1):
            rows += more
            tell(done, len(jobs))
    return rows


def _by_canceller(wish: Wish, rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {name: [] for name in wish.cancellers}
    for row in rows:
        found[row.canceller].append(row)
    return found


def _document(wish: Wish, jobs: Sequence[Job], results: dict[str, Figures]) -> object:
    """What goes into the JSON file: what was run, and all figures."""
    cast = bench_cast()
    about = {
        "seeds": [wish.seeds.start, wish.seeds.stop],
        "parts": list(wish.parts),
        "quick": wish.is_quick,
        "scenes": len(jobs),
        "hours": sum(job.condition.seconds for job in jobs) / 3600,
        "far_voices": [str(speaker) for speaker in cast.far],
        "near_voices": [str(speaker) for speaker in cast.near],
        "report_error_ms": REPORT_ERROR_MS,
        "need_ms": {name: entry(name).need_ms for name in wish.cancellers},
    }
    return {"about": about, "cancellers": plain(results)}

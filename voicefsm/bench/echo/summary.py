"""From rows to figures: one `Figures` for each canceller, counts with intervals, and limits that may be set on any of them.

Intervals are those of 95 %: Byar's for counts in a time (Poisson), Wilson's for shares.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from voicefsm.bench.echo.metrics import mean
from voicefsm.bench.echo.run import Row
from voicefsm.bench.echo.scene import Kind
from voicefsm.errors import SettingsError

MIXED, DAMAGE, NEAR_ONLY, CHANNEL = "mixed", "damage", "near", "channel"
"""Parts of a run. A channel's scenes are called channel:NAME, those of a sweep FACTOR=VALUE."""

_Z = 1.96


@dataclasses.dataclass(frozen=True, slots=True)
class Rate:
    """Events per hour."""

    value: float
    low: float
    high: float
    count: int
    hours: float

    @classmethod
    def of(cls, count: int, seconds: float) -> Rate:
        """`count` events in some time; not a number in no time."""
        hours = seconds / 3600
        if not hours:
            return cls(math.nan, math.nan, math.nan, count, hours)
        low, high = poisson_interval(count)
        return cls(count / hours, low / hours, high / hours, count, hours)


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """A part of a number of cases."""

    value: float
    low: float
    high: float
    count: int
    of_cases: int

    @classmethod
    def of(cls, count: int, cases: int) -> Share:
        """`count` of `cases`; not a number of none."""
        if not cases:
            return cls(math.nan, math.nan, math.nan, count, cases)
        return cls(count / cases, *wilson_interval(count, cases), count, cases)


@dataclasses.dataclass(frozen=True, slots=True)
class Detection:
    """How barge-ins were found."""

    missed: Share
    p50_ms: float
    """Of those that were found, from the onset."""
    p95_ms: float

    @classmethod
    def of(cls, latencies_ms: Sequence[float]) -> Detection:
        """Of barge-ins, missed ones being infinite."""
        found = [latency for latency in latencies_ms if math.isfinite(latency)]
        p50, p95 = np.percentile(found, [50, 95]) if found else (math.nan, math.nan)
        return cls(Share.of(len(latencies_ms) - len(found), len(latencies_ms)), float(p50), float(p95))


@dataclasses.dataclass(frozen=True, slots=True)
class Cancelling:
    """What becomes of the echo, means over scenes with nobody but the far end."""

    erle_db: float
    worst_tenth_db: float
    converged_s: float
    """Median; infinite when half of them never reach 20 dB."""
    scenes: int

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Cancelling:
        """Of far-end scenes."""
        converged = float(np.median([row.converged_s for row in rows])) if rows else math.nan
        return cls(mean(row.erle.mean for row in rows), mean(row.erle.worst_tenth for row in rows), converged, len(rows))


@dataclasses.dataclass(frozen=True, slots=True)
class Talker:
    """What becomes of the talker, means over scenes."""

    sdr_db: float
    mic_sdr_db: float
    """Before cancellation."""
    estoi: float
    level_db: float
    scenes: int

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Talker:
        """Of scenes with a talker."""
        qualities = [row.quality for row in rows if not math.isnan(row.quality.sdr_db)]
        sdr, mic_sdr, estoi, level = (mean([quality[field] for quality in qualities]) for field in range(4))
        return cls(sdr, mic_sdr, estoi, level, len(qualities))


@dataclasses.dataclass(frozen=True, slots=True)
class Channel:
    """The gate over a channel that does something to the signal, mixed conditions otherwise."""

    false_per_hour: Rate
    barge_ins: Detection


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """One canceller, over everything that was run. What was not run is not a number, or missing."""

    mixed: Cancelling
    false_per_hour: Rate
    """Triggers per hour of far-end speech after the cold start, mixed conditions."""
    turns_cut: Share
    """Turns of the far end with a false trigger in them, the first of each session apart."""
    cold_triggers: Share
    """Sessions with a false trigger in the first 2 s of their first turn."""
    barge_ins: Detection
    """In double talk, mixed conditions, all levels."""
    by_level: Mapping[str, Detection]
    """The same by the level of the talker relative to the echo, dB."""
    cold_barge_ins: Detection
    """Into the first turn of a session."""
    talker_by_level: Mapping[str, Talker]
    """The damage in double talk, mixed conditions."""
    damage: Mapping[str, Talker]
    """The same in a mild loudspeaker's echo without drift and jump, by level."""
    near_only: Talker
    """The damage where there is no echo."""
    near_only_false_per_hour: Rate
    """Triggers while nobody speaks."""
    channels: Mapping[str, Channel]
    """By name."""
    sweeps: Mapping[str, Mapping[str, Cancelling]]
    """By factor and value."""
    cost_audible_us: float
    """CPU time per frame of 20 ms while the far end or its reverberation is audible; median of scenes."""
    cost_quiet_us: float


def figures(rows: Sequence[Row]) -> Figures:
    """Everything about one canceller."""
    mixed = [row for row in rows if row.part == MIXED]
    far, double, cold = (_kind(mixed, kind) for kind in (Kind.FAR, Kind.DOUBLE, Kind.COLD))
    near_only = [row for row in rows if row.part == NEAR_ONLY]
    cold_triggers = [bool(row.cold_trigger) for row in far]
    return Figures(
        mixed=Cancelling.of(far),
        false_per_hour=_false_rate(far),
        turns_cut=Share.of(sum(row.false.turns_hit for row in far), sum(row.false.turns for row in far)),
        cold_triggers=Share.of(sum(cold_triggers), len(cold_triggers)),
        barge_ins=_detection(double),
        by_level={level: _detection(some) for level, some in _by_level(double).items()},
        cold_barge_ins=_detection(cold),
        talker_by_level={level: Talker.of(some) for level, some in _by_level(double).items()},
        damage={level: Talker.of(some) for level, some in _by_level([row for row in rows if row.part == DAMAGE]).items()},
        near_only=Talker.of(near_only),
        near_only_false_per_hour=_false_rate(near_only),
        channels=_channels(rows),
        sweeps=_sweeps(rows),
        cost_audible_us=_median(row.cost.audible_us for row in rows),
        cost_quiet_us=_median(row.cost.quiet_us for row in rows),
    )


def _kind(rows: Iterable[Row], kind: Kind) -> list[Row]:
    return [row for row in rows if row.condition.kind is kind]


def _false_rate(rows: Sequence[Row]) -> Rate:
    return Rate.of(sum(row.false.triggers for row in rows), sum(row.false.seconds for row in rows))


def _detection(rows: Iterable[Row]) -> Detection:
    return Detection.of([latency for row in rows for latency in row.latencies_ms])


def _by_level(rows: Sequence[Row]) -> dict[str, list[Row]]:
    levels = sorted({row.condition.near_to_echo_db for row in rows})
    return {f"{level:g}": [row for row in rows if row.condition.near_to_echo_db == level] for level in levels}


def _channels(rows: Sequence[Row]) -> dict[str, Channel]:
    names = dict.fromkeys(row.part.partition(":")[2] for row in rows if row.part.startswith(f"{CHANNEL}:"))
    by_name = {name: [row for row in rows if row.part == f"{CHANNEL}:{name}"] for name in names}
    return {
        name: Channel(_false_rate(_kind(some, Kind.FAR)), _detection(_kind(some, Kind.DOUBLE))) for name, some in by_name.items()
    }


def _sweeps(rows: Iterable[Row]) -> dict[str, dict[str, Cancelling]]:
    parts: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        factor, is_sweep, value = row.part.partition("=")
        if is_sweep:
            parts.setdefault(factor, {}).setdefault(value, []).append(row)
    return {factor: {value: Cancelling.of(some) for value, some in values.items()} for factor, values in parts.items()}


def _median(values: Iterable[float]) -> float:
    numbers = [value for value in values if not math.isnan(value)]
    return float(np.median(numbers)) if numbers else math.nan


def poisson_interval(count: int) -> tuple[float, float]:
    """The means that go with a count, by Byar's approximation."""
    low = count * (1 - 1 / (9 * count) - _Z / (3 * math.sqrt(count))) ** 3 if count else 0.0
    above = count + 1
    return low, above * (1 - 1 / (9 * above) + _Z / (3 * math.sqrt(above))) ** 3


def wilson_interval(count: int, cases: int) -> tuple[float, float]:
    """The shares that go with `count` of `cases`."""
    share, z2 = count / cases, _Z**2
    centre = share + z2 / (2 * cases)
    spread = _Z * math.sqrt(share * (1 - share) / cases + z2 / (4 * cases**2))
    scale = 1 + z2 / cases
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


# --- JSON and limits ----------------------------------------------------------------------------------------------------------


def plain(value: object) -> object:
    """As JSON knows it: what is not a finite number becomes null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@dataclasses.dataclass(frozen=True, slots=True)
class Broken:
    """A limit that does not hold."""

    canceller: str
    figure: str
    value: float | None
    limit: str

    def __str__(self) -> str:
        value = "missing" if self.value is None else f"{self.value:.4g}"
        return f"{self.canceller}: {self.figure} is {value}, to be {self.limit}"


Limits = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By canceller, figure (a path in the JSON of `Figures`) and "min" or "max"."""


def read_limits(path: Path) -> Limits:
    """TOML: a table for each canceller, a line for each figure. Raises `SettingsError`."""
    remedy = 'Write a table [CANCELLER] with lines such as: "false_per_hour.value" = { max = 6 }.'
    try:
        limits = tomllib.loads(path.read_text(encoding="utf-8"))
        bounds = [kind for figures in limits.values() for figure in figures.values() for kind in figure]
    except (ValueError, AttributeError, TypeError) as error:
        raise SettingsError(f"{path} holds no limits: {error}", remedy=remedy) from error
    if set(bounds) - {"min", "max"}:
        raise SettingsError(f"{path} has limits that are neither min nor max.", remedy=remedy)
    return limits


def broken(results: Mapping[str, Figures], limits: Limits) -> list[Broken]:
    """The limits that do not hold. A figure that was not measured breaks its limit; a canceller that was not run has none."""
    found: list[Broken] = []
    for canceller in [name for name in limits if name in results]:
        tree = plain(results[canceller])
        for figure, bounds in limits[canceller].items():
            value = _at(tree, figure)
            missed = [f"{kind} {bound:g}" for kind, bound in bounds.items() if not _holds(value, kind, bound)]
            found += [Broken(canceller, figure, value, limit) for limit in missed]
    return found


def _at(tree: object, path: str) -> float | None:
    for name in path.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return float(tree) if isinstance(tree, int | float) else None


def _holds(value: float | None, kind: str, bound: float) -> bool:
    return value is not None and (value >= bound if kind == "min" else value <= bound)

"""How a run is told: a table, what went wrong and why, JSON, limits that are met or not."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from voicefsm.bench.turns.run import CALL, JOURNAL
from voicefsm.bench.turns.score import Failure, Figure, Results
from voicefsm.errors import VoiceFsmError

BEFORE_MS, AFTER_MS = 1500, 4000
"""How much around a failure is told."""
FORMAT = 1
"""Of the JSON."""


class BadLimits(VoiceFsmError):
    """A file with limits cannot be used."""


# --- the table ---------------------------------------------------------------------------------------------------------------


def table(figures: Mapping[str, Figure], categories: Mapping[str, Figure], limits: Mapping[str, Limit]) -> str:
    """Every figure that rests on something, and every category."""
    lines = [f"{'figure':32} {'':>9} {'n':>5}   {'95 % interval':20} limit"]
    lines += [_row(name, one, limits.get(name)) for name, one in figures.items() if one.n]
    lines += ["", f"{'items without a failure':32}"]
    lines += [_row(name, one, None) for name, one in categories.items()]
    return "\n".join(lines)


def _row(name: str, one: Figure, limit: Limit | None) -> str:
    interval = "" if one.low is None or one.high is None else f"{_number(name, one.low)} … {_number(name, one.high)}"
    told = "" if limit is None else f"{limit} {'met' if limit.is_met(one) else 'NOT MET'}"
    return f"{name:32} {_number(name, one.value):>9} {one.n:5}   {interval:20} {told}".rstrip()


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if name.endswith("_ms") else f"{value:.1f}" if name.endswith("_per_hour") else f"{value:.3f}"


# --- limits ------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """What a figure must be."""

    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        bounds = [f">= {self.least:g}"] if self.least is not None else []
        return " and ".join(bounds + ([f"<= {self.most:g}"] if self.most is not None else []))

    def is_met(self, figure: Figure | None) -> bool:
        """Whether the figure is there and within the limit."""
        if figure is None or figure.value is None:
            return False
        return (self.least is None or figure.value >= self.least) and (self.most is None or figure.value <= self.most)


def read_limits(path: Path) -> dict[str, Limit]:
    """`figure = { min = …, max = … }` in TOML. Raises `BadLimits`."""
    try:
        entries = tomllib.loads(path.read_text())
        return {name: Limit(**{_BOUNDS[bound]: float(value) for bound, value in entry.items()}) for name, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "Each line is: figure = { min = 0.95 } or { max = 350 }."
        raise BadLimits(f"{path} holds no limits: {type(error).__name__}: {error}.", remedy=remedy) from error


_BOUNDS = {"min": "least", "max": "most"}


def missed(figures: Mapping[str, Figure], limits: Mapping[str, Limit]) -> list[str]:
    """The figures that are not within their limits."""
    return [name for name, limit in limits.items() if not limit.is_met(figures.get(name))]


# --- JSON --------------------------------------------------------------------------------------------------------------------


def as_json(
    about: Mapping[str, Any],
    figures: Mapping[str, Figure],
    categories: Mapping[str, Figure],
    results: Results,
    faults: Sequence[Failure],
) -> dict[str, Any]:
    """All of it."""
    return {
        "format": FORMAT,
        **about,
        "figures": {name: dataclasses.asdict(one) for name, one in figures.items()},
        "categories": {name: dataclasses.asdict(one) for name, one in categories.items()},
        "events": [dataclasses.asdict(one) for one in results.outcomes],
        "turns": [dataclasses.asdict(one) for one in results.turns],
        "failures": [dataclasses.asdict(one) for one in faults],
    }


# --- failures, with the journal's reasons ------------------------------------------------------------------------------------


def explain(faults: Sequence[Failure], runs: Path) -> Iterator[str]:
    """Each failure, and what client and machine noted around it."""
    for fault in faults:
        yield f"{fault.item} at {fault.at_s:.2f} s: {fault.what}"
        yield from (f"    {line}" for line in _around(runs / fault.item, fault.at_s * 1000))


def _around(directory: Path, at_ms: float) -> list[str]:
    """The machine's steps that moved or ordered something, on the item's clock."""
    try:
        begins_ms = json.loads((directory / CALL).read_text())["session_ms"]
        records = [json.loads(line) for line in (directory / JOURNAL).read_text().splitlines()]
    except (OSError, ValueError, KeyError):
        return []
    steps = [record for record in records if record["kind"] == "step" and _is_telling(record)]
    placed = [(record["at_ms"] + (begins_ms or 0.0), record) for record in steps]
    return [_step_line(ms, record) for ms, record in placed if at_ms - BEFORE_MS <= ms <= at_ms + AFTER_MS]


_QUIET = frozenset({"PlayoutAdvanced", "TokenArrived", "EvidenceChanged", "FirstAudio", "SentenceReady", "GenerationFinished"})


def _is_telling(record: Mapping[str, Any]) -> bool:
    is_move = record["before"] != record["after"]
    return is_move or record["fact"]["type"] not in _QUIET or any("why" in effect for effect in record["effects"])


def _step_line(ms: float, record: Mapping[str, Any]) -> str:
    fact = record["fact"]
    said = f" {fact['text']!r}" if fact.get("text") else ""
    timer = f" {fact['timer']}" if "timer" in fact else ""
    evidence = fact.get("evidence") or {}
    heard = f" voiced {evidence['voiced_ms']} ms at {evidence.get('near_db')} dB" if "voiced_ms" in evidence else ""
    orders = [
        f"{one['type']}{f' ({why})' if (why := one.get('why')) else ''}"
        for one in record["effects"]
        if one["type"] != "SendTranscript"
    ]
    move = "" if record["before"] == record["after"] else f" {record['before']} > {record['after']}"
    return f"{ms / 1000:8.3f}  {fact['type']}{timer}{said}{heard}{move}{'  =>  ' + ', '.join(orders) if orders else ''}"

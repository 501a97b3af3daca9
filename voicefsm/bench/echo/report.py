"""The figures as text: tables for a terminal, and the one line that sums a run up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from voicefsm.bench.echo.metrics import CONVERGED_DB
from voicefsm.bench.echo.summary import Broken, Detection, Figures, Rate, Share

Table = list[list[str]]


def report(results: Mapping[str, Figures]) -> str:
    """All tables; those without a figure are left out."""
    tables = [_gate(results), _levels(results), _channels(results), _echo(results), _talker(results), *_sweeps(results)]
    return "\n\n".join(_laid_out(table) for table in tables if len(table) > 1)


def last_line(results: Mapping[str, Figures], broken: Sequence[Broken], scenes: int, hours: float) -> str:
    """What there is to know in one line."""
    parts = [f"{name} {_headline(figures)}" for name, figures in results.items()]
    verdict = f"{len(broken)} LIMITS BROKEN" if broken else "ok"
    return f"bench echo: {verdict}; {scenes} scenes, {hours:.2f} h; " + "; ".join(parts)


def _headline(figures: Figures) -> str:
    if figures.mixed.scenes:
        missed = "/".join(_percent(level.missed.value) for level in figures.by_level.values())
        return (
            f"{_number(figures.false_per_hour.value)} false/h, missed {missed} %, "
            f"{_number(figures.barge_ins.p50_ms, 0)}/{_number(figures.barge_ins.p95_ms, 0)} ms"
        )
    return f"{_number(figures.cost_audible_us, 0)} µs per frame"


def _gate(results: Mapping[str, Figures]) -> Table:
    """The barge-in decision's evidence, mixed conditions."""
    table = [
        [
            "mixed conditions",
            "false/h (95 %)",
            "n in h",
            "turns cut %",
            "first 2 s %",
            "missed %",
            "p50 ms",
            "p95 ms",
            "cold missed %",
        ]
    ]
    for name, figures in results.items():
        if figures.mixed.scenes:
            false, found, cold = figures.false_per_hour, figures.barge_ins, figures.cold_barge_ins
            table.append(
                [
                    name,
                    _rate(false),
                    f"{false.count} in {false.hours:.2f}",
                    _share(figures.turns_cut),
                    _share(figures.cold_triggers),
                    _share(found.missed),
                    _number(found.p50_ms, 0),
                    _number(found.p95_ms, 0),
                    _share(cold.missed),
                ]
            )
    return table


def _levels(results: Mapping[str, Figures]) -> Table:
    """Misses and latency by the talker's level."""
    table = [["near/echo dB", "missed % (95 %)", "n", "p50 ms", "p95 ms", "ESTOI", "SDR dB", "at the mic"]]
    for name, figures in results.items():
        for level, found in figures.by_level.items():
            talker = figures.talker_by_level[level]
            quality = [_number(talker.estoi, 3), _number(talker.sdr_db), _number(talker.mic_sdr_db)]
            table.append([f"{name} at {level}", *_detection(found), *quality])
    return table


def _channels(results: Mapping[str, Figures]) -> Table:
    """The gate where the way to the server, or the room, does something to the signal."""
    table = [["channel", "false/h (95 %)", "n in h", "missed % (95 %)", "n", "p50 ms", "p95 ms"]]
    for name, figures in results.items():
        for channel, gate in figures.channels.items():
            false = gate.false_per_hour
            table.append(
                [f"{name} with {channel}", _rate(false), f"{false.count} in {false.hours:.2f}", *_detection(gate.barge_ins)]
            )
    return table


def _detection(found: Detection) -> list[str]:
    return [_share(found.missed), str(found.missed.of_cases), _number(found.p50_ms, 0), _number(found.p95_ms, 0)]


def _echo(results: Mapping[str, Figures]) -> Table:
    """Cancellation and cost."""
    table = [["cancellation", "ERLE dB", "worst 10 %", f"s to {CONVERGED_DB:.0f} dB", "µs/frame audible", "quiet"]]
    for name, figures in results.items():
        mixed = figures.mixed
        cost = [_number(figures.cost_audible_us, 0), _number(figures.cost_quiet_us, 0)]
        table.append([name, _number(mixed.erle_db), _number(mixed.worst_tenth_db), _number(mixed.converged_s, 2), *cost])
    return table


def _talker(results: Mapping[str, Figures]) -> Table:
    """Damage to the talker, mild loudspeaker, no drift."""
    table = [["damage", "ESTOI", "SDR dB", "at the mic", "gain dB", "false/h in silence"]]
    for name, figures in results.items():
        rows = [(f"{name} at {level} dB", talker, "") for level, talker in figures.damage.items()]
        if figures.near_only.scenes:
            rows.append((f"{name} without echo", figures.near_only, _rate(figures.near_only_false_per_hour)))
        for title, talker, false in rows:
            numbers = [_number(talker.estoi, 3), _number(talker.sdr_db), _number(talker.mic_sdr_db), _number(talker.level_db)]
            table.append([title, *numbers, false])
    return table


def _sweeps(results: Mapping[str, Figures]) -> list[Table]:
    """ERLE and convergence over each factor."""
    tables: list[Table] = []
    for factor in dict.fromkeys(factor for figures in results.values() for factor in figures.sweeps):
        values = list(dict.fromkeys(value for figures in results.values() for value in figures.sweeps.get(factor, {})))
        table = [[f"{factor}: ERLE dB (s to {CONVERGED_DB:.0f} dB)", *values]]
        for name, figures in results.items():
            points = [figures.sweeps.get(factor, {}).get(value) for value in values]
            table.append([name, *(f"{_number(at.erle_db)} ({_number(at.converged_s, 2)})" if at else "" for at in points)])
        tables.append(table)
    return tables


def _laid_out(table: Table) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    return "\n".join(line.rstrip() for line in lines)


def _number(value: float, digits: int = 1) -> str:
    if math.isnan(value):
        return "-"
    return "never" if math.isinf(value) else f"{round(value, digits) + 0.0:.{digits}f}"  # no negative zero


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _rate(rate: Rate) -> str:
    return f"{_number(rate.value)} ({_number(rate.low)}-{_number(rate.high)})"


def _share(share: Share) -> str:
    return f"{_percent(share.value)} ({_percent(share.low)}-{_percent(share.high)})"

"""A run as a picture: cancellation over each factor, and how well barge-ins are told from echo."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from voicefsm.bench.echo.summary import Detection, Figures, Talker

WIDTH_IN, HEIGHT_IN = 15.0, 8.0
FAINT = "#9aa5b1"
COLOURS = ("#c26a00", "#0f7a5a", "#2f5fd0", "#c81e1e", "#7a3fb0", "#1f2933")
"""One for each canceller, in the order of the run, and again from the first."""
_FACTORS = {
    "delay_ms": "delay, ms",
    "drift_ppm": "clock drift, ppm",
    "rt60_s": "reverberation time, s",
    "distortion": "loudspeaker",
}

Results = Mapping[str, Figures]


def draw(path: Path, results: Results) -> None:
    """Write it; the suffix says the format."""
    canvas = Canvas(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
    FigureCanvasAgg(canvas)
    panels = canvas.subplots(2, 4)
    for axes, (factor, title) in zip(panels[0], _FACTORS.items(), strict=True):
        _sweep(axes, results, factor, title)
    _false(panels[1][0], results)
    _levels(panels[1][1], results)
    _latency(panels[1][2], results)
    _talker(panels[1][3], results)
    names = [axes for axes in panels.flat if axes.get_legend_handles_labels()[0]]
    if names:
        names[0].legend(frameon=False, fontsize=8)
    canvas.savefig(path)


def _lines(results: Results) -> list[tuple[str, str, Figures]]:
    """Name, colour and figures of each canceller."""
    return [(name, COLOURS[at % len(COLOURS)], figures) for at, (name, figures) in enumerate(results.items())]


def _sweep(axes: Axes, results: Results, factor: str, title: str) -> None:
    """ERLE over one factor; values that are no numbers stand side by side."""
    for name, colour, figures in _lines(results):
        points = figures.sweeps.get(factor, {})
        axes.plot(list(points), [point.erle_db for point in points.values()], "o-", color=colour, label=name)
    axes.set(xlabel=title, ylabel="ERLE, dB")
    axes.grid(color=FAINT, alpha=0.3)


def _false(axes: Axes, results: Results) -> None:
    """False triggers per hour with their interval, on a scale on which 1 and 1000 can be seen."""
    for place, (_, colour, figures) in enumerate(_lines(results)):
        rate = figures.false_per_hour
        if not math.isnan(rate.value):
            axes.plot([max(rate.low, 0.1), rate.high], [place, place], color=colour, linewidth=2)
            axes.plot(max(rate.value, 0.1), place, "o", color=colour)
    axes.set_yticks(range(len(results)), list(results))
    axes.set(xscale="log", xlim=(0.1, 5000), xlabel="false triggers per hour of far-end speech", ylim=(-0.5, len(results) - 0.5))
    axes.grid(color=FAINT, alpha=0.3)


def _levels(axes: Axes, results: Results) -> None:
    """Misses by level, with intervals."""
    for name, colour, figures in _lines(results):
        shares = [(float(level), found.missed) for level, found in figures.by_level.items()]
        axes.plot([level for level, _ in shares], [100 * share.value for _, share in shares], "o-", color=colour, label=name)
        axes.vlines(
            [level for level, _ in shares],
            [100 * share.low for _, share in shares],
            [100 * share.high for _, share in shares],
            color=colour,
            alpha=0.5,
        )
    axes.set(xlabel="talker against echo, dB", ylabel="barge-ins missed, %", ylim=(0, None))
    axes.grid(color=FAINT, alpha=0.3)


def _latency(axes: Axes, results: Results) -> None:
    """The middle and the slow end of detection, by level."""
    for name, colour, figures in _lines(results):
        found: list[tuple[float, Detection]] = [(float(level), one) for level, one in figures.by_level.items()]
        axes.plot([level for level, _ in found], [one.p50_ms for _, one in found], "o-", color=colour, label=name)
        axes.plot([level for level, _ in found], [one.p95_ms for _, one in found], "o:", color=colour)
    axes.set(xlabel="talker against echo, dB", ylabel="ms from the onset: p50, p95 dotted", ylim=(0, None))
    axes.grid(color=FAINT, alpha=0.3)


def _talker(axes: Axes, results: Results) -> None:
    """Intelligibility in double talk."""
    for name, colour, figures in _lines(results):
        by_level: Mapping[str, Talker] = figures.damage or figures.talker_by_level
        axes.plot([float(level) for level in by_level], [one.estoi for one in by_level.values()], "o-", color=colour, label=name)
    axes.set(xlabel="talker against echo, dB", ylabel="ESTOI of the talker in double talk", ylim=(0, 1.02))
    axes.grid(color=FAINT, alpha=0.3)

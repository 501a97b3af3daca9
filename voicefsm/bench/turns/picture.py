"""A run as a picture: how fast it falls silent, and what it ignores, each beside what was to be reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from voicefsm.bench.turns.report import Limit
from voicefsm.bench.turns.score import IGNORED_KINDS, Figure, Results

INK, FAINT, PAUSE, STOP, GOOD = "#1f2933", "#9aa5b1", "#c26a00", "#c81e1e", "#0f7a5a"
WIDTH_IN, HEIGHT_IN = 12.0, 4.8
LATENCY_MS_MAX = 1500


def draw(path: Path, results: Results, figures: Mapping[str, Figure], limits: Mapping[str, Limit]) -> None:
    """Write it; the suffix says the format."""
    canvas = Canvas(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
    FigureCanvasAgg(canvas)
    latencies, shares = canvas.subplots(1, 2)
    real = [one for one in results.outcomes if one.happening.kind == "interruption" and one.is_over_speech]
    _curve(latencies, [one.pause_s for one in real], PAUSE, "onset to pause")
    _curve(latencies, [one.stop_s for one in real], STOP, "onset to stop")
    latencies.set(xlim=(0, LATENCY_MS_MAX), ylim=(0, 1.02), xlabel="ms from the user's onset", ylabel="share of interruptions")
    latencies.set_title(f"{len(real)} interruptions")
    latencies.legend(loc="lower right", frameon=False)
    _bars(shares, figures, limits)
    canvas.savefig(path)


def _curve(axes: Axes, seconds: Sequence[float | None], colour: str, label: str) -> None:
    """How many are done by then."""
    known = np.sort([1000 * value for value in seconds if value is not None])
    axes.step(
        np.r_[0, known, LATENCY_MS_MAX],
        np.r_[0, np.arange(1, len(known) + 1), len(known)] / max(1, len(known)),
        where="post",
        color=colour,
        label=label,
    )
    axes.grid(color=FAINT, alpha=0.3)


def _bars(axes: Axes, figures: Mapping[str, Figure], limits: Mapping[str, Limit]) -> None:
    """What is obeyed and what ignored, with intervals and limits."""
    names = ["yields", "responds", *(f"ignores_{kind}" for kind in IGNORED_KINDS), "ignores_short_exactly", "ignores_others"]
    shown = [name for name in reversed(names) if name in figures and figures[name].value is not None]
    for place, name in enumerate(shown):
        one, limit = figures[name], limits.get(name)
        value, low, high = one.value or 0.0, one.low or 0.0, one.high or 0.0
        is_met = limit is None or limit.is_met(one)
        axes.barh(place, value, color=GOOD if is_met else STOP, alpha=0.75)
        axes.plot([low, high], [place, place], color=INK, linewidth=1.2)
        if limit is not None and limit.least is not None:
            axes.plot([limit.least] * 2, [place - 0.4, place + 0.4], color=INK, linewidth=2)
    axes.set_yticks(range(len(shown)), [f"{name.replace('_', ' ')}  (n {figures[name].n})" for name in shown])
    axes.set(xlim=(0, 1.0), xlabel="share, 95 % interval; the mark is the limit")

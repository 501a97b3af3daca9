"""The curve of a sweep: latencies and CPU over the number of sessions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from voicefsm.load.figures import Level
from voicefsm.load.settings import LoadSettings

OVERHEAD, PAUSE, CANCEL, CPU, FAINT = "#0f7a5a", "#c81e1e", "#7b1fa2", "#1f2933", "#9aa5b1"


def draw(path: Path, levels: Sequence[Level], settings: LoadSettings) -> None:
    """Write it; the suffix says the format."""
    canvas = Figure(figsize=(14.0, 4.6), layout="constrained")
    FigureCanvasAgg(canvas)
    latency, cancel, cpu = canvas.subplots(1, 3)
    at = [level.sessions for level in levels]
    for figure, colour, name in (
        ("overhead_ms", OVERHEAD, "first audio beyond the scripted parts"),
        ("pause_ms", PAUSE, "onset to pause"),
    ):
        latency.plot(at, [getattr(level, figure).p50 for level in levels], "o-", color=colour, label=f"{name}, p50")
        latency.plot(at, [getattr(level, figure).p95 for level in levels], "o--", color=colour, label=f"{name}, p95")
    for limit, colour in ((settings.overhead_p95_ms_max, OVERHEAD), (settings.barge_in_p95_ms_max, PAUSE)):
        latency.axhline(limit, color=colour, linewidth=0.8, alpha=0.5)
    latency.set(xlabel="sessions", ylabel="ms", ylim=(0, 2 * settings.barge_in_p95_ms_max))
    latency.legend(frameon=False, fontsize=8)
    reached = [(level.sessions, level.cancellations.reached_ms) for level in levels if level.cancellations]
    for name, style in (("p50", "o-"), ("p95", "o--")):
        cancel.plot([n for n, _ in reached], [getattr(ms, name) for _, ms in reached], style, color=CANCEL, label=name)
    cancel.set(xlabel="sessions", ylabel="ms, decision to CANCEL at the voice's server", ylim=(0, None))
    cancel.legend(frameon=False, fontsize=8)
    cpu.plot(at, [100 * (level.cpu_share or 0.0) for level in levels], "o-", color=CPU)
    cpu.axhline(100, color=FAINT, linewidth=0.8)
    cpu.set(xlabel="sessions", ylabel="% of one core, gateway", ylim=(0, None))
    canvas.savefig(path)

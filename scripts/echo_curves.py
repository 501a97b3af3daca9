"""Measures and draws the curves of docs/echo.md: what the gate's threshold trades, and how fast the echo goes away.

usage: python scripts/echo_curves.py [--measure FROM:TO --voices DIR]

Reads and draws docs/pictures/echo-curves.json; with `--measure` it is measured anew first, in the mixed conditions of
`voicefsm bench echo` with these seeds. Needs the extra `bench`.
"""

# ruff: noqa: INP001, T201  # a script, not a module

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from voicefsm.acoustics.signals import floats
from voicefsm.aec.settings import AecSettings
from voicefsm.aec.sim import EchoSystem
from voicefsm.audio.samples import Samples
from voicefsm.bench.echo import metrics
from voicefsm.bench.echo.conditions import mixed_scenes
from voicefsm.bench.echo.run import FIRST_S, listen
from voicefsm.bench.echo.scene import Scene, Studio
from voicefsm.bench.echo.subjects import GATE_NEED_MS
from voicefsm.bench.echo.voices import Recordings, bench_cast

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
THRESHOLDS_PCT = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95)
ECHO_S = 8
"""How much audible echo of a session is followed."""
TICKS_PER_POINT = 25
"""Of audible echo: a quarter of a second."""


class Remembering:
    """The canceller and gate of a session; what the gate says is kept."""

    near_end = False

    def __init__(self) -> None:
        self._system = EchoSystem()
        self.speech: list[float] = []

    def on_ack(self, mic_pos: int, ref_pos: int) -> None:
        """See `Subject`."""
        self._system.on_ack(mic_pos, ref_pos)

    def process(self, near: Samples, far: Samples) -> Samples:
        """See `Subject`."""
        out = self._system.process(near, far)
        self.speech.append(self._system.speech)
        return out


def measure(seeds: range, voices: Path) -> dict[str, Any]:
    """Everything the picture shows, and of how much it is."""
    cast = bench_cast()
    voices.mkdir(parents=True, exist_ok=True)
    Recordings(voices).prepare(cast)
    studio = Studio(Recordings(voices), cast)
    scenes = [condition for seed in seeds for condition in mixed_scenes(seed)]
    false = dict.fromkeys(THRESHOLDS_PCT, 0)
    missed = dict.fromkeys(THRESHOLDS_PCT, 0)
    seconds, barge_ins, erle = 0.0, 0, []
    for condition in scenes:
        scene, subject = studio.build(condition), Remembering()
        out = listen(subject, scene).out
        speech = np.array(subject.speech)
        for pct in THRESHOLDS_PCT:
            belief = speech >= pct / 100
            found = metrics.false_triggers(
                belief, scene.far_turns, scene.near_speech, GATE_NEED_MS, from_s=scene.far_turns[0].start_s + FIRST_S
            )
            false[pct] += found.triggers
            missed[pct] += sum(map(math.isinf, metrics.latencies_ms(belief, scene.near_speech, GATE_NEED_MS)))
        seconds += found.seconds
        barge_ins += len(scene.near_speech)
        erle.append(_erle(scene, out))
    curves = np.array([one for one in erle if one is not None])
    return {
        "seeds": [seeds.start, seeds.stop],
        "scenes": len(scenes),
        "far_end_hours": seconds / 3600,
        "barge_ins": barge_ins,
        "threshold_pct": list(THRESHOLDS_PCT),
        "false_per_hour": [3600 * false[pct] / seconds for pct in THRESHOLDS_PCT],
        "missed_pct": [100 * missed[pct] / barge_ins for pct in THRESHOLDS_PCT],
        "erle_sessions": len(curves),
        "erle_s": [(k + 1) * TICKS_PER_POINT / 100 for k in range(curves.shape[1])],
        "erle_db": {str(q): np.quantile(curves, q / 100, axis=0).round(2).tolist() for q in (10, 50, 90)},
    }


def _erle(scene: Scene, out: Samples) -> list[float] | None:
    """ERLE of each quarter of a second of audible echo in which nobody talks; None where there is too little of it."""
    echo_only = metrics.active(scene.echo, scene.condition.echo_db)
    echo_only &= ~metrics.marked(scene.near_speech, len(echo_only), after_s=0.3)
    count = ECHO_S * 100
    before, after = (metrics.powers(floats(signal))[echo_only][:count] for signal in (scene.mic, out))
    if len(before) < count:
        return None
    sums = [powers.reshape(-1, TICKS_PER_POINT).sum(axis=1) for powers in (before, after)]
    return [float(db) for db in 10 * np.log10(sums[0] / sums[1])]


def draw(found: dict[str, Any], path: Path) -> None:
    """Two panels."""
    canvas = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(canvas)
    trade, time = canvas.subplots(1, 2)
    trade.plot(found["false_per_hour"], found["missed_pct"], "o-", color="#2f5fd0")
    for pct, x, y in zip(found["threshold_pct"], found["false_per_hour"], found["missed_pct"], strict=True):
        trade.annotate(f"{pct} %", (x, y), textcoords="offset points", xytext=(0, 6), rotation=60, fontsize=8)
    chosen = found["threshold_pct"].index(AecSettings().gate_pct_min)
    trade.plot(found["false_per_hour"][chosen], found["missed_pct"][chosen], "o", color="#c81e1e", markersize=10)
    trade.set(xlabel="false triggers per hour of far-end speech", ylabel="barge-ins missed, %", xscale="log", ylim=(-0.2, None))
    trade.set_title(f"gate threshold, {found['far_end_hours']:.2f} h, {found['barge_ins']} barge-ins", fontsize=10)
    time.plot(found["erle_s"], found["erle_db"]["50"], color="#0f7a5a")
    time.fill_between(found["erle_s"], found["erle_db"]["10"], found["erle_db"]["90"], color="#0f7a5a", alpha=0.2, linewidth=0)
    time.set(xlabel="seconds of audible echo, from a cold start", ylabel="ERLE, dB: median, and 10 to 90 %", ylim=(0, None))
    time.set_title(f"{found['erle_sessions']} sessions", fontsize=10)
    for axes in (trade, time):
        axes.grid(color="#9aa5b1", alpha=0.3)
    with rc_context({"svg.hashsalt": "echo", "svg.fonttype": "none"}):
        canvas.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure if asked to, then draw."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--measure", metavar="FROM:TO", help="the seeds")
    arguments.add_argument("--voices", type=Path, metavar="DIR", default=Path("bench-voices"), help="where voices are kept")
    given = arguments.parse_args()
    figures = PICTURES / "echo-curves.json"
    if given.measure:
        first, _, end = given.measure.partition(":")
        found = measure(range(int(first), int(end)), given.voices)
        figures.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    draw(json.loads(figures.read_text(encoding="utf-8")), PICTURES / "echo-curves.svg")
    print(f"drawn: {PICTURES / 'echo-curves.svg'}")


if __name__ == "__main__":
    main()

"""A load run for people and for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from voicefsm.load.cancellations import Cancellations
from voicefsm.load.figures import Level
from voicefsm.load.idlers import Idle
from voicefsm.load.settings import LoadSettings
from voicefsm.telemetry.families import ERLE

HEAD = (
    "sessions  overhead p50/p95      pause p50/p95     cancel p50/p95   missing  false  gaps  errors  refused"
    "  CPU s/min  core %  KiB each  loop lag p95"
)


def lines(level: Level) -> str:
    """One level."""
    return "\n".join(
        [
            _line(level),
            *([_cancellations_line(level.cancellations)] if level.cancellations else []),
            *([_echo_line(level)] if level.echo_db is not None else []),
            *([_workers_line(level.worker_shares)] if level.worker_shares else []),
            *([_idle_line(level.idle)] if level.idle else []),
        ]
    )


def _line(level: Level) -> str:

    def pair(figure: Any) -> str:
        return f"{figure.p50:6.1f} /{figure.p95:6.1f} ms"

    cpu = "-" if level.cpu_s_per_session_minute is None else f"{level.cpu_s_per_session_minute:.2f}"
    share = "-" if level.cpu_share is None else f"{100 * level.cpu_share:.0f}"
    memory = "-" if level.memory_kib_per_session is None else f"{level.memory_kib_per_session:.0f}"
    late = "" if level.is_measured else f"   NOT SHOWN: the driver was late with {level.driver_late_share:.0%} of its frames"
    lag = "-" if level.loop_lag_ms is None else f"<= {level.loop_lag_ms.p95:.0f} ms"
    return (
        f"{level.sessions:8d}  {pair(level.overhead_ms)}  {pair(level.pause_ms)}  {pair(level.cancel_ms)}"
        f"  {level.missing_answers:7d}  {level.false_cuts:5d}  {level.underruns + level.gaps:4d}"
        f"  {len(level.errors):6d}  {level.refused:7d}"
        f"  {cpu:>9}  {share:>6}  {memory:>8}  {lag:>12}{late}"
    )


def _cancellations_line(seen: Cancellations) -> str:
    took = seen.reached_ms
    after = f" {took.p50:.1f} / {took.p95:.1f} ms after the decision, {took.max:.1f} at most" if took.n else ""
    others = (
        f"{seen.nothing_left} had nothing left to cancel",
        *([f"{seen.not_cancelled} WENT ON"] if seen.not_cancelled else []),
        *([f"{seen.unknown} of replies unknown"] if seen.unknown else []),
    )
    return (
        f"          CANCEL at the voice's server{after}: {took.n} of {seen.decisions}, {', '.join(others)};"
        f" texts that came after it: {seen.late_texts}"
    )


def _echo_line(level: Level) -> str:
    erle = (level.means or {}).get(ERLE.name)
    cancelled = f"; {erle.mean:.1f} dB of it cancelled, {erle.n} times asked" if erle and erle.n else ""
    return (
        f"          with an echo {level.echo_db} dB below: answers fell silent by mistake {level.false_pauses} times, "
        f"{level.false_cuts} for good; {level.words_per_utterance} words understood of each utterance{cancelled}"
    )


def _workers_line(shares: Sequence[float]) -> str:
    return f"          {len(shares)} workers: {', '.join(f'{100 * share:.0f}' for share in shares)} % of a core"


def _idle_line(idle: Idle) -> str:
    if idle.memory_kib_per_session is None:
        cost = ""
    else:
        cost = f", {idle.memory_kib_per_session:.0f} KiB and {idle.cpu_ms_per_session_minute:.1f} CPU ms a minute each"
    return f"          beside {idle.sessions} muted sessions: {idle.lost} lost{cost}"


def summary(levels: Sequence[Level], settings: LoadSettings) -> str:
    """The last line."""
    within = [level.sessions for level in levels if level.is_within(settings)]
    overhead, pause = settings.overhead_p95_ms_max, settings.barge_in_p95_ms_max
    limits = f"overhead p95 <= {overhead:.0f} ms, pause p95 <= {pause:.0f} ms, nothing lost"
    if not levels[0].sessions:
        return f"load: nobody spoke; {'nothing' if within else 'SOMETHING'} was lost"
    if len(levels) > 1:
        return f"load: {max(within, default=0)} sessions within {limits}"
    return f"load: {levels[0].sessions} sessions {'within' if within else 'NOT within'} {limits}"


def machine() -> dict[str, Any]:
    """Where it was measured, and how busy that was."""
    return {"python": platform.python_version(), "cores": os.cpu_count(), "load_average": os.getloadavg()}


def document(levels: Sequence[Level], settings: LoadSettings) -> dict[str, Any]:
    """For `--json`."""
    return {
        "machine": machine(),
        "scripted_ms": settings.scripted_ms,
        "levels": [level.plain() for level in levels],
        "sessions_within_limits": max((level.sessions for level in levels if level.is_within(settings)), default=0),
    }


def write(path: Path, figures: dict[str, Any]) -> None:
    """The JSON file."""
    path.write_text(json.dumps(figures, indent=1, default=str) + "\n", encoding="utf-8")

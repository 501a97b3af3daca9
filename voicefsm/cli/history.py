"""What `voicefsm bench history --append` measures: the one place that knows the simulation, the load and the counts."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from voicefsm.bench import counts, start
from voicefsm.bench.history import Entry
from voicefsm.bench.step import calibrate
from voicefsm.cli.common import needs
from voicefsm.simulation.play import Played, play
from voicefsm.simulation.script import script_of

SCRIPTS = ("budget-1", "budget-2", "budget-3")
"""Seeds of conversations."""
MUTED, TALKING, SECONDS = 200, 24, 10.0
"""Sessions of the runs of `voicefsm load`, and how long they last."""


def measured(*, with_load: bool) -> Entry:
    """This checkout, on this machine. Raises `CalledProcessError` where there is no git, `ProcessDied`, `SettingsError`."""
    modules, near = counts.imported(), counts.near_end_bytes()
    entry = Entry(
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        commit=_commit(),
        python=platform.python_version(),
        loop_us=round(min(calibrate() for _ in range(1000)) / 1000, 2),
        frame_calls={scene: round(counts.frame_calls(scene), 1) for scene in counts.SCENES},
        frame_loops={scene: round(counts.frame_loops(scene), 1) for scene in counts.SCENES},
        second_calls={seed: second_calls(seed) for seed in SCRIPTS},
        modules_ours=len(counts.ours(modules)),
        modules_all=len(modules),
        near_end_muted_kib=round(near.muted / 1024, 1),
        near_end_talking_kib=round(near.talking / 1024, 1),
        start_ratio=round(start.ratio(start.measure(5), start.SERVE), 1),
    )
    return dataclasses.replace(entry, **_resident()) if with_load else entry


def second_calls(seed: str) -> int:
    """Function calls of a second of the conversation with this seed."""
    script = script_of(seed)
    played: list[Played] = []
    play(script)  # what is made once per process is no session's
    count = counts.calls(lambda: played.append(play(script)))
    return round(count / (played[0].virtual_ms / 1000))


def _resident() -> dict[str, Any]:
    """Resident memory per session, from two runs of `voicefsm load`."""
    with needs("bench history --load", "timeline"), TemporaryDirectory() as out:
        from voicefsm import loop  # noqa: PLC0415
        from voicefsm.load import LoadSettings, run  # noqa: PLC0415

        settings = LoadSettings(out=Path(out))
        (muted,) = loop.run(run([0], SECONDS, settings, idle=MUTED))
        (talking,) = loop.run(run([TALKING], SECONDS, settings))
    return {
        "idle_kib": muted.idle.memory_kib_per_session if muted.idle else None,
        "talking_kib": talking.memory_kib_per_session,
        "talking_sessions": TALKING,
    }


def _commit() -> str:
    """Of the checkout in which the command runs."""

    def git(*words: str) -> str:
        told = subprocess.run(["git", *words], check=True, stdout=subprocess.PIPE, encoding="utf-8")  # noqa: S603, S607
        return told.stdout.strip()

    return git("rev-parse", "--short=9", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")

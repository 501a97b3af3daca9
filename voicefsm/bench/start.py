"""What a start costs: the bare interpreter, the import of the gateway, and the gateway until it is ready, in turns.

Milliseconds say something about one computer; how many bare interpreters a start costs says more about the gateway. It is started
without backends and stopped as soon as it says that it is ready; its CPU time is that of its whole short life.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from voicefsm.errors import VoiceFsmError
from voicefsm.processes import environment_without_settings

READY = "voicefsm gateway: ready"
START_S_MAX = 60
_SERVE = ("serve", "--port", "0", "--log-level", "error", "--set", "server.drain_ms_max=0", "--set", "llm.warm_up=false")
STEPS: Mapping[str, tuple[str, ...]] = {
    "bare interpreter": ("-c", "pass"),
    "import voicefsm.app": ("-c", "import voicefsm.app"),
    "serve, until ready": ("-u", "-m", "voicefsm", *_SERVE),
}
"""What is started, with the interpreter that runs now. The first is what the others are compared with."""
BARE, IMPORT, SERVE = STEPS


class Took(NamedTuple):
    """One start."""

    wall_ms: float
    """Until the process ended, or said that it was ready."""
    cpu_ms: float
    """Of the whole process."""


def measure(rounds: int, *, on_round: Callable[[], None] = lambda: None) -> dict[str, list[Took]]:
    """Start each `rounds` times, one after the other. Raises `VoiceFsmError` when one fails."""
    took: dict[str, list[Took]] = {name: [] for name in STEPS}
    for _ in range(rounds):
        for name in STEPS:
            took[name].append(_start(name))
        on_round()
    return took


def ratio(took: Mapping[str, Sequence[Took]], name: str) -> float:
    """How many bare interpreters this costs, in CPU time: the median of the rounds."""
    return statistics.median(one.cpu_ms / bare.cpu_ms for one, bare in zip(took[name], took[BARE], strict=True))


def told(took: Mapping[str, Sequence[Took]]) -> str:
    """A table."""
    lines = [f"{'':22}{'until then, ms':>18}{'CPU ms':>10}{'bare interpreters':>20}"]
    for name, starts in took.items():
        walls = sorted(one.wall_ms for one in starts)
        spread = f"{statistics.median(walls):.0f} ({walls[0]:.0f}-{walls[-1]:.0f})"
        cpu_ms = statistics.median(one.cpu_ms for one in starts)
        lines.append(f"{name:22}{spread:>18}{cpu_ms:>10.0f}{ratio(took, name):>20.1f}")
    return "\n".join(lines)


def _start(name: str) -> Took:
    begun = time.perf_counter()
    command = [sys.executable, *STEPS[name]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8", env=environment_without_settings()) as process:  # noqa: S603
        assert process.stdout is not None
        insist = threading.Timer(START_S_MAX, os.kill, (process.pid, signal.SIGKILL))
        insist.start()
        try:
            is_ready = name != SERVE or any(line.startswith(READY) for line in process.stdout)
            if name == SERVE:
                wall_s = time.perf_counter() - begun
                os.kill(process.pid, signal.SIGTERM)  # `terminate` may collect it, and what it used is lost then
            process.stdout.read()
            _, state, used = os.wait4(process.pid, 0)
            if name != SERVE:
                wall_s = time.perf_counter() - begun
            process.returncode = os.waitstatus_to_exitcode(state)
        finally:
            insist.cancel()
    if process.returncode or not is_ready:
        raise VoiceFsmError(f"`python {' '.join(STEPS[name])}` did not start: exit code {process.returncode}.")
    return Took(1000 * wall_s, 1000 * (used.ru_utime + used.ru_stime))

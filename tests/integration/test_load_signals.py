"""`voicefsm load` and `bench floor` told to end in the middle: what they started ends with them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.processes import START_S_MAX, is_alive
from voicefsm.processes import children_of

LOAD = ("load", "--sessions", "1", "--seconds", "600")
FLOOR = ("bench", "floor", "--sessions", "1", "--seconds", "600")
END_S_MAX = 60


def tells_where(log: Path) -> bool:
    return log.exists() and " on " in log.read_text()


def heeds_signals() -> None:
    """Whoever runs the tests may ignore some (nohup, a job in the background), and children inherit that."""
    for sign in (signal.SIGINT, signal.SIGHUP):
        signal.signal(sign, signal.SIG_DFL)


async def started(pid: int, log: Path) -> list[int]:
    """The children, once one of them has written into its log where it listens."""
    async with asyncio.timeout(START_S_MAX):
        while not tells_where(log):  # noqa: ASYNC110 (another process is waited for)
            await asyncio.sleep(0.05)
    return children_of(pid)


@pytest.mark.parametrize(
    ("command", "log", "sign", "children"),
    [
        pytest.param(LOAD, "gateway.log", signal.SIGTERM, 2, id="load"),
        pytest.param(LOAD, "backends.log", signal.SIGTERM, 1, id="load that starts"),
        pytest.param(LOAD, "gateway.log", signal.SIGINT, 2, id="load, Ctrl-C"),
        pytest.param(LOAD, "gateway.log", signal.SIGHUP, 2, id="load, terminal closed"),
        pytest.param(FLOOR, "relay.log", signal.SIGTERM, 2, id="floor"),
    ],
)
async def test_what_was_started_ends_too(tmp_path, command, log, sign, children):
    """Otherwise each load run that a script gives up leaves a gateway and its backends, which slow the next one down."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "voicefsm", *command, "--out", str(tmp_path)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env=os.environ | {"GRPC_VERBOSITY": "NONE"},
        start_new_session=True,
        preexec_fn=heeds_signals,
    )
    pids: list[int] = []
    try:
        pids = await started(process.pid, tmp_path / log)
        assert len(pids) >= children
        process.send_signal(sign)
        async with asyncio.timeout(END_S_MAX):
            assert await process.wait() == 128 + sign
        assert not [pid for pid in pids if is_alive(pid)]
    finally:
        for pid in [pid for pid in (process.pid, *pids) if is_alive(pid)]:
            os.kill(pid, signal.SIGKILL)

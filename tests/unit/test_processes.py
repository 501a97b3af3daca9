"""The demo's children: awaited, explained when they die, and always ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys

import pytest

from tests.processes import is_alive
from voicefsm.processes import ProcessDied, child, ended_by_signals

WAIT = "import time; time.sleep(60)"


def running(tmp_path, code):
    command = (sys.executable, "-u", "-c", code)
    return child("helper", command, environment=dict(os.environ), log=tmp_path / "log", stop_ms_max=500)


async def test_ready_gives_what_the_lines_say(tmp_path):
    """If this fails the demo does not know the ports of its own servers."""
    code = f"print('noise'); print('on 127.0.0.1:4711'); print('ready'); {WAIT}"
    async with running(tmp_path, code) as helper:
        assert await helper.ready((r"^on (\S+)", r"^ready"), 10_000) == ["127.0.0.1:4711", ""]
        assert is_alive(helper.pid)
    assert not is_alive(helper.pid)
    assert "noise" in (tmp_path / "log").read_text()


async def test_a_death_before_ready_shows_the_last_lines(tmp_path):
    """If this fails a port in use looks like a hang."""
    with pytest.raises(ProcessDied, match=r"(?s)helper process ended with code 3.*port 4711 is taken"):
        async with running(tmp_path, "print('port 4711 is taken'); raise SystemExit(3)") as helper:
            await helper.ready((r"^ready",), 10_000)


async def test_never_ready_is_told_in_time_and_ended(tmp_path):
    """If this fails a hanging server hangs the demo, or outlives it."""
    pids = []
    async with running(tmp_path, WAIT) as helper:
        pids.append(helper.pid)
        with pytest.raises(ProcessDied, match="not ready after 100 ms"):
            await helper.ready((r"^ready",), 100)
    assert not is_alive(pids[0])


async def test_a_death_in_the_middle_is_noticed(tmp_path):
    """If this fails the report blames the conversation for a crash."""
    async with running(tmp_path, "print('ready')") as helper:
        with contextlib.suppress(ProcessDied):
            await helper.ready((r"^never",), 10_000)
        with pytest.raises(ProcessDied, match="in the middle"):
            helper.check()


async def test_one_that_ignores_the_request_is_killed(tmp_path):
    """If this fails a stuck child stays behind for ever."""
    code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready'); {WAIT}"
    async with running(tmp_path, code) as helper:
        await helper.ready((r"^ready",), 10_000)
    assert not is_alive(helper.pid)


async def test_cancelling_the_demo_ends_its_children(tmp_path):
    """If this fails Ctrl-C leaves servers behind."""
    pids = []

    async def demo():
        async with running(tmp_path, f"print('ready'); {WAIT}") as helper:
            await helper.ready((r"^ready",), 10_000)
            pids.append(helper.pid)
            await asyncio.Event().wait()

    task = asyncio.create_task(demo())
    while not pids:  # noqa: ASYNC110 - another process is waited for
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_alive(pids[0])


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
def test_who_asks_twice_does_not_stop_the_end(sign):
    """Otherwise an impatient operator leaves children behind, with their ports and half a core."""
    ended = []

    async def main():
        with ended_by_signals():
            try:
                os.kill(os.getpid(), sign)
                await asyncio.sleep(60)
            finally:
                os.kill(os.getpid(), sign)
                await asyncio.sleep(0.05)  # what ends children takes a while
                ended.append(True)

    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it
    try:
        with pytest.raises(SystemExit) as raised:
            asyncio.run(main())
    finally:
        signal.signal(signal.SIGHUP, before)
    assert raised.value.code == 128 + sign
    assert ended

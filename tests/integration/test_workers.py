"""`voicefsm serve --workers N`: real processes on one port."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc.aio
import pytest

from tests.servers import needs_ipv6
from voicefsm.client import Conversation, ConversationFailed, SessionOptions, wire
from voicefsm.errors import SettingsError
from voicefsm.processes import children_of
from voicefsm.scripted import ScriptedLlm, ScriptedRiva
from voicefsm.workers import Crew, serve

WAIT_S_MAX = 60.0
CALLS = 16
"""So many that some of them are held by each worker."""


OF_ITS_OWN = (("grpc.use_local_subchannel_pool", 1),)
"""Channels of one process share a connection otherwise, and with it a worker."""


async def ready(channel: grpc.aio.Channel) -> wire.Call:
    """A call whose session has begun."""
    call = wire.open_call(channel)
    await call.write(wire.config(SessionOptions()))
    assert (await call.read()).WhichOneof("response") == "session_ready"
    return call


class Gateway:
    """The parent, and what it printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def until(self, pattern: str) -> re.Match[str]:
        """Read on to the line that matches."""
        assert self.process.stdout is not None
        async with asyncio.timeout(WAIT_S_MAX):
            async for raw in self.process.stdout:
                self.lines.append(raw.decode().rstrip())
                if match := re.search(pattern, self.lines[-1]):
                    return match
        raise AssertionError("\n".join(self.lines))

    @property
    def children(self) -> list[int]:
        """The workers that live."""
        return children_of(self.process.pid)


@asynccontextmanager
async def gateway(*options: str) -> AsyncIterator[Gateway]:
    async with ScriptedRiva() as riva, ScriptedLlm() as llm:
        backends = ("--set", f"riva.target={riva.target}", "--set", f"llm.base_url={llm.base_url}")
        command = (sys.executable, "-m", "voicefsm", "serve", "--port", "0", *backends, *options)
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        try:
            yield Gateway(process)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()


async def test_a_dead_worker_is_replaced_and_the_others_go_on():
    """Otherwise one crash ends every conversation on the machine."""
    async with gateway("--workers", "2", "--set", "server.busy_pct_max=100") as running:
        target = (await running.until(r"listening on (\S+)")).group(1)
        await running.until("^voicefsm gateway: ready$")
        first = running.children
        assert len(first) == 2
        channels = [grpc.aio.insecure_channel(target, OF_ITS_OWN) for _ in range(CALLS)]
        calls = [await ready(channel) for channel in channels]
        os.kill(first[0], signal.SIGKILL)
        await running.until("worker ready")
        now = running.children
        assert len(now) == 2
        assert first[0] not in now
        assert first[1] in now
        assert 0 < sum(not call.done() for call in calls) < CALLS  # the kernel shares them out as it likes
        for channel in channels:
            await channel.close()
        async with Conversation.connect(target) as another:
            assert another.session.session_id
        running.process.terminate()
        assert await running.process.wait() == 0
        for pid in now:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


async def test_workers_outlive_a_terminal_if_they_were_started_to():
    """Otherwise `nohup voicefsm serve --workers 2` ends with the terminal, and without --workers it does not."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with gateway("--workers", "2") as running:
            await running.until("^voicefsm gateway: ready$")
            running.process.send_signal(signal.SIGHUP)
            os.kill(running.children[0], signal.SIGKILL)
            await running.until("worker ready")  # who is about to stop replaces nobody
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels tell no child of its parent's end")
async def test_workers_end_with_a_parent_that_is_killed():
    """Otherwise they listen on with old settings, and the next gateway on the port shares its callers with them."""
    async with gateway("--workers", "2") as running:
        target = (await running.until(r"listening on (\S+)")).group(1)
        host, port = target.split(":")
        running.process.kill()
        async with asyncio.timeout(WAIT_S_MAX):
            while await is_open(host, int(port)):  # noqa: ASYNC110 (the other end is a process)
                await asyncio.sleep(0.02)


async def is_open(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


@needs_ipv6
async def test_workers_share_an_ipv6_port():
    """Otherwise a cluster without IPv4 has one worker to a pod; or brackets are an error here, and their absence one elsewhere."""
    async with gateway("--workers", "2", "--host", "::1") as running:
        target = (await running.until(r"listening on (\S+)")).group(1)
        assert target.startswith("[::1]:")
        async with Conversation.connect(target) as conversation:
            assert conversation.session.session_id


async def test_capacity_is_of_all_together():
    """Otherwise two workers would hold twice what the machine was sized for."""
    async with gateway("--workers", "2", "--set", "server.sessions_max=2") as running:
        target = (await running.until(r"listening on (\S+)")).group(1)
        held, refused = 0, 0
        async with AsyncExitStack() as calls:
            for _ in range(8):
                try:
                    await calls.enter_async_context(Conversation.connect(target))
                    held += 1
                except ConversationFailed:
                    refused += 1
        assert 1 <= held <= 2
        assert held + refused == 8


async def test_workers_that_never_become_ready_are_told():
    """Otherwise a wrong setting would make a gateway that restarts for ever."""
    with pytest.raises(SettingsError, match="before they were ready"):
        await serve(Crew(2, "127.0.0.1", 0, 10, 1000, replace_ms_min=1), ["serve", "--set", "riva.target=nonsense:x"])


async def test_a_port_that_is_taken_is_told():
    """Otherwise workers would fight for it."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SettingsError, match=r"Cannot listen on .*: Address already in use"):
            await serve(Crew(2, "127.0.0.1", port, 10, 1000), ["serve"])


def test_embedded_backends_belong_to_one_worker():
    """Otherwise each worker would start engines of its own on the same ports."""
    from typer.testing import CliRunner

    from voicefsm.cli import app

    result = CliRunner().invoke(app, ["serve", "--embedded", "--workers", "2"])
    assert isinstance(result.exception, SettingsError)

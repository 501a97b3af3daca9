"""A lane: a gateway and its three backends, each a process of its own; one session after the other lives through a fault there."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.faults.blackhole import Proxy
from tests.processes import Process, free_port, now_ms

START_MS = 1000
"""What it takes to start a backend on a core that has nothing else to do."""
KINDS = ("asr", "llm", "tts")


class Lane:
    """A gateway and its backends."""

    def __init__(self, directory: Path, *, is_proxied: bool) -> None:
        self.ports = {kind: free_port() for kind in KINDS}
        self.backends = {kind: Process(directory / f"{kind}.log", "-m", "tests.faults.servers", kind) for kind in KINDS}
        self.proxies = {kind: Proxy(port) for kind, port in self.ports.items()} if is_proxied else {}
        self.gateway = Process(directory / "gateway.log", "-m", "voicefsm", "serve")
        self.gateway_port = free_port()
        self.pace = 1.0
        """How much slower than usual this machine is: by the time that a backend took to start."""

    @property
    def target(self) -> str:
        """Where clients go."""
        return f"127.0.0.1:{self.gateway_port}"

    async def start(self) -> None:
        """Everything up."""
        for proxy in self.proxies.values():
            await proxy.start()
        await asyncio.gather(*(self.backends[kind].start("ready", str(self.ports[kind])) for kind in KINDS))
        at = {kind: f"127.0.0.1:{self.proxies[kind].port if self.proxies else self.ports[kind]}" for kind in KINDS}
        settings = {
            "server.port": str(self.gateway_port),
            "server.drain_ms_max": "0",
            "failover.asr_targets": at["asr"],
            "failover.tts_targets": at["tts"],
            "llm.base_url": f"http://{at['llm']}/v1",
            "llm.warm_up": "false",
            "aec.canceller": "none",  # who takes tones for speech? Ours does not: it knows how people sound
            "log.level": "warning",
        }
        arguments = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        await self.gateway.start("gateway: ready", *arguments)

    async def end(self) -> None:
        """Everything down."""
        await self.gateway.end()
        for backend in self.backends.values():
            await backend.end()
        for proxy in self.proxies.values():
            await proxy.close()

    # --- faults ---

    @asynccontextmanager
    async def fault(self, name: str, kind: str) -> AsyncGenerator[Callable[[], Awaitable[float]]]:
        """Do it; yields what brings the backend back, and returns the time at which it was."""
        backend, arguments = self.backends[kind], (str(self.ports[kind]),)

        async def again(slow_ms: int = 0) -> float:
            await backend.gone()
            began_ms = now_ms()
            ready_ms = await backend.start("ready", *arguments, str(slow_ms))
            self.pace = max(1.0, (ready_ms - began_ms - slow_ms) / START_MS)
            return ready_ms

        async def go_on() -> float:
            backend.signal(signal.SIGCONT)
            return now_ms()

        async def heal() -> float:
            self.proxies[kind].heal()
            return now_ms()

        match name:
            case "kill":
                backend.signal(signal.SIGKILL)
                yield again
            case "term":
                backend.signal(signal.SIGTERM)
                yield again
            case "slow":
                backend.signal(signal.SIGKILL)
                yield lambda: again(700)
            case "stop":
                backend.signal(signal.SIGSTOP)
                try:
                    yield go_on
                finally:
                    backend.signal(signal.SIGCONT)
            case "hole":
                self.proxies[kind].swallow()
                try:
                    yield heal
                finally:
                    self.proxies[kind].heal()

"""How metrics are served, and what is sampled for them.

Theory of operation. One process: its registry is served by a thread of its own, so that a scrape never holds the loop up.
Several workers (`serve --workers`): each writes its values into files of a directory that all share (prometheus-client's
multiprocess mode), and the parent, which holds no conversations, adds them up when it is scraped. The files are named after a
worker's place, not its process: whoever replaces a dead worker goes on counting where it stopped, and there are never more files
than workers. The gauges of a dead worker are thrown away (`forget`).

A sampler looks at what nobody tells: queues, breakers, memory, and how late the loop is.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry, Metric, start_http_server, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from voicefsm.context import State
from voicefsm.errors import SettingsError
from voicefsm.ports import Vitals
from voicefsm.telemetry import families as fam
from voicefsm.telemetry.families import FAMILIES
from voicefsm.telemetry.metrics import Metrics
from voicefsm.values import setting

_DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where prometheus-client is told about the shared directory."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclasses.dataclass(frozen=True, slots=True)
class MetricsSettings:
    """Where metrics are served."""

    enabled: bool = setting(True, unit="", doc="Whether metrics are kept and served at all, where a port is set.")
    host: str = setting("127.0.0.1", unit="", doc="Address to serve metrics on; 0.0.0.0 for all.")
    port: int = setting(0, unit="", ge=0, le=65535, doc="Port to serve metrics on, at /metrics; 0 serves and keeps none.")
    sample_ms: int = setting(
        500, unit="ms", ge=10, le=60000, doc="How often queues, breakers, memory and the event loop are looked at."
    )
    shared_dir: str = setting(
        "", unit="", doc="Where workers keep their values together; `serve --workers` sees to it for its own."
    )
    worker: int = setting(0, unit="", ge=0, le=255, doc="Which of these workers this one is; `serve --workers` says so.")

    @property
    def is_on(self) -> bool:
        """Whether anything is kept."""
        return bool(self.enabled and (self.port or self.shared_dir))


def registry_of(settings: MetricsSettings) -> CollectorRegistry:
    """Where this process keeps its values. Called before the first metric is made."""
    if settings.shared_dir:
        os.environ[_DIRECTORY_VARIABLE] = settings.shared_dir
        values.ValueClass = values.MultiProcessValue(lambda: settings.worker)  # type: ignore[no-untyped-call]
    return CollectorRegistry()


@contextmanager
def together(settings: MetricsSettings) -> Iterator[str]:
    """For the parent of workers: a directory for their values, served. Empty when nothing is kept. Raises `SettingsError`."""
    if not settings.is_on:
        yield ""
        return
    with TemporaryDirectory(prefix="voicefsm-metrics-") as directory:
        registry = CollectorRegistry()
        registry.register(_Together(directory))
        with served(settings, registry):
            yield directory


class _Together:
    """The values of all workers; every family, also before anybody counted."""

    def __init__(self, directory: str) -> None:
        self._collector = MultiProcessCollector(None, directory)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """One metric for each family."""
        found = {metric.name: metric for metric in self._collector.collect()}  # type: ignore[no-untyped-call]
        for family in FAMILIES:
            name = family.name.removesuffix("_total") if family.kind is fam.Kind.COUNTER else family.name
            yield found.get(name) or Metric(name, family.doc, family.kind.value)


def forget(directory: str, worker: int) -> None:
    """A worker has died: what it held is gone, what it counted is not."""
    if directory:
        mark_process_dead(worker, directory)  # type: ignore[no-untyped-call]


@contextmanager
def served(settings: MetricsSettings, registry: CollectorRegistry) -> Iterator[None]:
    """Serve until left, unless that is the parent's part. Raises `SettingsError` when the port cannot be had."""
    if not settings.is_on or settings.shared_dir:
        yield
        return
    try:
        server, thread = start_http_server(settings.port, settings.host, registry)
    except OSError as refused:
        problem = f"Cannot serve metrics on {settings.host}:{settings.port}: {refused.strerror or refused}."
        raise SettingsError(problem, remedy="Is another server running there? Set metrics.port.") from refused
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclasses.dataclass(frozen=True, slots=True)
class Sources:
    """Where the sampler looks. Each is cheap, and called in the loop."""

    sessions: Callable[[], Iterable[Vitals]]
    sessions_max: Callable[[], int]
    is_draining: Callable[[], bool]
    is_ready: Callable[[], bool]
    busy_pct: Callable[[], float]
    """Of a core."""
    breakers: Callable[[], Iterable[tuple[str, str, str]]]
    """Backend, server and state of each."""


@asynccontextmanager
async def sampled(metrics: Metrics | None, sources: Sources, every_ms: int) -> AsyncGenerator[None]:
    """Sample at once, and then every so often until left; nothing when no metrics are kept."""
    if metrics is None:
        yield
        return
    sampler = Sampler(metrics, sources)
    sampler.sample()
    task = asyncio.create_task(sampler.run(every_ms), name="sampler")
    try:
        yield
    finally:
        task.cancel()
        sampler.sample()


class Sampler:
    """Sets the gauges that nobody tells."""

    def __init__(self, metrics: Metrics, sources: Sources) -> None:
        self._metrics, self._sources = metrics, sources
        self._cpu_s = 0.0
        self._breakers: set[tuple[str, str, str]] = set()

    async def run(self, every_ms: int) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + every_ms / 1000
            await asyncio.sleep(every_ms / 1000)
            self._metrics.observe(fam.LOOP_LAG, max(0.0, loop.time() - due_s))
            self.sample()

    def sample(self) -> None:
        """Look at everything once."""
        self._sample_sessions(list(self._sources.sessions()))
        self._sample_breakers(set(self._sources.breakers()))
        metrics, cpu_s = self._metrics, time.process_time()
        metrics.count(fam.CPU, by=cpu_s - self._cpu_s)
        self._cpu_s = cpu_s
        metrics.set(fam.MEMORY, _resident_bytes())
        metrics.set(fam.READY, self._sources.is_ready())
        metrics.set(fam.SESSIONS_MAX, self._sources.sessions_max())
        metrics.set(fam.LOOP_BUSY, self._sources.busy_pct() / 100)

    def _sample_sessions(self, sessions: list[Vitals]) -> None:
        states = Counter(vitals.state for vitals in sessions)
        is_draining = self._sources.is_draining()
        for state in State:
            self._metrics.set(fam.SESSIONS, 0 if is_draining else states[state], state.value, "false")
            self._metrics.set(fam.SESSIONS, states[state] if is_draining else 0, state.value, "true")
        queues = {"inbox": "inbox_facts", "outbox": "outbox_messages", "ears": "ears_backlog_ms"}
        for queue, name in queues.items():
            self._metrics.set(fam.QUEUE, max((getattr(vitals, name) for vitals in sessions), default=0), queue)

    def _sample_breakers(self, now: set[tuple[str, str, str]]) -> None:
        for gone in self._breakers - now:
            self._metrics.set(fam.BREAKER, 0, *gone)
        for labels in now:
            self._metrics.set(fam.BREAKER, 1, *labels)
        self._breakers |= now


def _resident_bytes() -> int:
    """Where the system tells; 0 elsewhere."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except OSError:
        return 0

"""The composition root: settings in, a running gateway out. The only module that knows which adapter stands behind which port."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from voicefsm.adapters.echo import Choice, choose_canceller
from voicefsm.adapters.followed import Followed, watch
from voicefsm.adapters.memory_store import MemoryStore
from voicefsm.adapters.nim import NimLanguageModel
from voicefsm.adapters.riva_asr import RivaRecognizer
from voicefsm.adapters.riva_tts import RivaSynthesizer
from voicefsm.adapters.secrets import current
from voicefsm.adapters.webrtc_vad import WebRtcVoiceDetector
from voicefsm.config import Reread, Settings, Source, fixed_changes, places_of, wants_traces
from voicefsm.errors import BackendError, SettingsError, VoiceFsmError
from voicefsm.loop import gather, settle_memory
from voicefsm.ports import Clock, Journal, Observer, SessionStore, Traceparent, untraced
from voicefsm.processes import EMBEDDED_LIKES, EMBEDDED_LLM, EMBEDDED_READY, EMBEDDED_RIVA, told_to_stop
from voicefsm.runtime.failover import FailoverLanguageModel, FailoverRecognizer, FailoverSynthesizer, Servers
from voicefsm.runtime.hearing import HearingSettings
from voicefsm.runtime.journal import JournalDirectory, JournalSettings, NullJournal
from voicefsm.runtime.keeper import ResumeSettings
from voicefsm.runtime.messages import AudioFormat, Encoding
from voicefsm.runtime.plan import Senses, SessionPlan
from voicefsm.runtime.timers import LoopClock
from voicefsm.server.admin import AdminServicer
from voicefsm.server.admission import Admission, Remembered
from voicefsm.server.busy import Busy
from voicefsm.server.callers import Gate, gate_of
from voicefsm.server.gateway import Gateway
from voicefsm.server.health import Watch, Watched
from voicefsm.server.pace import of_beginnings, of_sessions
from voicefsm.server.port import address
from voicefsm.server.resume import Resumption
from voicefsm.server.servicer import ConversationServicer
from voicefsm.telemetry.exposition import Sources, registry_of, sampled, served
from voicefsm.telemetry.log import LogObserver, configure, set_level
from voicefsm.telemetry.metrics import Metrics, MetricsObserver
from voicefsm.telemetry.several import Several
from voicefsm.values import Backend

if TYPE_CHECKING:
    from voicefsm.telemetry.tracing import TraceObserver

_EMBEDDED_ADDRESSES = {EMBEDDED_RIVA: ("riva", "target"), EMBEDDED_LLM: ("llm", "base_url")}
"""The setting that each of these lines is for."""
_EMBEDDED_START_S_MAX = 60.0
_EMBEDDED_STOP_S_MAX = 5.0

T = TypeVar("T")


async def serve(settings: Settings, reread: Reread | None = None) -> None:
    """Run the gateway until SIGTERM, SIGINT or SIGHUP.

    Raises:
        SettingsError: something it needs is not there; no port was opened.

    """
    configure(settings.log.level, settings.log.format)
    stop = told_to_stop()
    async with _announced(settings, reread):
        await stop.wait()


async def serve_embedded(settings: Settings, arguments: Sequence[str], settings_with: Callable[[Source], Settings]) -> None:
    """The same with the embedded backends, for as long as they live.

    `arguments` are for `voicefsm embedded`; `settings_with` makes the gateway's settings, given where the backends listen.

    Raises:
        SettingsError: as above; or the backends did not start.
        BackendsDied: the backends ended.

    """
    configure(settings.log.level, settings.log.format)
    stop = told_to_stop()
    async with _embedded(arguments) as child:
        found = await _unless(stop, _addresses_in_time(child))
        if found is None:
            return
        async with _announced(settings_with(found)):
            await _unless(stop, _lost(child))


@asynccontextmanager
async def _announced(settings: Settings, reread: Reread | None = None) -> AsyncGenerator[None]:
    """A running gateway; whoever started it is told where it listens."""
    async with running(settings, reread) as port:
        print(f"voicefsm gateway: listening on {address(settings.server.host, port)}", flush=True)  # noqa: T201 (parents read it)
        print("voicefsm gateway: ready", flush=True)  # noqa: T201
        settle_memory()
        yield


@asynccontextmanager
async def running(settings: Settings, reread: Reread | None = None) -> AsyncGenerator[int]:
    """A gateway on its port, which it yields; drained and closed on leaving. `reread` says how its settings may change."""
    clock = LoopClock()
    canceller = _canceller(settings)
    async with (
        _watching(settings) as watchers,
        _backends(settings, clock) as backends,
        _holding(settings, reread, backends, canceller, clock, watchers) as port,
    ):
        yield port


@dataclasses.dataclass(frozen=True, slots=True)
class _Watchers:
    """Log, metrics and traces, as far as they are wanted."""

    observer: Observer
    traceparent: Traceparent
    metrics: Metrics | None


@asynccontextmanager
async def _watching(settings: Settings) -> AsyncGenerator[_Watchers]:
    """Metrics are served, and traces sent, until left. Raises `SettingsError`."""
    registry = registry_of(settings.metrics)
    metrics = Metrics(registry) if settings.metrics.is_on else None
    with served(settings.metrics, registry):
        async with _tracing(wanted=wants_traces()) as traces:
            counting = None
            if metrics is not None:
                counting = MetricsObserver(metrics, model=settings.llm.model, language_code=settings.session.language_code)
            logging = LogObserver(transcripts=settings.log.transcripts, trace_id=traces.trace_id if traces else lambda _: "")
            # Traces first: what is logged of a step says which trace it is in.
            observer = Several(*(one for one in (traces, logging, counting) if one is not None))
            yield _Watchers(observer, traces.traceparent if traces else untraced, metrics)


@asynccontextmanager
async def _tracing(*, wanted: bool) -> AsyncGenerator[TraceObserver | None]:
    """What makes spans. Without traces nothing of them is imported. Raises `SettingsError`."""
    if not wanted:
        yield None
        return
    try:
        from voicefsm.telemetry.tracing import TraceObserver, provider  # noqa: PLC0415  # an extra, and slow to load
    except ImportError as missing:
        problem = f"Traces are asked for (OTEL_…), and {missing.name} is not installed."
        raise SettingsError(problem, remedy="pip install 'voicefsm[otel]', or set OTEL_SDK_DISABLED=true.") from missing
    made = provider()
    try:
        yield TraceObserver(made.get_tracer("voicefsm"))
    finally:
        await asyncio.to_thread(made.shutdown)


@asynccontextmanager
async def _holding(  # noqa: PLR0917 (what it is made of)
    settings: Settings,
    reread: Reread | None,
    backends: _Backends,
    canceller: Choice,
    clock: Clock,
    watchers: _Watchers,
) -> AsyncGenerator[int]:
    """The gateway, before these backends."""
    senses = Senses(
        recognizer=FailoverRecognizer(backends.recognizers),
        model=FailoverLanguageModel(backends.models),
        synthesizer=FailoverSynthesizer(backends.synthesizers),
        make_canceller=canceller.make,
        make_detector=WebRtcVoiceDetector,
    )
    told = watchers.observer.reloaded
    gate = gate_of(settings.server.host, settings.tls, settings.auth, settings.jwt, clock, told)
    store = store_of(settings.resume, clock)
    busy = Busy(settings.server.busy_pct_max)
    admission = _admission(settings, senses, clock, busy)
    servicer = _servicer(settings, senses, admission, clock, watchers, gate, store)
    tuned = _tuned(settings, reread, servicer, admission, told)
    gateway = Gateway(
        settings.server, servicer, is_ready=False, certificates=gate.certificates, admin=_admin(settings, servicer, gate)
    )
    health = Watch(_watched(backends), settings.health, clock, partial(_follow, gateway))
    port = await gateway.start()
    warm_up = (_warm_up(server.port, wanted=settings.llm.warm_up) for server in backends.models.all)
    beside = [
        asyncio.create_task(work)
        for work in (
            *warm_up,
            health.run(),
            busy.run(lambda: admission.sessions, gather),
            watch([*gate.followed, *tuned], settings.auth.reload_ms),
        )
    ]
    sources = Sources(
        sessions=servicer.vitals,
        sessions_max=lambda: admission.sessions_max,
        is_draining=lambda: servicer.is_draining,
        is_ready=lambda: gateway.is_ready,
        busy_pct=lambda: busy.pct,
        breakers=partial(_breakers, backends, clock),
    )
    async with sampled(watchers.metrics, sources, settings.metrics.sample_ms):
        try:
            yield port
        finally:
            for task in beside:
                task.cancel()
            await gateway.stop()
            if store is not None:
                await store.aclose()


def _breakers(backends: _Backends, clock: Clock) -> Iterator[tuple[str, str, str]]:
    """Backend, server and state of each breaker."""
    now_ms = clock.now_ms()
    for backend, watched in _watched(backends).items():
        for server in watched:
            yield backend.value, server.name, server.breaker.state(now_ms).value


@dataclasses.dataclass(frozen=True, slots=True)
class _Backends:
    """The servers of each kind."""

    recognizers: Servers[RivaRecognizer]
    models: Servers[NimLanguageModel]
    synthesizers: Servers[RivaSynthesizer]


@asynccontextmanager
async def _backends(settings: Settings, clock: Clock) -> AsyncGenerator[_Backends]:
    """Every server of every backend; their channels are closed on leaving."""
    places, rest = places_of(settings), (settings.breaker, clock.now_ms)
    asr = {target: RivaRecognizer(settings.asr, channel) for target, channel in places.asr.items()}
    tts = {target: RivaSynthesizer(settings.tts, channel) for target, channel in places.tts.items()}
    llm = {url: NimLanguageModel(server) for url, server in places.llm.items()}
    try:
        yield _Backends(Servers(Backend.ASR, asr, *rest), Servers(Backend.LLM, llm, *rest), Servers(Backend.TTS, tts, *rest))
    finally:
        for recognizer in asr.values():
            await recognizer.aclose()
        for synthesizer in tts.values():
            await synthesizer.aclose()
        for model in llm.values():
            await model.aclose()


def _watched(backends: _Backends) -> dict[Backend, list[Watched]]:
    """How each server is checked."""
    return {
        Backend.ASR: [
            Watched(server.name, server.port.ready, server.port.check_health, server.breaker) for server in backends.recognizers.all
        ],
        Backend.LLM: [
            Watched(server.name, server.port.ready, server.port.check_health, server.breaker) for server in backends.models.all
        ],
        Backend.TTS: [
            Watched(server.name, server.port.ready, server.port.check_health, server.breaker)
            for server in backends.synthesizers.all
        ],
    }


async def _follow(gateway: Gateway, down: frozenset[Backend], problem: str) -> None:
    """The gateway is ready as long as every backend is there."""
    log = structlog.get_logger("voicefsm")
    if down:
        log.warning("not ready", down=sorted(down), problem=problem)
    else:
        log.info("ready")
    await gateway.set_ready(is_ready=not down)


async def _warm_up(model: NimLanguageModel, *, wanted: bool) -> None:
    """Beside the first calls, not before them: a model that is down now may be up when somebody speaks."""
    try:
        if wanted:
            await model.warm_up()
    except BackendError as error:
        structlog.get_logger("voicefsm").warning("model not warmed up", problem=error.message, remedy=error.remedy)


def _canceller(settings: Settings) -> Choice:
    choice = choose_canceller(settings.aec)
    structlog.get_logger("voicefsm").info("echo canceller", name=choice.name, reason=choice.reason)
    return choice


def _admin(settings: Settings, servicer: ConversationServicer, gate: Gate) -> AdminServicer | None:
    """For operators, where it is wanted."""
    return AdminServicer(servicer, gate.callers, set_level, settings.server.admin_watch_ms) if settings.server.admin else None


def _admission(settings: Settings, senses: Senses, clock: Clock, busy: Busy) -> Admission:
    return Admission(
        settings.server.sessions_max,
        Remembered(senses.recognizer.languages, clock, settings.server.offers_ms_max),
        Remembered(senses.synthesizer.voices, clock, settings.server.offers_ms_max),
        settings.server.pending_max,
        pace=of_sessions(clock, settings.server.sessions_per_s_max),
        spread=of_beginnings(clock, settings.server.sessions_per_s_max),
        busy=busy,
    )


def _tuned(
    settings: Settings,
    reread: Reread | None,
    servicer: ConversationServicer,
    admission: Admission,
    told: Callable[[str, str], None],
) -> list[Followed[Settings]]:
    """What may change while we run is followed, for new sessions; of anything else that changes the operator is told."""
    if reread is None or not reread.files:
        return []
    read = reread.read

    def taken() -> Settings:
        found = read()
        servicer.plan, admission.sessions_max = plan_of(found), found.server.sessions_max
        set_level(found.log.level)
        if fixed := fixed_changes(settings, found):
            structlog.get_logger("voicefsm").warning("needs a restart", settings=fixed)
        return found

    followed = Followed("settings", reread.files, taken, settings)
    followed.told = told
    return [followed]


def _servicer(  # noqa: PLR0917 (what it is made of)
    settings: Settings,
    senses: Senses,
    admission: Admission,
    clock: Clock,
    watchers: _Watchers,
    gate: Gate,
    store: SessionStore | None,
) -> ConversationServicer:
    return ConversationServicer(
        plan_of(settings),
        senses,
        admission,
        clock=clock,
        observer=watchers.observer,
        traceparent=watchers.traceparent,
        open_journal=journal_opener(settings.journal),
        config_ms_max=settings.server.config_ms_max,
        callers=gate.callers,
        resumption=Resumption(store, settings.resume),
    )


def store_of(settings: ResumeSettings, clock: Clock) -> SessionStore | None:
    """Where conversations are kept; None: nowhere. Raises `SettingsError`."""
    if not settings.enabled:
        return None
    if not settings.redis_url:
        return MemoryStore(clock, settings.sessions_max, settings.bytes_max)
    try:
        from voicefsm.adapters.redis_store import RedisStore  # noqa: PLC0415  # an extra
    except ImportError as missing:
        problem = f"Redis is asked for (resume.redis_url), and {missing.name} is not installed."
        raise SettingsError(problem, remedy="pip install 'voicefsm[redis]'.") from missing
    return RedisStore(current(settings.redis_url), settings.store_ms_max)


def plan_of(settings: Settings) -> SessionPlan:
    """What a session is when its client wishes for nothing."""
    narrowband = AudioFormat(Encoding.PCM16, 16000)  # replaced by each client's own
    return SessionPlan(
        session=settings.session,
        turns=settings.turns,
        hearing=HearingSettings(settings.audio, settings.vad, settings.aec),
        playout=settings.playout,
        input_format=narrowband,
        output_format=narrowband,
        language_code=settings.session.language_code,
        voice_name=settings.session.voice_name,
        system_prompt=settings.session.system_prompt,
        temperature=settings.session.temperature,
        tokens_max=settings.session.tokens_max,
        model="",
        client_echo_cancellation=False,
    )


def journal_opener(settings: JournalSettings) -> Callable[[str], Journal]:
    """What opens a session's journal, if journals are wanted. A directory that cannot be written costs it, and not the session."""
    if not settings.dir:
        return lambda _: NullJournal()
    directory = JournalDirectory(settings)

    def lost(session_id: str, error: OSError) -> None:
        structlog.get_logger("voicefsm").error("no journal", session=session_id, problem=str(error), remedy="Check journal.dir.")

    def open_journal(session_id: str) -> Journal:
        try:
            return directory.open(session_id, partial(lost, session_id))
        except OSError as error:
            lost(session_id, error)
            return NullJournal()

    return open_journal


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` returns or raises; None when told to stop before it does."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        stopping.cancel()


# --- the embedded backends, in a process of their own ------------------------------------------------------------------------


class BackendsDied(VoiceFsmError):
    """The embedded backends ended while the gateway needed them."""


@asynccontextmanager
async def _embedded(arguments: Sequence[str]) -> AsyncGenerator[asyncio.subprocess.Process]:
    """The local engines, in a process of their own: their speech engine is GPL, and their load is theirs.

    It has a session of its own too: Ctrl-C reaches us alone, and the child is stopped after the last session is over.
    """
    command = (sys.executable, "-m", "voicefsm", "embedded", *arguments)
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, start_new_session=True)
    try:
        yield child
    finally:
        await _end(child)


async def _addresses_in_time(child: asyncio.subprocess.Process) -> Source:
    """Where the child listens, once it is ready."""
    try:
        async with asyncio.timeout(_EMBEDDED_START_S_MAX):
            return await _addresses_when_ready(child)
    except TimeoutError:
        raise SettingsError("The embedded backends did not start in time.", remedy="Run `voicefsm embedded` to see why.") from None


async def _addresses_when_ready(child: asyncio.subprocess.Process) -> Source:
    """Pass the child's lines on until it says that it is ready; it prints none after that."""
    assert child.stdout is not None
    found: dict[str, Mapping[str, str]] = dict(EMBEDDED_LIKES)
    async for raw in child.stdout:
        line = raw.decode(errors="replace").rstrip()
        print(line, flush=True)  # noqa: T201
        for sign, (section, name) in _EMBEDDED_ADDRESSES.items():
            if line.startswith(sign):
                found[section] = {name: line.removeprefix(sign)}
        if line == EMBEDDED_READY:
            return Source("the embedded backends", found)
    code = await child.wait()
    raise SettingsError(
        f"The embedded backends ended with exit code {code} before they were ready.",
        remedy="What they said stands above; `voicefsm embedded` starts them alone.",
    )


async def _lost(child: asyncio.subprocess.Process) -> None:
    """Raises `BackendsDied` when the child ends."""
    code = await child.wait()
    structlog.get_logger("voicefsm").error("embedded backends died", exit_code=code)
    raise BackendsDied(
        f"The embedded backends ended with exit code {code}; the gateway cannot work without them and stopped.",
        remedy="What they said stands above; start again, and if it happens again, please report it.",
    )


async def _end(child: asyncio.subprocess.Process) -> None:
    """Ask the child to stop; insist after a while."""
    if child.returncode is not None:
        return
    child.terminate()
    try:
        async with asyncio.timeout(_EMBEDDED_STOP_S_MAX):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()

"""The composition root: settings in, a running gateway out. The only module that knows which adapter stands behind which port."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from voicefsm.adapters.echo import Choice, choose_canceller
from voicefsm.adapters.nim import NimLanguageModel
from voicefsm.adapters.riva_asr import RivaRecognizer
from voicefsm.adapters.riva_tts import RivaSynthesizer
from voicefsm.adapters.webrtc_vad import WebRtcVoiceDetector
from voicefsm.config import Settings
from voicefsm.errors import BackendError, SettingsError
from voicefsm.ports import Clock, Journal
from voicefsm.runtime.hearing import HearingSettings
from voicefsm.runtime.journal import FileJournal, JournalSettings, NullJournal, make_room
from voicefsm.runtime.messages import AudioFormat, Encoding
from voicefsm.runtime.plan import Senses, SessionPlan
from voicefsm.runtime.timers import LoopClock
from voicefsm.server.admission import Admission, Remembered
from voicefsm.server.gateway import Gateway
from voicefsm.server.servicer import ConversationServicer
from voicefsm.telemetry.log import LogObserver, configure

_EMBEDDED_READY = "voicefsm embedded: ready"
_EMBEDDED_START_S_MAX = 60.0
_EMBEDDED_STOP_S_MAX = 5.0


async def serve(settings: Settings, *, embedded: bool = False) -> None:
    """Run the gateway until SIGTERM or SIGINT.

    Raises:
        SettingsError: something it needs is not there; no port was opened.

    """
    configure(settings.log.level, settings.log.format)
    stop = _told_to_stop()
    async with _embedded_backends(wanted=embedded), running(settings) as port:
        print(f"voicefsm gateway: listening on {settings.server.host}:{port}", flush=True)  # noqa: T201 (parents read it)
        print("voicefsm gateway: ready", flush=True)  # noqa: T201
        await stop.wait()


@asynccontextmanager
async def running(settings: Settings) -> AsyncGenerator[int]:
    """A gateway on its port, which it yields; drained and closed on leaving."""
    clock = LoopClock()
    canceller = _canceller(settings)
    async with _adapters(settings) as (recognizer, model, synthesizer):
        senses = Senses(
            recognizer=recognizer,
            model=model,
            synthesizer=synthesizer,
            make_canceller=canceller.make,
            make_detector=WebRtcVoiceDetector,
        )
        gateway = Gateway(settings.server, _servicer(settings, senses, recognizer, synthesizer, clock))
        port = await gateway.start()
        warming_up = asyncio.create_task(_warm_up(model, wanted=settings.llm.warm_up))
        try:
            yield port
        finally:
            warming_up.cancel()
            await gateway.stop()


@asynccontextmanager
async def _adapters(settings: Settings) -> AsyncGenerator[tuple[RivaRecognizer, NimLanguageModel, RivaSynthesizer]]:
    """The three backends; their channels are closed on leaving."""
    recognizer = RivaRecognizer(settings.asr, settings.riva)
    synthesizer = RivaSynthesizer(settings.tts, settings.riva)
    model = NimLanguageModel(settings.llm)
    try:
        yield recognizer, model, synthesizer
    finally:
        await recognizer.aclose()
        await synthesizer.aclose()
        await model.aclose()


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


def _servicer(
    settings: Settings, senses: Senses, recognizer: RivaRecognizer, synthesizer: RivaSynthesizer, clock: Clock
) -> ConversationServicer:
    admission = Admission(
        settings.server.sessions_max,
        Remembered(recognizer.languages, clock, settings.server.offers_ms_max),
        Remembered(synthesizer.voices, clock, settings.server.offers_ms_max),
    )
    return ConversationServicer(
        plan_of(settings),
        senses,
        admission,
        clock=clock,
        observer=LogObserver(),
        open_journal=lambda session_id: open_journal(settings.journal, session_id),
        config_ms_max=settings.server.config_ms_max,
    )


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


def open_journal(settings: JournalSettings, session_id: str) -> Journal:
    """The journal of one session, if journals are wanted. A directory that cannot be written costs the journal, not the session."""
    if not settings.dir:
        return NullJournal()

    def lost(error: OSError) -> None:
        structlog.get_logger("voicefsm").error("no journal", session=session_id, problem=str(error), remedy="Check journal.dir.")

    try:
        make_room(Path(settings.dir), settings.files_max)
        path = Path(settings.dir) / f"{session_id}.jsonl"
        return FileJournal(path, bytes_max=settings.bytes_max, redact=settings.redact, lost=lost)
    except OSError as error:
        lost(error)
        return NullJournal()


def _told_to_stop() -> asyncio.Event:
    """Set on SIGTERM or SIGINT: from now on, so that a child told to stop early still stops in order."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    return stop


@asynccontextmanager
async def _embedded_backends(*, wanted: bool) -> AsyncGenerator[None]:
    """The local engines, in a process of their own: their speech engine is GPL, and their load is theirs."""
    if not wanted:
        yield
        return
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "voicefsm", "embedded", stdout=asyncio.subprocess.PIPE)
    try:
        await _ready_in_time(child)
        yield
    finally:
        await _end(child)


async def _ready_in_time(child: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(_EMBEDDED_START_S_MAX):
            await _until_ready(child)
    except TimeoutError:
        raise SettingsError("The embedded backends did not start in time.", remedy="Run `voicefsm embedded` to see why.") from None


async def _until_ready(child: asyncio.subprocess.Process) -> None:
    """Pass the child's lines on until it says that it is ready; it prints none after that."""
    assert child.stdout is not None
    async for raw in child.stdout:
        line = raw.decode(errors="replace").rstrip()
        print(line, flush=True)  # noqa: T201
        if line == _EMBEDDED_READY:
            return
    raise SettingsError("The embedded backends ended before they were ready.", remedy="Run `voicefsm embedded` to see why.")


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

"""Every await point of the server is cancelled once, in each way it is reached; whatever is cancelled there, nothing is left.

The servicer is called as gRPC would call it, with a call made of coroutines: in virtual time and without sockets. The gateway has a
real port.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.cancellation.awaits import Place, Watch, assert_all_were_visited, describe, sources, within
from tests.cancellation.lingering import LINGER_S, LingeringLanguageModel, LingeringRecognizer, LingeringStore, LingeringSynthesizer
from voicefsm.adapters.identities import UNLIMITED, AuthSettings, Chain
from voicefsm.adapters.memory_store import _Entry
from voicefsm.errors import BackendError
from voicefsm.ports import Credentials, Identity
from voicefsm.runtime.checkpoint import Checkpoint
from voicefsm.runtime.keeper import ResumeSettings
from voicefsm.runtime.timers import LoopClock
from voicefsm.server.admission import Admission, Remembered
from voicefsm.server.callers import Callers
from voicefsm.server.pace import of_beginnings
from voicefsm.server.quotas import Quotas
from voicefsm.server.resume import Resumption
from voicefsm.server.servicer import ConversationServicer
from voicefsm.simulation import virtual
from voicefsm.simulation.fakes import FakeVoice
from voicefsm.simulation.stage import PLAN, MemoryJournal, Stage
from voicefsm.v1 import conversation_pb2 as pb
from voicefsm.values import Backend

SOURCES = sources("server/servicer.py", "server/admission.py", "server/callers.py", "server/pace.py", "server/resume.py")
EXCUSED = {"server/admission.py get: exit self._lock": "a lock is given back without waiting"}
"""Points at which nobody can be cancelled, since nobody ever waits there."""

FORMAT = pb.AudioFormat(encoding=pb.AudioFormat.ENCODING_PCM16, sample_rate_hertz=16000)
CONFIG = pb.ConverseRequest(config=pb.SessionConfig(input_format=FORMAT))
TEXT = pb.ConverseRequest(text=pb.TextInput(text="what time is it"))
RESUME = pb.ConverseRequest(config=pb.SessionConfig(input_format=FORMAT, resume_token="vfr_known"))
TOKEN = RESUME.config.resume_token
END = pb.ConverseRequest(end_session=pb.EndSession())
BAD = pb.ConverseRequest(audio=pb.AudioInput(data=bytes(641)))
DEAD_S = 5
"""How long the dying ears of a scene live."""
END_S_MAX = 60
"""Virtual; longer than anything that is left alone takes to end."""


class Aborted(Exception):
    """What `abort` raises in grpc.aio."""


class Call:
    """A call without a wire: everything takes a moment. After so many messages its writes fail, or are never read."""

    def __init__(self, *, breaks: int = END_S_MAX * 1000, hangs: int = END_S_MAX * 1000) -> None:
        self._written = 0
        self._breaks, self._hangs = breaks, hangs

    def invocation_metadata(self) -> tuple[()]:
        """As `ServicerContext.invocation_metadata`: this client sends none."""
        return ()

    def auth_context(self) -> dict[str, Any]:
        """As `ServicerContext.auth_context`: nor a certificate."""
        return {}

    async def write(self, _response: pb.ConverseResponse) -> None:
        """As `ServicerContext.write`."""
        await asyncio.sleep(LINGER_S if self._written < self._hangs else END_S_MAX)
        self._written += 1
        if self._written > self._breaks:
            raise grpc.aio.UsageError

    async def abort(self, _code: grpc.StatusCode, _details: str) -> None:
        """As `ServicerContext.abort`."""
        await asyncio.sleep(LINGER_S)
        raise Aborted


class Doorkeeper:
    """Takes a moment to know anybody."""

    async def identify(self, _credentials: Credentials) -> Identity:
        """See `ports.Authenticator`."""
        await asyncio.sleep(LINGER_S)
        return Identity("somebody", UNLIMITED)


class Client:
    """What a client sends, and when; closed slowly."""

    def __init__(self, *lines: tuple[float, pb.ConverseRequest]) -> None:
        self.has_begun = self.is_closed = False
        self._lines = lines

    async def requests(self) -> AsyncGenerator[pb.ConverseRequest]:
        """As grpc.aio hands them out."""
        self.has_begun = True
        try:
            for wait_s, request in self._lines:
                await asyncio.sleep(wait_s)
                yield request
            await asyncio.Event().wait()
        finally:
            self.is_closed = True
            await asyncio.sleep(LINGER_S)


class Scene:
    """A servicer, its backends, and calls."""

    def __init__(self, *calls: tuple[Client, Call], ears_die: bool = False, backend_is_away: bool = False) -> None:
        script: list[tuple[int, Any]] = []
        self.stage = Stage(
            recognizer=LingeringRecognizer(script, open_errors={0: _gone()} if ears_die else {}, open_ms=DEAD_S * 1000 * ears_die),
            model=LingeringLanguageModel(["It is noon."]),
            synthesizer=LingeringSynthesizer(FakeVoice(chunk_period_ms=60)),
        )
        self.calls = calls
        self.journals: list[MemoryJournal] = []
        self._is_away = backend_is_away
        clock = LoopClock()
        offers = Remembered(self._languages, clock, 0), Remembered(self._voices, clock, 0)
        self.admission = Admission(10, *offers, spread=of_beginnings(clock, 6))
        self.quotas = Quotas(clock)
        store = LingeringStore()
        begun = Checkpoint("s-0", "somebody", CONFIG.config.SerializeToString())
        store._entries[TOKEN] = _Entry(1, begun.to_bytes(), END_S_MAX * 1000)
        self.servicer = ConversationServicer(
            PLAN,
            self.stage.senses(),
            self.admission,
            clock=clock,
            observer=self.stage.witness,
            open_journal=self._open_journal,
            config_ms_max=1000,
            callers=Callers(Chain([Doorkeeper()], AuthSettings()), self.quotas),
            resumption=Resumption(store, ResumeSettings()),
        )

    def _open_journal(self, _session_id: str) -> MemoryJournal:
        self.journals.append(MemoryJournal())
        return self.journals[-1]

    async def _languages(self) -> frozenset[str]:
        await asyncio.sleep(LINGER_S)
        if self._is_away:
            raise BackendError(Backend.ASR, "Away.")
        return frozenset()

    async def _voices(self) -> Mapping[str, tuple[str, ...]]:
        await asyncio.sleep(LINGER_S)
        return {}

    async def play(self, watch: Watch, *, cancels_call: bool = False) -> None:
        """Hold every call to its end, whatever the watch does to it."""
        with watch:
            holding = [asyncio.create_task(self._hold(client, call), name="call") for client, call in self.calls]
            if cancels_call:
                watch.whom = lambda: holding[0]
            _, unfinished = await asyncio.wait(holding, timeout=END_S_MAX)
            for task in unfinished:  # the watch cancelled what would have ended it
                task.cancel()
            await asyncio.wait(holding)

    async def _hold(self, client: Client, call: Call) -> None:
        with contextlib.suppress(Aborted):
            await self.servicer.Converse(client.requests(), call)

    def remains(self) -> list[str]:
        """What the calls left behind. Nothing, if all is well."""
        left = self.stage.remains()
        left += ["a session"] * self.servicer.sessions + ["a place"] * (self.admission.sessions + self.admission.pending)
        left += [f"a session of {name}" for name, use in self.quotas._uses.items() if use.sessions]
        left += ["a journal" for journal in self.journals if not journal.closed]
        left += ["requests" for client, _ in self.calls if client.has_begun and not client.is_closed]
        return left


def _gone() -> BackendError:
    return BackendError(Backend.ASR, "Gone.", retryable=False)


SCENES: dict[str, Callable[[], Scene]] = {
    "a turn": lambda: Scene((Client((0.1, CONFIG), (0.5, TEXT), (3, END)), Call())),
    "a turn elsewhere": lambda: Scene((Client((0.1, RESUME), (0.5, TEXT), (3, END)), Call())),
    "bad input": lambda: Scene((Client((0.1, CONFIG), (0.5, BAD)), Call())),
    "ears lost for good": lambda: Scene((Client((0.1, CONFIG), (0.5, TEXT)), Call()), ears_die=True),
    "a client that is gone": lambda: Scene((Client((0.1, CONFIG), (0.5, TEXT)), Call(breaks=3))),
    "a client that does not read": lambda: Scene((Client((0.1, CONFIG), (0.5, TEXT), (3, END)), Call(hangs=3))),
    "two at the door": lambda: Scene((Client((0.1, CONFIG), (1, END)), Call()), (Client((0.1, CONFIG), (1, END)), Call())),
    "two who type too fast": lambda: Scene(*((Client((0.1, CONFIG), *[(0.01, TEXT)] * 5, (1, END)), Call()) for _ in range(2))),
    "nobody at home": lambda: Scene((Client((0.1, CONFIG)), Call()), (Client((0.1, CONFIG)), Call()), backend_is_away=True),
    "no configuration": lambda: Scene((Client(), Call())),
}


async def look(make: Callable[[], Scene], watch: Watch) -> None:
    """Only watch."""
    scene = make()
    await scene.play(watch)
    assert scene.remains() == []


def places(name: str) -> list[Place]:
    """Where the tasks of a scene stand."""
    watch = Watch()
    virtual.run(look(SCENES[name], watch))
    return within(watch.places, SOURCES)


def test_every_await_point_is_visited() -> None:
    """Otherwise there is an await in the server of which the next test says nothing."""
    assert_all_were_visited(SOURCES, [place for name in SCENES for place in places(name)], EXCUSED)


@pytest.mark.parametrize("cancels_call", [False, True], ids=["the task", "the call"])
@pytest.mark.parametrize("name", SCENES)
def test_cancelled_at_every_place(name: str, *, cancels_call: bool) -> None:
    """Otherwise there is an await at which a cancellation leaks a session, its place, a task, a stream or a journal."""
    for place in places(name):
        virtual.run(cancelled_at(place, SCENES[name], cancels_call=cancels_call))


async def cancelled_at(place: Place, make: Callable[[], Scene], *, cancels_call: bool) -> None:
    """Play the scene, cancel there, and look what is left."""
    scene, watch, where = make(), Watch(place), describe(place)
    await scene.play(watch, cancels_call=cancels_call)
    assert watch.has_cancelled, where
    assert scene.remains() == [], where
    assert scene.stage.witness.crashes == [], where

"""A gateway on a real port, with the fakes behind it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from voicefsm.runtime.plan import SessionPlan
from voicefsm.runtime.timers import LoopClock
from voicefsm.server.admission import Admission, Remembered, ServerSettings
from voicefsm.server.gateway import Gateway
from voicefsm.server.servicer import ConversationServicer
from voicefsm.simulation.stage import PLAN, MemoryJournal, Stage
from voicefsm.v1 import conversation_pb2 as pb
from voicefsm.v1.conversation_pb2_grpc import ConversationServiceStub

FORMAT = pb.AudioFormat(encoding=pb.AudioFormat.ENCODING_PCM16, sample_rate_hertz=16000)
CONFIG = pb.ConverseRequest(config=pb.SessionConfig(input_format=FORMAT))


class Served:
    """A running gateway and what it stands on."""

    def __init__(self, stage: Stage, plan: SessionPlan, settings: ServerSettings) -> None:
        self.stage = stage
        self.journals: dict[str, MemoryJournal] = {}
        clock = LoopClock()
        self.admission = Admission(
            settings.sessions_max,
            # Looked up at each call: tests replace them.
            Remembered(lambda: stage.recognizer.languages(), clock, 0),  # noqa: PLW0108
            Remembered(lambda: stage.synthesizer.voices(), clock, 0),  # noqa: PLW0108
            settings.pending_max,
        )
        self.servicer = ConversationServicer(
            plan,
            stage.senses(),
            self.admission,
            clock=clock,
            observer=stage.witness,
            open_journal=self._journal,
            config_ms_max=settings.config_ms_max,
        )
        self.gateway = Gateway(settings, self.servicer)
        self.port = 0

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _journal(self, session_id: str) -> MemoryJournal:
        self.journals[session_id] = MemoryJournal()
        return self.journals[session_id]

    @contextlib.asynccontextmanager
    async def call(self) -> AsyncIterator[grpc.aio.StreamStreamCall[Any, Any]]:
        """A raw call."""
        async with grpc.aio.insecure_channel(self.target) as channel:
            yield ConversationServiceStub(channel).Converse()

    @contextlib.asynccontextmanager
    async def session(self, request: pb.ConverseRequest = CONFIG) -> AsyncIterator[grpc.aio.StreamStreamCall[Any, Any]]:
        """A raw call with a session."""
        async with self.call() as call:
            await call.write(request)
            assert (await call.read()).WhichOneof("response") == "session_ready"
            yield call

    async def until_empty(self) -> None:
        """Wait until every session is over, its streams left and its journal closed."""
        async with asyncio.timeout(10):
            while self.servicer.sessions or self.admission.sessions or self.left():  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.01)

    def left(self) -> list[str]:
        """What sessions left behind."""
        left = [name for name in self.stage.remains() if not name.startswith("task")]
        return left + [f"journal {name}" for name, journal in self.journals.items() if not journal.closed]


def session_tasks() -> list[str]:
    """Names of tasks that belong to sessions."""
    kinds = ("reader ", "writer ", "pump ", "ears", "generation ", "synthesis ")
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith(kinds)]


@contextlib.asynccontextmanager
async def serving(
    stage: Stage | None = None, plan: SessionPlan = PLAN, *, port: int = 0, drain_ms_max: int = 0, **settings: Any
) -> AsyncIterator[Served]:
    served = Served(stage or Stage(), plan, ServerSettings(port=port, drain_ms_max=drain_ms_max, **settings))
    served.port = await served.gateway.start()
    try:
        yield served
    finally:
        await served.gateway.stop()


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Served]]


@pytest.fixture
def serve() -> Serve:
    """`async with serve(...) as served`."""
    return serving


@pytest.fixture
def tasks_of_sessions() -> Callable[[], list[str]]:
    return session_tasks

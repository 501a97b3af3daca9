"""A closed session is gone with its last reference, however it ended: nothing of it waits for the cyclic garbage collector.

What waits there is memory that grows between two collections, and a pause of every session of the process when one runs.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.cancellation import test_runtime, test_server
from tests.cancellation.awaits import Watch
from voicefsm.bench.step import litter
from voicefsm.cli.bench import _converse
from voicefsm.errors import BackendError, VoiceFsmError
from voicefsm.runtime.session import Session
from voicefsm.simulation import virtual
from voicefsm.simulation.client import Habits
from voicefsm.simulation.fakes import FakeLanguageModel, FakeRecognizer, FakeSynthesizer
from voicefsm.simulation.stage import Stage, plan_with
from voicefsm.values import Backend

SPEECH = [(200, 1200), (2600, 2900), (3600, 4800)]


def flood(session: Session) -> None:
    """More facts than the inbox holds."""
    for _ in range(1001):
        session.finish_speech()


def ask(session: Session) -> None:
    """One reply, and the end."""
    session.type_text("hello")
    asyncio.get_running_loop().call_later(2, session.hang_up)


def failing(backend: Backend) -> BackendError:
    return BackendError(backend, "Gone.", retryable=False)


async def held(stage: Stage, act: Callable[[Session], object], *, at_ms: int = 4000, reads: bool = True) -> None:
    """A session in which this happens; what it raises is its client's business."""
    with suppress(VoiceFsmError):
        await stage.play(speech=SPEECH, script=[(at_ms, act)], habits=Habits(reads=reads))
    vars(stage.client).clear()  # it holds the session, and itself


async def cancelled() -> None:
    """A session whose client vanishes in the first reply."""
    running = asyncio.create_task(test_runtime.stage().session().run())
    await asyncio.sleep(2)
    running.cancel()
    await asyncio.wait([running])


ENDS: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
    "hung up": lambda: held(Stage(), Session.hang_up),
    "hung up in a reply": lambda: held(test_runtime.stage(), Session.hang_up, at_ms=2000),
    "shut down": lambda: held(test_runtime.stage(), Session.shut_down),
    "nobody speaks": lambda: held(Stage(plan_with(turns={"idle_ms_max": 5000})), lambda _: None),
    "ears lost": lambda: held(Stage(recognizer=FakeRecognizer(open_errors={0: failing(Backend.ASR)})), Session.hang_up),
    "model fails": lambda: held(Stage(model=FakeLanguageModel([failing(Backend.LLM)])), ask),
    "voice fails": lambda: held(Stage(synthesizer=FakeSynthesizer(errors={0: failing(Backend.TTS)})), ask),
    "flooded": lambda: held(Stage(), flood),
    "not read": lambda: held(Stage(plan_with(session={"outbox_messages_max": 10})), Session.hang_up, reads=False),
    "cancelled": cancelled,
}


async def called(make: Callable[[], test_server.Scene]) -> None:
    """Every call of a scene, to its end."""
    scene = make()
    await scene.play(Watch())
    vars(scene).clear()  # it holds itself


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[Session]]]:
    """Every session of the test, and no collector meanwhile."""
    born: list[weakref.ref[Session]] = []
    true = Session.__init__

    def init(self: Session, *args: Any, **more: Any) -> None:
        born.append(weakref.ref(self))
        true(self, *args, **more)

    monkeypatch.setattr(Session, "__init__", init)
    gc.disable()
    yield born
    gc.enable()


@pytest.mark.parametrize("end", ENDS)
def test_a_session_is_gone_however_it_ended(end: str, sessions: list[weakref.ref[Session]]) -> None:
    """Otherwise every session that ends like this leaves a knot that only the collector can undo."""
    virtual.run(ENDS[end]())
    assert [session() for session in sessions] == [None]


@pytest.mark.parametrize("name", test_server.SCENES)
def test_a_session_is_gone_when_its_call_is_over(name: str, sessions: list[weakref.ref[Session]]) -> None:
    """Otherwise the call around a session keeps it."""
    virtual.run(called(test_server.SCENES[name]))
    assert {session() for session in sessions} <= {None}


def test_nothing_is_left_to_the_collector() -> None:
    """Otherwise the session is gone, and something of it is not: what `voicefsm bench step` counts."""
    assert litter(_converse, sessions=3).by_type == {}

"""Every await point of the runtime is cancelled once, in each way it is reached; whatever is cancelled there, nothing is left.

The points are found in the source, the places in a conversation that is watched (awaits.py). Each place is cancelled in two ways:
the task that stands there, as when an order cancels a reply; and the session, as when its client vanishes.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from functools import partial

import pytest

from tests.cancellation.awaits import Place, Watch, assert_all_were_visited, describe, sources, within
from tests.cancellation.conversation import LAST_MS, SPEECH, STORY, scripts
from tests.cancellation.lingering import LingeringLanguageModel, LingeringRecognizer, LingeringStore, LingeringSynthesizer
from voicefsm.runtime.breaker import BreakerSettings
from voicefsm.runtime.failover import FailoverLanguageModel, FailoverRecognizer, FailoverSynthesizer, Servers
from voicefsm.runtime.keeper import Keeping, ResumeSettings
from voicefsm.runtime.plan import Senses
from voicefsm.runtime.session import Session
from voicefsm.runtime.timers import LoopClock
from voicefsm.simulation import virtual
from voicefsm.simulation.client import SimulatedClient
from voicefsm.simulation.fakes import FakeVoice
from voicefsm.simulation.stage import Stage, plan_with
from voicefsm.values import Backend

SOURCES = sources("runtime")
EXCUSED = {
    "runtime/reply.py _write: exit aclosing(model.stream(request))": "its body never waits; the generator itself is cancelled",
    "runtime/failover.py stream: exit aclosing(model.stream(request))": "its body never waits; the generator itself is cancelled",
    "runtime/failover.py languages: await recognizer.languages()": "no session asks; it only passes on what test_adapters cancels",
    "runtime/failover.py voices: await synthesizer.voices()": "no session asks; it only passes on what test_adapters cancels",
    "runtime/failover.py open: enter synthesizer.open(request)": "costs nothing until the first text",
}
"""Points at which nobody can be cancelled, since nobody ever waits there."""

END_S_MAX = 60
"""Virtual; longer than what deadlines take to end a session that is left alone."""


ENDINGS: Mapping[str, Callable[[Session], None]] = {
    "vanishes": Session.hang_up,
    "says farewell": partial(Session.hang_up, is_farewell=True),
}


class FailoverStage(Stage):
    """With each backend behind its breaker, as in a gateway."""

    def senses(self) -> Senses:
        """See `Stage`."""
        rest = (BreakerSettings(), LoopClock().now_ms)
        return dataclasses.replace(
            super().senses(),
            recognizer=FailoverRecognizer(Servers(Backend.ASR, {"asr": self.recognizer}, *rest)),
            model=FailoverLanguageModel(Servers(Backend.LLM, {"llm": self.model}, *rest)),
            synthesizer=FailoverSynthesizer(Servers(Backend.TTS, {"tts": self.synthesizer}, *rest)),
        )


def stage() -> Stage:
    """Everything in one conversation: an ASR stream that dies, one that grows old, a voice that runs ahead, a barge-in."""
    return FailoverStage(
        plan_with(playout={"synthesis_ahead_ms_max": 1000}, turns={"idle_ms_max": 5000}, session={"ears_rotate_s": 3}),
        recognizer=LingeringRecognizer(scripts=scripts(), open_ms=30),
        model=LingeringLanguageModel([STORY, "It is noon."], token_ms=40),
        synthesizer=LingeringSynthesizer(FakeVoice(chunk_period_ms=10)),
    )


async def converse(watch: Watch, scene: Stage, ending: str, *, cancels_session: bool = False) -> None:
    """Hold the conversation to its end, whatever the watch does to it."""
    scene.keeping = Keeping(LingeringStore(), ResumeSettings(retry_ms_min=10), "token", 1)
    session = scene.session()
    client = SimulatedClient(session, speech=SPEECH, script=[(LAST_MS, ENDINGS[ending])])
    with watch:
        running = asyncio.create_task(session.run(), name="session")
        talking = asyncio.create_task(client.run(), name="client")
        waiting = asyncio.create_task(wait_until_kept(session), name="waiting")
        running.add_done_callback(lambda _: talking.cancel())
        if cancels_session:
            watch.whom = lambda: running
        await asyncio.wait([running], timeout=END_S_MAX)
        waiting.cancel()
        await asyncio.wait([talking, waiting])
    assert running.done()
    if not running.cancelled():
        running.result()


async def wait_until_kept(session: Session) -> None:
    """As the servicer does before it tells that an exchange is over."""
    while True:
        await asyncio.sleep(0.1)
        await session.kept()


async def look(watch: Watch, ending: str) -> None:
    """Only watch."""
    await converse(watch, stage(), ending)


def places(ending: str) -> list[Place]:
    """Where the tasks of the conversation stand."""
    watch = Watch()
    virtual.run(look(watch, ending))
    return within(watch.places, SOURCES)


def test_every_await_point_is_visited() -> None:
    """Otherwise there is an await in the runtime of which the next test says nothing."""
    assert_all_were_visited(SOURCES, [place for ending in ENDINGS for place in places(ending)], EXCUSED)


@pytest.mark.parametrize("cancels_session", [False, True], ids=["the task", "the session"])
def test_cancelled_at_every_place(*, cancels_session: bool) -> None:
    """Otherwise there is an await at which a cancellation leaks a task, a stream, native memory or a file."""
    known = places("vanishes")
    assert len(known) > 12
    for ending, found in (("vanishes", known), ("says farewell", set(places("says farewell")) - set(known))):
        for place in found:
            virtual.run(cancelled_at(place, ending, cancels_session=cancels_session))


async def cancelled_at(place: Place, ending: str, *, cancels_session: bool) -> None:
    """Hold the conversation, cancel it there, and look what is left."""
    scene, watch, where = stage(), Watch(place), describe(place)
    await converse(watch, scene, ending, cancels_session=cancels_session)
    assert watch.has_cancelled, where
    assert scene.remains() == [], where
    assert len(scene.witness.closed) == 1, where
    assert scene.journal.records[-1][0] == "end", where
    assert [canceller.closed for canceller in scene.cancellers] == [1], where

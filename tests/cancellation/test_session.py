"""A session that is cancelled at any moment of a conversation leaves nothing behind, and says so in its journal.

Cancellation is what happens when a client vanishes, when it breaks the protocol, and when the process stops in a hurry.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from typing import Any

from tests.cancellation.conversation import LAST_MS, SPEECH, STORY, scripts
from voicefsm.context import State
from voicefsm.runtime.session import Session
from voicefsm.simulation import virtual
from voicefsm.simulation.client import Habits, SimulatedClient
from voicefsm.simulation.fakes import FakeLanguageModel, FakeRecognizer, FakeSynthesizer, FakeVoice
from voicefsm.simulation.stage import Stage


def stage() -> Stage:
    """A conversation with everything in it: an ASR stream that dies, slow backends, a backchannel, a barge-in, a second answer."""
    return Stage(
        recognizer=FakeRecognizer(scripts=scripts(), open_ms=30),
        model=FakeLanguageModel([STORY, "It is noon."], token_ms=40),
        synthesizer=FakeSynthesizer(FakeVoice(chunk_period_ms=60)),
    )


async def cancelled_after(scene: Stage, *, ms: int | None = None, steps: int | None = None) -> None:
    """Play the scene and cancel the session after so much virtual time, or so many turns of the event loop."""
    session = scene.session()
    client = SimulatedClient(session, speech=SPEECH, habits=Habits(latency_ms=10))
    talking = asyncio.create_task(client.run(), name="client")
    running = asyncio.create_task(session.run(), name="session")
    if ms is not None:
        await asyncio.sleep(ms / 1000)
    for _ in range(steps or 0):
        await asyncio.sleep(0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    talking.cancel()
    await asyncio.wait([talking])
    scene.client = client


def assert_nothing_is_left(scene: Stage, moment: Any) -> None:
    assert scene.remains() == [], f"cancelled after {moment}"
    if scene.witness.opened:
        assert scene.witness.closed == [("s-1", "cancelled")], moment
        assert [kind for kind, _, _ in scene.journal.records][-1] == "end", moment
    assert [canceller.closed for canceller in scene.cancellers] == [1] if scene.witness.opened else True


def test_cancelled_at_any_time() -> None:
    """Otherwise there is a moment at which a client that vanishes leaks a task, a stream, native memory or a file."""
    states = {virtual.run(state_after(ms)) for ms in range(7, LAST_MS, 50)}
    assert {state.name for state in states if state} >= {"IDLE", "LISTENING", "PROCESSING", "SPEAKING", "INTERRUPTING"}


async def state_after(ms: int) -> State | None:
    """The state in which the session was cancelled then."""
    scene = stage()
    await cancelled_after(scene, ms=ms)
    assert_nothing_is_left(scene, f"{ms} ms")
    return scene.witness.steps[-1].after if scene.witness.steps else None


def test_cancelled_at_every_turn_of_the_loop() -> None:
    """Otherwise there is an await at the beginning of a session that does not survive cancellation."""
    for turns in range(1, 60):
        virtual.run(cancelled_at(0, turns))


def test_cancelled_at_the_turns_around_every_change_of_state() -> None:
    """Otherwise a cancellation that meets an order half carried out leaks what the order began."""
    moments = virtual.run(moments_of_orders())
    assert len(moments) > 15
    for at_ms, turns in itertools.product(moments, range(0, 8, 2)):
        virtual.run(cancelled_at(at_ms, turns))


async def cancelled_at(at_ms: int, turns: int) -> None:
    """Cancelled after so much time, and so many turns of the loop."""
    scene = stage()
    await cancelled_after(scene, ms=at_ms, steps=turns)
    assert_nothing_is_left(scene, f"{at_ms} ms and {turns} turns of the loop")


async def moments_of_orders() -> list[int]:
    """When something is ordered in the conversation."""
    scene = stage()
    session = scene.session()
    client = SimulatedClient(session, speech=SPEECH, script=[(LAST_MS, Session.hang_up)], habits=Habits(latency_ms=10))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(client.run())
        await session.run()
    return sorted({step.fact.at_ms for step in scene.witness.steps if step.effects})


def test_cancelled_while_it_ends() -> None:
    """Otherwise a client that hangs up and then vanishes leaks what a hang-up alone would have closed."""
    for turns in range(30):
        virtual.run(cancelled_while_it_ends(turns))


async def cancelled_while_it_ends(turns: int) -> None:
    """Hung up, and cancelled so many turns of the loop later."""
    scene = stage()
    session = scene.session()
    running = asyncio.create_task(session.run(), name="session")
    await asyncio.sleep(3)
    session.hang_up()
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert scene.remains() == [], turns
    assert len(scene.witness.closed) == 1

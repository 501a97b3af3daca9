"""A conversation that goes on in another session, and a session whose process is to stop; in virtual time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from voicefsm.adapters.memory_store import MemoryStore
from voicefsm.context import State
from voicefsm.effects import Outcome
from voicefsm.events import SessionOpened
from voicefsm.ports import Message, Tool, WantedCall
from voicefsm.runtime import messages
from voicefsm.runtime.checkpoint import Checkpoint, from_bytes
from voicefsm.runtime.keeper import Keeping, ResumeSettings
from voicefsm.runtime.session import Session
from voicefsm.runtime.timers import LoopClock
from voicefsm.simulation.client import Habits, Line
from voicefsm.simulation.fakes import FakeLanguageModel, FakeRecognizer, FakeSynthesizer, FakeVoice
from voicefsm.simulation.stage import Stage, plan_with, saying
from voicefsm.values import EndReason

pytestmark = pytest.mark.looptime

STORY = "Once upon a time there was a king. He had a very long story to tell. It went on and on."
"""5.22 s of the fake voice."""
TYPES = Habits(has_microphone=False)
SETTINGS = ResumeSettings(keep_ms=60_000)
TOKEN = "vfr_token"


def say(text: str) -> Callable[[Session], object]:
    return partial(Session.type_text, text=text)


class Continued:
    """One conversation over several sessions, with one store."""

    def __init__(self) -> None:
        self.store = MemoryStore(LoopClock(), 10)
        self.owner = 0

    async def hold(self, stage: Stage, script: Sequence[Line], *, speech: Sequence[tuple[int, int]] = (), **habits: Any) -> Stage:
        """One session."""
        claimed = await self.store.claim(TOKEN)
        self.owner, data = claimed or (1, None)
        before = from_bytes(data) if data is not None else None
        stage.keeping = Keeping(self.store, SETTINGS, TOKEN, self.owner, before)
        await stage.play(script=script, speech=speech, habits=dataclasses.replace(TYPES, **habits))
        assert not stage.remains()
        return stage

    async def kept(self) -> Checkpoint | None:
        """What the store has."""
        data = await self.store.find(TOKEN)
        return None if data is None else from_bytes(data)


def stage(*replies: Any, **fields: Any) -> Stage:
    return Stage(model=FakeLanguageModel(replies), **fields)


def said_to(model: FakeLanguageModel, nth: int = -1) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in model.requests[nth].messages[1:]]


def turns_of(stage: Stage) -> list[tuple[str, str, Outcome]]:
    return [(turn.user_text, turn.heard_text, turn.outcome) for turn in stage.client.all(messages.TurnCompleted)]


async def test_an_answer_goes_on_where_the_ear_was() -> None:
    """Otherwise who loses a connection in mid-answer hears it again from the beginning, or never its end."""
    line = Continued()
    first = await line.hold(
        stage("It is noon.", STORY), [(100, say("what time is it")), (3000, say("a story")), (6000, Session.hang_up)]
    )
    assert turns_of(first)[0] == ("what time is it", "It is noon.", Outcome.COMPLETED)
    kept = await line.kept()
    assert kept is not None
    assert kept.is_written
    assert kept.question == "a story"
    assert f"{kept.heard} {' '.join(kept.rest)}" == STORY
    assert len(kept.heard) > 20
    assert len(kept.rest[-1]) > 10
    second = await line.hold(stage("Half past."), [(9000, say("and now")), (12_000, Session.hang_up)])
    assert [text.text for text in second.client.all(messages.AssistantText)][:-1] == list(kept.rest)
    assert turns_of(second) == [("a story", STORY, Outcome.COMPLETED), ("and now", "Half past.", Outcome.COMPLETED)]
    assert second.client.all(messages.AudioOutput)[0].epoch == 3, "numbers go on"
    assert said_to(second.model) == [
        ("user", "what time is it"),
        ("assistant", "It is noon."),
        ("user", "a story"),
        ("assistant", STORY),
        ("user", "and now"),
    ]
    assert len(second.model.requests) == 1, "the model is not asked again for what it has written"


async def test_it_is_kept_while_it_is_held() -> None:
    """Otherwise a process that is killed takes everything with it: nobody can say farewell then."""
    line, seen = Continued(), list[Checkpoint | None]()

    def look(_: Session) -> None:
        entry = line.store._entries.get(TOKEN)
        seen.append(from_bytes(entry.data) if entry else None)

    times = (50, 300, 1500, 2500, 3500, 8000)
    await line.hold(stage(STORY), [(100, say("a story")), *((ms, look) for ms in times[1:]), (9000, Session.hang_up)])
    kept = [one for one in seen if one is not None]
    assert len(kept) == 5
    assert kept[0].question == "a story"
    assert (kept[0].messages, kept[0].heard) == ((Message("user", "a story"),), "")
    hears = [len(one.heard) for one in kept[:4]]
    assert hears == sorted(hears)
    assert len(set(hears)) == 4, "the ear's place is kept as it moves on"
    assert all(f"{one.heard} {' '.join(one.rest)}".strip() == STORY for one in kept[1:4])
    assert (kept[4].question, kept[4].messages[-1]) == ("", Message("assistant", STORY))


async def test_a_question_that_was_not_answered_is_asked_again() -> None:
    """Otherwise who asks just before a server dies waits for ever."""
    line = Continued()
    await line.hold(Stage(model=FakeLanguageModel([STORY], first_token_ms=5000)), [(100, say("a story")), (2000, Session.hang_up)])
    second = await line.hold(stage("It is short."), [(5000, Session.hang_up)])
    assert turns_of(second) == [("a story", "It is short.", Outcome.COMPLETED)]
    assert said_to(second.model) == [("user", "a story")], "asked once, not twice"


async def test_words_that_nobody_heard_are_written_anew() -> None:
    """Otherwise an answer of which half was written ends in the middle."""
    line = Continued()
    slow = Stage(model=FakeLanguageModel([STORY], token_ms=300), synthesizer=FakeSynthesizer(FakeVoice(first_chunk_ms=20_000)))
    await line.hold(slow, [(100, say("a story")), (4500, Session.hang_up)])
    kept = await line.kept()
    assert kept is not None
    assert (kept.rest[:1], kept.heard, kept.is_written) == (("Once upon a time there was a king.",), "", False)
    second = await line.hold(stage("It is short."), [(5000, Session.hang_up)])
    assert turns_of(second) == [("a story", "It is short.", Outcome.COMPLETED)]


async def test_who_speaks_before_the_rest_loses_no_word_that_was_heard() -> None:
    """Otherwise the model does not know what the user heard; or is asked the old question again."""
    line = Continued()
    await line.hold(stage(STORY), [(100, say("a story")), (3000, Session.hang_up)])
    kept = await line.kept()
    assert kept is not None
    silent = Stage(model=FakeLanguageModel(["Well."]), synthesizer=FakeSynthesizer(FakeVoice(first_chunk_ms=3000)))
    second = await line.hold(silent, [(500, say("something else")), (9000, Session.hang_up)])
    assert turns_of(second) == [
        ("a story", kept.heard, Outcome.INTERRUPTED),
        ("something else", "Well.", Outcome.COMPLETED),
    ]
    assert said_to(second.model) == [("user", "a story"), ("assistant", kept.heard), ("user", "something else")]


async def test_an_answer_that_was_heard_to_its_end_is_over() -> None:
    """Otherwise its last word is said again, or the model asked for nothing."""
    line = Continued()
    kept = Checkpoint("s-0", "anonymous", messages=(Message("user", "hm"),), question="hm", heard="Yes.", is_written=True)
    await line.store.save(TOKEN, 1, kept.to_bytes(), keep_ms=60_000)
    second = await line.hold(stage("Well."), [(500, say("and")), (3000, Session.hang_up)])
    assert said_to(second.model) == [("user", "hm"), ("assistant", "Yes."), ("user", "and")]
    assert turns_of(second) == [("and", "Well.", Outcome.COMPLETED)]


async def test_calls_of_tools_are_not_made_twice() -> None:
    """Otherwise a table is booked twice; or the model waits for a result that never comes."""
    line = Continued()
    plan = plan_with(tools=(Tool("book", "Books.", '{"type":"object"}'),))
    first = stage((WantedCall("book", "{}"),), "Done.", plan=plan)
    await line.hold(first, [(100, say("book it")), (1000, Session.hang_up)])
    assert len(first.client.all(messages.ToolCalled)) == 1
    second = await line.hold(stage("I do not know.", plan=plan), [(5000, Session.hang_up)])
    (request,) = second.model.requests
    assert [message.role for message in request.messages[1:]] == ["user", "assistant", "tool"]
    assert "given up" in request.messages[-1].content
    assert turns_of(second) == [("book it", "I do not know.", Outcome.COMPLETED)]
    assert second.client.all(messages.ToolCalled) == []


async def test_what_the_user_was_just_saying_is_not_committed() -> None:
    """Otherwise half a sentence is answered. The client knows that it was not heard out."""
    line = Continued()
    listening = Stage(recognizer=FakeRecognizer(saying((1500, "tell me"))))
    await line.hold(listening, [(1900, Session.hang_up)], speech=[(1000, 1950)], has_microphone=True)
    assert moves(listening)[-2:] == [State.LISTENING, State.CLOSED]
    kept = await line.kept()
    assert kept is not None
    assert (kept.question, kept.messages) == ("", ())


def moves(stage: Stage) -> list[State]:
    return [change.after for change in stage.client.all(messages.StateChanged)]


@pytest.mark.parametrize(
    ("end", "is_kept"),
    [
        (Session.hang_up, True),
        (partial(Session.hang_up, is_farewell=True), False),
        (Session.shut_down, True),
        (partial(Session.drain, wait_ms=9000), True),
    ],
    ids=["vanished", "farewell", "shut down", "drained"],
)
async def test_what_is_kept_of_a_session_that_is_over(end: Any, is_kept: bool) -> None:
    """Otherwise a user who has hung up is remembered; or one whose server stopped is forgotten."""
    line = Continued()
    await line.hold(stage("It is noon."), [(100, say("what time is it")), (4000, end), (9000, Session.shut_down)])
    kept = await line.kept()
    assert (kept is not None) is is_kept
    assert kept is None or kept.messages == (Message("user", "what time is it"), Message("assistant", "It is noon."))


async def test_a_server_that_stops_in_mid_answer_keeps_the_rest() -> None:
    """Otherwise the end of its grace period costs the user the end of the answer."""
    line = Continued()
    first = await line.hold(stage(STORY), [(100, say("a story")), (3000, Session.shut_down)])
    assert turns_of(first)[0][2] is Outcome.INTERRUPTED
    kept = await line.kept()
    assert kept is not None
    assert f"{kept.heard} {' '.join(kept.rest)}" == STORY
    assert kept.messages == (Message("user", "a story"),), "as it was before it was cut"
    second = await line.hold(stage("no"), [(9000, Session.hang_up)])
    assert turns_of(second) == [("a story", STORY, Outcome.COMPLETED)]


async def test_who_was_succeeded_ends() -> None:
    """Otherwise a session that lost its client goes on talking to nobody, and holds its place."""
    line = Continued()
    first = stage(STORY)

    def steal(_: Session) -> None:
        line.store._entries[TOKEN].owner += 1

    await line.hold(first, [(100, say("a story")), (1500, steal)])
    assert [reason for _, reason in first.witness.closed] == [EndReason.CLIENT]
    assert first.witness.keepings[-1].outcome == "taken over"
    assert (await line.kept()) is not None


# --- a process that is to stop -----------------------------------------------------------------------------------------------


def drained(at_ms: int) -> Line:
    return at_ms, partial(Session.drain, wait_ms=20_000)


async def test_a_session_in_which_nobody_speaks_ends_soon() -> None:
    """Otherwise a process waits for people who are silent; or does not tell them where to go on."""
    made = stage()
    line = Continued()
    await line.hold(made, [drained(1000)])
    (away,) = made.client.all(messages.GoAway)
    assert (away.wait_ms, away.resume_token) == (20_000, TOKEN)
    (closed,) = [received for received in made.client.received if isinstance(received.message, messages.StateChanged)]
    assert closed.at_ms == 1300
    assert [reason for _, reason in made.witness.closed] == [EndReason.SHUTDOWN]


@pytest.mark.parametrize("at_ms", [150, 400, 2000, 5000])
async def test_a_live_turn_is_finished_first(at_ms: int) -> None:
    """Otherwise a rolling update cuts answers off."""
    made = stage(STORY)
    await made.play(script=[(100, say("a story")), drained(at_ms)], habits=TYPES)
    assert turns_of(made) == [("a story", STORY, Outcome.COMPLETED)]
    assert [reason for _, reason in made.witness.closed] == [EndReason.SHUTDOWN]


async def test_who_begins_in_the_moment_of_the_drain_is_answered() -> None:
    """Otherwise words said just then are lost."""
    made = stage("It is noon.")
    await made.play(script=[drained(1000), (1200, say("what time is it"))], habits=TYPES)
    assert turns_of(made) == [("what time is it", "It is noon.", Outcome.COMPLETED)]


async def test_who_goes_on_and_on_leaves_all_the_same() -> None:
    """Otherwise a process waits to the end of its grace period for whoever answers at once."""
    made = stage("It is noon.", "Half past.")

    def go_on(session: Session) -> None:
        if not session.outbox._is_closed:
            session.type_text("and now")

    turns = [(ms, go_on) for ms in range(1000, 20_000, 900)]
    await made.play(script=[(100, say("what time is it")), drained(500), *turns], habits=TYPES)
    assert len(turns_of(made)) <= 2
    assert [reason for _, reason in made.witness.closed] == [EndReason.SHUTDOWN]


async def test_a_client_that_reads_nothing_does_not_hold_a_drain_up() -> None:
    """Otherwise one bad client breaks the drain of all."""
    made = stage(plan=plan_with(session={"outbox_messages_max": 10}))
    session = made.session()
    for _ in range(10):
        session.outbox.put(messages.PausePlayout(0))  # type: ignore[arg-type]
    session.drain(1000)


async def test_without_a_store_nothing_is_promised() -> None:
    """Otherwise clients come back with tokens that nobody knows."""
    made = stage()
    await made.play(script=[drained(100)], habits=TYPES)
    assert made.client.all(messages.SessionReady)[0].resume_token == ""
    assert made.client.all(messages.GoAway)[0].resume_token == ""
    assert isinstance(made.witness.steps[0].fact, SessionOpened)

"""Gateways that die and gateways that are told to stop: real processes, a real Redis, and users who go on."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from tests.redis import RedisServer
from voicefsm.client import (
    AssistantText,
    ClientSettings,
    Conversation,
    Event,
    GoAway,
    NotAllowed,
    NotOffered,
    Outcome,
    ReasonLost,
    ServerUnavailable,
    SessionOptions,
    StateChanged,
    TurnCompleted,
    resuming,
)
from voicefsm.processes import Child, child, free_port
from voicefsm.scripted import ScriptedLlm, ScriptedRiva

START_MS_MAX = 60_000
WAIT_S_MAX = 60.0
STORY = "Once upon a time there was a king. He had a very long story to tell. It went on and on. And then it was over."
SHORT = "It is noon."
PATIENT = ClientSettings(connect_ms_max=20_000)
TURNS_AFTER = 4
QUICK = dataclasses.replace(PATIENT, resume_wait_ms_min=20)


@dataclasses.dataclass(frozen=True, slots=True)
class Replica:
    """A gateway in a process of its own."""

    process: Child
    target: str

    def kill(self, sign: int = signal.SIGKILL) -> None:
        os.kill(self.process.pid, sign)


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """What gateways lean on."""

    riva: ScriptedRiva
    llm: ScriptedLlm
    redis_url: str
    directory: Path

    @contextlib.asynccontextmanager
    async def replica(self, name: str, *options: str, port: int = 0, drain_ms_max: int = 30_000) -> AsyncIterator[Replica]:
        """A gateway, ended on leaving, whatever became of it."""
        settings = {
            "server.port": port,
            "server.drain_ms_max": drain_ms_max,
            "server.busy_pct_max": 100,  # forty come at once, on whatever machine
            "riva.target": self.riva.target,
            "llm.base_url": self.llm.base_url,
            "llm.warm_up": "false",
            "resume.redis_url": self.redis_url,
            "resume.cursor_ms": 100,
            "log.level": "warning",
        }
        given = [word for setting, value in settings.items() for word in ("--set", f"{setting}={value}")]
        command = [sys.executable, "-m", "voicefsm", "serve", *given, *options]
        log = self.directory / f"{name}.log"
        async with child(name, command, environment=os.environ, log=log, stop_ms_max=60_000) as process:
            target, _ = await process.ready([r"listening on (\S+)$", "^voicefsm gateway: ready$"], START_MS_MAX)
            yield Replica(process, target)


@contextlib.asynccontextmanager
async def place(redis: RedisServer, directory: Path, replies: Sequence[str]) -> AsyncIterator[Place]:
    async with ScriptedRiva() as riva, ScriptedLlm(replies) as llm:
        yield Place(riva, llm, redis.url, directory)


@contextlib.asynccontextmanager
async def playing(conversation: Conversation) -> AsyncIterator[None]:
    """The loudspeaker, at its pace."""

    async def play() -> None:
        while True:
            conversation.player.render(320)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(play())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(conversation: Conversation, kind: type[Event]) -> list[Event]:
    """Every event up to the first of this kind."""
    seen: list[Event] = []
    async with asyncio.timeout(WAIT_S_MAX):
        async for event in conversation:
            seen.append(event)
            if isinstance(event, kind):
                return seen
    raise AssertionError(f"the conversation ended after {seen}")


def asked_of(llm: ScriptedLlm, nth: int = -1) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in llm.requests[nth].body["messages"][1:]]


# --- a gateway that is killed ------------------------------------------------------------------------------------------------


async def killed_in_mid_answer(where: Place, other: Replica, number: int, heard_ms: int) -> None:
    """A whole turn, half an answer, kill -9; and at the other replica the rest of it, and another turn."""
    requests = len(where.llm.requests)
    async with where.replica(f"victim-{number}") as victim:
        token = await _half(victim, heard_ms)
        await victim.process.stop(60_000)
    going_on = Conversation.connect(other.target, SessionOptions(resume_token=token), settings=PATIENT)
    async with going_on as conversation, playing(conversation):
        assert (conversation.session.resume_token, conversation.session.resumed_user_text) == (token, "a story")
        rest = await until(conversation, TurnCompleted)
        done = rest[-1]
        assert isinstance(done, TurnCompleted)
        said = " ".join(event.text for event in rest if isinstance(event, AssistantText))
        assert said, "something was left to be heard"
        assert STORY.endswith(said), "it goes on within the answer, to its end"
        assert (done.user_text, done.heard_text, done.outcome) == ("a story", STORY, Outcome.COMPLETED)
        await conversation.send_text("what did I say")
        await until(conversation, TurnCompleted)
    assert asked_of(where.llm) == [
        ("user", f"hello from {heard_ms}"),
        ("assistant", STORY),
        ("user", "a story"),
        ("assistant", STORY),
        ("user", "what did I say"),
    ]
    assert len(where.llm.requests) == requests + 3, "the model was not asked again for what it had written"


async def _half(victim: Replica, heard_ms: int) -> str:
    """A turn, and half of another; then it is killed. Returns the token."""
    async with Conversation.connect(victim.target, settings=PATIENT) as conversation, playing(conversation):
        await conversation.send_text(f"hello from {heard_ms}")
        await until(conversation, TurnCompleted)
        await conversation.send_text("a story")
        begun = conversation.player.position
        while conversation.player.position - begun < heard_ms * 16:  # noqa: ASYNC110 (a loudspeaker tells nobody)
            await asyncio.sleep(0.01)
        victim.kill()
        with pytest.raises((ServerUnavailable, ReasonLost)):
            await until(conversation, TurnCompleted)
    return conversation.session.resume_token


async def survive(redis: RedisServer, directory: Path, times: int) -> int:
    """Kill so many gateways in mid-answer, each at another moment of it."""
    lost = 0
    async with place(redis, directory, [STORY]) as where:
        where.riva.tts.script = dataclasses.replace(where.riva.tts.script, char_ms=20)
        async with where.replica("other") as other:
            for number in range(times):
                try:
                    await killed_in_mid_answer(where, other, number, 200 + 1700 * number // max(1, times - 1))
                except AssertionError:
                    if times == 1:
                        raise
                    lost += 1
                    print(f"\nlost in round {number}")
    return lost


async def test_a_gateway_that_is_killed_loses_no_committed_turn(redis_server: RedisServer, tmp_path: Path) -> None:
    """Otherwise a crash costs users what they said, what they were told, and the rest of the answer."""
    assert await survive(redis_server, tmp_path, 3) == 0


@pytest.mark.all_resumes
async def test_fifty_gateways_that_are_killed(
    redis_server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same fifty times."""
    lost = await survive(redis_server, tmp_path, 50)
    with capsys.disabled():
        print(f"\nkill -9 in mid-answer, resumed at another replica over Redis: {50 - lost} of 50 lost no committed turn")
    assert lost == 0


# --- a rolling restart -------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class User:
    """Asks again and again, whatever becomes of servers."""

    number: int
    told: asyncio.Event
    """Set when one of the gateways was told to stop."""
    after: int = 0
    """Turns answered since then."""
    asked: int = 0
    answered: int = 0
    sessions: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)
    went_away: int = 0

    async def converse(self, conversation: Conversation) -> None:
        """Until some were answered after one gateway was told to stop. What a lost session has not taken is asked again."""
        self.sessions += 1
        is_taken = conversation.session.resumed_user_text != ""
        async with playing(conversation):
            while self.after < TURNS_AFTER:
                text = f"{self.number}-{self.answered}"
                if not is_taken:
                    await conversation.send_text(text)
                self.asked, is_taken = self.answered + 1, False
                async for event in conversation:
                    self.went_away += isinstance(event, GoAway)
                    if isinstance(event, TurnCompleted):
                        self._check(event)
                        break
                else:
                    raise AssertionError("a session ended OK, and its user had not done so")

    def _check(self, turn: TurnCompleted) -> None:
        self.answered += 1
        self.after += self.told.is_set()
        expected = (f"{self.number}-{self.asked - 1}", SHORT, Outcome.COMPLETED)
        if (turn.user_text, turn.heard_text, turn.outcome) != expected:
            self.wrong.append(f"{turn}")


async def test_a_rolling_restart_loses_no_turn(
    redis_server: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise every release of the gateway is heard by its users."""
    told = asyncio.Event()
    users = [User(number, told) for number in range(40)]
    async with place(redis_server, tmp_path, [SHORT]) as where, where.replica("one") as one, where.replica("two") as two:
        async with asyncio.timeout(4 * WAIT_S_MAX), asyncio.TaskGroup() as tasks:
            for user in users:
                targets = [one.target, two.target] if user.number % 2 else [two.target, one.target]
                talk = resuming(targets, SessionOptions(), user.converse, settings=QUICK)
                tasks.create_task(talk)
            while min(user.answered for user in users) < 1:  # noqa: ASYNC110 (users tell nobody)
                await asyncio.sleep(0.05)
            one.kill(signal.SIGTERM)
            told.set()
        assert await asyncio.wait_for(one.process._process.wait(), WAIT_S_MAX) == 0, "it drained, and ended by itself"
        last = {}
        for request in where.llm.requests:
            said = [message["content"] for message in request.body["messages"] if message["role"] == "user"]
            last[said[-1].partition("-")[0]] = said
    lost = sum(user.asked - user.answered for user in users) + sum(len(user.wrong) for user in users)
    moved = sum(user.sessions > 1 for user in users)
    with capsys.disabled():
        print(
            f"\nrolling restart: 40 live sessions, SIGTERM to one of two gateways: {moved} went on at the other, "
            f"{sum(user.answered for user in users)} turns answered, {lost} turns lost"
        )
    assert lost == 0, [user.wrong for user in users if user.wrong]
    assert moved == 20
    assert all(user.went_away == (user.number % 2) for user in users), "each was told, in band"
    assert all(last[str(user.number)] == [f"{user.number}-{k}" for k in range(user.answered)] for user in users), (
        "nobody forgot anything"
    )


async def test_workers_drain_each_by_itself(redis_server: RedisServer, tmp_path: Path) -> None:
    """Otherwise `serve --workers` cuts users off where `serve` does not."""
    async with place(redis_server, tmp_path, [STORY]) as where:
        where.riva.tts.script = dataclasses.replace(where.riva.tts.script, char_ms=20)
        async with where.replica("crew", "--workers", "2", port=free_port()) as crew:
            async with contextlib.AsyncExitStack() as stack:
                talks = [await stack.enter_async_context(Conversation.connect(crew.target, settings=PATIENT)) for _ in range(6)]
                for talk in talks:
                    await stack.enter_async_context(playing(talk))
                    await talk.send_text("a story")
                    while not any(isinstance(event, StateChanged) for event in await until(talk, AssistantText)):
                        pass
                crew.kill(signal.SIGTERM)
                for talk in talks:
                    seen = await until(talk, TurnCompleted)
                    assert any(isinstance(event, GoAway) for event in seen)
                    assert seen[-1].heard_text == STORY  # type: ignore[attr-defined]
                    with pytest.raises(ServerUnavailable, match="shutting down"):
                        await until(talk, type(None))  # type: ignore[arg-type]
            assert await asyncio.wait_for(crew.process._process.wait(), WAIT_S_MAX) == 0


async def test_at_the_end_of_the_grace_period_the_rest_goes_on_elsewhere(redis_server: RedisServer, tmp_path: Path) -> None:
    """Otherwise an answer longer than the grace period has no end."""
    async with (
        place(redis_server, tmp_path, [STORY]) as where,
        where.replica("one", drain_ms_max=300) as one,
        where.replica("two") as two,
    ):
        where.riva.tts.script = dataclasses.replace(where.riva.tts.script, char_ms=30)
        sessions: list[str] = []

        async def converse(conversation: Conversation) -> TurnCompleted:
            sessions.append(conversation.session.session_id)
            async with playing(conversation):
                if len(sessions) == 1:
                    await conversation.send_text("a story")
                    await until(conversation, AssistantText)
                    one.kill(signal.SIGTERM)
                while True:
                    done = (await until(conversation, TurnCompleted))[-1]
                    assert isinstance(done, TurnCompleted)
                    if done.outcome is Outcome.COMPLETED:
                        return done

        done = await resuming([one.target, two.target], SessionOptions(), converse, settings=QUICK)
        assert len(sessions) == 2
        assert done.heard_text == STORY


# --- who may resume ----------------------------------------------------------------------------------------------------------


async def test_a_token_is_good_for_its_owner_alone_and_not_for_ever(redis_server: RedisServer, tmp_path: Path) -> None:
    """Otherwise who finds a token hears what somebody else said; or a conversation that is over begins again."""
    from voicefsm.adapters.identities import hash_of
    from voicefsm.client import Access

    file = tmp_path / "identities.toml"
    file.write_text(f'[ann]\nkey_sha256 = ["{hash_of("ann")}"]\n[bob]\nkey_sha256 = ["{hash_of("bob")}"]\n')
    async with (
        place(redis_server, tmp_path, [SHORT]) as where,
        where.replica("one", "--set", f"auth.identities_file={file}") as one,
    ):
        with contextlib.suppress(ServerUnavailable):
            async with Conversation.connect(one.target, access=Access(key="ann"), settings=PATIENT) as first:
                token = first.session.resume_token
                raise ServerUnavailable("the line breaks")
        wanted = SessionOptions(resume_token=token)
        with pytest.raises(NotAllowed, match="somebody else's"):
            async with Conversation.connect(one.target, wanted, access=Access(key="bob"), settings=PATIENT):
                pass
        async with Conversation.connect(one.target, wanted, access=Access(key="ann"), settings=PATIENT) as second:
            assert second.session.session_id != first.session.session_id
        for gone in (token, "vfr_unknown"):
            wanted = SessionOptions(resume_token=gone)
            with pytest.raises(NotOffered, match="not known here"):
                async with Conversation.connect(one.target, wanted, access=Access(key="ann"), settings=PATIENT):
                    pass


async def test_without_redis_conversations_are_held_all_the_same(redis_server: RedisServer, tmp_path: Path) -> None:
    """Otherwise an outage of what is there for outages is one itself."""
    own = RedisServer(redis_server._directory)
    async with place(own, tmp_path, [SHORT]) as where, where.replica("one") as one:
        async with Conversation.connect(one.target, settings=PATIENT) as conversation, playing(conversation):
            await conversation.send_text("what time is it")
            assert (await until(conversation, TurnCompleted))[-1].heard_text == SHORT  # type: ignore[attr-defined]
        assert any("session not kept" in line for line in one.process.lines)
        with pytest.raises(ServerUnavailable, match="Redis"):
            async with Conversation.connect(one.target, SessionOptions(resume_token="vfr_x"), settings=PATIENT):
                pass

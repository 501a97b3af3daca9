"""One conversation over several sessions, as the client sees it: a gateway on a real port that is scripted to fail."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from voicefsm.client import (
    ClientSettings,
    ConversationFailed,
    InvalidRequest,
    ReasonLost,
    ServerFull,
    ServerUnavailable,
    SessionOptions,
    SessionReady,
    resuming,
)
from voicefsm.client import resume as module
from voicefsm.client.events import SessionLimits

FAST = ClientSettings(resume_attempts_max=3, resume_wait_ms_min=1, resume_wait_ms_max=1)
Plan = list[Callable[[], None]]


class Server:
    """Says what happens to each connection: before the session, or in it."""

    def __init__(self, *script: tuple[str, Exception | None]) -> None:
        self.script = list(script)
        self.asked: list[tuple[str, str]] = []
        """Target and token."""

    @asynccontextmanager
    async def connect(self, target: str, options: SessionOptions, **_: Any) -> AsyncIterator[Any]:
        self.asked.append((target, options.resume_token))
        when, error = self.script.pop(0)
        if when == "before" and error:
            raise error
        limits = SessionLimits(0, 0, 0, 0, 0, 0)
        session = type("S", (), {})()
        session.session = SessionReady(0.0, "s", limits, "" if when == "unkept" else "token", "none", "en-US", "")
        session.error = error if when in {"in", "unkept"} else None
        yield session
        if when == "after" and error:
            raise error


async def converse(session: Any) -> str:
    if session.error:
        raise session.error
    return "done"


GONE = ServerUnavailable("gone")


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Server]:
    def make(*script: tuple[str, Exception | None]) -> Server:
        server = Server(*script)
        monkeypatch.setattr(module, "Conversation", server)
        return server

    return make


@pytest.mark.parametrize("lost", [GONE, ReasonLost("broke off")])
async def test_it_goes_on_with_the_token_at_the_next_target(serve: Callable[..., Server], lost: Exception) -> None:
    """Otherwise a client waits for a server that is gone, or begins anew."""
    server = serve(("in", lost), ("before", GONE), ("in", GONE), ("in", None))
    assert await resuming(["a", "b"], SessionOptions(), converse, settings=FAST) == "done"
    assert server.asked == [("a", ""), ("b", "token"), ("a", "token"), ("b", "token")]


async def test_it_gives_up_after_so_many_attempts(serve: Callable[..., Server]) -> None:
    """Otherwise a client knocks for ever at servers that are gone."""
    server = serve(("in", GONE), *[("before", GONE)] * 9)
    with pytest.raises(ServerUnavailable):
        await resuming(["a", "b"], SessionOptions(), converse, settings=FAST)
    assert len(server.asked) == 1 + 3


async def test_sessions_that_are_lost_at_once_are_failures_too(serve: Callable[..., Server]) -> None:
    """Otherwise clients begin hundreds of sessions a second at a server that loses each, without a pause and without end."""
    server = serve(*[("in", GONE)] * 9)
    with pytest.raises(ServerUnavailable):
        await resuming(["a", "b"], SessionOptions(), converse, settings=FAST)
    assert len(server.asked) == 1 + 3


async def test_after_a_session_that_lasted_attempts_are_counted_anew(serve: Callable[..., Server]) -> None:
    """Otherwise a long conversation ends at the fourth restart of a server in its life."""
    server = serve(*[("in", GONE)] * 9, ("in", None))
    lasting = dataclasses.replace(FAST, resume_lasting_ms_min=0)
    assert await resuming(["a", "b"], SessionOptions(), converse, settings=lasting) == "done"
    assert len(server.asked) == 10


async def test_a_full_server_is_tried_again_but_not_who_floods_it(serve: Callable[..., Server]) -> None:
    """Otherwise a replica that is full for a moment ends a conversation; or who sends too fast is let in again and again."""
    serve(("before", ServerFull("full")), ("in", None))
    assert await resuming(["a"], SessionOptions(), converse, settings=FAST) == "done"
    serve(("in", ServerFull("too fast")))
    with pytest.raises(ServerFull):
        await resuming(["a"], SessionOptions(), converse, settings=FAST)


@pytest.mark.parametrize(("when", "error"), [("in", InvalidRequest("bad")), ("before", InvalidRequest("bad")), ("unkept", GONE)])
async def test_what_another_session_does_not_mend_ends_it(serve: Callable[..., Server], when: str, error: Exception) -> None:
    """Otherwise the same mistake is made at every server; or a conversation that is kept nowhere silently begins anew."""
    serve((when, error))
    with pytest.raises(ConversationFailed) as caught:
        await resuming(["a"], SessionOptions(), converse, settings=FAST)
    assert caught.value is error


async def test_reasons_that_are_always_lost_end_it(serve: Callable[..., Server]) -> None:
    """Otherwise a client that is refused for what it sends, and does not learn why, goes on for ever."""
    server = serve(*[("in", ReasonLost("broke off"))] * 9)
    with pytest.raises(ReasonLost):
        await resuming(["a"], SessionOptions(), converse, settings=FAST)
    assert len(server.asked) == 4


async def test_who_is_done_is_done(serve: Callable[..., Server]) -> None:
    """Otherwise a server that goes while the user hangs up is asked to begin again."""
    server = serve(("after", GONE))
    assert await resuming(["a"], SessionOptions(resume_token="old"), converse, settings=FAST) == "done"
    assert server.asked == [("a", "old")]

"""Backends that are away at the start, fail in mid-turn, or come back: named, with what to do, and without taking anybody along."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeAlias

import grpc
import pytest

from voicefsm.client import Fault, Outcome, ServerError, ServerUnavailable
from voicefsm.scripted import Fail, TtsScript
from voicefsm.scripted import Fault as VoiceFault
from voicefsm.scripted.llm import HttpError

WorldOf: TypeAlias = Callable[..., contextlib.AbstractAsyncContextManager[Any]]


async def test_riva_away_at_the_start_and_back_later(world: WorldOf) -> None:
    """Otherwise a client is let into a deaf and dumb session; or the gateway has to be restarted after every outage of Riva."""
    async with world(server={"offers_ms_max": 0}) as w:
        await w.riva.stop()
        with pytest.raises(ServerUnavailable) as caught:
            async with w.connect():
                raise AssertionError("it was let in")
        assert "ASR" in caught.value.message
        assert w.riva.target in caught.value.message, "it says where nobody answers"
        await w.riva.start()
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(ServerUnavailable):
                    async with w.connect() as conversation:
                        assert (await w.turn(conversation, "what time is it"))[-1].heard_text == "It is noon."
                        break


async def test_riva_goes_away_in_mid_session_and_comes_back(world: WorldOf) -> None:
    """Otherwise a restart of Riva hangs up on every user."""
    async with world(asr=None) as w, w.connect() as conversation:
        await w.riva.stop()
        seen = await w.turn(conversation, "what time is it")
        assert seen[-1].outcome is Outcome.FAILED
        errors = [event for event in seen if isinstance(event, ServerError)]
        # The recogniser is gone as well, which the client is told once it has failed again.
        assert "tts" in {error.backend for error in errors} <= {"asr", "tts"}
        assert all(error.fault is Fault.BACKEND and error.remedy for error in errors)
        await w.riva.start()
        async with asyncio.timeout(20):
            while (await w.turn(conversation, "and now"))[-1].outcome is not Outcome.COMPLETED:
                pass


async def test_the_model_fails_once(world: WorldOf) -> None:
    """Otherwise one overloaded second of the model costs the user an answer."""
    async with (
        world(replies=(HttpError(500, '{"error": {"message": "out of memory"}}'), "It is noon.")) as w,
        w.connect() as conversation,
    ):
        seen = await w.turn(conversation, "what time is it")
        assert (seen[-1].outcome, seen[-1].heard_text) == (Outcome.COMPLETED, "It is noon.")
        assert not [event for event in seen if isinstance(event, ServerError)]
        assert len(w.llm.requests) == 2


async def test_the_model_fails_for_good(world: WorldOf) -> None:
    """Otherwise a model that refuses ends a conversation, passes for an empty answer, or leaves the user in silence."""
    refusal = HttpError(401, '{"error": {"message": "no such key"}}')
    async with world(replies=(refusal, "It is noon.")) as w, w.connect() as conversation:
        seen = await w.turn(conversation, "what time is it")
        assert (seen[-1].outcome, seen[-1].heard_text) == (Outcome.FAILED, w.settings.turns.apology_en)
        (error,) = [event for event in seen if isinstance(event, ServerError)]
        assert (error.fault, error.backend, error.epoch) == (Fault.BACKEND, "llm", 1)
        assert "no such key" in error.message
        assert (await w.turn(conversation, "again"))[-1].heard_text == "It is noon."


async def test_the_voice_fails_in_mid_reply(world: WorldOf) -> None:
    """Otherwise the assistant believes it said what no server ever spoke."""
    tts = TtsScript(faults={1: VoiceFault(Fail(grpc.StatusCode.INTERNAL, "out of memory"))})
    async with world(tts=tts, replies=("This is the first sentence. And this one is never heard.", "It is noon.")) as w:
        async with w.connect() as conversation:
            seen = await w.turn(conversation, "talk to me")
            assert seen[-1].outcome is Outcome.FAILED
            assert seen[-1].heard_text == "This is the first sentence."
            assert [event.backend for event in seen if isinstance(event, ServerError)] == ["tts"]
            assert (await w.turn(conversation, "again"))[-1].heard_text == "It is noon."
        said = [message["content"] for message in w.llm.requests[-1].messages if message["role"] == "assistant"]
        assert said == ["This is the first sentence."]

"""What every `LanguageModel` does, fake or real."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from voicefsm.errors import BackendError
from voicefsm.ports import GenerationRequest, Message
from voicefsm.values import Backend

REQUEST = GenerationRequest((Message("system", "Be brief."), Message("user", "Hello?")), temperature=0.0, tokens_max=50)
PIECES = ["Hello", " there,", " you", "."]


async def test_text_comes_in_pieces_without_empty_ones(model_on: Any) -> None:
    """Otherwise the voice waits for the whole answer."""
    async with model_on(PIECES, False) as world:
        assert [piece async for piece in world.model.stream(REQUEST)] == PIECES
        assert world.messages() == [[("system", "Be brief."), ("user", "Hello?")]]
        assert world.aborted() == 0


async def test_closing_aborts_the_generation(model_on: Any, until: Any) -> None:
    """Otherwise a barge-in leaves the model writing to nobody."""
    async with model_on(PIECES * 1000, False) as world:
        async with aclosing(world.model.stream(REQUEST)) as reply:
            assert await anext(reply) == "Hello"
        await until(lambda: world.aborted() == 1)


async def test_cancellation_reaches_the_reader_and_aborts(model_on: Any, until: Any) -> None:
    """Otherwise a session cannot be torn down, or leaves its generation behind."""
    async with model_on(PIECES * 1000, False) as world:
        started = asyncio.Event()

        async def read() -> None:
            async with aclosing(world.model.stream(REQUEST)) as reply:
                async for _ in reply:
                    started.set()

        reader = asyncio.create_task(read())
        await started.wait()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await until(lambda: world.aborted() == 1)


async def test_failure_is_a_backend_error_after_its_text(model_on: Any) -> None:
    """Otherwise half an answer passes for a whole one."""
    async with model_on(PIECES, True) as world:
        reply = world.model.stream(REQUEST)
        assert [await anext(reply) for _ in PIECES] == PIECES
        with pytest.raises(BackendError) as caught:
            await anext(reply)
        assert caught.value.backend is Backend.LLM


async def test_generations_are_independent(model_on: Any) -> None:
    """Otherwise one session gets another's answer."""
    async with model_on(PIECES, False) as world:
        one, other = world.model.stream(REQUEST), world.model.stream(REQUEST)
        assert await anext(one) == await anext(other) == "Hello"
        await one.aclose()
        assert [piece async for piece in other] == PIECES[1:]

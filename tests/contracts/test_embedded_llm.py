"""The gateway's language model adapter on the embedded responder, in a process of its own: the two ends agree on the wire."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import httpx
import pytest

from voicefsm.adapters.nim import LlmSettings, NimLanguageModel
from voicefsm.errors import BackendError
from voicefsm.ports import GenerationRequest, Message

SERVE = """
import asyncio, sys
from voicefsm.embedded.llm_server import LlmServerSettings, llm_server

async def main():
    async with llm_server(LlmServerSettings(port=0, first_token_ms=0, tokens_per_second=float(sys.argv[1]))) as server:
        print(server.base_url, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""
START_S_MAX = 60
INTRODUCTION = "All right, here is a story about a lighthouse."


@asynccontextmanager
async def serving(tokens_per_second: float) -> AsyncGenerator[str]:
    """The base URL of a server; it ends when its standard input does."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVE, str(tokens_per_second), stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_S_MAX):
            base_url = (await process.stdout.readline()).decode().strip()
        assert base_url, "the server did not start"
        yield base_url
    finally:
        process.stdin.close()
        assert await process.wait() == 0


def request(*said: str) -> GenerationRequest:
    roles = ("user", "assistant")
    messages = [Message(roles[place % 2], content) for place, content in enumerate(said)]  # type: ignore[arg-type]
    return GenerationRequest((Message("system", "Be brief."), *messages), temperature=0.3, tokens_max=2048)


async def test_whole_answers_arrive() -> None:
    """Otherwise the demo has no language model."""
    async with serving(100_000) as base_url, aclosing(NimLanguageModel(LlmSettings(base_url=base_url))) as model:
        assert await model.models() == ("voicefsm-rules",)
        await model.ready()
        await model.warm_up()
        pieces = [str(piece) async for piece in model.stream(request("Tell me a long story please."))]
        story = "".join(pieces)
        assert story.startswith(INTRODUCTION)
        assert story.endswith("That is the end of the story.")
        assert len(pieces) > len(story.split())
        asked = request("Tell me a long story please.", INTRODUCTION, "Stop. What was the last thing you told me?")
        assert INTRODUCTION in "".join([str(piece) async for piece in model.stream(asked)])


async def test_abandoned_answer_is_aborted() -> None:
    """Otherwise a barge-in leaves the model writing."""
    async with (
        serving(20) as base_url,
        aclosing(NimLanguageModel(LlmSettings(base_url=base_url))) as model,
        httpx.AsyncClient(base_url=base_url, trust_env=False) as client,
    ):
        async with aclosing(model.stream(request("Tell me a long story please."))) as reply:
            await anext(reply)
        async with asyncio.timeout(20):
            while 'generations_total{outcome="aborted"} 1\n' not in (text := (await client.get("metrics")).text):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert 'generations_total{outcome="completed"} 0\n' in text
        assert "generations_running 0\n" in text


async def test_unknown_model_is_the_operators_affair() -> None:
    """Otherwise a wrong name is retried for ever."""
    async with (
        serving(20) as base_url,
        aclosing(NimLanguageModel(LlmSettings(base_url=base_url, model="llama"))) as model,
    ):
        with pytest.raises(BackendError, match="llama") as error:
            _ = [piece async for piece in model.stream(request("hello"))]
        assert not error.value.retryable

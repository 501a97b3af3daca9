"""The scripted language model does what its script says, as plain HTTP clients see it."""

from __future__ import annotations

import asyncio
import json

import httpx
import openai
import pytest

from voicefsm.scripted import DONE, Drop, Hang, HttpError, ScriptedLlm, written

BODY = {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": "hello"}]}


async def test_official_client_reads_a_reply() -> None:
    """Otherwise the script speaks a protocol of its own."""
    async with ScriptedLlm(["One two three.", "Four."]) as llm, openai.AsyncOpenAI(base_url=llm.base_url, api_key="k") as client:
        texts = []
        for _ in range(3):
            stream = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True)
            texts.append("".join([c.choices[0].delta.content or "" async for c in stream]))
        assert texts == ["One two three.", "Four.", "Four."]
        assert [model.id async for model in client.models.list()] == ["scripted"]
        assert (llm.completed, llm.aborted) == (3, 0)
        assert llm.requests[0].messages == ({"role": "user", "content": "hi"},)
        assert llm.requests[0].headers["authorization"] == "Bearer k"


async def test_client_that_leaves_aborts_the_generation() -> None:
    """Otherwise a barge-in that leaves the model running goes unseen."""
    async with ScriptedLlm([["once", Hang()]]) as llm, httpx.AsyncClient() as client:
        async with client.stream("POST", f"{llm.base_url}/chat/completions", json=BODY) as response:
            await anext(response.aiter_bytes())
        while not llm.aborted:  # noqa: ASYNC110, it happens on the other side of a socket
            await asyncio.sleep(0.005)
        assert (llm.completed, llm.aborted) == (0, 1)


async def test_dropped_connection_is_no_clean_end() -> None:
    """Otherwise a reply cut off by the network cannot be tested."""
    async with ScriptedLlm([["once", Drop()]]) as llm, httpx.AsyncClient() as client:
        with pytest.raises(httpx.HTTPError):
            await client.post(f"{llm.base_url}/chat/completions", json=BODY)


async def test_replies_may_depend_on_the_messages_and_be_raw() -> None:
    """Otherwise a conversation, or bytes no library would write, cannot be scripted."""
    llm = ScriptedLlm([lambda messages: [f"You said {messages[-1]['content']}", b": comment\r\n\r\n", DONE], HttpError(429, "{}")])
    async with llm, httpx.AsyncClient() as client:
        said = await client.post(f"{llm.base_url}/chat/completions", json=BODY)
        assert "You said hello" in said.text
        assert said.content.endswith(b"\n\n: comment\r\n\r\ndata: [DONE]\n\n")
        assert (await client.post(f"{llm.base_url}/chat/completions", json=BODY)).status_code == 429
        assert (await client.get(f"{llm.base_url}/nothing")).status_code == 404


async def test_prefix_cache_remembers_prompts() -> None:
    """Otherwise a history that changes its beginning looks as fast as one that only grows."""
    llm = ScriptedLlm(["Hi."], prefill_us_per_char=1, headers={"nvcf-reqid": "7"})
    async with llm, httpx.AsyncClient() as client:
        longer = BODY | {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]}
        for body in (BODY, longer, BODY | {"messages": [{"role": "user", "content": "help"}]}):
            answer = await client.post(f"{llm.base_url}/chat/completions", json=body)
            assert answer.headers["nvcf-reqid"] == "7"
        first, grown, changed = (request.cached_chars for request in llm.requests)
        assert (first, grown) == (0, len(json.dumps(BODY["messages"])) - 1)
        assert 0 < changed < grown


async def test_outage_ends_on_the_same_port() -> None:
    """Otherwise no test can see a client come back."""
    async with ScriptedLlm() as llm, httpx.AsyncClient() as client:
        await llm.stop()
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{llm.base_url}/models")
        await llm.start()
        assert (await client.get(f"{llm.base_url}/models")).json()["data"][0]["id"] == "scripted"
        assert json.dumps(llm.paths) == '["/v1/models"]'


def test_written_text_is_whole() -> None:
    """Otherwise a scripted reply loses words."""
    texts = [step for step in written(" Two  words\nand more. ") if isinstance(step, str)]
    assert "".join(texts) == " Two  words\nand more. "

"""Connections to a model server: which are alive, and what is sent over which; with real sockets, and a proxy that can swallow."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from tests.faults.blackhole import Proxy
from voicefsm.adapters.http import liveness
from voicefsm.adapters.nim import LlmSettings, NimLanguageModel
from voicefsm.errors import BackendError, Crowded
from voicefsm.ports import GenerationRequest, Message
from voicefsm.scripted import DONE, FINISH, ROLE, Hang, Pause, ScriptedLlm
from voicefsm.scripted.llm import Answer, Step

REQUEST = GenerationRequest((Message("user", "Hello?"),), temperature=0.0, tokens_max=64)
PATIENT: dict[str, Any] = {"first_token_ms_max": 120_000, "token_ms_max": 60_000, "health_ms_max": 200}
"""Were it for deadlines, these tests would take minutes."""
THINKING: list[Step] = [ROLE, Hang()]
LONG: list[Step] = [ROLE, "It", Pause(1000), " is", FINISH, DONE]


@asynccontextmanager
async def behind_a_proxy(*replies: Answer, **settings: Any) -> AsyncGenerator[tuple[NimLanguageModel, ScriptedLlm, Proxy]]:
    async with ScriptedLlm(replies) as llm:
        proxy = Proxy(int(llm.base_url.rpartition(":")[2].removesuffix("/v1")))
        await proxy.start()
        base_url = f"http://127.0.0.1:{proxy.port}/v1"
        try:
            async with aclosing(NimLanguageModel(LlmSettings(base_url=base_url, **PATIENT | settings))) as model:
                yield model, llm, proxy
        finally:
            await proxy.close()


async def write(model: NimLanguageModel) -> str:
    return "".join([str(piece) async for piece in model.stream(REQUEST)])


async def asked(llm: ScriptedLlm, count: int) -> None:
    async with asyncio.timeout(20):
        while len(llm.requests) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_reply_on_a_connection_that_turns_out_dead_fails_at_once() -> None:
    """Otherwise a network that lost a connection without a word costs its users the ten seconds that a model may think."""
    async with behind_a_proxy(THINKING, "Hello.") as (model, llm, proxy):
        await model.check_health()
        reply = asyncio.create_task(write(model))
        await asked(llm, 1)
        proxy.swallow()
        proxy.heal()
        await model.check_health()
        async with asyncio.timeout(20):
            with pytest.raises(BackendError, match="answers on a new connection") as caught:
                await reply
        assert caught.value.retryable
        assert await write(model) == "Hello.", "and the next one goes over a new connection"


async def test_reply_on_a_dead_connection_fails_after_a_long_outage_too() -> None:
    """Otherwise only outages are found that are over within one check."""
    async with behind_a_proxy(THINKING) as (model, llm, proxy):
        await model.check_health()
        reply = asyncio.create_task(write(model))
        await asked(llm, 1)
        proxy.swallow()
        for _ in range(3):
            with pytest.raises(BackendError, match="did not answer within"):
                await model.check_health()
        assert not reply.done(), "nobody answers: it may be slow, and nothing is gained by giving up"
        proxy.heal()
        async with asyncio.timeout(20):
            while not reply.done():
                await model.check_health()
            with pytest.raises(BackendError, match="answers on a new connection"):
                await reply


async def test_reply_that_goes_on_is_not_cut() -> None:
    """Otherwise one lost connection ends the replies on all others."""
    flowing: list[Step] = ["-", Pause(5)] * 100
    async with behind_a_proxy([ROLE, *flowing, FINISH, DONE]) as (model, llm, _), hole() as dead:
        model._connections._current.pulse.base_url = dead
        reply = asyncio.create_task(write(model))
        await asked(llm, 1)
        await model.check_health()
        assert await reply == "-" * 100


@asynccontextmanager
async def hole() -> AsyncGenerator[str]:
    """A base URL from which nothing comes."""
    proxy = Proxy(1)
    await proxy.start()
    proxy.swallow()
    try:
        yield f"http://127.0.0.1:{proxy.port}/v1/"
    finally:
        await proxy.close()


async def test_slow_server_is_no_dead_connection() -> None:
    """Otherwise a server that stood still for a moment loses every reply it was working on."""
    async with behind_a_proxy([ROLE, Pause(300), "Hello.", FINISH, DONE], health_ms_max=50) as (model, llm, _):
        await model.models()
        reply = asyncio.create_task(write(model))
        await asked(llm, 1)
        llm.is_ready = True
        for _ in range(5):
            await model.check_health()
        assert await reply == "Hello."


async def test_connections_do_not_pile_up_while_nobody_answers() -> None:
    """Otherwise an outage of an hour leaves thousands of sockets."""
    async with behind_a_proxy() as (model, _, proxy):
        proxy.swallow()
        for _ in range(10):
            with pytest.raises(BackendError):
                await model.check_health()
        assert not model._connections._retired
        await asyncio.sleep(0.05)
        assert not model._connections._closing


async def test_certificates_are_followed(make_certificate) -> None:
    """Otherwise an authority or a certificate of ours that is exchanged needs a restart, which costs every session."""
    server, ours = make_certificate("server"), make_certificate("ours")

    def tls() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(server.certificate, server.key)
        context.load_verify_locations(ours.certificate)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    files = {"tls_ca_file": server.certificate, "tls_certificate_file": ours.certificate, "tls_key_file": ours.key}
    settings: dict[str, Any] = PATIENT | {name: str(file) for name, file in files.items()}
    async with ScriptedLlm([LONG], tls=tls()) as llm:
        model = NimLanguageModel(LlmSettings(base_url=llm.base_url, **settings))
        async with aclosing(model), aclosing(model.stream(REQUEST)) as reply:
            assert await anext(reply) == "It"
            ours.key.write_text("half a k")  # being exchanged: what was read last counts
            assert await model.models() == ("scripted",)
            make_certificate("ours")
            with pytest.raises(BackendError):
                await model.models()  # the server has never seen this one
            assert await anext(reply) == " is", "replies that run are not cut"


def test_kernel_watches_the_connection() -> None:
    """Otherwise a host that lost its power is found by deadlines that are made for models."""
    options = {(level, name): value for level, name, value in liveness(3000)}
    assert options[socket.SOL_SOCKET, socket.SO_KEEPALIVE] == 1
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        assert options[socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT] == 3000


async def test_kernel_s_watch_is_on_every_connection() -> None:
    """Otherwise the options are computed and used nowhere."""
    async with (
        ScriptedLlm() as llm,
        aclosing(NimLanguageModel(LlmSettings(base_url=llm.base_url, unacknowledged_ms_max=7000))) as model,
    ):
        await model.models()
        pool = model._connections._current.client._transport._pool  # type: ignore[attr-defined]
        ours = pool.connections[0]._connection._network_stream.get_extra_info("socket")
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000


async def test_limit_of_our_own_is_told_as_such() -> None:
    """Otherwise too many sessions look like a broken server, and open its breaker for everybody."""
    async with behind_a_proxy(THINKING, connections_max=1, connect_ms_max=50) as (model, llm, _):
        reply = asyncio.create_task(write(model))
        await asked(llm, 1)
        with pytest.raises(Crowded, match="All 1 connections") as caught:
            await write(model)
        assert "llm.connections_max" in caught.value.remedy
        reply.cancel()
        await asyncio.wait([reply])

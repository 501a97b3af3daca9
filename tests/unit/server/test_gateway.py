"""The port, its health, and an end that cuts nobody off without a word."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeAlias

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.servers import needs_ipv6
from voicefsm.errors import SettingsError
from voicefsm.server.gateway import SERVICE
from voicefsm.server.servicer import ConversationServicer
from voicefsm.simulation.fakes import FakeRecognizer
from voicefsm.v1 import conversation_pb2 as pb

FORMAT = pb.AudioFormat(encoding=pb.AudioFormat.ENCODING_PCM16, sample_rate_hertz=16000)
CONFIG = pb.ConverseRequest(config=pb.SessionConfig(input_format=FORMAT))

Serve: TypeAlias = Callable[..., contextlib.AbstractAsyncContextManager[Any]]
Call: TypeAlias = "grpc.aio.StreamStreamCall[Any, Any]"


async def health(channel: grpc.aio.Channel, service: str) -> str:
    request = health_pb2.HealthCheckRequest(service=service)
    answer = await health_pb2_grpc.HealthStub(channel).Check(request)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


async def until_not_ready(channel: grpc.aio.Channel) -> None:
    async with asyncio.timeout(10):
        while await health(channel, SERVICE) == "SERVING":  # noqa: ASYNC110 (the other end is a server)
            await asyncio.sleep(0.01)


async def last_words(call: Call) -> tuple[list[str], str, str]:
    """Kinds of the responses left, status, message."""
    kinds = []
    try:
        async with asyncio.timeout(10):
            while (response := await call.read()) is not grpc.aio.EOF:
                kinds.append(response.WhichOneof("response"))
    except grpc.aio.AioRpcError:
        pass
    return kinds, (await call.code()).name, await call.details()


async def test_health(serve: Serve) -> None:
    """Otherwise an orchestrator sends clients to a server that is not there, or kills one that works."""
    async with serve() as served, grpc.aio.insecure_channel(served.target) as channel:
        assert [await health(channel, service) for service in ("", SERVICE)] == ["SERVING", "SERVING"]


async def test_reflection(serve: Serve) -> None:
    """Otherwise grpcurl needs the .proto; or a server that was told not to describes itself."""
    for wanted in (True, False):
        async with serve(reflection=wanted) as served, grpc.aio.insecure_channel(served.target) as channel:
            call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
            try:
                await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
                answer = await call.read()
                names = [service.name for service in answer.list_services_response.service]
            except grpc.aio.AioRpcError:
                names = []
            assert (SERVICE in names) is wanted


async def test_calls_that_ask_nobody_who_they_are_and_never_end_are_few(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a stranger without a key fills the memory, 30 KiB with each watch."""
    monkeypatch.setattr("voicefsm.server.watches.WATCHES_MAX", 2)
    async with serve() as served, grpc.aio.insecure_channel(served.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo

        async def watch() -> Call:
            return stub.Watch(health_pb2.HealthCheckRequest())

        async def describe() -> Call:
            call = reflect()
            await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            return call

        async def answer(call: Call) -> str:
            try:
                return "nothing" if await call.read() is grpc.aio.EOF else "something"
            except grpc.aio.AioRpcError as refusal:
                return str(refusal.code().name)

        for another in (watch, describe):
            calls = [await another() for _ in range(2)]
            assert [await answer(call) for call in calls] == ["something"] * 2
            assert await answer(await another()) == "RESOURCE_EXHAUSTED"
            assert await health(channel, "") == "SERVING"
            calls[0].cancel()
            async with asyncio.timeout(10):
                while await answer(await another()) != "something":
                    pass


async def test_a_port_in_use_is_the_operators_news(serve: Serve) -> None:
    """Otherwise two gateways share a port, and half of the calls go to the old one."""
    async with serve() as served:
        with pytest.raises(SettingsError, match=rf"Cannot listen on {served.target}.*Is another server running.* Set server\.port"):
            await serve(port=served.port).__aenter__()


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "[::1]"])
async def test_it_listens_on_ipv6(serve: Serve, host: str) -> None:
    """Otherwise it has no place in a cluster without IPv4."""
    async with serve(host=host) as served, grpc.aio.insecure_channel(f"[::1]:{served.port}") as channel:
        assert await health(channel, "") == "SERVING"


async def test_the_reason_is_told_why_there_is_no_listening(serve: Serve) -> None:
    """Otherwise an operator looks for another server, and it is the address that is wrong."""
    with pytest.raises(SettingsError, match=r"Cannot listen on 192\.0\.2\.1:\d+: .*assign requested address\. Set server\.host"):
        await serve(host="192.0.2.1").__aenter__()


async def test_a_drain_lets_the_living_finish_and_refuses_the_new(serve: Serve) -> None:
    """Otherwise a rolling update hangs up on everybody."""
    async with (
        serve(drain_ms_max=20_000) as served,
        served.session() as living,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        await living.write(pb.ConverseRequest(text=pb.TextInput(text="hello")))
        while (response := await living.read()).WhichOneof("response") != "state_changed":
            pass
        stopping = asyncio.create_task(served.gateway.stop())
        await until_not_ready(channel)
        assert await health(channel, "") == "SERVING", "it still works: nobody should kill it"
        async with served.call() as late:
            with contextlib.suppress(grpc.aio.AioRpcError):  # it may be refused before it has said a word
                await late.write(CONFIG)
            assert await last_words(late) == ([], "UNAVAILABLE", "The server is shutting down. Connect to another replica.")
        while (response := await living.read()).WhichOneof("response") != "go_away":
            pass
        assert 0 < response.go_away.deadline_ms <= 20_000
        while (response := await living.read()).WhichOneof("response") != "turn_completed":
            pass
        assert response.turn_completed.heard_text == "Hello there."
        kinds, code, _ = await last_words(living)
        assert (kinds[-1], code) == ("state_changed", "UNAVAILABLE"), "nobody speaks: it ends"
        await stopping


async def test_the_end_of_a_drain_is_told_in_band(serve: Serve) -> None:
    """Otherwise a client that is still there at the end sees a broken connection and no reason."""
    async with serve(drain_ms_max=0) as served, served.session() as call:
        await served.gateway.stop()
        kinds, code, details = await last_words(call)
        assert kinds == ["go_away", "state_changed"]
        assert (code, details) == ("UNAVAILABLE", "The server is shutting down.")
        assert [reason for _, reason in served.stage.witness.closed] == ["shutdown"]
        assert served.left() == []


async def test_the_deadline_of_a_drain_is_a_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a busy worker, on which every wait takes longer, drains until it is killed, and ends nobody in band."""
    sleep, waits = asyncio.sleep, 0

    async def late(wait_s: float) -> None:
        nonlocal waits
        waits += 1
        await sleep(4 * wait_s)

    async with serve(drain_ms_max=400) as served:
        with monkeypatch.context() as patched:
            patched.setattr(ConversationServicer, "sessions", 1)
            patched.setattr("voicefsm.server.gateway.asyncio.sleep", late)
            await served.gateway.stop()
    assert 0 < waits <= (400 + 1000) / 200, "a fifth of a second each"


async def test_who_was_at_the_door_when_the_drain_began_does_not_get_in(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a session begins that nobody will tell of the end."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(*_: object) -> frozenset[str]:
        asked.set()
        await answer.wait()
        return frozenset()

    monkeypatch.setattr(FakeRecognizer, "languages", slow)
    async with serve() as served, served.call() as call:
        await call.write(CONFIG)
        await asked.wait()
        served.servicer.drain()
        answer.set()
        assert (await last_words(call))[1] == "UNAVAILABLE"
        assert served.stage.witness.opened == []

"""What a health check finds out about connections to Riva, with real sockets and a proxy that can swallow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.faults.blackhole import Proxy
from tests.servers import listening
from voicefsm.adapters.channels import RivaChannel, RivaChannelSettings
from voicefsm.adapters.riva_asr import RivaAsrSettings, RivaRecognizer
from voicefsm.adapters.riva_tts import RivaSynthesizer, RivaTtsSettings
from voicefsm.errors import BackendError
from voicefsm.ports import RecognitionRequest, SpokenAudio, SynthesisRequest
from voicefsm.scripted import ScriptedRiva, TtsScript
from voicefsm.values import Backend

REQUEST = RecognitionRequest("en-US", silence_ms=500)


class Thinking(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """A health service that takes a while; transport and keepalive are well."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.asked = 0

    async def Check(self, _request: Any, _context: Any) -> health_pb2.HealthCheckResponse:  # noqa: N802 (gRPC's name)
        """See `grpc.health.v1`."""
        self.asked += 1
        await self.answers.wait()
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


@asynccontextmanager
async def thinking(health_ms_max: int) -> AsyncGenerator[tuple[RivaChannel, Thinking]]:
    server, service = grpc.aio.server(), Thinking()
    health_pb2_grpc.add_HealthServicer_to_server(service, server)
    async with listening(server) as target:
        settings = RivaChannelSettings(target=target, health_ms_max=health_ms_max)
        async with aclosing(RivaChannel(Backend.ASR, settings)) as channel:
            yield channel, service


async def test_stream_on_a_connection_that_turns_out_dead_ends_at_once() -> None:
    """Otherwise a connection that the network lost keeps its sessions deaf until keepalive finds out."""
    async with ScriptedRiva() as riva:
        proxy = Proxy(int(riva.target.rpartition(":")[2]))
        await proxy.start()
        settings = RivaChannelSettings(target=f"127.0.0.1:{proxy.port}", health_ms_max=200, keepalive_ms=600_000)
        try:
            async with aclosing(RivaRecognizer(RivaAsrSettings(), settings)) as asr, asr.open(REQUEST) as stream:
                reading = asyncio.create_task(anext(aiter(stream), None))
                proxy.swallow()
                with pytest.raises(BackendError, match="did not answer within"):
                    await asr.check_health()
                assert not reading.done(), "nobody answers: it may be slow, and nothing is gained by giving up"
                proxy.heal()
                await asr.check_health()
                async with asyncio.timeout(20):
                    await reading
        finally:
            await proxy.close()


async def test_one_check_is_enough_when_the_network_is_back() -> None:
    """Otherwise a dead connection costs its sessions the time until the next check."""
    async with ScriptedRiva() as riva:
        proxy = Proxy(int(riva.target.rpartition(":")[2]))
        await proxy.start()
        settings = RivaChannelSettings(target=f"127.0.0.1:{proxy.port}", keepalive_ms=600_000)
        try:
            async with aclosing(RivaRecognizer(RivaAsrSettings(), settings)) as asr, asr.open(REQUEST) as stream:
                reading = asyncio.create_task(anext(aiter(stream), None))
                proxy.swallow()
                proxy.heal()
                await asr.check_health()
                async with asyncio.timeout(20):
                    await reading
        finally:
            await proxy.close()


async def test_reply_on_a_connection_that_turns_out_dead_fails() -> None:
    """Otherwise the rest of a sentence is missing, and the reply is taken for whole."""
    async with ScriptedRiva(tts=TtsScript(chunk_period_ms=50)) as riva:
        proxy = Proxy(int(riva.target.rpartition(":")[2]))
        await proxy.start()
        settings = RivaChannelSettings(target=f"127.0.0.1:{proxy.port}", keepalive_ms=600_000)
        try:
            async with aclosing(RivaSynthesizer(RivaTtsSettings(), settings)) as tts:
                async with asyncio.timeout(20), tts.open(SynthesisRequest("en-US", "", 16000)) as stream:
                    for index, text in enumerate(("This is a sentence of some length.", "And here is another one.")):
                        stream.speak(index, text)
                    stream.finish()
                    spoken = aiter(stream)
                    await anext(spoken)
                    proxy.swallow()
                    proxy.heal()
                    await tts.check_health()
                    with pytest.raises(BackendError, match="given up") as caught:
                        await _to_the_end(spoken)
                assert caught.value.retryable
                assert tts.age.losses == 0
        finally:
            await proxy.close()


async def _to_the_end(spoken: AsyncIterator[SpokenAudio]) -> None:
    async for _ in spoken:
        pass


async def test_slow_answer_counts() -> None:
    """Otherwise a server has only half of the time that the setting gives it."""
    async with thinking(2000) as (channel, service):
        checking = asyncio.create_task(channel.check_health())
        while len(channel._connections) + len(channel._retired) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        service.answers.set()
        await checking


async def test_server_that_stood_still_keeps_its_connections() -> None:
    """Otherwise a pause of the server cuts every stream it would have gone on with."""
    async with thinking(600) as (channel, service):
        old = channel.get()
        other = health_pb2_grpc.HealthStub(old).Check(health_pb2.HealthCheckRequest())
        for _ in range(2):
            with pytest.raises(BackendError):
                await channel.check_health()
        service.answers.set()
        await channel.check_health()
        assert (await other).status == health_pb2.HealthCheckResponse.SERVING


async def test_late_answer_on_the_old_connection_does_not_close_the_new_one() -> None:
    """Otherwise after a busy minute all calls find a closed connection, and each session ends, until somebody restarts us."""
    async with thinking(2000) as (channel, service):
        checking = asyncio.create_task(channel.check_health())
        await until(lambda: service.asked == 1)
        old, service.answers = service.answers, asyncio.Event()
        await until(lambda: service.asked == 2)
        other = health_pb2_grpc.HealthStub(channel.get()).Check(health_pb2.HealthCheckRequest())
        await until(lambda: service.asked == 3)
        old.set()
        await checking
        later = health_pb2_grpc.HealthStub(channel.get()).Check(health_pb2.HealthCheckRequest())
        service.answers.set()
        for call in (other, later):
            assert (await call).status == health_pb2.HealthCheckResponse.SERVING


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def test_checks_do_not_pile_up_on_a_server_that_never_answers() -> None:
    """Otherwise a server whose transport lives and whose health service hangs costs a connection a second, for ever."""
    async with thinking(50) as (channel, _):
        used = health_pb2_grpc.HealthStub(channel.get()).Check(health_pb2.HealthCheckRequest())
        for _ in range(10):
            with pytest.raises(BackendError):
                await channel.check_health()
        channel.get()
        assert len(channel._retired) <= 1, "the one that is in use"
        assert len(channel._doubted) <= 1
        used.cancel()

"""Every await point of the backends' adapters is cancelled once, in each way it is reached, over real sockets.

Whoever uses an adapter is cancelled, as the session does it. Then the server must be rid of the stream, no task may be left, and
once the adapter is closed no socket either.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest

from tests.cancellation.awaits import Place, Watch, assert_all_were_visited, describe, sources, within
from tests.faults.blackhole import Proxy
from voicefsm.adapters.channels import RivaChannelSettings
from voicefsm.adapters.nim import LlmSettings, NimLanguageModel
from voicefsm.adapters.riva_asr import RivaAsrSettings, RivaRecognizer
from voicefsm.adapters.riva_tts import InputMode, RivaSynthesizer, RivaTtsSettings
from voicefsm.errors import BackendError
from voicefsm.ports import GenerationRequest, Message, RecognitionRequest, RecognitionStream, SynthesisRequest
from voicefsm.scripted import (
    AsrScript,
    At,
    Close,
    Fail,
    Hang,
    HttpError,
    ScriptedLlm,
    ScriptedRiva,
    StopReading,
    TtsScript,
    partial,
)
from voicefsm.scripted.asr import BYTES_PER_MS, Line
from voicefsm.scripted.llm import Answer

OF_OTHERS = {f"adapters/{name}.py" for name in ("followed", "identities", "redis_store", "tokens")}
"""Who calls is asked before there is a session (test_server.py); stores are in tests/contracts."""
SOURCES = [source for source in sources("adapters") if source not in OF_OTHERS]
_AT_ONCE = "gRPC cancels what is open and waits for nothing"
_LATER = "httpx lets go of the body in `response.aclose()`"
_BODY = "cast('AsyncGenerator[bytes]', response.aiter_bytes())"
EXCUSED = {
    "adapters/channels.py _drop_dead: await check.connection.channel.close()": _AT_ONCE,
    "adapters/http.py aclose: await asyncio.gather(*self._closing, return_exceptions=True)": "they are closed within a few turns",
    "adapters/channels.py aclose: await connection.channel.close()": _AT_ONCE,
    "adapters/riva_asr.py aclose: await self._channel.aclose()": _AT_ONCE,
    "adapters/riva_tts.py aclose: await self.channel.aclose()": _AT_ONCE,
    "adapters/riva_asr.py open: enter beside(stream.write())": "starts a task and waits for nobody",
    "adapters/riva_tts.py open: enter beside(stream.feed())": "starts a task and waits for nobody",
    "adapters/riva_asr.py _configure: await call.code()": "asked of a call that is over",
    "adapters/riva_asr.py _configure: await call.details()": "asked of a call that is over",
    "adapters/nim.py warm_up: exit aclosing(self._spoken(request, Completion(self._error), speech))": "its body never waits",
    f"adapters/nim.py _events: exit aclosing({_BODY})": _LATER,
    f"adapters/nim.py _head: exit aclosing({_BODY})": _LATER,
}
"""Points at which nobody can be cancelled, since nobody ever waits there."""

TRIES_MAX = 5
"""What a socket does first is not always the same: a place is looked for so often."""
TURNS_MAX = 500
"""Looks at what closes on the other side of a socket."""

World = tuple[Any, Callable[[], int]]
"""An adapter, and how many streams or requests are open at its server."""


# --- scenes ------------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def model(*replies: Answer) -> AsyncGenerator[World]:
    async with ScriptedLlm(replies, token_ms=2, first_token_ms=2) as llm:

        def being_written() -> int:
            refused = sum(isinstance(reply, HttpError) for reply in replies[: len(llm.requests)])
            return len(llm.requests) - refused - llm.completed - llm.aborted

        async with aclosing(NimLanguageModel(LlmSettings(base_url=llm.base_url))) as adapter:
            yield adapter, being_written


@asynccontextmanager
async def model_and_network() -> AsyncGenerator[World]:
    """A model that thinks, and the network before it. What the network swallows the server never hears the end of."""
    async with ScriptedLlm([[Hang()]]) as llm:
        proxy = Proxy(urlsplit(llm.base_url).port or 0)
        await proxy.start()
        settings = LlmSettings(base_url=f"http://127.0.0.1:{proxy.port}/v1", health_ms_max=100)
        try:
            async with aclosing(NimLanguageModel(settings)) as adapter:
                yield (adapter, proxy), lambda: 0
        finally:
            await proxy.close()


@asynccontextmanager
async def recognizer(*lines: Line, **settings: Any) -> AsyncGenerator[World]:
    async with ScriptedRiva(asr=AsrScript(lines)) as riva:
        adapter = RivaRecognizer(RivaAsrSettings(**settings), RivaChannelSettings(target=riva.target))
        async with aclosing(adapter):
            yield adapter, lambda: riva.asr.open_streams


@asynccontextmanager
async def recognizer_and_network() -> AsyncGenerator[World]:
    """Ears, and the network before them. What the network swallows the server never hears the end of."""
    async with ScriptedRiva() as riva:
        proxy = Proxy(int(riva.target.rpartition(":")[2]))
        await proxy.start()
        settings = RivaChannelSettings(target=f"127.0.0.1:{proxy.port}", health_ms_max=100)
        try:
            async with aclosing(RivaRecognizer(RivaAsrSettings(), settings)) as adapter:
                yield (adapter, proxy), lambda: 0
        finally:
            await proxy.close()


@asynccontextmanager
async def synthesizer(mode: InputMode, *, is_old: bool = False) -> AsyncGenerator[World]:
    async with ScriptedRiva(tts=TtsScript(is_old=is_old, first_chunk_ms=2, chunk_period_ms=2)) as riva:
        adapter = RivaSynthesizer(RivaTtsSettings(input_mode=mode), RivaChannelSettings(target=riva.target))
        async with aclosing(adapter):
            yield adapter, lambda: riva.tts.open_calls


async def write(adapter: NimLanguageModel) -> None:
    """Have a reply written."""
    request = GenerationRequest((Message("user", "Hello?"),), temperature=0.0, tokens_max=64)
    with contextlib.suppress(BackendError):
        async with aclosing(adapter.stream(request)) as pieces:
            async for _ in pieces:
                pass


async def write_and_leave(adapter: NimLanguageModel) -> None:
    """Have a reply written, and lose interest."""
    request = GenerationRequest((Message("user", "Hello?"),), temperature=0.0, tokens_max=64)
    async with aclosing(adapter.stream(request)) as pieces:
        async for _ in pieces:
            break


async def write_twice(adapter: NimLanguageModel) -> None:
    """The model of the first reply is gone at the second."""
    await write(adapter)
    await write(adapter)


async def get_ready(adapter: NimLanguageModel) -> None:
    """What is asked of a model that nobody talks to."""
    with contextlib.suppress(BackendError):
        await adapter.ready()
    await adapter.warm_up()
    await adapter.aclose()


async def lose_a_connection(both: tuple[NimLanguageModel, Proxy]) -> None:
    """Have a reply written on a connection that dies, and find out; then nobody answers at all."""
    adapter, proxy = both
    await adapter.check_health()
    async with asyncio.TaskGroup() as group:
        group.create_task(write(adapter))
        await adapter.models()
        proxy.swallow()
        proxy.heal()
        await adapter.check_health()
    proxy.swallow()
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(write(adapter))
        with contextlib.suppress(BackendError):
            await adapter.check_health()
        await adapter.aclose()
        writing.cancel()


async def listen(adapter: RivaRecognizer) -> None:
    """Say something, ask for the final, leave."""
    with contextlib.suppress(BackendError):
        async with adapter.open(RecognitionRequest("en-US", 500)) as stream:
            stream.send(bytes(BYTES_PER_MS * 200))
            async for heard in stream:
                if heard.is_final:
                    break
                stream.finalize()


async def lose_the_ears_connection(both: tuple[RivaRecognizer, Proxy]) -> None:
    """Listen on a connection that dies, and find out."""
    adapter, proxy = both
    async with adapter.open(RecognitionRequest("en-US", 500)) as stream:
        proxy.swallow()
        with contextlib.suppress(BackendError):
            await adapter.check_health()
        proxy.heal()
        await adapter.check_health()
        async for _ in stream:
            pass


async def catch_up(adapter: RivaRecognizer) -> None:
    """Say much at once, and no more after it."""
    with contextlib.suppress(BackendError):
        async with adapter.open(RecognitionRequest("en-US", 500)) as stream:
            stream.send(bytes(BYTES_PER_MS * 3000), at_once=True)
            await stream.room()
            stream.finish()
            async for _ in stream:
                pass


async def shout(adapter: RivaRecognizer) -> None:
    """Say more than the server takes."""
    with contextlib.suppress(BackendError):
        async with adapter.open(RecognitionRequest("en-US", 500)) as stream:
            shouting = asyncio.create_task(send_on(stream))
            try:
                async for _ in stream:
                    pass
            finally:
                shouting.cancel()


async def send_on(stream: RecognitionStream) -> None:
    """Much faster than anybody speaks."""
    while True:
        stream.send(bytes(BYTES_PER_MS * 1000))
        await asyncio.sleep(0.002)


async def speak(adapter: RivaSynthesizer) -> None:
    """Say two sentences, one after the other."""
    async with adapter.open(SynthesisRequest("en-US", "", 16000)) as stream:
        asyncio.get_running_loop().call_later(0.02, stream.speak, 0, "Hello there.")
        asyncio.get_running_loop().call_later(0.10, stream.speak, 1, "How are you?")
        asyncio.get_running_loop().call_later(0.15, stream.finish)
        async for _ in stream:
            pass


async def list_voices(adapter: RivaSynthesizer) -> None:
    await adapter.ready()
    await adapter.aclose()


async def list_languages(adapter: RivaRecognizer) -> None:
    await adapter.ready()
    await adapter.languages()
    await adapter.aclose()


GONE = HttpError(404, {"object": "error", "message": "The model does not exist.", "code": 404})
AWAY = Fail(grpc.StatusCode.UNAVAILABLE, "Away.")
SCENES: dict[str, tuple[Callable[[], AbstractAsyncContextManager[World]], Callable[[Any], Coroutine[Any, Any, None]]]] = {
    "a reply": (lambda: model("Hello there, you."), write),
    "a reply that is left": (lambda: model("Hello there, you."), write_and_leave),
    "a model that is gone": (lambda: model("Hello.", GONE, "Hello."), write_twice),
    "a model that refuses": (lambda: model(HttpError(500, "No.")), write),
    "a model that refuses at length": (lambda: model(HttpError(500, "No. " * 100_000)), write),
    "a model at start": (lambda: model("Ready."), get_ready),
    "a model behind a network that loses connections": (model_and_network, lose_a_connection),
    "words": (lambda: recognizer((At(100), partial("hello"))), listen),
    "ears that refuse": (lambda: recognizer((At(0), AWAY)), listen),
    "ears that catch up": (recognizer, catch_up),
    "ears that leave": (lambda: recognizer((At(100), partial("hello")), (At(200), Close()), answer_ms_max=1000), listen),
    "ears that are full": (lambda: recognizer((At(80), StopReading()), answer_ms_max=1000), shout),
    "ears behind a network that loses connections": (recognizer_and_network, lose_the_ears_connection),
    "languages": (recognizer, list_languages),
    "a voice": (lambda: synthesizer(InputMode.STREAMING), speak),
    "a voice in pieces": (lambda: synthesizer(InputMode.UNARY), speak),
    "an old voice": (lambda: synthesizer(InputMode.AUTO, is_old=True), speak),
    "voices": (lambda: synthesizer(InputMode.AUTO), list_voices),
}


# --- what is looked at -------------------------------------------------------------------------------------------------------


def sockets() -> int:
    """Open sockets of this process. Other files are opened by gRPC's engine once, and stay."""
    return sum(is_socket(int(file.name)) for file in Path("/dev/fd").iterdir())


def is_socket(descriptor: int) -> bool:
    """The list itself is a file that is closed by now."""
    with contextlib.suppress(OSError):
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    return False


async def until(is_so: Callable[[], bool]) -> bool:
    """Whether something on the other side of a socket comes to be so."""
    for _ in range(TURNS_MAX):
        if is_so():
            return True
        await asyncio.sleep(0.005)
    return False


async def play(name: str, watch: Watch) -> None:
    """Play a scene; whatever the watch does to it, nothing is left."""
    make, use = SCENES[name]
    async with ScriptedRiva():  # gRPC has tasks and sockets of its own, for as long as anything of it lives
        sockets_before, tasks_before = sockets(), asyncio.all_tasks()
        async with make() as (adapter, open_streams):
            with watch:
                using = asyncio.create_task(use(adapter), name="user")
                watch.whom = lambda: using
                await asyncio.wait([using])
            if not using.cancelled():
                using.result()
            assert await until(lambda: open_streams() == 0), "a stream is open at the server"
        assert await until(lambda: asyncio.all_tasks() <= tasks_before), asyncio.all_tasks() - tasks_before
        assert await until(lambda: sockets() <= sockets_before), "a socket is open"


async def places(name: str) -> list[Place]:
    watch = Watch()
    await play(name, watch)
    return within(watch.places, SOURCES)


async def test_every_await_point_is_visited() -> None:
    """Otherwise there is an await in an adapter of which the next test says nothing."""
    assert_all_were_visited(SOURCES, [place for name in SCENES for place in await places(name)], EXCUSED)


@pytest.mark.parametrize("name", SCENES)
async def test_cancelled_at_every_place(name: str) -> None:
    """Otherwise there is an await at which a barge-in leaks a stream of a server, a task or a socket."""
    for place in await places(name):
        for _ in range(TRIES_MAX):
            watch = Watch(place)
            await play(name, watch)
            if watch.has_cancelled:
                break
        assert watch.has_cancelled, describe(place)

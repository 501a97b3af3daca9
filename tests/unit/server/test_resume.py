"""Conversations that go on, over a real port: who may, with what settings, and what a client is told when."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from tests.unit.server.conftest import CONFIG, FORMAT, Served, serving
from voicefsm.adapters.memory_store import MemoryStore
from voicefsm.errors import StoreError
from voicefsm.ports import Message
from voicefsm.runtime.checkpoint import Checkpoint, from_bytes
from voicefsm.runtime.keeper import ResumeSettings
from voicefsm.runtime.timers import LoopClock
from voicefsm.server.resume import TOKEN_CHARS_MAX, Resumption
from voicefsm.simulation.fakes import FakeLanguageModel
from voicefsm.simulation.stage import Stage, plan_with
from voicefsm.v1 import conversation_pb2 as pb
from voicefsm.values import Epoch

TOKEN = "vfr_token"
BEFORE = Checkpoint("s-0", "anonymous", last_epoch=Epoch(4), messages=(Message("user", "a"), Message("assistant", "b")))


class SlowStore(MemoryStore):
    """Every write takes until it is let through."""

    def __init__(self) -> None:
        super().__init__(LoopClock(), 10)
        self.may = asyncio.Event()
        self.may.set()
        self.error = ""

    async def find(self, token: str) -> bytes | None:
        if self.error:
            raise StoreError(self.error)
        return await super().find(token)

    async def save(self, token: str, owner: int, data: bytes, *, keep_ms: int) -> bool:
        await self.may.wait()
        return await super().save(token, owner, data, keep_ms=keep_ms)

    async def put(self, checkpoint: Checkpoint) -> None:
        await super().save(TOKEN, 1, checkpoint.to_bytes(), keep_ms=60_000)

    def only(self) -> Checkpoint:
        (entry,) = self._entries.values()
        return from_bytes(entry.data)


@contextlib.asynccontextmanager
async def kept(store: SlowStore, stage: Stage | None = None, **fields: Any) -> AsyncIterator[Served]:
    async with serving(stage or Stage(), plan_with(**fields)) as served:
        served.servicer._resumption = Resumption(store, ResumeSettings(commit_ms_max=10_000))
        yield served


def resuming(token: str = TOKEN, **fields: Any) -> pb.ConverseRequest:
    return pb.ConverseRequest(config=pb.SessionConfig(input_format=FORMAT, resume_token=token, **fields))


async def refusal(served: Served, request: pb.ConverseRequest) -> tuple[str, str]:
    async with served.call() as call:
        await call.write(request)
        with contextlib.suppress(grpc.aio.AioRpcError):
            await call.read()
        return (await call.code()).name, await call.details()


async def test_who_may_not_is_told_why() -> None:
    """Otherwise a client waits, or begins anew without knowing."""
    store = SlowStore()
    async with kept(store) as served:
        assert (await refusal(served, resuming()))[0] == "NOT_FOUND"
        assert (await refusal(served, resuming("x" * (TOKEN_CHARS_MAX + 1))))[0] == "INVALID_ARGUMENT"
        await store.put(Checkpoint("s-0", "somebody"))
        assert await refusal(served, resuming()) == (
            "PERMISSION_DENIED",
            "The session to be resumed is somebody else's. Show the credentials it began with.",
        )
        assert store._entries[TOKEN].owner == 1, "a stranger takes nothing over"
        await store.put(Checkpoint("s-0", "anonymous", age_ms=10**9))
        assert "longest duration" in (await refusal(served, resuming()))[1]
        await MemoryStore.save(store, TOKEN, 1, b'{"format": 99}', keep_ms=1000)
        assert (await refusal(served, resuming()))[0] == "NOT_FOUND"
        store.error = "Away."
        assert await refusal(served, resuming()) == ("UNAVAILABLE", "Away.")
        assert served.servicer.sessions == served.admission.sessions == 0


async def test_it_goes_on_with_its_history_and_its_settings() -> None:
    """Otherwise the user has to say everything again, in the wrong language."""
    stage, store = Stage(model=FakeLanguageModel(["Noon."])), SlowStore()
    wishes = pb.SessionConfig(system_prompt="Be a pirate.", language_code="en-GB")
    wishes.generation.temperature = 1.5
    wishes.endpointing.silence_ms = 700
    await store.put(Checkpoint("s-0", "anonymous", wishes.SerializeToString(), 5000, Epoch(4), BEFORE.messages))
    async with kept(store, stage, turns={"session_ms_max": 60_000}) as served, served.call() as call:
        request = resuming()
        request.config.endpointing.silence_ms = 900
        await call.write(request)
        ready = (await call.read()).session_ready
        assert (ready.resume_token, ready.language_code, ready.resumed_user_text) == (TOKEN, "en-GB", "")
        assert ready.limits.session_ms_max == 55_000, "a conversation does not grow older than it may by being resumed"
        await call.write(pb.ConverseRequest(text=pb.TextInput(text="c")))
        while (response := await call.read()).WhichOneof("response") != "turn_completed":
            pass
        assert response.turn_completed.epoch == 5
        asked = stage.model.requests[-1]
        assert (asked.messages[0].content, asked.temperature) == ("Be a pirate.", 1.5)
        assert [message.content for message in asked.messages[1:]] == ["a", "b", "c"]
        again = pb.SessionConfig.FromString(store.only().wishes)
        assert (again.endpointing.silence_ms, again.resume_token, again.system_prompt) == (900, "", "Be a pirate.")


async def test_a_client_is_told_of_nothing_that_could_still_be_lost() -> None:
    """Otherwise a token is not good when it is used at once; or an exchange that was called complete is forgotten."""
    store = SlowStore()
    store.may.clear()
    async with kept(store) as served, served.call() as call:
        await call.write(CONFIG)
        reading = asyncio.ensure_future(call.read())
        await asyncio.sleep(0.1)
        assert not reading.done()
        store.may.set()
        token = (await reading).session_ready.resume_token
        assert token.startswith("vfr_")
        assert await store.find(token) is not None
        await call.write(pb.ConverseRequest(text=pb.TextInput(text="hello")))
        while (await call.read()).WhichOneof("response") != "turn_completed":
            pass
        assert store.only().messages[-1] == Message("assistant", "Hello there.")


async def test_a_farewell_is_one() -> None:
    """Otherwise what a user said is kept after they hung up."""
    store = SlowStore()
    async with kept(store) as served, served.session() as call:
        await call.write(pb.ConverseRequest(end_session=pb.EndSession()))
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await call.read() is not grpc.aio.EOF:
                pass
        assert await call.code() is grpc.StatusCode.OK
        assert [entry.data for entry in store._entries.values()] == [b""]


async def test_the_later_of_two_has_the_conversation() -> None:
    """Otherwise a client whose network broke shares its conversation with its own ghost."""
    store = SlowStore()
    await store.put(BEFORE)
    async with kept(store) as served, served.session(resuming()) as old:
        async with served.session(resuming()) as new:
            await old.write(pb.ConverseRequest(text=pb.TextInput(text="a ghost")))
            async with asyncio.timeout(10):
                with contextlib.suppress(grpc.aio.AioRpcError):
                    while await old.read() is not grpc.aio.EOF:
                        pass
            assert await old.code() is grpc.StatusCode.OK
            await new.write(pb.ConverseRequest(text=pb.TextInput(text="me")))
            while (await new.read()).WhichOneof("response") != "turn_completed":
                pass
        assert [message.content for message in store.only().messages] == ["a", "b", "me", "Hello there."]


@pytest.mark.parametrize("more", [0, 3])
async def test_tools_are_those_of_the_later_configuration(more: int) -> None:
    """Otherwise a client that declares its tools again has each of them twice, and is refused."""
    store = SlowStore()
    declared = [pb.Tool(name=f"t{k}", parameters='{"type":"object"}') for k in range(2)]
    await store.put(Checkpoint("s-0", "anonymous", pb.SessionConfig(tools=declared).SerializeToString()))
    anew = [pb.Tool(name=f"t{k}", parameters='{"type":"object"}') for k in range(more)]
    async with kept(store) as served, served.session(resuming(tools=anew)):
        kept_tools = pb.SessionConfig.FromString(next(iter(served.servicer._sessions)).plan.wishes).tools
        assert [tool.name for tool in kept_tools] == [f"t{k}" for k in range(more or 2)]

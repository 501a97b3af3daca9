"""One session per call, over a real port: every end has its status, and none is felt by another call."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, TypeAlias

import grpc
import pytest

from voicefsm.calls import write
from voicefsm.errors import BackendError, TooMuch
from voicefsm.runtime.session import Session
from voicefsm.server import servicer
from voicefsm.simulation.fakes import FakeLanguageModel, FakeRecognizer
from voicefsm.simulation.stage import Stage, plan_with
from voicefsm.v1 import conversation_pb2 as pb
from voicefsm.values import Backend

FORMAT = pb.AudioFormat(encoding=pb.AudioFormat.ENCODING_PCM16, sample_rate_hertz=16000)
CONFIG = pb.ConverseRequest(config=pb.SessionConfig(input_format=FORMAT))
END = pb.ConverseRequest(end_session=pb.EndSession())

Serve: TypeAlias = Callable[..., contextlib.AbstractAsyncContextManager[Any]]
Call: TypeAlias = "grpc.aio.StreamStreamCall[Any, Any]"


def text(words: str) -> pb.ConverseRequest:
    return pb.ConverseRequest(text=pb.TextInput(text=words))


async def read_until(call: Call, kind: str) -> list[pb.ConverseResponse]:
    """Responses up to the first of that kind."""
    read = []
    async with asyncio.timeout(10):
        while (response := await call.read()) is not grpc.aio.EOF:
            read.append(response)
            if response.WhichOneof("response") == kind:
                return read
    raise AssertionError(f"the call ended before {kind}: {await call.code()} {await call.details()}")


async def end_of(call: Call) -> tuple[str, str]:
    """How the call ends: status and message."""
    async with asyncio.timeout(10):
        try:
            while await call.read() is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError:
            pass
        return (await call.code()).name, await call.details()


async def test_a_session_from_its_first_message_to_ok(serve: Serve) -> None:
    """Otherwise no client in any language can hold a conversation."""
    async with serve(Stage(model=FakeLanguageModel(["Noon."]))) as served, served.session() as call:
        await write(call, text("what time is it"))
        read = await read_until(call, "turn_completed")
        kinds = [response.WhichOneof("response") for response in read]
        assert kinds[0] == "state_changed"
        assert {"assistant_text", "audio", "turn_completed"} <= set(kinds)
        turn = read[-1].turn_completed
        assert (turn.user_text, turn.heard_text) == ("what time is it", "Noon.")
        samples = sum(len(response.audio.data) for response in read) // 2
        assert samples == 5 * 60 * 16
        await write(call, END)
        assert await end_of(call) == ("OK", "")
        await served.until_empty()
        assert [reason for _, reason in served.stage.witness.closed] == ["client"]


async def test_half_close_is_a_hang_up(serve: Serve) -> None:
    """Otherwise a client that has nothing more to say holds its session for ever."""
    async with serve() as served, served.session() as call:
        await call.done_writing()
        assert await end_of(call) == ("OK", "")
        await served.until_empty()


async def test_a_client_that_vanishes_leaves_nothing(serve: Serve, tasks_of_sessions: Callable[[], list[str]]) -> None:
    """Otherwise every lost connection leaks a session."""
    stage = Stage(model=FakeLanguageModel(["A long story. " * 500], token_ms=1))
    async with serve(stage) as served:
        for _ in range(3):
            async with served.session() as call:
                await write(call, text("a story please"))
                await read_until(call, "audio")
                call.cancel()
            await served.until_empty()
        assert tasks_of_sessions() == []
        assert stage.witness.crashes == []
        assert (stage.model.aborted + stage.model.completed, stage.synthesizer.aborted) == (3, 3)


@pytest.mark.parametrize(
    ("requests", "status", "words"),
    [
        ([pb.ConverseRequest(audio=pb.AudioInput(data=bytes(640)))], "FAILED_PRECONDITION", "first message is `audio`"),
        ([CONFIG, CONFIG], "FAILED_PRECONDITION", "second `config`"),
        ([pb.ConverseRequest(config=pb.SessionConfig())], "INVALID_ARGUMENT", "encoding"),
        ([CONFIG, pb.ConverseRequest(audio=pb.AudioInput(data=bytes(641)))], "INVALID_ARGUMENT", "half a sample"),
        (
            [
                CONFIG,
                pb.ConverseRequest(audio=pb.AudioInput(data=bytes(640), capture_sample=320)),
                pb.ConverseRequest(audio=pb.AudioInput(data=bytes(640), capture_sample=0)),
            ],
            "INVALID_ARGUMENT",
            "steps back",
        ),
        ([pb.ConverseRequest(config=pb.SessionConfig(input_format=FORMAT, resume_token="x"))], "UNIMPLEMENTED", "resume"),
        ([pb.ConverseRequest(config=pb.SessionConfig(input_format=FORMAT, language_code="x" * 60_000))],
         "INVALID_ARGUMENT", "BCP-47"),
        ([CONFIG, *[pb.ConverseRequest(audio=pb.AudioInput(data=bytes(6400), capture_sample=k * 3200)) for k in range(20)]],
         "RESOURCE_EXHAUSTED", "ahead of real time"),
        ([CONFIG, pb.ConverseRequest(text=pb.TextInput(text="x" * 70_000))], "RESOURCE_EXHAUSTED", "larger than max"),
    ],
)  # fmt: skip
async def test_bad_input_ends_the_call_with_whose_fault_it_is(
    serve: Serve, requests: list[pb.ConverseRequest], status: str, words: str
) -> None:
    """Otherwise a client is told nothing, or that the server is broken."""
    async with serve() as served, served.call() as call:
        for request in requests:
            await write(call, request)
        code, details = await end_of(call)
        assert code == status
        assert words in details
        await served.until_empty()
        assert served.stage.witness.crashes == []


async def test_what_the_client_did_wrong_is_told_to_the_observers(serve: Serve) -> None:
    """Otherwise an operator sees that sessions end, and not why."""
    async with serve() as served, served.session() as call:
        await write(call, pb.ConverseRequest(audio=pb.AudioInput(data=bytes(641))))
        _, details = await end_of(call)
        await served.until_empty()
        assert [reason for _, reason in served.stage.witness.closed] == ["client_error"]
        assert served.stage.witness.last_words == [details]


async def test_nobody_holds_a_place_without_a_configuration(serve: Serve) -> None:
    """Otherwise a port scanner fills the server."""
    async with serve(config_ms_max=100) as served:
        async with served.call() as call:
            assert await end_of(call) == ("FAILED_PRECONDITION", "No `config` within 100 ms. Send `config` first.")
        async with served.call() as call:
            await call.done_writing()
            assert await end_of(call) == ("FAILED_PRECONDITION", "The call ended before `config` came. Send `config` first.")
        await served.until_empty()


async def test_a_full_server_refuses_and_the_others_go_on(serve: Serve) -> None:
    """Otherwise overload is shared by all instead of refused to one."""
    async with serve(sessions_max=1) as served, served.session() as first:
        async with served.call() as second:
            with contextlib.suppress(grpc.aio.AioRpcError):  # it may be refused before it has said anything
                await second.write(CONFIG)
            code, details = await end_of(second)
        assert (code, "holds 1 sessions already" in details) == ("RESOURCE_EXHAUSTED", True)
        await first.write(text("hello"))
        await read_until(first, "turn_completed")
        await first.write(END)
        assert (await end_of(first))[0] == "OK"
        await served.until_empty()
        async with served.session():
            pass


async def test_unknown_language_and_backend_away_at_the_door(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a client waits in a session in which nobody can understand it."""
    async with serve() as served:

        async def hindi(*_: object) -> frozenset[str]:
            return frozenset({"hi-IN"})

        monkeypatch.setattr(FakeRecognizer, "languages", hindi)
        async with served.call() as call:
            await write(call, CONFIG)
            code, details = await end_of(call)
        assert code == "NOT_FOUND"
        assert "'en-US'; it offers hi-IN" in details

        async def away(*_: object) -> frozenset[str]:
            raise BackendError(Backend.ASR, "The ASR server is away.", remedy="Start it.")

        monkeypatch.setattr(FakeRecognizer, "languages", away)
        async with served.call() as call:
            await write(call, CONFIG)
            assert await end_of(call) == ("UNAVAILABLE", "The ASR server is away. Start it.")


async def test_ears_lost_for_good_end_the_call_as_unavailable(serve: Serve) -> None:
    """Otherwise a client cannot tell an outage from a goodbye."""
    recognizer = FakeRecognizer(open_errors={0: BackendError(Backend.ASR, "No such model.", retryable=False)})
    async with serve(Stage(recognizer=recognizer)) as served, served.call() as call:
        await write(call, CONFIG)
        assert await end_of(call) == ("UNAVAILABLE", "No such model.")


async def test_a_backend_that_fails_in_mid_turn_is_a_message(serve: Serve) -> None:
    """Otherwise one bad answer of a model hangs up on the user."""
    model = FakeLanguageModel([BackendError(Backend.LLM, "On fire.", remedy="Pour water.", retryable=False), "Noon."])
    async with serve(Stage(model=model)) as served, served.session() as call:
        await write(call, text("hello"))
        error = (await read_until(call, "error"))[-1].error
        assert (error.fault, error.backend, error.epoch) == (pb.Error.FAULT_BACKEND, "llm", 1)
        assert (error.message, error.remedy) == ("On fire.", "Pour water.")
        await write(call, text("again"))
        await read_until(call, "turn_completed")
        assert (await read_until(call, "turn_completed"))[-1].turn_completed.heard_text == "Noon."


async def test_a_defect_in_one_session_is_internal_for_that_call_only(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise one bug takes every conversation of the process with it, or tells a stranger about our code."""

    def type_text(self: Session, words: str) -> None:
        if words == "crash":
            raise ZeroDivisionError("secret details")
        original(self, words)

    original = Session.type_text
    monkeypatch.setattr(Session, "type_text", type_text)
    async with serve() as served, served.session() as other, served.session() as call:
        await write(call, text("crash"))
        code, details = await end_of(call)
        witness = served.stage.witness
        assert code == "INTERNAL"
        assert details == f"A defect of the server ended session {witness.opened[1]}. Please report it."
        assert (witness.closed, witness.last_words) == ([(witness.opened[1], "failed")], ["ZeroDivisionError"])
        await other.write(text("hello"))
        assert (await read_until(other, "turn_completed"))[-1].turn_completed.heard_text == "Hello there."
        assert [type(error) for error in served.stage.witness.crashes] == [ZeroDivisionError]
        await other.write(END)
        assert (await end_of(other))[0] == "OK"
        await served.until_empty()


async def test_a_client_that_misbehaves_harms_nobody_else(serve: Serve) -> None:
    """Otherwise one broken client is everybody's outage."""
    async with serve() as served, served.session() as good:
        for requests in ([CONFIG, CONFIG], [END], [pb.ConverseRequest()]):
            async with served.call() as bad:
                for request in requests:
                    await bad.write(request)
                assert (await end_of(bad))[0] == "FAILED_PRECONDITION"
        await good.write(text("hello"))
        assert (await read_until(good, "turn_completed"))[-1].turn_completed.heard_text == "Hello there."


async def test_the_idle_limit_is_a_goodbye(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise forgotten clients look like failures."""
    async with serve(plan=plan_with(turns={"idle_ms_max": 200})) as served, served.session() as call:
        assert await end_of(call) == ("OK", "")
        await served.until_empty()
        assert [reason for _, reason in served.stage.witness.closed] == ["idle"]


async def test_last_messages_that_nobody_reads_hold_no_place(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a client that stops reading keeps its session, and all it holds, for as long as its connection lives."""
    monkeypatch.setattr(servicer, "_FAREWELL_S_MAX", 0.1)

    async def stuck(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(servicer, "_write", stuck)
    async with serve() as served, served.call() as call:
        await write(call, CONFIG)
        await write(call, END)
        assert (await end_of(call))[0] == "OK"
        await served.until_empty()


async def test_who_says_nothing_holds_no_place(serve: Serve) -> None:
    """Otherwise a few calls that never say what they want keep everybody out: a slow loris."""
    async with serve(sessions_max=2, pending_max=3) as served, contextlib.AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(served.call()) for _ in range(3)]
        async with asyncio.timeout(10):
            while served.admission.pending < 3:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.01)
        assert served.admission.sessions == 0
        async with served.call() as one_more:
            code, details = await end_of(one_more)
            assert (code, details) == (
                "RESOURCE_EXHAUSTED",
                "3 calls have not sent their configuration. Try another replica, or again in a while.",
            )
        for call in silent:
            call.cancel()
        async with asyncio.timeout(10):
            while served.admission.pending:  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.01)
        async with served.session():
            assert (served.admission.sessions, served.admission.pending) == (1, 0)


async def test_a_flood_of_small_messages_ends_the_one_who_sends_it(serve: Serve) -> None:
    """Otherwise one client keeps the loop busy with nothing."""
    async with serve(plan=plan_with(session={"messages_per_s_max": 20})) as served, served.session() as call:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            for k in range(1000):
                await write(call, pb.ConverseRequest(playout_progress=pb.PlayoutProgress(far_end_sample=k)))
        code, _ = await end_of(call)
        assert code in {"RESOURCE_EXHAUSTED", "INTERNAL"}, "or gRPC has lost it: see client/errors.py"
        await served.until_empty()
        assert served.stage.witness.closed[0][1] == "client_error"
        assert "More than 20 messages a second" in served.stage.witness.last_words[0]


async def test_calls_that_are_refused_or_cut_off_leave_nothing_to_the_garbage_collector(serve: Serve) -> None:
    """Otherwise a flood of them stops everybody for 30 ms, again and again, while what they left is collected."""

    async def refused(served: Any) -> None:
        async with served.call() as call:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await write(call, CONFIG)
            assert (await end_of(call))[0] == "RESOURCE_EXHAUSTED"

    async with serve(sessions_max=1) as served, served.session():
        await refused(served)
        with uncollected() as found:
            for _ in range(5):
                await refused(served)
    assert found == set()
    async with serve() as served:
        with uncollected() as found:
            for _ in range(5):
                async with served.session() as cut_off:
                    cut_off.cancel()
                await served.until_empty()
    assert found == set()


@contextlib.contextmanager
def uncollected() -> Iterator[set[str]]:
    """What of ours only the garbage collector could free; known afterwards."""
    found: set[str] = set()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found |= {
            type(one).__qualname__ for one in gc.garbage if type(one).__module__.startswith(("voicefsm.runtime", "voicefsm.server"))
        }
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def test_a_text_that_waited_and_cannot_be_told_is_the_sessions_fault() -> None:
    """Otherwise its client learns from the status alone why the conversation ended, and the journal never."""

    async def late() -> str:
        return "hello"

    def refuse(_text: str) -> None:
        raise TooMuch("Full.")

    session = SimpleNamespace(type_text=refuse, fault=None)
    paces = SimpleNamespace(texts=SimpleNamespace(late=late))
    with pytest.raises(TooMuch) as error:
        await servicer._type(session, paces)  # type: ignore[arg-type]
    assert session.fault is error.value

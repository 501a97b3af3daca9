"""Traces that arrive at an OTLP receiver, over gRPC."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias

import grpc.aio
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.servers import listening
from voicefsm.client import ClientSettings, Conversation
from voicefsm.load.crowd import crowd
from voicefsm.load.settings import LoadSettings
from voicefsm.load.stage import stage

WorldOf: TypeAlias = Callable[..., contextlib.AbstractAsyncContextManager[Any]]
CALLER = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


class Receiver(otlp_grpc.TraceServiceServicer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()

    async def Export(self, request: otlp.ExportTraceServiceRequest, _: Any) -> otlp.ExportTraceServiceResponse:  # noqa: N802
        for sent in request.resource_spans:
            self.services |= {one.value.string_value for one in sent.resource.attributes if one.key == "service.name"}
            self.spans += [span for scope in sent.scope_spans for span in scope.spans]
        return otlp.ExportTraceServiceResponse()

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def children(self, turn: Span) -> list[str]:
        return [span.name for span in self.spans if span.parent_span_id == turn.span_id and span.trace_id == turn.trace_id]


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    """A receiver, and an environment that sends to it."""
    made, server = Receiver(), grpc.aio.server()
    otlp_grpc.add_TraceServiceServicer_to_server(made, server)
    monkeypatch.setenv("GRPC_VERBOSITY", "ERROR")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "voicefsm-under-test")
    async with listening(server) as target:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{target}")
        yield made


async def test_one_trace_per_turn_with_all_children(receiver: Receiver, tmp_path: Path) -> None:
    """Otherwise traces are drawn in a test and never arrive anywhere."""
    load = LoadSettings(out=tmp_path, warm_s=0)
    async with stage(load, ("server.sessions_max=2",)) as running:
        (caller,) = await crowd(running.gateway, 1, 10.0, load)
        assert not caller.errors
    turns = receiver.named("turn")
    assert len(turns) >= 2
    assert receiver.services == {"voicefsm-under-test"}
    assert len({turn.trace_id for turn in turns}) == len(turns)
    cut = [turn for turn in turns if any(event.name == "cancel_tts" for event in turn.events)]
    assert len(cut) >= 1
    for turn in cut:
        assert sorted(receiver.children(turn)) == ["asr", "endpointing", "llm", "playout", "tts"]
        assert any(event.name == "barge_in.pause" for event in turn.events)
        for span in receiver.spans:
            if span.parent_span_id == turn.span_id:
                assert turn.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano <= turn.end_time_unix_nano


async def test_the_callers_trace_goes_through_us_to_nim_and_riva(receiver: Receiver, world: WorldOf) -> None:
    """Otherwise a platform team sees a gap where the gateway is."""
    async with world(replies=("It is noon.",)) as w:
        metadata = (("traceparent", CALLER),)
        async with Conversation.connect(
            w.target, settings=ClientSettings(connect_ms_max=20_000), metadata=metadata
        ) as conversation:
            await w.turn(conversation, "what time is it")
        sent = {value for call in w.riva.metadata for name, value in call if name == "traceparent"}
        sent.add(w.llm.requests[-1].headers["traceparent"])
    assert {header[3:35] for header in sent} == {CALLER[3:35]}
    spans = {name: receiver.named(name)[0] for name in ("recognition", "llm", "tts")}
    assert {header[36:52] for header in sent} == {span.span_id.hex() for span in spans.values()}
    (turn,) = receiver.named("turn")
    assert turn.parent_span_id.hex() == CALLER[36:52]


async def test_a_receiver_that_is_not_there_costs_no_conversation(world: WorldOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a broken collector is an outage."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    async with world(replies=("It is noon.",)) as w, w.connect() as conversation:
        turn = (await w.turn(conversation, "what time is it"))[-1]
        assert turn.heard_text == "It is noon."


def test_off_imports_nothing() -> None:
    """Otherwise everybody pays for what few use."""
    code = "import sys, voicefsm.app; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"

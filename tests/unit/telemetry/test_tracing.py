"""Traces: whole sessions in virtual time, and the spans that come of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from voicefsm.errors import BackendError
from voicefsm.ports import Hypothesis, Opening
from voicefsm.runtime.session import Session
from voicefsm.simulation.fakes import FakeLanguageModel, FakeRecognizer
from voicefsm.simulation.stage import Stage, plan_with, saying
from voicefsm.telemetry.several import Several
from voicefsm.telemetry.tracing import TraceObserver, provider
from voicefsm.values import Backend, Epoch

pytestmark = pytest.mark.looptime

STORY = "Once upon a time there was a king. He had a very long story to tell. It went on and on and on."
ASKS = (1000, 2000)
CALLER = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
ZERO_NS = 1_700_000_000_000_000_000


class Traced:
    """A stage whose sessions are traced."""

    def __init__(self, **stage: Any) -> None:
        self._exporter = InMemorySpanExporter()
        made = TracerProvider(shutdown_on_exit=False)
        made.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.observer = TraceObserver(made.get_tracer("test"), now_ns=lambda: ZERO_NS)
        self.stage = Stage(**stage)
        self.steps = self.stage.witness
        self.stage.witness = Several(self.steps, self.observer)  # type: ignore[assignment]
        self.stage.traceparent = self.observer.traceparent

    @property
    def spans(self) -> list[ReadableSpan]:
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def children(self, turn: ReadableSpan) -> dict[str, tuple[int, int]]:
        """Begin and end of each, in ms of the session."""
        mine = [span for span in self.spans if span.parent and span.parent.span_id == turn.context.span_id]
        return {span.name: (ms(span.start_time), ms(span.end_time)) for span in mine}


def ms(at_ns: int | None) -> int:
    assert at_ns is not None
    return (at_ns - ZERO_NS) // 1_000_000


def header_of(span: ReadableSpan) -> str:
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}"


def hang_up_at(at_ms: int) -> list[tuple[int, Callable[[Session], None]]]:
    return [(at_ms, Session.hang_up)]


async def test_a_turn_is_a_trace_with_what_it_waited_for() -> None:
    """Otherwise nobody can say of one slow answer who was slow."""
    traced = Traced(recognizer=FakeRecognizer(saying((2000, "what time is it"))), model=FakeLanguageModel(["It is noon."]))
    await traced.stage.play(speech=[ASKS], script=hang_up_at(8000))
    (turn,) = traced.named("turn")
    children = traced.children(turn)
    assert set(children) == {"asr", "endpointing", "llm", "tts", "playout"}
    (body,) = (body for kind, _, body in traced.stage.journal.records if kind == "turn")
    latencies = body["latencies"]
    over_ms = children["endpointing"][1]
    assert children["endpointing"] == (over_ms - latencies["endpointing_ms"], over_ms)
    assert ms(turn.start_time) == children["asr"][0] == pytest.approx(1000, abs=40)
    assert children["llm"][0] == children["tts"][0] == over_ms
    assert children["playout"][0] == over_ms + latencies["first_heard_ms"]
    assert ms(turn.end_time) == children["playout"][1]
    assert turn.parent is None
    assert turn.attributes is not None
    assert turn.attributes["voicefsm.outcome"] == "completed"
    assert traced.observer.trace_id("s-1") == "", "the session is over"
    (event,) = next(span for span in traced.spans if span.name == "llm").events
    assert event.name == "first token"


async def test_backends_are_told_which_span_waits_for_them() -> None:
    """Otherwise their own spans stand in traces of their own."""
    traced = Traced(recognizer=FakeRecognizer(saying((2000, "what time is it"))), model=FakeLanguageModel(["It is noon."]))
    await traced.stage.play(speech=[ASKS], script=hang_up_at(8000))
    stage = traced.stage
    assert stage.model.requests[0].traceparent[:52] == header_of(traced.named("llm")[0])
    assert stage.synthesizer.requests[0].traceparent[:52] == header_of(traced.named("tts")[0])
    assert stage.recognizer.requests[0].traceparent[:52] == header_of(traced.named("recognition")[0])


async def test_a_client_that_traces_has_us_in_its_trace() -> None:
    """Otherwise its trace ends at our door."""
    traced = Traced(plan=plan_with(traceparent=CALLER))
    script = [(100, lambda session: session.type_text("hi")), (3000, lambda session: session.type_text("and now"))]
    await traced.stage.play(script=[*script, *hang_up_at(8000)])
    assert len(traced.named("turn")) == 2
    assert {f"{span.context.trace_id:032x}" for span in traced.spans} == {CALLER[3:35]}
    for span in (*traced.named("turn"), *traced.named("recognition")):
        assert span.parent is not None
        assert f"{span.parent.span_id:016x}" == CALLER[36:52]
    assert set(traced.children(traced.named("turn")[0])) == {"llm", "tts", "playout"}, "typed: nobody was heard"


async def test_without_a_callers_trace_each_turn_is_its_own() -> None:
    """Otherwise a conversation of an hour is one trace that no tool can show."""
    traced = Traced()
    script = [(100, lambda session: session.type_text("hi")), (3000, lambda session: session.type_text("and now"))]
    await traced.stage.play(script=[*script, *hang_up_at(8000)])
    assert len({span.context.trace_id for span in traced.named("turn")}) == 2


async def test_a_barge_in_is_told_by_events_of_the_turn_it_cuts() -> None:
    """Otherwise a trace shows an answer that ends for no reason."""
    words = [*saying((2000, "tell me a story")), (6500, Hypothesis("wait what time is it", is_final=False))]
    words.append((7800, Hypothesis("wait what time is it", is_final=True)))
    traced = Traced(recognizer=FakeRecognizer(words), model=FakeLanguageModel([STORY, "It is noon."]))
    await traced.stage.play(speech=[ASKS, (6000, 7500)], script=hang_up_at(14_000))
    cut, answered = traced.named("turn")
    assert [event.name for event in cut.events] == ["barge_in.pause", "cancel_tts"]
    assert cut.events[1].attributes is not None
    assert cut.events[1].attributes["voicefsm.reason"] == "barge_in"
    assert (cut.attributes or {})["voicefsm.outcome"] == "interrupted"
    assert answered.events == ()
    said = " ".join(str(span.to_json()) for span in traced.spans)
    assert "story" not in said
    assert "noon" not in said, "nothing that was said stands in a trace"


async def test_a_cough_is_an_event_as_well() -> None:
    """Otherwise a stumble is not to be found."""
    traced = Traced(recognizer=FakeRecognizer(saying((2000, "tell me a story"))), model=FakeLanguageModel([STORY]))
    await traced.stage.play(speech=[ASKS, (4500, 4620)], script=hang_up_at(14_000))
    (turn,) = traced.named("turn")
    assert [event.name for event in turn.events] == ["barge_in.pause", "barge_in.rejected"]


async def test_a_failure_is_where_it_happened_and_each_attempt_a_span() -> None:
    """Otherwise a turn that failed looks like one that was short."""
    broken = FakeLanguageModel([BackendError(Backend.LLM, "The model is gone.")])
    traced = Traced(model=broken)
    await traced.stage.play(script=[(100, lambda session: session.type_text("hi")), *hang_up_at(20_000)])
    (turn,) = traced.named("turn")
    attempts = traced.named("llm")
    assert len(attempts) == len(broken.requests) > 1
    assert len({request.traceparent for request in broken.requests}) == len(attempts)
    assert {span.status.status_code for span in attempts} == {StatusCode.ERROR}
    assert turn.status.status_code is StatusCode.ERROR


async def test_a_session_that_ends_leaves_no_span_open() -> None:
    """Otherwise the turn that was cut off is the one that never shows."""
    traced = Traced(model=FakeLanguageModel([STORY]))
    await traced.stage.play(script=[(100, lambda session: session.type_text("hi")), *hang_up_at(1500)])
    assert [span.name for span in traced.spans if span.end_time is None] == []
    assert {"turn", "llm", "tts", "playout", "recognition"} == {span.name for span in traced.spans}


def test_a_session_that_nobody_opened_has_no_trace() -> None:
    """Otherwise a call that outlives its session brings it down."""
    traced = Traced()
    assert traced.observer.traceparent("gone", Epoch(1), Backend.LLM, 5) == ""
    traced.observer.session_closed("gone", "client", "")
    traced.observer.session_opened("s-9", Opening("en-US", "", "not a context"))
    assert traced.observer.traceparent("s-9", Epoch(1), Backend.LLM, 5) != ""
    assert len(traced.observer.trace_id("s-9")) == 32


def test_the_service_has_a_name_and_the_standard_variables_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise every gateway is `unknown_service`, or nobody can call it otherwise."""
    made = provider(InMemorySpanExporter())
    assert made.resource.attributes["service.name"] == "voicefsm"
    made.shutdown()
    monkeypatch.setenv("OTEL_SERVICE_NAME", "concierge")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab")
    made = provider(InMemorySpanExporter())
    assert made.resource.attributes["service.name"] == "concierge"
    assert made.resource.attributes["deployment.environment.name"] == "lab"
    made.shutdown()

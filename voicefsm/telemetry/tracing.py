"""Traces: a span per turn, with what it waited for as children. The only file that knows OpenTelemetry (an extra: `otel`).

    turn                  the user's onset, or the typed text … the exchange is over
    ├── asr               the onset … the final
    ├── endpointing       the user's last sample … the decision that the turn is over
    ├── llm               the request … the last token (each time the model is asked)
    ├── tts               the request … the end of the audio
    └── playout           the first sample heard … the last

A barge-in is told by events of the turn it cuts. `recognition` is a span of its own, one per ASR stream: a stream outlives turns.
A client that sends a trace context has all of them in its trace; without one each turn is a trace. The backends are given the
span that waits for them as their parent. Nothing that was said stands in a span.

Where spans go, how many, and what the service is called say the standard variables (OTEL_*); without one that asks for traces this
file is not even imported (`config.wants_traces`).

Theory of operation. Times come from the steps, not from when this is told: a span begins and ends at moments on the session's
clock, placed on the wall clock once. A span that backends are told about begins when the call does (`traceparent`); all others are
made when a step tells of them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping

from opentelemetry import trace
from opentelemetry.context import Context as TraceContext
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import voicefsm
from voicefsm import effects as fx
from voicefsm import events as ev
from voicefsm.context import Context
from voicefsm.effects import Effect, Outcome
from voicefsm.errors import VoiceFsmError
from voicefsm.events import Fact
from voicefsm.ports import Kept, Observer, Opening, Silence, Step, Vitals
from voicefsm.values import Backend, Epoch

_NEVER = -1
_NS_PER_MS = 1_000_000
LLM, TTS, PLAYOUT = "llm", "tts", "playout"


def provider(exporter: SpanExporter | None = None) -> TracerProvider:
    """What makes and sends spans, by the standard variables; `shutdown()` sends what is left and takes its time."""
    ours = Resource({SERVICE_NAME: "voicefsm", SERVICE_VERSION: voicefsm.__version__})
    made = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    return made


@dataclasses.dataclass(slots=True)
class _Turn:
    """A turn that is not over."""

    span: Span
    context: TraceContext
    """Of its children."""
    children: dict[str, Span]
    """Those that are not over."""


@dataclasses.dataclass(slots=True)
class _Session:
    """What is remembered of a session. Moments in ms on its clock."""

    attributes: dict[str, str]
    model: str
    parent: TraceContext
    zero_ns: int
    """When its clock was 0."""
    turns: dict[Epoch, _Turn] = dataclasses.field(default_factory=dict)
    """The live one; and for the length of a step the one before."""
    recognition: Span | None = None
    utterance_ms: int = _NEVER
    final_ms: int = _NEVER
    trace_id: str = ""
    """Of the newest turn."""

    def ns(self, at_ms: int) -> int:
        """On the wall clock."""
        return self.zero_ns + at_ms * _NS_PER_MS


class TraceObserver(Observer):
    """Makes spans of what sessions do."""

    def __init__(self, tracer: Tracer, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._tracer, self._now_ns = tracer, now_ns
        self._sessions: dict[str, _Session] = {}

    def trace_id(self, session_id: str) -> str:
        """Of the session's newest turn, in hex; empty before the first."""
        session = self._sessions.get(session_id)
        return session.trace_id if session else ""

    # --- calls to backends ---------------------------------------------------------------------------------------------------

    def traceparent(self, session_id: str, epoch: Epoch, backend: Backend, at_ms: int) -> str:
        """See `ports.Traceparent`: begins the span that waits for this call."""
        session = self._sessions.get(session_id)
        if session is None:
            return ""
        if backend is Backend.ASR:
            return _header(self._listen(session, at_ms))
        turn = session.turns.get(epoch) or self._begin(session, epoch, at_ms)
        attributes = {"gen_ai.request.model": session.model} if backend is Backend.LLM and session.model else {}
        span = self._tracer.start_span(
            backend.value, turn.context, SpanKind.CLIENT, attributes=attributes, start_time=session.ns(at_ms)
        )
        self._end_child(session, turn, backend.value, at_ms)
        turn.children[backend.value] = span
        return _header(span)

    def _listen(self, session: _Session, at_ms: int) -> Span:
        if session.recognition is not None:
            session.recognition.end(session.ns(at_ms))
        session.recognition = self._tracer.start_span(
            "recognition", session.parent, SpanKind.CLIENT, attributes=session.attributes, start_time=session.ns(at_ms)
        )
        return session.recognition

    def _begin(self, session: _Session, epoch: Epoch, at_ms: int) -> _Turn:
        start_ms = at_ms if session.utterance_ms == _NEVER else session.utterance_ms
        attributes: dict[str, str | int] = {**session.attributes, "voicefsm.turn": int(epoch)}
        span = self._tracer.start_span("turn", session.parent, attributes=attributes, start_time=session.ns(start_ms))
        session.turns[epoch] = _Turn(span, trace.set_span_in_context(span, session.parent), {})
        session.trace_id = trace.format_trace_id(span.get_span_context().trace_id)
        return session.turns[epoch]

    # --- the observer --------------------------------------------------------------------------------------------------------

    def session_opened(self, session_id: str, opening: Opening) -> None:
        """See `ports.Observer`."""
        parent = TraceContextTextMapPropagator().extract({"traceparent": opening.traceparent}, TraceContext())
        attributes = {
            "voicefsm.session": session_id,
            "voicefsm.language": opening.language_code,
            "voicefsm.identity": opening.identity,
        }
        self._sessions[session_id] = _Session(attributes, opening.model, parent, self._now_ns())

    def kept(self, session_id: str, kept: Kept) -> None:
        """See `ports.Observer`: metrics tell that."""

    def session_closed(self, session_id: str, reason: str, message: str) -> None:  # noqa: ARG002 (the port has it)
        """See `ports.Observer`: what is still open ends now."""
        session = self._sessions.pop(session_id, None)
        if session is None:
            return
        for turn in session.turns.values():
            for span in (*turn.children.values(), turn.span):
                span.end()
        if session.recognition is not None:
            session.recognition.set_attribute("voicefsm.end_reason", reason)
            session.recognition.end()

    def measured(self, session_id: str, vitals: Vitals) -> None:
        """See `ports.Observer`: metrics tell that better."""

    def fell_silent(self, session_id: str, silence: Silence) -> None:
        """See `ports.Observer`: the turn is over by then."""

    def refused(self, error: VoiceFsmError, identity: str = "") -> None:
        """See `ports.Observer`: nothing was begun."""

    def reloaded(self, what: str, problem: str) -> None:
        """See `ports.Observer`: it belongs to no session."""

    def crashed(self, session_id: str, error: Exception) -> None:
        """See `ports.Observer`: its session is told to be closed as well."""

    def stepped(self, step: Step, context: Context) -> None:
        """See `ports.Observer`."""
        session = self._sessions[step.session_id]
        self._note_fact(session, step)
        for effect in step.effects:
            self._note_order(session, effect, step.fact, context)

    # --- facts ---------------------------------------------------------------------------------------------------------------

    def _note_fact(self, session: _Session, step: Step) -> None:
        fact = step.fact
        match fact:
            case ev.SpeechStarted() if session.utterance_ms == _NEVER:
                session.utterance_ms = fact.onset_ms
            case ev.FinalHeard() if fact.text:
                session.final_ms = fact.at_ms
            case ev.RecognitionFailed() if session.recognition is not None:
                session.recognition.set_status(Status(StatusCode.ERROR, fact.message))
                session.recognition.end(session.ns(fact.at_ms))
                session.recognition = None
            case ev.ReplyFact():
                turn = session.turns.get(fact.epoch)
                if turn is not None:
                    self._note_reply(session, turn, fact)

    def _note_reply(self, session: _Session, turn: _Turn, fact: ev.ReplyFact) -> None:
        match fact:
            case ev.TokenArrived():
                _tell(turn.children.get(LLM), "first token", session.ns(fact.at_ms))
            case ev.FirstAudio():
                _tell(turn.children.get(TTS), "first audio", session.ns(fact.at_ms))
            case ev.GenerationFinished():
                self._end_child(session, turn, LLM, fact.at_ms)
            case ev.BackendFailed():
                self._end_child(session, turn, fact.backend.value, fact.at_ms, problem=fact.message)
            case ev.PlayoutAdvanced() if fact.is_made:
                self._end_child(session, turn, TTS, fact.at_ms)
            case ev.PlayoutStarted():
                turn.children[PLAYOUT] = self._tracer.start_span(PLAYOUT, turn.context, start_time=session.ns(fact.at_ms))

    def _end_child(self, session: _Session, turn: _Turn, name: str, at_ms: int, *, problem: str = "") -> None:
        span = turn.children.pop(name, None)
        if span is None:
            return
        if problem:
            span.set_status(Status(StatusCode.ERROR, problem))
        span.end(session.ns(at_ms))

    # --- orders --------------------------------------------------------------------------------------------------------------

    def _note_order(self, session: _Session, effect: Effect, fact: Fact, context: Context) -> None:
        match effect:
            case fx.StartGeneration():
                self._note_question(session, effect.epoch, fact, context)
            case fx.PausePlayout() | fx.DuckPlayout():
                ago = {"voicefsm.onset_ago_ms": fact.at_ms - context.onset_ms}
                self._tell_turn(session, effect.epoch, "barge_in.pause", fact.at_ms, ago)
            case fx.ResumePlayout():
                self._tell_turn(session, effect.epoch, "barge_in.rejected", fact.at_ms, {"voicefsm.why": effect.why})
            case fx.CancelTts():
                why = {"voicefsm.reason": effect.reason.value, "voicefsm.why": effect.why}
                self._tell_turn(session, effect.epoch, "cancel_tts", fact.at_ms, why)
            case fx.CallTools() if effect.epoch in session.turns:
                self._end_child(session, session.turns[effect.epoch], LLM, fact.at_ms)
                self._tell_turn(session, effect.epoch, "tools called", fact.at_ms, {"voicefsm.calls": len(effect.calls)})
            case fx.CompleteTurn():
                self._complete(session, effect.epoch, effect.outcome, fact.at_ms)
            case fx.RetractUserTurn():
                self._complete(session, effect.epoch, Outcome.RETRACTED, fact.at_ms)

    def _note_question(self, session: _Session, epoch: Epoch, fact: Fact, context: Context) -> None:
        """The user's turn is over: what led there is known now."""
        turn = session.turns.get(epoch)
        spoken_ms, session.utterance_ms = session.utterance_ms, _NEVER
        if turn is None or spoken_ms == _NEVER or isinstance(fact, ev.TextReceived):
            return
        heard_ms = session.final_ms if session.final_ms >= spoken_ms else fact.at_ms
        for name, start_ms, end_ms in (("asr", spoken_ms, heard_ms), ("endpointing", context.last_voiced_ms, fact.at_ms)):
            span = self._tracer.start_span(name, turn.context, start_time=session.ns(start_ms))
            span.end(session.ns(end_ms))

    def _tell_turn(self, session: _Session, epoch: Epoch, event: str, at_ms: int, attributes: Mapping[str, str | int]) -> None:
        turn = session.turns.get(epoch)
        if turn is not None:
            _tell(turn.span, event, session.ns(at_ms), attributes)

    def _complete(self, session: _Session, epoch: Epoch, outcome: Outcome, at_ms: int) -> None:
        turn = session.turns.pop(epoch, None)
        if turn is None:
            return
        for name in list(turn.children):
            self._end_child(session, turn, name, at_ms)
        turn.span.set_attribute("voicefsm.outcome", outcome.value)
        if outcome is Outcome.FAILED:
            turn.span.set_status(Status(StatusCode.ERROR))
        turn.span.end(session.ns(at_ms))


def _tell(span: Span | None, event: str, at_ns: int, attributes: Mapping[str, str | int] | None = None) -> None:
    if span is not None:
        span.add_event(event, attributes, at_ns)


def _header(span: Span) -> str:
    """W3C trace context, for a call that is made on behalf of this span."""
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(span, TraceContext()))
    return carrier.get("traceparent", "")

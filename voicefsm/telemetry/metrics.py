"""Counts and times what sessions do, for Prometheus. What there is to count: families.py; how it is served: exposition.py.

Theory of operation. A session is followed by its id: what a step tells that a later step makes a latency of is kept until then.
Most facts of a session mean nothing here, and cost one look into a table. Nothing is called per frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

import voicefsm
from voicefsm import effects as fx
from voicefsm import events as ev
from voicefsm.context import Context, NearEnd, State
from voicefsm.effects import Effect, Outcome
from voicefsm.errors import LocalProtocolError, VoiceFsmError
from voicefsm.events import Fact
from voicefsm.ports import Kept, Observer, Opening, Silence, Step, Vitals
from voicefsm.telemetry import families as fam
from voicefsm.telemetry.families import FAMILIES, Family, Kind
from voicefsm.values import Backend, CancelReason, EndReason

LABEL_VALUES_MAX = 32
"""How many languages, or models, are kept apart."""
IDENTITIES_MAX = 100
"""How many identities that the operator has named are."""
_NEVER = -1

_STATUS: Mapping[str, str] = {
    EndReason.CLIENT: "ok",
    EndReason.IDLE: "ok",
    EndReason.AGE: "ok",
    EndReason.SHUTDOWN: "shutdown",
    EndReason.FAILURE: "backend_error",
    "cancelled": "cancelled",
    "client_error": "client_error",
    "failed": "error",
}
"""What the end of a session is in `voice_gateway_requests_total`."""
_ERROR_TYPES = ("retryable", "permanent", "busy", "deadline")
_CLOSED: Mapping[Family, Sequence[str]] = {
    fam.REQUESTS: (*dict.fromkeys(_STATUS.values()), "refused"),
    fam.TURNS: tuple(outcome.value for outcome in Outcome),
    fam.SPECULATIONS: ("hit", "miss"),
    fam.ASR_ERRORS: ("retryable", "permanent"),
    fam.LLM_ERRORS: _ERROR_TYPES,
    fam.TTS_ERRORS: _ERROR_TYPES,
    fam.BROKEN: fam.RULES,
    fam.SAVES: ("saved", "failed", "taken_over"),
    fam.IDENTITY_SESSIONS: ("anonymous", "other"),
    fam.REFUSED: (
        "InvalidMessage",
        "OutOfOrder",
        "NotIdentified",
        "NotPermitted",
        "NotOffered",
        "Unsupported",
        "TooMuch",
        "NothingToResume",
        "StoreError",
        "Draining",
        "BackendError",
    ),
}
"""Counters that begin at 0: Prometheus takes no series that begins at 1 for a rise."""
_ERRORS = {Backend.ASR: fam.ASR_ERRORS, Backend.LLM: fam.LLM_ERRORS, Backend.TTS: fam.TTS_ERRORS}


class Metrics:
    """One collector of each family."""

    def __init__(self, registry: CollectorRegistry) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each counter and histogram, of no use here
        self._collectors: dict[Family, Any] = {family: _collector(family, registry) for family in FAMILIES}

    def count(self, family: Family, *labels: str, by: float = 1) -> None:
        """Add to a counter."""
        self._of(family, labels).inc(by)

    def observe(self, family: Family, value: float, *labels: str) -> None:
        """Put a value into a histogram."""
        self._of(family, labels).observe(value)

    def set(self, family: Family, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._of(family, labels).set(value)

    def _of(self, family: Family, labels: tuple[str, ...]) -> Any:
        collector = self._collectors[family]
        return collector.labels(*labels) if labels else collector


def _collector(family: Family, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    match family.kind:
        case Kind.COUNTER:
            return Counter(family.name, family.doc, family.labels, registry=registry)
        case Kind.GAUGE:
            return Gauge(family.name, family.doc, family.labels, registry=registry, multiprocess_mode=family.together)
    return Histogram(family.name, family.doc, family.labels, registry=registry, buckets=family.buckets)


class Bounded:
    """Label values from outside: the first so many are kept apart, later ones are "other"."""

    def __init__(self, values_max: int = LABEL_VALUES_MAX) -> None:
        self._known: set[str] = set()
        self._values_max = values_max

    def of(self, value: str) -> str:
        """The label for it."""
        if value in self._known:
            return value
        if len(self._known) >= self._values_max:
            return "other"
        self._known.add(value)
        return value


@dataclasses.dataclass(slots=True)
class _Seen:
    """What is remembered of one session. Moments in ms on its clock, `_NEVER` while there is none."""

    language: str
    model: str
    identity: str
    vitals: Vitals | None = None
    """At the end of the exchange before."""
    characters: int = 0
    """Given to the voice for the reply in progress."""
    is_asked: bool = False
    """A reply is in progress."""
    is_speculative: bool = False
    """It was begun before the recogniser's final."""
    entered_ms: int = 0
    utterance_ms: int = _NEVER
    onset_ms: int = _NEVER
    """Of near-end speech the recogniser has said nothing about."""
    final_ms: int = _NEVER
    """Of the last final that no reply answers yet."""
    is_unread: bool = False
    """The user spoke, and the words that the recogniser settles on after that have not come."""
    settled_ms: int = _NEVER
    """When they came, if that was before the voice detector's hangover ran out."""
    voiced_ms: int = _NEVER
    """The user's last sample before the reply in progress."""
    asked_ms: int = _NEVER
    """Of the final, or the typed text, that the reply in progress answers."""
    written_to_ms: int = _NEVER
    """When the model was asked last."""
    spoken_to_ms: int = _NEVER
    """When the voice was given the first sentence, or asked again."""
    paused_ms: int = _NEVER
    cut: _Cut | None = None
    is_wordless: bool = False
    """A barge-in was confirmed, and nothing was made of the user's words yet."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Cut:
    """A confirmed barge-in."""

    epoch: int
    onset_ms: int
    decided_ms: int


class MetricsObserver(Observer):
    """Feeds `Metrics` from the sessions of this process."""

    def __init__(self, metrics: Metrics, *, model: str, language_code: str) -> None:
        """`model` and `language_code` are those of the settings."""
        self._metrics = metrics
        self._model = model or "default"
        self._models, self._languages, self._identities = Bounded(), Bounded(), Bounded(IDENTITIES_MAX)
        self._seen: dict[str, _Seen] = {}
        for family, values in _CLOSED.items():
            for value in values:
                metrics.count(family, value, by=0)
        for what in ("settings", "certificate", "identities", "jwks"):
            for taken in ("taken", "kept"):
                metrics.count(fam.RELOADS, what, taken, by=0)
        metrics.set(fam.IDENTITY_ACTIVE, 0, "anonymous")
        metrics.set(fam.INFO, 1, voicefsm.__version__, self._model, language_code)

    # --- sessions ------------------------------------------------------------------------------------------------------------

    def session_opened(self, session_id: str, opening: Opening) -> None:
        """See `ports.Observer`."""
        language, model = self._languages.of(opening.language_code), self._models.of(opening.model or self._model)
        identity = (
            self._identities.of(opening.identity)
            if opening.is_known
            else "anonymous"
            if opening.identity == "anonymous"
            else "other"
        )
        self._seen[session_id] = _Seen(language, model, identity)
        self._metrics.set(fam.ACTIVE_STREAMS, len(self._seen))
        self._metrics.count(fam.IDENTITY_SESSIONS, identity)
        self._metrics.count(fam.RESUMED, by=bool(opening.resumes))
        self._count_of(identity)

    def kept(self, session_id: str, kept: Kept) -> None:  # noqa: ARG002 (the port has it)
        """See `ports.Observer`."""
        self._metrics.count(fam.SAVES, kept.outcome.replace(" ", "_"))
        self._metrics.observe(fam.SAVE_SECONDS, kept.took_ms / 1000)

    def session_closed(self, session_id: str, reason: str, message: str) -> None:  # noqa: ARG002 (the port has it)
        """See `ports.Observer`."""
        seen = self._seen.pop(session_id, None)
        self._metrics.set(fam.ACTIVE_STREAMS, len(self._seen))
        if seen is not None:
            self._count_of(seen.identity)
        self._metrics.count(fam.REQUESTS, _STATUS[reason])

    def refused(self, error: VoiceFsmError, identity: str = "") -> None:  # noqa: ARG002 (the port has it)
        """See `ports.Observer`."""
        self._metrics.count(fam.REFUSED, type(error).__name__)
        self._metrics.count(fam.REQUESTS, "refused")

    def reloaded(self, what: str, problem: str) -> None:
        """See `ports.Observer`."""
        self._metrics.count(fam.RELOADS, what, "kept" if problem else "taken")

    def crashed(self, session_id: str, error: Exception) -> None:  # noqa: ARG002 (the port has it)
        """See `ports.Observer`."""
        self._metrics.count(fam.CRASHES)
        if isinstance(error, LocalProtocolError) and error.rule:
            self._metrics.count(fam.BROKEN, error.rule)

    def _count_of(self, identity: str) -> None:
        self._metrics.set(fam.IDENTITY_ACTIVE, sum(seen.identity == identity for seen in self._seen.values()), identity)

    # --- steps ---------------------------------------------------------------------------------------------------------------

    def stepped(self, step: Step, context: Context) -> None:
        """See `ports.Observer`."""
        seen = self._seen[step.session_id]
        fact = step.fact
        note = _FACTS.get(type(fact))
        if note is not None and (not isinstance(fact, ev.ReplyFact) or fact.epoch == step.epoch):
            note(self, seen, fact, context)
        for effect in step.effects:
            follow = _EFFECTS.get(type(effect))
            if follow is not None:
                follow(self, seen, effect, fact, context)
        if step.before is not step.after:
            self._moved(seen, step)

    def _moved(self, seen: _Seen, step: Step) -> None:
        metrics, at_ms = self._metrics, step.fact.at_ms
        metrics.count(fam.TRANSITIONS, step.before.value, step.after.value)
        metrics.observe(fam.STATE_SECONDS, (at_ms - seen.entered_ms) / 1000, step.before.value)
        seen.entered_ms = at_ms
        if step.after is State.IDLE:
            seen.utterance_ms = seen.onset_ms = seen.final_ms = seen.settled_ms = _NEVER
            if seen.is_wordless:
                metrics.count(fam.FALSE_BARGE_INS)
            seen.is_wordless = False

    def _since(self, family: Family, since_ms: int, at_ms: int, *labels: str) -> None:
        """A latency, if it began."""
        if since_ms != _NEVER:
            self._metrics.observe(family, max(0, at_ms - since_ms) / 1000, *labels)

    # --- facts ---------------------------------------------------------------------------------------------------------------

    def _speech_started(self, seen: _Seen, fact: ev.SpeechStarted, _: Context) -> None:
        seen.onset_ms = fact.onset_ms
        seen.is_unread, seen.settled_ms = True, _NEVER
        if seen.utterance_ms == _NEVER:
            seen.utterance_ms = fact.onset_ms

    def _speech_ended(self, seen: _Seen, fact: ev.SpeechEnded, _: Context) -> None:
        if fact.last_voiced_ms <= seen.settled_ms:
            self._read(seen, fact.last_voiced_ms, seen.settled_ms)

    def _settled(self, seen: _Seen, at_ms: int, context: Context) -> None:
        """The recogniser has made up its mind, by a final or by a first pass."""
        if context.near_end is NearEnd.SPEECH:
            seen.settled_ms = at_ms
        elif seen.is_unread:
            self._read(seen, context.last_voiced_ms, at_ms)

    def _read(self, seen: _Seen, voiced_ms: int, at_ms: int) -> None:
        self._since(fam.ASR_LAG, voiced_ms, at_ms, seen.language)
        seen.is_unread = False

    def _partial_heard(self, seen: _Seen, fact: ev.PartialHeard, context: Context) -> None:
        self._since(fam.ASR_FIRST_PARTIAL, seen.onset_ms, fact.at_ms, seen.language)
        seen.onset_ms = _NEVER
        if fact.stability >= 1.0:
            self._settled(seen, fact.at_ms, context)

    def _final_heard(self, seen: _Seen, fact: ev.FinalHeard, context: Context) -> None:
        is_speaking = context.near_end is NearEnd.SPEECH
        if fact.text:
            self._since(fam.ASR_LATENCY, seen.utterance_ms, fact.at_ms, seen.language)
            self._settled(seen, fact.at_ms, context)
            seen.final_ms = fact.at_ms
        seen.utterance_ms = fact.at_ms if is_speaking else _NEVER

    def _recognition_failed(self, _: _Seen, fact: ev.RecognitionFailed, __: Context) -> None:
        self._metrics.count(fam.ASR_ERRORS, "retryable" if fact.retryable else "permanent")

    def _backend_failed(self, _: _Seen, fact: ev.BackendFailed, __: Context) -> None:
        kind = "permanent" if not fact.retryable else "busy" if fact.retry_after_ms else "retryable"
        self._metrics.count(_ERRORS[fact.backend], kind)

    def _token_arrived(self, seen: _Seen, fact: ev.TokenArrived, _: Context) -> None:
        self._since(fam.LLM_TTFT, seen.written_to_ms, fact.at_ms, seen.model)

    def _generation_finished(self, seen: _Seen, fact: ev.GenerationFinished, _: Context) -> None:
        self._since(fam.LLM_TOTAL, seen.written_to_ms, fact.at_ms, seen.model)

    def _first_audio(self, seen: _Seen, fact: ev.FirstAudio, _: Context) -> None:
        self._since(fam.TTS_LATENCY, seen.spoken_to_ms, fact.at_ms, seen.language)
        self._since(fam.E2E_LATENCY, seen.asked_ms, fact.at_ms)

    def _playout_started(self, seen: _Seen, fact: ev.PlayoutStarted, context: Context) -> None:
        if context.state is not State.PROCESSING:
            self._since(fam.FIRST_AUDIO, seen.voiced_ms, fact.at_ms)
            seen.voiced_ms = _NEVER

    # --- orders --------------------------------------------------------------------------------------------------------------

    def _open_recognition(self, _: _Seen, __: fx.OpenRecognition, fact: Fact, ___: Context) -> None:
        if isinstance(fact, ev.TimerFired):
            self._metrics.count(fam.ASR_REOPENINGS)

    def _start_generation(self, seen: _Seen, _: fx.StartGeneration, fact: Fact, context: Context) -> None:
        is_typed = isinstance(fact, ev.TextReceived)
        seen.is_wordless, seen.characters = False, 0
        seen.is_speculative = bool(context.taken) and not is_typed
        seen.written_to_ms = fact.at_ms
        seen.spoken_to_ms = _NEVER
        seen.voiced_ms = _NEVER if is_typed or context.last_voiced_ms <= 0 else context.last_voiced_ms
        seen.asked_ms = fact.at_ms if is_typed or seen.final_ms == _NEVER else seen.final_ms
        seen.final_ms = _NEVER
        self._since(fam.END_OF_UTTERANCE, seen.voiced_ms, fact.at_ms)

    def _retry_generation(self, seen: _Seen, _: fx.RetryGeneration | fx.ContinueGeneration, fact: Fact, __: Context) -> None:
        seen.written_to_ms = fact.at_ms

    def _retry_speech(self, seen: _Seen, _: fx.RetrySpeech, fact: Fact, __: Context) -> None:
        seen.spoken_to_ms = fact.at_ms

    def _speak_text(self, seen: _Seen, order: fx.SpeakText, fact: Fact, _: Context) -> None:
        seen.characters += len(order.text)
        if seen.spoken_to_ms == _NEVER:
            seen.spoken_to_ms = fact.at_ms

    def _pause_playout(self, seen: _Seen, _: fx.PausePlayout | fx.DuckPlayout, fact: Fact, __: Context) -> None:
        seen.paused_ms = fact.at_ms

    def _resume_playout(self, seen: _Seen, _: fx.ResumePlayout, fact: Fact, __: Context) -> None:
        self._metrics.count(fam.RESUMES)
        self._since(fam.PAUSE_SECONDS, seen.paused_ms, fact.at_ms)
        seen.paused_ms = _NEVER

    def _cancel_tts(self, seen: _Seen, order: fx.CancelTts, fact: Fact, context: Context) -> None:
        paused_ms, seen.paused_ms = seen.paused_ms, _NEVER
        if order.reason is not CancelReason.BARGE_IN:
            return
        self._metrics.count(fam.BARGE_INS)
        seen.is_wordless = True
        decided_ms, onset_ms = fact.at_ms, context.onset_ms
        if paused_ms != _NEVER:
            self._since(fam.BARGE_IN, onset_ms, paused_ms, "pause")
        self._since(fam.BARGE_IN, max(paused_ms, onset_ms), decided_ms, "decision")
        seen.cut = _Cut(order.epoch, onset_ms, decided_ms)

    def fell_silent(self, session_id: str, silence: Silence) -> None:
        """See `ports.Observer`."""
        seen = self._seen[session_id]
        cut, seen.cut = seen.cut, None
        if cut is None or cut.epoch != silence.epoch:
            return
        self._since(fam.BARGE_IN, cut.decided_ms, silence.written_ms, "cancel")
        self._since(fam.BARGE_IN, silence.written_ms, silence.silent_ms, "stale")
        self._since(fam.BARGE_IN, cut.onset_ms, silence.silent_ms, "total")

    def _complete_turn(self, seen: _Seen, order: fx.CompleteTurn, _: Fact, __: Context) -> None:
        self._complete(seen, order.outcome)

    def _retract_user_turn(self, seen: _Seen, _: fx.RetractUserTurn, __: Fact, ___: Context) -> None:
        self._complete(seen, Outcome.RETRACTED)

    def _complete(self, seen: _Seen, outcome: Outcome) -> None:
        self._metrics.count(fam.TURNS, outcome.value)
        if seen.is_speculative:
            self._metrics.count(fam.SPECULATIONS, "miss" if outcome is Outcome.RETRACTED else "hit")
        seen.is_speculative = False
        if seen.characters:
            self._metrics.observe(fam.TTS_CHARACTERS, seen.characters, seen.language)
        seen.characters = 0

    def _report_failure(self, _: _Seen, order: fx.ReportFailure, fact: Fact, __: Context) -> None:
        if order.backend is not None and isinstance(fact, ev.TimerFired):
            self._metrics.count(_ERRORS[order.backend], "deadline")

    # --- measures ------------------------------------------------------------------------------------------------------------

    def measured(self, session_id: str, vitals: Vitals) -> None:
        """See `ports.Observer`."""
        seen, metrics = self._seen[session_id], self._metrics
        before, seen.vitals = seen.vitals, vitals
        for family, name in _COUNTS.items():
            metrics.count(family, by=getattr(vitals, name) - (getattr(before, name) if before else 0))
        metrics.count(fam.ASR_LOST, by=(vitals.ears_lost_ms - (before.ears_lost_ms if before else 0)) / 1000)
        pieces = vitals.pieces - (before.pieces if before else 0)
        if pieces:
            metrics.observe(fam.LLM_TOKENS, pieces, seen.model)
        if vitals.erle_db and vitals.state is not State.CLOSED:
            metrics.observe(fam.ERLE, vitals.erle_db)
        if vitals.echo_ms is not None and vitals.state is not State.CLOSED:
            metrics.observe(fam.ECHO_DELAY, max(0.0, vitals.echo_ms) / 1000)


_COUNTS = {fam.STALE_FACTS: "stale_dropped", fam.UNDERRUNS: "underruns"}
"""Counters that a session counts itself."""

# ruff: noqa: SLF001 (the tables name the methods of the class above)
_FACTS: Mapping[type[Fact], Callable[[MetricsObserver, _Seen, Any, Context], None]] = {
    ev.SpeechStarted: MetricsObserver._speech_started,
    ev.SpeechEnded: MetricsObserver._speech_ended,
    ev.PartialHeard: MetricsObserver._partial_heard,
    ev.FinalHeard: MetricsObserver._final_heard,
    ev.RecognitionFailed: MetricsObserver._recognition_failed,
    ev.BackendFailed: MetricsObserver._backend_failed,
    ev.TokenArrived: MetricsObserver._token_arrived,
    ev.GenerationFinished: MetricsObserver._generation_finished,
    ev.FirstAudio: MetricsObserver._first_audio,
    ev.PlayoutStarted: MetricsObserver._playout_started,
}
_EFFECTS: Mapping[type[Effect], Callable[[MetricsObserver, _Seen, Any, Fact, Context], None]] = {
    fx.OpenRecognition: MetricsObserver._open_recognition,
    fx.StartGeneration: MetricsObserver._start_generation,
    fx.RetryGeneration: MetricsObserver._retry_generation,
    fx.ContinueGeneration: MetricsObserver._retry_generation,
    fx.RetrySpeech: MetricsObserver._retry_speech,
    fx.SpeakText: MetricsObserver._speak_text,
    fx.PausePlayout: MetricsObserver._pause_playout,
    fx.DuckPlayout: MetricsObserver._pause_playout,
    fx.ResumePlayout: MetricsObserver._resume_playout,
    fx.CancelTts: MetricsObserver._cancel_tts,
    fx.CompleteTurn: MetricsObserver._complete_turn,
    fx.RetractUserTurn: MetricsObserver._retract_user_turn,
    fx.ReportFailure: MetricsObserver._report_failure,
}

"""Metrics: every family is driven to an exact value by steps, and whole sessions agree with their journals."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import voicefsm
from voicefsm import effects as fx
from voicefsm import errors
from voicefsm import events as ev
from voicefsm.context import Context, NearEnd, State
from voicefsm.effects import Effect, Outcome
from voicefsm.events import Fact, Timer
from voicefsm.ports import Hypothesis, Opening, Silence, Step, Vitals
from voicefsm.runtime.session import Session
from voicefsm.simulation.client import Habits
from voicefsm.simulation.fakes import FakeLanguageModel, FakeRecognizer
from voicefsm.simulation.stage import Stage, saying
from voicefsm.telemetry import families as fam
from voicefsm.telemetry.families import FAMILIES, LABELS, Family, Kind, page
from voicefsm.telemetry.metrics import Bounded, Metrics, MetricsObserver
from voicefsm.telemetry.several import Several
from voicefsm.values import Backend, CancelReason, EndReason, Epoch

ONE = Epoch(1)
QUIET = Vitals(State.IDLE, 0, 0, 0, 0, 0, 0, 0, 0, None)
STORY = "Once upon a time there was a king. He had a very long story to tell. It went on and on and on."


class Bench:
    """An observer, fed by hand, and what it counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.observer = MetricsObserver(self.metrics, model="llama", language_code="en-US")
        self.context = Context()

    def step(
        self,
        fact: Fact,
        *effects: Effect,
        before: State = State.IDLE,
        after: State | None = None,
        epoch: Epoch = ONE,
        **fields: Any,
    ) -> None:
        """One step; `fields` are of the context after it."""
        for name, value in {"state": after or before, **fields}.items():
            setattr(self.context, name, value)
        self.observer.stepped(Step("s-1", fact, before, after or before, effects, epoch), self.context)

    def value(self, family: Family, *labels: str) -> float | None:
        """Of a counter or gauge."""
        return self.registry.get_sample_value(family.name, dict(zip(family.labels, labels, strict=True)))

    def seen(self, family: Family, *labels: str) -> tuple[float, float] | None:
        """How many values a histogram has, and their sum, to the ms."""
        named = dict(zip(family.labels, labels, strict=True))
        count = self.registry.get_sample_value(f"{family.name}_count", named)
        total = self.registry.get_sample_value(f"{family.name}_sum", named)
        return None if not count or total is None else (count, round(total, 6))


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.observer.session_opened("s-1", Opening("en-US", "", ""))
    return made


def ask(bench: Bench, at_ms: int = 3000, **fields: Any) -> None:
    """The model is asked."""
    bench.step(ev.TimerFired(at_ms, Timer.END_OF_TURN), fx.StartGeneration(ONE, "hello"), **{"epoch": ONE, **fields})


def test_the_names_that_dashboards_know_are_kept():
    """Otherwise every dashboard of the gateway before this one is empty after the change."""
    kept = {
        "voice_gateway_asr_latency_seconds": (Kind.HISTOGRAM, ("language",)),
        "voice_gateway_llm_ttft_seconds": (Kind.HISTOGRAM, ("model",)),
        "voice_gateway_llm_total_seconds": (Kind.HISTOGRAM, ("model",)),
        "voice_gateway_llm_tokens_total": (Kind.HISTOGRAM, ("model",)),
        "voice_gateway_tts_latency_seconds": (Kind.HISTOGRAM, ("language",)),
        "voice_gateway_tts_characters_total": (Kind.HISTOGRAM, ("language",)),
        "voice_gateway_e2e_latency_seconds": (Kind.HISTOGRAM, ()),
        "voice_gateway_requests_total": (Kind.COUNTER, ("status",)),
        "voice_gateway_asr_errors_total": (Kind.COUNTER, ("error_type",)),
        "voice_gateway_llm_errors_total": (Kind.COUNTER, ("error_type",)),
        "voice_gateway_tts_errors_total": (Kind.COUNTER, ("error_type",)),
        "voice_gateway_active_streams": (Kind.GAUGE, ()),
        "voice_gateway_info": (Kind.GAUGE, ("version", "llm_model", "asr_language")),
    }
    ours = {family.name: (family.kind, tuple(family.labels)) for family in FAMILIES}
    assert kept.items() <= ours.items()


def test_every_label_is_explained_and_every_name_is_one_of_two_kinds():
    """Otherwise an operator has to read the code."""
    assert {label for family in FAMILIES for label in family.labels} == set(LABELS)
    assert all(family.name.startswith(("voice_gateway_", "voicefsm_")) and family.doc for family in FAMILIES)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    assert all(f"| `{family.name}` |" in page() for family in FAMILIES)


def test_replies_that_were_begun_before_the_final(bench: Bench) -> None:
    """Otherwise nobody can tell whether it pays to begin early, or how often the model works for nothing."""
    done = fx.CompleteTurn(ONE, Outcome.COMPLETED)
    bench.step(ev.FinalHeard(900, "hello"), taken="")
    ask(bench, taken="")
    bench.step(ev.PlayoutFinished(4000, ONE), done)
    assert [bench.value(fam.SPECULATIONS, word) for word in ("hit", "miss")] == [0, 0]
    ask(bench, taken="hello")
    bench.step(ev.PlayoutFinished(4000, ONE), done)
    ask(bench, taken="hello")
    bench.step(ev.PartialHeard(4000, "hello and"), fx.RetractUserTurn(ONE))
    ask(bench, taken="hello")
    bench.step(ev.ClientCancelled(4000, ONE), fx.CompleteTurn(ONE, Outcome.INTERRUPTED))
    bench.step(ev.TextReceived(5000, "typed"), fx.StartGeneration(ONE, "hello typed"), taken="hello")
    bench.step(ev.PlayoutFinished(6000, ONE), done)
    assert [bench.value(fam.SPECULATIONS, word) for word in ("hit", "miss")] == [2, 1]


def test_who_holds_the_conversations(bench: Bench) -> None:
    """Otherwise nobody sees load, or which version runs."""
    assert bench.value(fam.ACTIVE_STREAMS) == 1
    assert bench.value(fam.INFO, voicefsm.__version__, "llama", "en-US") == 1
    bench.observer.session_closed("s-1", "client", "")
    assert bench.value(fam.ACTIVE_STREAMS) == 0


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (EndReason.CLIENT, "ok"),
        (EndReason.IDLE, "ok"),
        (EndReason.AGE, "ok"),
        (EndReason.FAILURE, "backend_error"),
        (EndReason.SHUTDOWN, "shutdown"),
        ("cancelled", "cancelled"),
        ("client_error", "client_error"),
        ("failed", "error"),
    ],
)
def test_how_calls_end(bench: Bench, reason: str, status: str) -> None:
    """Otherwise an outage looks like people hanging up."""
    bench.observer.session_closed("s-1", reason, "")
    assert bench.value(fam.REQUESTS, status) == 1


def test_every_reason_has_a_status(bench: Bench) -> None:
    """Otherwise a session that ends for a new reason ends with a traceback."""
    for reason in EndReason:
        bench.observer.session_closed("s-1", reason.value, "")


def test_calls_turned_away(bench: Bench) -> None:
    """Otherwise a full gateway looks idle."""
    bench.observer.refused(errors.TooMuch("Full."))
    assert (bench.value(fam.REFUSED, "TooMuch"), bench.value(fam.REQUESTS, "refused")) == (1, 1)


def test_defects_and_broken_promises(bench: Bench) -> None:
    """Otherwise the first to learn of a defect are users."""
    from voicefsm.runtime.invariants import Broken

    bench.observer.crashed("s-1", ZeroDivisionError())
    assert bench.value(fam.CRASHES) == 1
    bench.observer.crashed("s-1", Broken("silence after cancel", "audio of reply 1"))
    assert (bench.value(fam.CRASHES), bench.value(fam.BROKEN, "silence after cancel")) == (2, 1)


def test_every_promise_begins_at_0() -> None:
    """Otherwise the first breach of a promise raises no alarm: Prometheus sees a rise only where there was something before."""
    import inspect
    import re

    from voicefsm.runtime import invariants

    assert set(re.findall(r'Broken\("([^"]+)"', inspect.getsource(invariants))) == set(fam.RULES)
    assert {Bench().value(fam.BROKEN, rule) for rule in fam.RULES} == {0}


def test_states_and_moves(bench: Bench) -> None:
    """Otherwise nobody sees where conversations hang."""
    bench.step(ev.SpeechStarted(1500, 1400), after=State.LISTENING)
    bench.step(ev.TimerFired(4000, Timer.END_OF_TURN), before=State.LISTENING, after=State.PROCESSING)
    assert bench.seen(fam.STATE_SECONDS, "idle") == (1, 1.5)
    assert bench.seen(fam.STATE_SECONDS, "listening") == (1, 2.5)
    assert bench.value(fam.TRANSITIONS, "idle", "listening") == 1


def test_the_recogniser(bench: Bench) -> None:
    """Otherwise a slow recogniser is felt by users and seen by nobody."""
    speaking: dict[str, Any]
    quiet: dict[str, Any]
    speaking, quiet = {"near_end": NearEnd.SPEECH}, {"near_end": NearEnd.QUIET, "last_voiced_ms": 2000}
    bench.step(ev.SpeechStarted(1080, 1000), **speaking)
    bench.step(ev.PartialHeard(1300, "tell"), **speaking)
    bench.step(ev.PartialHeard(1500, "tell me"), **speaking)
    bench.step(ev.FinalHeard(2400, "tell me"), **quiet)
    assert bench.seen(fam.ASR_FIRST_PARTIAL, "en-US") == (1, 0.3)
    assert bench.seen(fam.ASR_LATENCY, "en-US") == (1, 1.4)
    assert bench.seen(fam.ASR_LAG, "en-US") == (1, 0.4)
    bench.step(ev.FinalHeard(2500, "", ()), **quiet)
    assert bench.seen(fam.ASR_LATENCY, "en-US") == (1, 1.4), "nothing was said since"


def test_a_recogniser_that_is_faster_than_the_voice_detector(bench: Bench) -> None:
    """Otherwise the lag of a quick recogniser, whose final comes within the hangover, is never counted."""
    speaking: dict[str, Any] = {"near_end": NearEnd.SPEECH}
    bench.step(ev.SpeechStarted(1080, 1000), **speaking)
    bench.step(ev.FinalHeard(2200, "tell me"), **speaking)
    bench.step(ev.SpeechEnded(2300, 2050))
    assert bench.seen(fam.ASR_LAG, "en-US") == (1, 0.15)
    bench.step(ev.FinalHeard(2500, "", ()))
    bench.step(ev.SpeechStarted(3080, 3000), **speaking)
    bench.step(ev.FinalHeard(4000, "about the"), **speaking)
    bench.step(ev.SpeechEnded(5000, 4700))
    assert bench.seen(fam.ASR_LAG, "en-US") == (1, 0.15), "the user went on: that final came before the last sample"
    bench.step(ev.FinalHeard(5100, "weather"), near_end=NearEnd.QUIET, last_voiced_ms=4700)
    assert bench.seen(fam.ASR_LAG, "en-US") == pytest.approx((2, 0.55))
    bench.step(ev.SpeechStarted(6080, 6000), **speaking)
    bench.step(ev.SpeechEnded(7300, 7000))
    bench.step(ev.PartialHeard(7350, "is", 1.0), near_end=NearEnd.QUIET, last_voiced_ms=7000)
    bench.step(ev.FinalHeard(7800, "is"), near_end=NearEnd.QUIET, last_voiced_ms=7000)
    assert bench.seen(fam.ASR_LAG, "en-US") == pytest.approx((3, 0.9)), "its first pass is what the machine waits for"


def test_a_recogniser_that_comes_and_goes(bench: Bench) -> None:
    """Otherwise an ASR server that restarts all day goes unnoticed."""
    bench.step(ev.RecognitionFailed(5, "Gone.", retryable=True))
    bench.step(ev.RecognitionFailed(5, "No such language.", retryable=False))
    bench.step(ev.SessionOpened(0), fx.OpenRecognition())
    bench.step(ev.TimerFired(9, Timer.REOPEN), fx.OpenRecognition())
    assert bench.value(fam.ASR_ERRORS, "retryable") == bench.value(fam.ASR_ERRORS, "permanent") == 1
    assert bench.value(fam.ASR_REOPENINGS) == 1


def test_a_reply_from_the_question_to_the_ear(bench: Bench) -> None:
    """Otherwise nobody knows which server makes answers late."""
    bench.step(ev.FinalHeard(2900, "hello"))
    ask(bench, 3000, last_voiced_ms=2500)
    bench.step(ev.TokenArrived(3200, ONE))
    bench.step(ev.SentenceReady(3300, ONE, 0, "Hi there."), fx.SpeakText(ONE, 0, "Hi there."))
    bench.step(ev.FirstAudio(3450, ONE))
    bench.step(ev.SentenceReady(3500, ONE, 1, "Bye."), fx.SpeakText(ONE, 1, "Bye."))
    bench.step(ev.GenerationFinished(3600, ONE))
    bench.step(ev.PlayoutStarted(3700, ONE), before=State.PROCESSING, after=State.SPEAKING)
    bench.step(ev.PlayoutFinished(5000, ONE), fx.CompleteTurn(ONE, Outcome.COMPLETED), before=State.SPEAKING, after=State.IDLE)
    bench.observer.measured("s-1", dataclasses.replace(QUIET, pieces=12))
    assert bench.seen(fam.END_OF_UTTERANCE) == (1, 0.5)
    assert bench.seen(fam.LLM_TTFT, "llama") == (1, 0.2)
    assert bench.seen(fam.LLM_TOTAL, "llama") == (1, 0.6)
    assert bench.seen(fam.LLM_TOKENS, "llama") == (1, 12)
    assert bench.seen(fam.TTS_LATENCY, "en-US") == (1, 0.15)
    assert bench.seen(fam.TTS_CHARACTERS, "en-US") == (1, 13)
    assert bench.seen(fam.E2E_LATENCY) == (1, 0.55)
    assert bench.seen(fam.FIRST_AUDIO) == (1, 1.2)
    assert bench.value(fam.TURNS, "completed") == 1


def test_a_typed_question_has_no_end_of_utterance(bench: Bench) -> None:
    """Otherwise the last words of minutes ago make answers look late."""
    bench.step(ev.FinalHeard(900, "hello"))
    bench.step(ev.TextReceived(5000, "hi"), fx.StartGeneration(ONE, "hi"), epoch=ONE, last_voiced_ms=700)
    bench.step(ev.FirstAudio(5400, ONE))
    bench.step(ev.PlayoutStarted(5500, ONE), after=State.SPEAKING)
    assert bench.seen(fam.END_OF_UTTERANCE) is None
    assert bench.seen(fam.FIRST_AUDIO) is None
    assert bench.seen(fam.E2E_LATENCY) == (1, 0.4)


def test_what_is_asked_again_is_timed_anew(bench: Bench) -> None:
    """Otherwise the time a broken server cost is taken for the other's slowness."""
    ask(bench, 3000)
    bench.step(ev.TimerFired(3500, Timer.RETRY_MODEL), fx.RetryGeneration(ONE))
    bench.step(ev.TokenArrived(3600, ONE))
    bench.step(ev.SentenceReady(3700, ONE, 0, "Hi."), fx.SpeakText(ONE, 0, "Hi."))
    bench.step(ev.TimerFired(4000, Timer.RETRY_VOICE), fx.RetrySpeech(ONE))
    bench.step(ev.FirstAudio(4250, ONE))
    assert bench.seen(fam.LLM_TTFT, "llama") == (1, 0.1)
    assert bench.seen(fam.TTS_LATENCY, "en-US") == (1, 0.25)


def test_servers_that_fail(bench: Bench) -> None:
    """Otherwise a failing model and a failing voice are one mystery."""
    ask(bench)
    bench.step(ev.BackendFailed(3100, ONE, Backend.LLM, "Gone."))
    bench.step(ev.BackendFailed(3100, ONE, Backend.LLM, "No such model.", retryable=False))
    bench.step(ev.BackendFailed(3100, ONE, Backend.TTS, "Full.", retry_after_ms=500))
    bench.step(ev.BackendFailed(3100, Epoch(7), Backend.TTS, "Of a reply that is over."))
    bench.step(ev.TimerFired(9000, Timer.FIRST_SENTENCE), fx.ReportFailure(Backend.LLM, ONE, "Late.", ""))
    bench.step(ev.TimerFired(9000, Timer.FIRST_HEARD), fx.ReportFailure(None, ONE, "The client is silent.", ""))
    for kind in ("retryable", "permanent", "deadline"):
        assert bench.value(fam.LLM_ERRORS, kind) == 1
    assert bench.value(fam.TTS_ERRORS, "busy") == 1
    assert bench.value(fam.TTS_ERRORS, "retryable") == 0


def cut(bench: Bench, *, paused_ms: int | None = 5060) -> None:
    """A barge-in, confirmed 250 ms after its onset."""
    ask(bench)
    bench.step(ev.SpeechStarted(5060, 5000), onset_ms=5000)
    if paused_ms is not None:
        bench.step(ev.SpeechStarted(paused_ms, 5000), fx.PausePlayout(ONE), before=State.SPEAKING, after=State.INTERRUPTING)
    orders = (fx.CancelTts(ONE, CancelReason.BARGE_IN, "stop word"), fx.CompleteTurn(ONE, Outcome.INTERRUPTED))
    bench.step(ev.PartialHeard(5250, "stop"), *orders, before=State.INTERRUPTING, after=State.LISTENING)


def test_a_barge_in_in_its_parts(bench: Bench) -> None:
    """Otherwise an assistant that talks on is only ever an opinion."""
    cut(bench)
    bench.observer.fell_silent("s-1", Silence(ONE, written_ms=5255, silent_ms=5270))
    assert bench.value(fam.BARGE_INS) == bench.value(fam.TURNS, "interrupted") == 1
    parts = {part: bench.seen(fam.BARGE_IN, part) for part in ("pause", "decision", "cancel", "stale", "total")}
    assert parts == {"pause": (1, 0.06), "decision": (1, 0.19), "cancel": (1, 0.005), "stale": (1, 0.015), "total": (1, 0.27)}


def test_a_client_that_was_silent_before_the_cancel(bench: Bench) -> None:
    """Otherwise a pause in time would be a negative latency."""
    cut(bench)
    bench.observer.fell_silent("s-1", Silence(ONE, written_ms=5255, silent_ms=5080))
    assert (bench.seen(fam.BARGE_IN, "stale"), bench.seen(fam.BARGE_IN, "total")) == ((1, 0), (1, 0.08))
    bench.observer.fell_silent("s-1", Silence(Epoch(2), written_ms=9000, silent_ms=9000))
    assert bench.seen(fam.BARGE_IN, "total") == (1, 0.08), "the client pressed stop: nobody barged in"


def test_a_barge_in_without_a_pause(bench: Bench) -> None:
    """Otherwise the time of an old pause would be in it."""
    cut(bench, paused_ms=None)
    assert bench.seen(fam.BARGE_IN, "pause") is None
    assert bench.seen(fam.BARGE_IN, "decision") == (1, 0.25)


def test_a_cut_that_nobody_wanted(bench: Bench) -> None:
    """Otherwise nobody counts the answers that were lost to noise."""
    cut(bench)
    bench.step(ev.TimerFired(9000, Timer.WORDS), before=State.LISTENING, after=State.IDLE)
    assert bench.value(fam.FALSE_BARGE_INS) == 1
    cut(bench)
    ask(bench, 9500)
    bench.step(ev.PlayoutFinished(9900, ONE), before=State.SPEAKING, after=State.IDLE)
    assert bench.value(fam.FALSE_BARGE_INS) == 1, "words came, and were answered"


@pytest.mark.parametrize("order", [fx.PausePlayout(ONE), fx.DuckPlayout(ONE, 12)])
def test_a_reply_that_goes_on(bench: Bench, order: Effect) -> None:
    """Otherwise a gateway that stumbles over every cough looks well."""
    bench.step(ev.SpeechStarted(5060, 5000), order)
    bench.step(ev.TimerFired(5400, Timer.VERDICT), fx.ResumePlayout(ONE, "backchannel"))
    assert (bench.value(fam.RESUMES), bench.seen(fam.PAUSE_SECONDS)) == (1, (1, 0.34))


def test_what_sessions_count_themselves(bench: Bench) -> None:
    """Otherwise what happens on the data plane is seen by nobody."""
    early = dataclasses.replace(QUIET, stale_dropped=2, underruns=1, ears_lost_ms=500, pieces=3, erle_db=20, echo_ms=80.0)
    bench.observer.measured("s-1", early)
    late = dataclasses.replace(early, stale_dropped=5, underruns=1, ears_lost_ms=1500, state=State.CLOSED)
    bench.observer.measured("s-1", late)
    assert (bench.value(fam.STALE_FACTS), bench.value(fam.UNDERRUNS), bench.value(fam.ASR_LOST)) == (5, 1, 1.5)
    assert bench.seen(fam.LLM_TOKENS, "llama") == (1, 3)
    assert (bench.seen(fam.ERLE), bench.seen(fam.ECHO_DELAY)) == ((1, 20), (1, 0.08)), "once per exchange, not at the end as well"


def test_clients_cannot_make_series_without_end() -> None:
    """Otherwise one client fills the memory of Prometheus."""
    bounded = Bounded(2)
    assert [bounded.of(value) for value in ("a", "b", "c", "a", "d")] == ["a", "b", "other", "a", "other"]
    bench = Bench()
    for k in range(100):
        bench.observer.session_opened(f"s-{k}", Opening(f"x-{k}", f"model-{k}", ""))
        bench.observer.stepped(Step(f"s-{k}", ev.SpeechStarted(1, 0), State.IDLE, State.IDLE, (), ONE), bench.context)
        bench.observer.stepped(Step(f"s-{k}", ev.PartialHeard(9, "a"), State.IDLE, State.IDLE, (), ONE), bench.context)
    (family,) = (metric for metric in bench.registry.collect() if metric.name == fam.ASR_FIRST_PARTIAL.name)
    assert len({sample.labels["language"] for sample in family.samples}) == 33


def test_strangers_make_no_series() -> None:
    """Otherwise each name in a token is a series for ever; or an operator cannot tell customers apart."""
    bench = Bench()
    for k in range(200):
        bench.observer.session_opened(f"s-{k}", Opening("en-US", "", "", f"stranger-{k}"))
        bench.observer.session_opened(f"t-{k}", Opening("en-US", "", "", f"known-{k}", is_known=True))
    bench.observer.session_opened("u", Opening("en-US", "", ""))
    (family,) = (metric for metric in bench.registry.collect() if metric.name == fam.IDENTITY_ACTIVE.name)
    found = {sample.labels["identity"]: sample.value for sample in family.samples}
    assert found == {f"known-{k}": 1 for k in range(100)} | {"other": 300, "anonymous": 1}
    bench.observer.session_closed("t-3", "client", "")
    assert bench.value(fam.IDENTITY_ACTIVE, "known-3") == 0
    assert bench.value(fam.IDENTITY_SESSIONS, "known-3") == 1


@pytest.mark.looptime
async def test_a_whole_session_agrees_with_its_journal() -> None:
    """Otherwise the numbers on the dashboard are of another conversation."""
    bench = Bench()
    words = [*saying((2000, "tell me a story")), (6500, Hypothesis("wait what time is it", is_final=False))]
    words.append((7800, Hypothesis("wait what time is it", is_final=True)))
    stage = Stage(recognizer=FakeRecognizer(words), model=FakeLanguageModel([STORY, "It is noon."]))
    witness = stage.witness
    stage.witness = Several(witness, bench.observer)  # type: ignore[assignment]
    await stage.play(speech=[(1000, 2000), (6000, 7500)], script=[(14_000, Session.hang_up)], habits=Habits(latency_ms=50))
    first, second = (body["latencies"] for kind, _, body in stage.journal.records if kind == "turn")
    assert bench.seen(fam.END_OF_UTTERANCE) == (2, (first["endpointing_ms"] + second["endpointing_ms"]) / 1000)
    assert bench.seen(fam.LLM_TTFT, "llama") == (2, (first["first_token_ms"] + second["first_token_ms"]) / 1000)
    assert bench.seen(fam.BARGE_IN, "pause") == (1, first["onset_to_pause_ms"] / 1000)
    assert bench.seen(fam.BARGE_IN, "decision") == (1, (first["onset_to_cancel_ms"] - first["onset_to_pause_ms"]) / 1000)
    (silence,) = witness.silences
    assert silence.written_ms - 400 < silence.silent_ms < silence.written_ms, "the pause had silenced it"
    onset_ms = next(step.fact.at_ms for step in witness.steps if any(isinstance(e, fx.PausePlayout) for e in step.effects))
    assert 50 <= silence.silent_ms - onset_ms <= 150, "the pause is there after 50 ms, and its report 50 ms and a frame later"
    assert bench.value(fam.TURNS, "interrupted") == bench.value(fam.TURNS, "completed") == 1
    (end,) = (body for kind, _, body in stage.journal.records if kind == "end")
    assert bench.value(fam.STALE_FACTS) == end["stale_dropped"]
    assert bench.seen(fam.TTS_CHARACTERS, "en-US") == (2, len(STORY) - 2 + len("It is noon."))  # sentences, without spaces between
    assert (bench.value(fam.REQUESTS, "ok"), bench.value(fam.ACTIVE_STREAMS)) == (1, 0)
    assert bench.value(fam.UNDERRUNS) == 0


@pytest.mark.looptime
async def test_a_voice_that_is_too_slow_is_an_underrun() -> None:
    """Otherwise a stuttering voice is heard by every user and by no operator."""
    from voicefsm.simulation.fakes import FakeSynthesizer, FakeVoice

    stage = Stage(model=FakeLanguageModel([STORY]), synthesizer=FakeSynthesizer(FakeVoice(chunk_period_ms=400)))
    await stage.play(script=[(500, lambda session: session.type_text("a story")), (20_000, Session.hang_up)])
    assert stage.witness.vitals[-1].underruns >= 3
    assert stage.witness.vitals[-1].pieces > 10

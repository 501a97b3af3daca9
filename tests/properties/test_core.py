"""Whatever happens, in whatever order: what must always hold.

A run is a list of small choices. Each is turned into a fact by what the session looks like at that moment: mostly facts that a real
session would see (the live epoch, the deadline that is due), sometimes ones that it should not (an old epoch, a timer out of the
blue, an edge twice). A failure prints its transcript in the form of tests/scenarios.
"""

from __future__ import annotations

import dataclasses

from hypothesis import given, note, settings
from hypothesis import strategies as st

from voicefsm import effects as fx
from voicefsm import events as ev
from voicefsm.context import Context, Generation, Interruption, NearEnd, Playout, State, TurnSettings
from voicefsm.errors import LocalProtocolError
from voicefsm.machine import CELLS, DEADLINES, next_deadline, step
from voicefsm.simulation import scenario
from voicefsm.table import LASTING, key_of
from voicefsm.values import NO_EPOCH, Backend, Epoch

TEXTS = ("", "stop", "mm-hm", "what is", "what is the weather", "What is the weather today?", "no")
MESSAGE = "It failed."
EXAMPLES = settings().max_examples  # 100, and more with another profile
IS_STEADY = EXAMPLES <= 100  # a share that is the same every day judges a change and not its luck
AFTER_CANCEL = (fx.CancelGeneration, fx.CompleteTurn, fx.RetractUserTurn)


@dataclasses.dataclass(frozen=True)
class Choice:
    """What happens next, before it is known what that means."""

    kind: int
    wait_ms: int
    number: int
    oddity: int


choices = st.lists(
    st.builds(Choice, st.integers(0, 99), st.integers(0, 700), st.integers(0, 9), st.integers(0, 9)), min_size=5, max_size=60
)
turn_settings = st.builds(
    TurnSettings,
    interruption=st.sampled_from(Interruption),
    push_to_talk=st.booleans(),
    barge_in_words_min=st.integers(1, 2),
    asr_reopen_attempts_max=st.integers(0, 3),
    reply_retries_max=st.integers(0, 2),
    apology_en=st.sampled_from(["Sorry.", ""]),
    user_text_chars_max=st.just(100),
    duck_db=st.sampled_from([0, 12]),
)


def reply_fact(choice: Choice, at: int, epoch: Epoch) -> ev.Fact:
    n = choice.number
    return (
        ev.TokenArrived(at, epoch),
        ev.SentenceReady(at, epoch, n, f"Sentence {n}."),
        ev.SentenceReady(at, epoch, n, f"Sentence {n}."),
        ev.GenerationFinished(at, epoch),
        ev.FirstAudio(at, epoch),
        ev.PlayoutStarted(at, epoch),
        ev.PlayoutStarted(at, epoch),
        ev.PlayoutAdvanced(at, epoch, n * 100, 500),
        ev.PlayoutFinished(at, epoch),
        ev.BackendFailed(at, epoch, (Backend.LLM, Backend.TTS)[n % 2], MESSAGE, "", n < 7, (0, 0, 500, 5000)[n % 4]),
    )[choice.kind % 10]


def user_fact(choice: Choice, at: int, context: Context) -> ev.Fact:
    n = choice.number
    text, evidence = TEXTS[n % len(TEXTS)], ev.Evidence(voiced_ms=n * 150)
    edge = context.near_end is NearEnd.QUIET
    if choice.oddity == 9:
        edge = not edge
    return (
        ev.SpeechStarted(at, max(0, at - 60), evidence) if edge else ev.SpeechEnded(at, max(0, at - 200), evidence),
        ev.SpeechStarted(at, max(0, at - 60)) if edge else ev.EvidenceChanged(at, evidence),
        ev.SpeechStarted(at, max(0, at - 60)) if edge else ev.EvidenceChanged(at, evidence),
        ev.PartialHeard(at, text, (0.5, 1.0)[n % 2]),
        ev.PartialHeard(at, text),
        ev.FinalHeard(at, text),
        ev.TextReceived(at, "typed"),
        ev.SpeechFinished(at),
        ev.ClientCancelled(at, (NO_EPOCH, context.epoch, Epoch(1))[n % 3]),
        ev.RecognitionFailed(at, MESSAGE, n != 0) if n < 3 else ev.RecognitionOpened(at),
    )[choice.kind % 10]


def fact_of(choice: Choice, at: int, context: Context) -> ev.Fact:
    """What the choice means to this session, now."""
    due = next_deadline(context)
    if choice.kind < 45:
        late = (NO_EPOCH, Epoch(1), Epoch(context.last_epoch + 1))[choice.number % 3] if choice.oddity == 9 else context.epoch
        return reply_fact(choice, at, late or Epoch(1))
    if choice.kind < 85:
        return user_fact(choice, at, context)
    if choice.kind < 97 and due is not None:
        if due[1] in (ev.Timer.IDLE, ev.Timer.AGE) and choice.number:
            return ev.TextReceived(at, "typed")  # most sessions live on
        timer = ev.Timer(choice.number) if choice.oddity == 9 else due[1]
        return ev.TimerFired(at if choice.oddity >= 8 else max(at, due[0]), timer)
    if choice.kind == 97:
        return ev.SessionOpened(at)
    return (
        (ev.ClientClosed if choice.kind == 98 else ev.DrainRequested if choice.number % 2 else ev.ShutdownRequested)(at)
        if choice.oddity == 0
        else ev.TokenArrived(at, Epoch(1))
    )


class Watch:
    """What an observer who sees only facts and orders must never see."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.begun: list[Epoch] = []
        self.closed: list[Epoch] = []
        self.cancelled: set[Epoch] = set()
        self.sounded: set[Epoch] = set()
        self.is_paused = self.is_held = self.is_ended = False

    def see(self, orders: tuple[fx.Effect, ...]) -> None:
        for order in orders:
            assert not self.is_ended, f"{order} after the end"
            getattr(self, f"see_{type(order).__name__}", lambda _: None)(order)
            epoch = getattr(order, "epoch", None)
            if epoch in self.cancelled and not isinstance(order, fx.CancelTts):
                assert isinstance(order, AFTER_CANCEL), f"{order} after CancelTts"
        assert len(self.begun) - len(self.closed) == (self.context.epoch != NO_EPOCH), "at most one live reply, closed once"

    def live(self, order: object) -> None:
        assert self.begun, order
        assert getattr(order, "epoch", None) == self.begun[-1], f"{order} for a reply that is not live"
        assert len(self.closed) < len(self.begun), f"{order} for a reply that is closed"

    def see_StartGeneration(self, order: fx.StartGeneration) -> None:  # noqa: N802
        assert order.epoch == len(self.begun) + 1, "epochs only grow, one by one"
        assert len(self.closed) == len(self.begun), "two live replies"
        assert order.user_text, "the model is asked nothing"
        self.begun.append(order.epoch)
        self.is_paused = self.is_held = False

    def see_SpeakText(self, order: fx.SpeakText) -> None:  # noqa: N802
        self.live(order)

    see_FinishSpeech = see_CancelGeneration = see_RetryGeneration = see_RetrySpeech = see_SpeakText  # noqa: N815

    def see_SoundEarcon(self, order: fx.SoundEarcon) -> None:  # noqa: N802
        self.live(order)
        assert order.epoch not in self.sounded, "one tone is enough"
        self.sounded.add(order.epoch)

    def see_HoldPlayout(self, order: fx.HoldPlayout) -> None:  # noqa: N802
        self.live(order)
        assert not self.is_held
        self.is_held = True

    def see_ReleasePlayout(self, order: fx.ReleasePlayout) -> None:  # noqa: N802
        self.live(order)
        assert self.is_held
        self.is_held = False

    def see_PausePlayout(self, order: fx.PausePlayout) -> None:  # noqa: N802
        self.live(order)
        assert not self.is_paused
        self.is_paused = True

    def see_DuckPlayout(self, order: fx.DuckPlayout) -> None:  # noqa: N802
        assert order.duck_db == self.context.settings.duck_db > 0
        self.see_PausePlayout(fx.PausePlayout(order.epoch))

    def see_ResumePlayout(self, order: fx.ResumePlayout) -> None:  # noqa: N802
        self.live(order)
        assert self.is_paused
        assert order.why
        self.is_paused = self.is_held = False

    def see_CancelTts(self, order: fx.CancelTts) -> None:  # noqa: N802
        self.live(order)
        assert order.epoch not in self.cancelled
        self.cancelled.add(order.epoch)

    def see_CompleteTurn(self, order: fx.CompleteTurn) -> None:  # noqa: N802
        self.live(order)
        assert (order.outcome is fx.Outcome.INTERRUPTED) <= (order.epoch in self.cancelled)
        self.closed.append(order.epoch)

    def see_RetractUserTurn(self, order: fx.RetractUserTurn) -> None:  # noqa: N802
        self.live(order)
        self.closed.append(order.epoch)

    def see_EndSession(self, _order: fx.EndSession) -> None:  # noqa: N802
        self.is_ended = True


def check_context(context: Context, watch: Watch) -> None:
    """What holds between any two facts."""
    state = context.state
    armed = {timer for timer in ev.Timer if context.is_armed(timer)}
    assert armed <= set(DEADLINES[state]) | (LASTING if state is not State.CLOSED else set()), f"{armed} in {state.name}"
    assert (state is State.CLOSED) == (not armed & set(DEADLINES[state])), "a live state has a deadline of its own"
    has_reply = state in (State.PROCESSING, State.SPEAKING, State.INTERRUPTING)
    assert (context.epoch != NO_EPOCH) == has_reply
    assert (context.generation is not Generation.NONE) == has_reply
    assert (context.playout is not Playout.NONE) == has_reply
    assert (context.playout is Playout.AUDIBLE) == (state in (State.SPEAKING, State.INTERRUPTING))
    assert watch.is_paused <= (state is State.INTERRUPTING or not has_reply)
    assert (state is State.INTERRUPTING) <= watch.is_paused
    assert watch.is_ended == (state is State.CLOSED)
    assert len(context.user_text) <= context.settings.user_text_chars_max
    assert not context.raised
    assert not context.effects


@settings(max_examples=15 * EXAMPLES, deadline=None, derandomize=IS_STEADY)
@given(choices, turn_settings)
def test_nothing_that_may_happen_breaks_a_promise(run, its_settings):
    """Otherwise there is a sequence of facts after which a cancelled reply speaks, playout stays paused, a turn is told twice, a
    state has no way out, or the machine falls over."""
    context = Context(settings=its_settings)
    watch = Watch(context)
    facts: list[ev.Fact] = [ev.SessionOpened(0)]
    watch.see(step(context, facts[0]))
    at, epoch = 0, NO_EPOCH
    try:
        for choice in run:
            fact = fact_of(choice, at + choice.wait_ms, context)
            at = fact.at_ms
            facts.append(fact)
            cell = (context.state, key_of(fact))
            try:
                watch.see(step(context, fact))
            except LocalProtocolError:
                assert cell not in CELLS, "refused although the table decides it"
            check_context(context, watch)
            assert context.last_epoch >= epoch
            epoch = context.last_epoch
    finally:
        note(scenario.transcript(facts, its_settings))


@settings(max_examples=4 * EXAMPLES, deadline=None, derandomize=IS_STEADY)
@given(choices, turn_settings)
def test_a_transcript_says_it_all(run, its_settings):
    """Otherwise a counterexample could not be kept as a scenario: what is written, read and run again would be another session."""
    context = Context(settings=its_settings)
    facts: list[ev.Fact] = [ev.SessionOpened(0)]
    list(scenario.run(context, facts))
    for choice in run:
        facts.append(fact_of(choice, facts[-1].at_ms + choice.wait_ms, context))
        scenario.take(context, facts[-1])
    text = scenario.transcript(facts, its_settings, title="A run.")
    again = scenario.read(text)
    assert (again.facts, again.settings) == (tuple(facts), its_settings)
    assert scenario.write(again) == text


@settings(max_examples=4 * EXAMPLES, deadline=None, derandomize=IS_STEADY)
@given(choices, turn_settings)
def test_left_alone_every_session_ends(run, its_settings):
    """Otherwise there is a silent hole: a session in which nothing happens any more, and which no deadline leads out of."""
    context = Context(settings=its_settings)
    step(context, ev.SessionOpened(0))
    at = 0
    for choice in run:
        fact = fact_of(choice, at + choice.wait_ms, context)
        at = fact.at_ms
        scenario.take(context, fact)
    for _ in range(12):
        due = next_deadline(context)
        if due is None:
            break
        step(context, ev.TimerFired(max(at, due[0]), due[1]))
    assert context.state is State.CLOSED

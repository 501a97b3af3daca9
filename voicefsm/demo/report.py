"""The verdict on a conversation: did it go as a person would expect, and how fast?

`build` is a pure function of what the user lived through. Every expectation is one entry of `_EXPECTATIONS`: a function that yields
a sentence for each thing that is not as it should be. No sentence, no problem, `ok`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from voicefsm.client import Outcome, TtsCancelled, TurnCompleted
from voicefsm.demo import measure
from voicefsm.demo.line import Heard, Utterance
from voicefsm.demo.room import Room
from voicefsm.demo.script import ASKED_MAX, Exchange, Moment, Role
from voicefsm.values import CancelReason, Epoch

WER_MAX = 0.5
"""Above it a question does not count as understood."""
STALE_MS_MAX = 20.0
"""One frame: what the loudspeaker had already taken when the order came."""
PAUSE_MS_MAX = 400.0
"""A person who is talked over for longer than this feels ignored. "Stop" is 0.2 s of hiss and silence before its vowel."""
CANCEL_MS_MAX = 2000.0
"""A decision that takes longer is none."""
SELF_PAUSES_MAX = 1
"""One stumble in a minute is forgiven; a cut of one's own answer, or an answer to nobody, never."""
OVER_PLAYOUT_WER_MAX = 0.5
"""Above it the words said over the assistant were lost."""
HEARD_WORDS_SLACK, HEARD_WORDS_SHARE = 4, 0.4
"""How far the heard text may be from what fits into the sound at this run's own pace: so many words, or this share of them."""
SETTLE_SAMPLES = 1600
"""States entered this soon after a turn was over still belong to it."""
TAIL_WORDS = 3
"""So many of the last heard words are looked for when the assistant is asked what it said last; one of them must be there."""
UNHEARD_WORDS = 4
"""So many words in a row that were never heard must not be there."""


@dataclasses.dataclass(frozen=True, slots=True)
class TurnReport:
    """One exchange."""

    role: str
    said: str
    """The script's words."""
    user_text: str
    """What the server understood."""
    user_wer: float
    """Word error rate between the two."""
    assistant_text: str
    heard_text: str
    heard_words: int
    """How many words of the answer count as heard …"""
    assistant_words: int
    """… of how many that were written for the voice."""
    outcome: str
    epoch: int
    asked: int
    """How often the user had to ask."""
    states: list[str]
    first_audio_ms: float | None
    """From the user's last sample to the first rendered sample of the answer."""
    heard_ms: float
    """How much of the answer was rendered."""
    server_latencies: dict[str, int | None]
    """The server's own measurements, which count from other moments; its `first_audio_ms` is the TTS server's."""
    barge_in: measure.BargeIn | None = None
    backchannel: measure.Backchannel | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The whole conversation."""

    ok: bool
    problems: list[str]
    turns: list[TurnReport]
    alone: measure.Alone | None = None
    """What the assistant did of its own accord; None when there was no conversation."""
    over_playout: measure.OverPlayout | None = None
    """The user's words over the assistant's voice; None when there were none."""
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Versions, voices, canceller, machine: what one needs to read the figures."""

    def figures(self) -> str:
        """What one wants to know at once, in a line."""
        told = [f"{len(self.turns)} turns"]
        told += [f"silent {t.barge_in.onset_to_pause_ms:.0f} ms after the barge-in began" for t in self.turns if t.barge_in]
        if self.alone:
            told += [f"{getattr(self.alone, name)} {name.replace('_', ' ')}" for name in _COUNTS]
        if self.over_playout:
            told.append(f"word error rate over the assistant's voice {self.over_playout.wer:.0%}")
        return ", ".join(told)

    def to_json(self) -> dict[str, Any]:
        """As report.json holds it; figures that do not apply to a turn are left out."""
        turns = [dataclasses.asdict(turn) for turn in self.turns]
        kept = [{key: value for key, value in turn.items() if key not in _OPTIONAL or value is not None} for turn in turns]
        alone = dataclasses.asdict(self.alone) if self.alone else {}
        over_playout = dataclasses.asdict(self.over_playout) if self.over_playout else None
        return {
            "ok": self.ok,
            "problems": self.problems,
            **alone,
            "user_over_playout": over_playout,
            "turns": kept,
            **self.facts,
        }


_OPTIONAL = frozenset({"barge_in", "backchannel"})
_COUNTS = ("self_interruptions", "self_pauses", "ghost_turns")


@dataclasses.dataclass(frozen=True, slots=True)
class Lived:
    """All that happened."""

    exchanges: Sequence[Exchange]
    moments: Sequence[Moment]
    heard: Sequence[Heard]
    said: Sequence[Utterance]
    """Everything, in order."""
    failures: Sequence[str] = ()
    """What went wrong outside the turns."""
    room: Room | None = None

    @property
    def interjected(self) -> list[Utterance]:
        """What was said over the assistant."""
        return [exchange.interjected for exchange in self.exchanges if exchange.interjected]

    def completed(self, epoch: Epoch) -> TurnCompleted | None:
        """How the server saw an exchange end."""
        found = (m.event for m in self.moments if isinstance(m.event, TurnCompleted) and m.event.epoch == epoch)
        return next(found, None)

    def over_sample(self, epoch: Epoch) -> int:
        """When it ended; the end of everything when it did not."""
        found = (m.at_sample for m in self.moments if isinstance(m.event, TurnCompleted) and m.event.epoch == epoch)
        return next(found, max((m.at_sample for m in self.moments), default=0))


def build(lived: Lived, facts: Mapping[str, Any]) -> Report:
    """Measure and judge."""
    turns = [_turn(lived, exchange) for exchange in lived.exchanges]
    problems = [problem for expectation in _EXPECTATIONS for problem in expectation(lived, turns)]
    return Report(
        ok=not problems, problems=problems, turns=turns, alone=_alone(lived), over_playout=_over_playout(lived), facts=facts
    )


def _alone(lived: Lived) -> measure.Alone:
    return measure.alone(lived.said, {exchange.epoch for exchange in lived.exchanges}, lived.moments)


def _over_playout(lived: Lived) -> measure.OverPlayout | None:
    return measure.over_playout(lived.interjected, lived.said, lived.moments)


def _turn(lived: Lived, exchange: Exchange) -> TurnReport:
    epoch, said = exchange.epoch, exchange.said
    completed = lived.completed(epoch)
    user_text = completed.user_text if completed else ""
    interjected = exchange.interjected
    cut, murmured = exchange.role is Role.INTERRUPTED, exchange.role is Role.BACKCHANNEL
    delay_ms = lived.room.delay_ms if lived.room else 0.0
    return TurnReport(
        role=exchange.role.value,
        said=said.text,
        user_text=user_text,
        user_wer=round(measure.word_error_rate(said.text, user_text), 2),
        assistant_text=completed.assistant_text if completed else "",
        heard_text=completed.heard_text if completed else "",
        heard_words=len(measure.words(completed.heard_text)) if completed else 0,
        assistant_words=len(measure.words(completed.assistant_text)) if completed else 0,
        outcome=completed.outcome.value if completed else "",
        epoch=epoch,
        asked=exchange.asked,
        states=measure.states(lived.moments, said.first_sample, lived.over_sample(epoch) + SETTLE_SAMPLES),
        first_audio_ms=measure.first_audio_ms(epoch, said, lived.heard),
        heard_ms=round(sum(run.length for run in lived.heard if run.epoch == epoch) / 16, 1),
        server_latencies=dataclasses.asdict(completed.latencies) if completed else {},
        barge_in=measure.barge_in(epoch, interjected, lived.heard, lived.moments, delay_ms=delay_ms)
        if interjected and cut
        else None,
        backchannel=measure.backchannel(epoch, interjected, lived.heard, lived.moments) if interjected and murmured else None,
    )


# --- expectations ------------------------------------------------------------------------------------------------------------


def _nothing_failed(lived: Lived, _: Sequence[TurnReport]) -> Iterator[str]:
    yield from lived.failures


def _everything_was_said(_: Lived, turns: Sequence[TurnReport]) -> Iterator[str]:
    missing = [role.value for role in Role if role.value not in {turn.role for turn in turns}]
    if missing:
        yield f"The conversation broke off: no {', '.join(missing)} turn took place."


def _each_turn_is_answered(_: Lived, turns: Sequence[TurnReport]) -> Iterator[str]:
    for turn in turns:
        if not turn.epoch or not turn.outcome:
            yield f'"{turn.said}" got no complete answer.'
        elif not turn.assistant_text:
            yield f'"{turn.said}" was answered without words.'


def _each_turn_is_understood(_: Lived, turns: Sequence[TurnReport]) -> Iterator[str]:
    for turn in turns:
        if turn.outcome and turn.user_wer > WER_MAX:
            yield f'"{turn.said}" was understood as "{turn.user_text}".'


def _nobody_else_is_answered(lived: Lived, _: Sequence[TurnReport]) -> Iterator[str]:
    known = {exchange.epoch for exchange in lived.exchanges}
    repeated = any(exchange.asked == ASKED_MAX for exchange in lived.exchanges)
    for moment in lived.moments:
        event = moment.event
        if not isinstance(event, TurnCompleted) or event.outcome is Outcome.RETRACTED:
            continue
        if event.epoch not in known and not repeated:
            yield f'The assistant took "{event.user_text}" for a turn and said "{event.heard_text}"; nobody had asked that.'


def _it_does_not_hear_itself(lived: Lived, _: Sequence[TurnReport]) -> Iterator[str]:
    alone = _alone(lived)
    if alone.self_interruptions:
        yield f"The assistant cut its own answer {_times(alone.self_interruptions)}: nobody had spoken."
    if alone.self_pauses > SELF_PAUSES_MAX:
        yield f"The assistant paused {_times(alone.self_pauses)} although nobody had spoken."
    if alone.ghost_turns:
        yield f"The assistant answered {_times(alone.ghost_turns)} what nobody had said."


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _words_over_the_assistant_are_understood(lived: Lived, _: Sequence[TurnReport]) -> Iterator[str]:
    over_playout = _over_playout(lived)
    if over_playout and over_playout.wer > OVER_PLAYOUT_WER_MAX:
        yield f'What the user said over the assistant, "{over_playout.said}", was heard as "{over_playout.understood}".'


def _answers_are_heard_to_the_end(lived: Lived, turns: Sequence[TurnReport]) -> Iterator[str]:
    for turn in turns:
        if not turn.outcome or turn.role == Role.INTERRUPTED:
            continue
        if turn.outcome != Outcome.COMPLETED:
            yield f'The answer to "{turn.said}" ended as {turn.outcome}.'
        elif measure.words(turn.heard_text) != measure.words(turn.assistant_text):
            yield f'The answer to "{turn.said}" was played to its end, but heard_text is "{turn.heard_text}".'
        lost, repeated = measure.continuity([run for run in lived.heard if run.epoch == turn.epoch])
        if lost or repeated:
            yield f'In the answer to "{turn.said}" {lost} samples were lost and {repeated} repeated.'


def _barge_in_works(lived: Lived, turns: Sequence[TurnReport]) -> Iterator[str]:
    for turn in (t for t in turns if t.role == Role.INTERRUPTED):
        figures = turn.barge_in
        if figures is None:
            yield "The barge-in led to no CANCEL_TTS."
            continue
        reasons = [m.event.reason for m in lived.moments if isinstance(m.event, TtsCancelled) and m.event.epoch == turn.epoch]
        if reasons != [CancelReason.BARGE_IN]:
            yield f"The barge-in was cancelled for another reason: {reasons}."
        if figures.last_stale_sample_ms > STALE_MS_MAX:
            yield f"The cancelled answer was still heard {figures.last_stale_sample_ms} ms after CANCEL_TTS."
        if figures.onset_to_pause_ms > PAUSE_MS_MAX:
            yield f"The assistant talked on for {figures.onset_to_pause_ms} ms after the user had begun."
        if figures.onset_to_cancel_ms > CANCEL_MS_MAX:
            yield f"The decision took {figures.onset_to_cancel_ms} ms."
        if turn.outcome != Outcome.INTERRUPTED:
            yield f"The interrupted turn ended as {turn.outcome or 'nothing'}."


def _heard_is_what_was_heard(_: Lived, turns: Sequence[TurnReport]) -> Iterator[str]:
    """A proper prefix, and about as many words as fit into the sound, at the pace of the answers that were heard to their end."""
    words_per_ms = _pace(turns)
    for turn in (t for t in turns if t.role == Role.INTERRUPTED and t.outcome):
        heard, written = measure.words(turn.heard_text), measure.words(turn.assistant_text)
        if not heard:
            yield "Of the interrupted answer seconds were heard, but heard_text is empty."
        elif heard != written[: len(heard)]:
            yield "heard_text of the interrupted answer is no beginning of it."
        elif len(heard) >= len(written):
            yield "heard_text of the interrupted answer is not shorter than the answer."
        elif words_per_ms and abs(len(heard) - turn.heard_ms * words_per_ms) > max(
            HEARD_WORDS_SLACK, HEARD_WORDS_SHARE * len(heard)
        ):
            yield f"heard_text has {len(heard)} words; {turn.heard_ms * words_per_ms:.0f} fit into what was played."


def _pace(turns: Sequence[TurnReport]) -> float:
    """Words per ms of answers heard to their end; 0 when there is none. Counting is slow, and so is quoting a count."""
    counted = (Role.BACKCHANNEL, Role.HISTORY)
    whole = [turn for turn in turns if turn.outcome == Outcome.COMPLETED and turn.heard_ms and turn.role not in counted]
    return sum(turn.heard_words for turn in whole) / sum(turn.heard_ms for turn in whole) if whole else 0.0


def _backchannel_changes_nothing(_: Lived, turns: Sequence[TurnReport]) -> Iterator[str]:
    for turn in (t for t in turns if t.role == Role.BACKCHANNEL and t.outcome):
        murmur = turn.backchannel
        if murmur is None or not murmur.heard_after_ms:
            yield "After the backchannel nothing of the answer was heard."
        elif murmur.paused and not murmur.resumed_at_exact_sample:
            yield f"After the backchannel {murmur.samples_lost} samples were lost and {murmur.samples_repeated} repeated."


def _history_is_what_was_heard(_: Lived, turns: Sequence[TurnReport]) -> Iterator[str]:
    for before, turn in itertools.pairwise(turns):
        if turn.role not in {Role.BARGE_IN, Role.HISTORY} or not turn.assistant_text or not before.heard_text:
            continue
        told = measure.words(turn.assistant_text)
        heard, written = measure.words(before.heard_text), measure.words(before.assistant_text)
        if not set(heard[-TAIL_WORDS:]) & set(told):
            yield f'Asked for the last thing it said ("… {" ".join(heard[-8:])}"), the assistant said "{turn.assistant_text}".'
        unheard = written[len(heard) : len(heard) + UNHEARD_WORDS]
        if len(unheard) == UNHEARD_WORDS and " ".join(unheard) in " ".join(told):
            yield f'The assistant remembers "{" ".join(unheard)}", which nobody heard.'


_EXPECTATIONS: Sequence[Callable[[Lived, Sequence[TurnReport]], Iterator[str]]] = (
    _nothing_failed,
    _everything_was_said,
    _each_turn_is_answered,
    _each_turn_is_understood,
    _nobody_else_is_answered,
    _it_does_not_hear_itself,
    _words_over_the_assistant_are_understood,
    _answers_are_heard_to_the_end,
    _barge_in_works,
    _heard_is_what_was_heard,
    _backchannel_changes_nothing,
    _history_is_what_was_heard,
)

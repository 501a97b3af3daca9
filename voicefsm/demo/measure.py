"""What the recording and the events say about an exchange: latencies, samples lost, words misheard. Pure functions."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Sequence

from voicefsm.audio.samples import SAMPLES_PER_MS
from voicefsm.client import (
    AssistantText,
    Outcome,
    PlayoutPaused,
    PlayoutResumed,
    State,
    StateChanged,
    Transcript,
    TtsCancelled,
    TurnCompleted,
)
from voicefsm.demo.line import Heard, Utterance
from voicefsm.demo.script import Moment
from voicefsm.values import CancelReason, Epoch

HEARD_AFTER_MS = 1000
"""What the assistant does within this time after the user fell silent may be the user's doing …"""
TURN_AFTER_MS = 3000
"""… and a turn that is over, or words that are recognised, within this time are theirs."""
LATE_MS = 15_000
"""A slow recogniser may bring words so long after they were said."""


@dataclasses.dataclass(frozen=True, slots=True)
class BargeIn:
    """How fast the assistant gave way, in milliseconds of the recording."""

    onset_to_pause_ms: float
    """From the user's first sample to the last far-end sample rendered before the pause."""
    onset_to_silence_ms: float
    """The same at the loudspeaker, which plays what the device still held: what a person notices."""
    onset_to_cancel_ms: float
    """From the user's first sample to the receipt of `CancelTts`."""
    last_stale_sample_ms: float
    """The last rendered sample of the cancelled reply, relative to that receipt; 0 or less is perfect."""


@dataclasses.dataclass(frozen=True, slots=True)
class Backchannel:
    """What a murmur of the user did to an answer."""

    said: str
    paused: bool
    """Whether playout stood still for it."""
    paused_ms: float
    """For how long, in all."""
    resumed_at_exact_sample: bool
    samples_lost: int
    """Far-end samples of the answer that were never rendered."""
    samples_repeated: int
    """Far-end samples that were rendered twice."""
    heard_after_ms: float
    """How much of the answer was heard after the murmur began."""


@dataclasses.dataclass(frozen=True, slots=True)
class Alone:
    """What the assistant did although nobody had spoken: it heard itself. Zeros are perfect."""

    self_interruptions: int
    """Replies cut as by a barge-in."""
    self_pauses: int
    """Times playout stood still."""
    ghost_turns: int
    """Turns that were answered and nobody's."""
    ghost_words: int
    """Words the recogniser was sure of."""


@dataclasses.dataclass(frozen=True, slots=True)
class OverPlayout:
    """The words that were begun over the assistant's voice, and what the recogniser made of them."""

    said: str
    understood: str
    words: int
    """How many were said."""
    wer: float
    """Their word error rate."""


def barge_in(
    epoch: Epoch, said: Utterance, heard: Sequence[Heard], moments: Sequence[Moment], *, delay_ms: float = 0.0
) -> BargeIn | None:
    """The figures of an interruption; None when the reply was not cancelled. `delay_ms` is the loudspeaker's."""
    receipts = [m.at_sample for m in moments if isinstance(m.event, TtsCancelled) and m.event.epoch == epoch]
    runs = [run for run in heard if run.epoch == epoch]
    if not receipts or not runs:
        return None
    last = runs[-1].at_sample + runs[-1].length - 1
    silent = _last_before_pause(epoch, said, runs, moments)
    return BargeIn(
        onset_to_pause_ms=_ms(silent - said.first_sample),
        onset_to_silence_ms=_ms(silent - said.first_sample) + delay_ms,
        onset_to_cancel_ms=_ms(receipts[0] - said.first_sample),
        last_stale_sample_ms=_ms(last - receipts[0]),
    )


def _last_before_pause(epoch: Epoch, said: Utterance, runs: Sequence[Heard], moments: Sequence[Moment]) -> int:
    """Where the last sample before the first pause after the onset is; without a pause, the last of all."""
    pauses = [
        m.at_sample
        for m in moments
        if isinstance(m.event, PlayoutPaused) and m.event.epoch == epoch and m.at_sample >= said.first_sample
    ]
    last = runs[0].at_sample
    for run in runs:
        stood_still = run.at_sample > last + 1
        if pauses and stood_still and last >= said.first_sample and run.at_sample > pauses[0]:
            break
        last = run.at_sample + run.length - 1
    return last


def backchannel(epoch: Epoch, said: Utterance, heard: Sequence[Heard], moments: Sequence[Moment]) -> Backchannel:
    """What a murmur did."""
    runs = [run for run in heard if run.epoch == epoch]
    lost, repeated = continuity(runs)
    after = [m for m in moments if m.at_sample >= said.first_sample]
    pauses = [m.at_sample for m in after if isinstance(m.event, PlayoutPaused) and m.event.epoch == epoch]
    resumes = [m.at_sample for m in after if isinstance(m.event, PlayoutResumed) and m.event.epoch == epoch]
    return Backchannel(
        said=said.text,
        paused=bool(pauses),
        paused_ms=_ms(sum(r - p for p, r in zip(pauses, resumes, strict=False))),
        resumed_at_exact_sample=len(resumes) == len(pauses) and lost == repeated == 0,
        samples_lost=lost,
        samples_repeated=repeated,
        heard_after_ms=_ms(sum(run.length for run in runs if run.at_sample >= said.first_sample)),
    )


def continuity(runs: Sequence[Heard]) -> tuple[int, int]:
    """Far-end samples skipped and repeated between the first and the last rendered one of a reply."""
    lost = repeated = 0
    for before, after in itertools.pairwise(runs):
        step = after.first_sample - (before.first_sample + before.length)
        lost += max(0, step)
        repeated += max(0, -step)
    return lost, repeated


def alone(said: Sequence[Utterance], asked: Collection[Epoch], moments: Sequence[Moment]) -> Alone:
    """What happened of the assistant's own accord. `asked` are the replies that the user took for answers."""
    lonely = [m.event for m in moments if not _spoken(said, m.at_sample, HEARD_AFTER_MS)]
    strange = [m.event for m in moments if not _spoken(said, m.at_sample, TURN_AFTER_MS)]
    return Alone(
        self_interruptions=sum(isinstance(e, TtsCancelled) and e.reason is CancelReason.BARGE_IN for e in lonely),
        self_pauses=sum(isinstance(e, PlayoutPaused) for e in lonely),
        ghost_turns=sum(_is_ghost(turn, over_sample, said, asked) for turn, over_sample in _answered(moments)),
        ghost_words=sum(len(words(e.text)) for e in strange if isinstance(e, Transcript) and e.is_final),
    )


def _spoken(said: Sequence[Utterance], at_sample: int, after_ms: int) -> list[Utterance]:
    """What was being said at that place in the recording, or so long before it."""
    after = after_ms * SAMPLES_PER_MS
    return [one for one in said if one.first_sample <= at_sample <= one.end_sample + after]


def _answered(moments: Sequence[Moment]) -> Iterator[tuple[TurnCompleted, int]]:
    """Every turn that got an answer somebody could hear, and when the user was taken to be done."""
    over_sample = 0
    began: dict[Epoch, int] = {}
    for moment in moments:
        match moment.event:
            case StateChanged(after=State.PROCESSING):
                over_sample = moment.at_sample
            case AssistantText(epoch=epoch):
                began.setdefault(epoch, over_sample)
            case TurnCompleted() as turn if turn.outcome is not Outcome.RETRACTED:
                yield turn, began.get(turn.epoch, over_sample)


def _is_ghost(turn: TurnCompleted, over_sample: int, said: Sequence[Utterance], asked: Collection[Epoch]) -> bool:
    """It is no answer to what had just been said, and most of its words were not said lately either: late is no ghost."""
    if turn.epoch in asked and _spoken(said, over_sample, TURN_AFTER_MS):
        return False
    lately = {word for one in _spoken(said, over_sample, LATE_MS) for word in words(one.text)}
    understood = words(turn.user_text)
    return 2 * sum(word in lately for word in understood) < max(1, len(understood))


def over_playout(interjected: Sequence[Utterance], said: Sequence[Utterance], moments: Sequence[Moment]) -> OverPlayout | None:
    """What became of the words in `interjected`; None when there were none. `said` is all that the user said, in order."""
    if not interjected:
        return None
    text = " ".join(one.text for one in interjected)
    understood = " ".join(filter(None, (_understood(one, said, moments) for one in interjected)))
    return OverPlayout(text, understood, len(words(text)), round(word_error_rate(text, understood), 2))


def _understood(utterance: Utterance, said: Sequence[Utterance], moments: Sequence[Moment]) -> str:
    """The finals that came of an utterance; failing those, the last partial: a rejected murmur may get no more."""
    later = [one.first_sample for one in said if one.first_sample > utterance.first_sample]
    end_sample = min([*later, utterance.end_sample + TURN_AFTER_MS * SAMPLES_PER_MS])
    told = [m.event for m in moments if utterance.first_sample <= m.at_sample < end_sample and isinstance(m.event, Transcript)]
    finals = [one.text for one in told if one.is_final and one.text]
    return " ".join(finals or [one.text for one in told[-1:]])


def first_audio_ms(epoch: Epoch, said: Utterance, heard: Sequence[Heard]) -> float | None:
    """From the user's last sample to the first rendered one of the answer; None when none was."""
    first = next((run.at_sample for run in heard if run.epoch == epoch), None)
    return None if first is None else _ms(first - said.end_sample)


def states(moments: Sequence[Moment], first_sample: int, end_sample: int) -> list[str]:
    """The state at the beginning of a stretch of the recording, and those entered in it."""
    passed = [State.IDLE]
    for moment in moments:
        if isinstance(moment.event, StateChanged) and moment.at_sample < end_sample:
            passed = [moment.event.after] if moment.at_sample < first_sample else [*passed, moment.event.after]
    return [state.value for state in passed]


def words(text: str) -> list[str]:
    """Words without case and punctuation."""
    kept = "".join(c if c.isalnum() or c == "'" else " " for c in text.lower())
    return kept.split()


def word_error_rate(said: str, understood: str) -> float:
    """Substitutions, insertions and deletions per word said."""
    reference, hypothesis = words(said), words(understood)
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(hypothesis, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1] / max(1, len(reference))


def _ms(samples: int) -> float:
    return round(samples / SAMPLES_PER_MS, 1)

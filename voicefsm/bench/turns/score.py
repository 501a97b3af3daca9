"""What a run came to, read off the sound: `<id>/output.wav` on the time axis of `<id>/input.wav`.

Theory of operation. The assistant speaks wherever the recording is not silent. Two views of that are kept: *sound*, with gaps of a
few milliseconds closed, and *speech*, with gaps up to half a second closed, so that a pause that is taken back does not count as a
stop, nor as a yield. The tones of the voice (pilot.py) say which reply is heard and whether anything of it was lost or repeated.

Each event of an item gets an `Outcome`, each turn a `Turn`; figures are shares and quantiles of those, each with the number it
rests on and a 95 % interval: Wilson's for shares, by rank for quantiles.

Definitions, from those published with full-duplex benchmarks (Full-Duplex-Bench 1 and 1.5, tau-voice, SID-Bench, eot-bench):

    yields           an interruption: speech ends within 2 s of its onset
    ignores          anything else: speech goes on for more than 1 s from the onset, and for 1 s past the end
    responds         yields, and another reply begins within 4 s of the user's end
    takes the turn   at least 1 s of speech
    seconds lost     an interruption: its stop latency, or 5 s if it was not obeyed; anything else: 0, or 5 s if it cut the answer

A reply that comes to its own end at an event says nothing about it and is left out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from voicefsm.audio.samples import RATE_HZ, Samples
from voicefsm.bench.turns import pilot
from voicefsm.bench.turns.stimuli import OUTPUT, Happening, Item, Span, read_wav

YIELD_S_MAX = 2.0
HOLD_S_MIN = 1.0
RESPOND_S_MAX = 4.0
TAKEOVER_S_MIN = 1.0
LOST_S = 5.0
"""What an answer is worth that was lost, or an interruption that was not obeyed."""
RESUME_S_MAX = 0.4
"""A pause that is taken back should be no longer."""
CONTINUITY_SAMPLES = 8
"""Where a fade begins and ends is known to so many samples: its foot is silent."""

_STEP = RATE_HZ // 100
_SILENCE = 3e-4
_SOUND_GAP_S = 0.05
_SPEECH_GAP_S = 0.5
_LATE_S = 3.0
"""How long after an event a pause still belongs to it."""
_SILENT_S = 2.0
_BLIP_S = 0.2
"""Speech shorter than this is no response."""

TURN_KINDS = ("pause_handling", "long_pause", "user_monologue", "smooth_turn_taking")
"""Categories of one turn in several parts."""
PATIENCE_KINDS = TURN_KINDS[:3]
SHORT_KINDS = ("backchannel", "vocal_tic", "noise")
OTHERS_KINDS = ("side_talk", "background_speech")
IGNORED_KINDS = SHORT_KINDS + OTHERS_KINDS
_NO_EVENT = ("context", "pause", "turn_end")


# --- one recording -----------------------------------------------------------------------------------------------------------


class Recording:
    """What one user heard."""

    def __init__(self, samples: Samples) -> None:
        signal = (samples / np.float32(32768)).astype(np.float32)
        self.sound = spans_of(signal)
        self.speech = joined(self.sound, _SPEECH_GAP_S)
        _, self.stretches = pilot.read(signal)

    def ends_by_itself(self, at_s: float) -> bool:
        """Did a reply come to its own end here?"""
        return any(one.is_complete and abs(one.end_sample / RATE_HZ - at_s) < _SOUND_GAP_S for one in self.stretches)

    def reply_at(self, at_s: float) -> int | None:
        """Which reply is heard at a moment."""
        slack_s = 0.02
        for one in self.stretches:
            if one.reply != pilot.UNREAD and one.first_sample / RATE_HZ - slack_s <= at_s < one.end_sample / RATE_HZ + slack_s:
                return one.reply
        return None

    def breaks(self, start_s: float, end_s: float) -> list[int]:
        """Samples lost (positive) or repeated (negative) where a reply goes on between these moments; empty when none are."""
        found: list[int] = []
        before: pilot.Stretch | None = None
        unread = 0
        for one in self.stretches:
            if one.reply == pilot.UNREAD:
                unread += one.end_sample - one.first_sample
                continue
            is_here = start_s <= one.first_sample / RATE_HZ <= end_s
            if before is not None and before.reply == one.reply and is_here:
                found.append(one.from_sample - before.to_sample - unread)
            before, unread = one, 0
        return [lost for lost in found if abs(lost) > CONTINUITY_SAMPLES]


def spans_of(signal: pilot.Signal) -> list[Span]:
    """Where a signal is not silent, in steps of 10 ms."""
    steps = np.abs(signal[: len(signal) // _STEP * _STEP]).reshape(-1, _STEP).max(axis=1)
    loud = np.flatnonzero(steps > _SILENCE) / 100
    return joined([(float(at), float(at) + 0.01) for at in loud], _SOUND_GAP_S)


def joined(spans: Iterable[Span], gap_s: float) -> list[Span]:
    """The spans, with gaps up to `gap_s` closed."""
    found: list[Span] = []
    for start, end in spans:
        if found and start - found[-1][1] <= gap_s:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


# --- outcomes ----------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What one event came to. Times in seconds."""

    item: str
    category: str
    happening: Happening
    is_over_speech: bool | None
    """Whether the assistant was speaking; None when its reply was just over."""
    response_s: float | None = None
    """From the user's end to the next beginning of speech."""
    stop_s: float | None = None
    """From the onset to the end of speech."""
    pause_s: float | None = None
    """From the onset to the first silence."""
    silence_s: float = 0.0
    """The longest gap in the sound around the event."""
    yields: bool = False
    holds: bool = False
    responds: bool = False
    resumes_late: bool = False
    """The answer was cut, and yet the same reply went on later."""
    breaks: tuple[int, ...] = ()
    """Samples lost or repeated where the reply went on."""
    stays_silent: bool = False
    """When nobody spoke: the assistant said nothing until 2 s after the event."""
    waits: bool = False
    """When nobody spoke: the assistant said nothing while the event went on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a user, and whether it was answered."""

    item: str
    category: str
    """Of the item, or "context"."""
    is_taken: bool
    latency_s: float | None
    cut_s: float | None = None
    """When the assistant took over before the turn was over, if it did."""

    @property
    def is_cut(self) -> bool:
        """Whether it did."""
        return self.cut_s is not None


@dataclasses.dataclass(frozen=True, slots=True)
class Hold:
    """A silence inside a turn."""

    item: str
    length_s: float
    is_cut: bool
    """The assistant began in it, or right after it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Results:
    """All that a run came to."""

    outcomes: tuple[Outcome, ...]
    turns: tuple[Turn, ...]
    holds: tuple[Hold, ...]
    starts_over_user: int
    """How often the assistant began to speak into the user's words."""
    user_turns: int
    missing: tuple[str, ...]
    """Items without a recording."""


def results_of(items: Sequence[Item], runs: Path) -> Results:
    """Look at every recording. One that is not there is missing, and no more."""
    there = {item.id: item for item in items if (runs / item.id / OUTPUT).exists()}
    looked_at = [(item, Recording(read_wav(runs / id_ / OUTPUT))) for id_, item in there.items()]
    missing = tuple(item.id for item in items if item.id not in there)
    return look(looked_at, missing)


def look(recordings: Iterable[tuple[Item, Recording]], missing: tuple[str, ...] = ()) -> Results:
    """The results of recordings."""
    outcomes: list[Outcome] = []
    turns: list[Turn] = []
    holds: list[Hold] = []
    starts = user_turns = 0
    for item, recording in recordings:
        outcomes += [_outcome(item, recording, one) for one in item.happenings if one.kind not in _NO_EVENT]
        turns += _turns(item, recording)
        holds += _holds(item, recording)
        starts += _starts_over_user(item, recording)
        user_turns += len(item.all("context", "interruption", "turn_end"))
    return Results(tuple(outcomes), tuple(turns), tuple(holds), starts, user_turns, missing)


def _outcome(item: Item, recording: Recording, event: Happening) -> Outcome:
    following = [one.start_s for one in item.happenings if one.start_s > event.end_s + 1e-6]
    until_s = min(following, default=item.duration_s)
    begun = [start for start, end in recording.speech if event.end_s <= start < until_s and end - start >= _BLIP_S]
    response_s = begun[0] - event.end_s if begun else None
    plain = Outcome(item.id, item.category, event, is_over_speech=False, response_s=response_s)
    current = _span_at(recording.speech, event.start_s)
    if current is None:
        first_s = min((start for start, _ in recording.speech if start >= event.start_s), default=math.inf)
        return dataclasses.replace(plain, stays_silent=first_s >= event.end_s + _SILENT_S, waits=first_s >= event.end_s)
    if recording.ends_by_itself(current[1]) and current[1] < event.end_s + HOLD_S_MIN:
        return dataclasses.replace(plain, is_over_speech=None)
    return _over_speech(item, recording, plain, current[1], begun)


def _over_speech(item: Item, recording: Recording, plain: Outcome, stop_at_s: float, begun: Sequence[float]) -> Outcome:
    """The outcome of an event over the assistant's voice, which ended at `stop_at_s`."""
    event, response_s = plain.happening, plain.response_s
    stop_s = stop_at_s - event.start_s
    yields = stop_s <= YIELD_S_MAX
    holds = stop_s > HOLD_S_MIN and stop_at_s >= min(event.end_s + HOLD_S_MIN, item.duration_s - _SOUND_GAP_S)
    before = recording.reply_at(event.start_s)
    after = recording.reply_at(begun[0] + 0.1) if begun else None
    is_new = after is None or after != before
    around = (event.start_s, event.end_s + _LATE_S)
    gaps = [(a, b) for (_, a), (b, _) in zip(recording.sound, recording.sound[1:], strict=False) if around[0] <= a <= around[1]]
    sound = _span_at(recording.sound, event.start_s)
    return dataclasses.replace(
        plain,
        is_over_speech=True,
        stop_s=stop_s,
        pause_s=(sound[1] if sound else event.start_s) - event.start_s,
        silence_s=max((b - a for a, b in gaps), default=0.0),
        yields=yields,
        holds=holds,
        responds=bool(yields and response_s is not None and response_s <= RESPOND_S_MAX and is_new),
        resumes_late=bool(not holds and after is not None and after == before),
        breaks=tuple(recording.breaks(*around)) if holds else (),
    )


def _span_at(spans: Iterable[Span], at_s: float) -> Span | None:
    return next((span for span in spans if span[0] <= at_s < span[1]), None)


def _turns(item: Item, recording: Recording) -> list[Turn]:
    """The turn of several parts, or the question that the item begins with."""
    if item.category in TURN_KINDS:
        end_s = item.all("turn_end")[0].end_s
        cut_s = _takeover(recording.speech, 0.0, end_s) if item.category in PATIENCE_KINDS else None
        taken_s = _takeover(recording.speech, end_s - 0.02, item.duration_s + 1e-6)
        latency_s = None if taken_s is None else max(0.0, taken_s - end_s)
        return [Turn(item.id, item.category, taken_s is not None, latency_s, cut_s)]
    questions = item.all("context")
    if not questions or item.category in {"early_interruption", "multi_turn"}:
        return []
    end_s = questions[0].end_s
    until_s = min((one.start_s for one in item.happenings if one.start_s > end_s), default=item.duration_s)
    begun = [start for start, _ in recording.speech if end_s <= start < until_s]
    return [Turn(item.id, "context", bool(begun), begun[0] - end_s if begun else None)]


def _takeover(speech: Sequence[Span], start_s: float, end_s: float) -> float | None:
    """When the assistant takes the floor between two moments, if it does."""
    inside = [(max(start, start_s), min(end, end_s)) for start, end in speech if end > start_s and start < end_s]
    return inside[0][0] if inside and inside[-1][1] - inside[0][0] >= TAKEOVER_S_MIN else None


def _holds(item: Item, recording: Recording) -> list[Hold]:
    if item.category not in TURN_KINDS:
        return []
    inner = [silence for silence in item.silences if not silence.is_end]
    starts = [start for start, _ in recording.speech]
    return [
        Hold(item.id, one.end_s - one.start_s, any(one.start_s <= start < one.end_s + _BLIP_S for start in starts)) for one in inner
    ]


def _starts_over_user(item: Item, recording: Recording) -> int:
    spoken = [(one.start_s, one.end_s) for one in item.all("context", "interruption")] + list(item.speech)
    return sum(any(start < at < end - _SOUND_GAP_S for start, end in spoken) for at, _ in recording.speech)


# --- figures -----------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """A number, what it rests on, and how far to trust it."""

    value: float | None
    """None when it rests on nothing."""
    n: int
    low: float | None = None
    """The 95 % interval, where one is known."""
    high: float | None = None


_Z = 1.959964


def share(flags: Iterable[object]) -> Figure:
    """How many are true, with Wilson's interval."""
    seen = [bool(flag) for flag in flags]
    n = len(seen)
    if not n:
        return Figure(None, 0)
    p = sum(seen) / n
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    return Figure(p, n, max(0.0, centre - half), min(1.0, centre + half))


def quantile(values: Iterable[float | None], q: float) -> Figure:
    """A quantile, with the interval between the values whose ranks enclose it 95 times in 100."""
    known = sorted(value for value in values if value is not None)
    n = len(known)
    if not n:
        return Figure(None, 0)
    half = _Z * math.sqrt(n * q * (1 - q))
    low, high = max(0, math.floor(n * q - half)), min(n - 1, math.ceil(n * q + half))
    return Figure(float(np.quantile(known, q)), n, known[low], known[high])


def mean(values: Iterable[float | None]) -> Figure:
    """A mean, with the normal interval."""
    known = [value for value in values if value is not None]
    if not known:
        return Figure(None, 0)
    middle = float(np.mean(known))
    half = _Z * float(np.std(known, ddof=1)) / math.sqrt(len(known)) if len(known) > 1 else math.inf
    return Figure(middle, len(known), middle - half, middle + half)


def figures(results: Results) -> dict[str, Figure]:
    """Every figure by name. Names end in their unit; shares have none."""
    real = [one for one in results.outcomes if one.happening.kind == "interruption" and one.is_over_speech]
    real = [one for one in real if one.category != "early_interruption"]
    false = [one for one in results.outcomes if one.happening.kind in IGNORED_KINDS and one.is_over_speech]
    return {
        **_interruptions(real),
        **_ignored(results),
        **_taken_back(false),
        "false_interruptions": share(not one.holds for one in false),
        "lost_s": mean([_cost_s(one) for one in real] + [0.0 if one.holds else LOST_S for one in false]),
        **_turn_figures(results),
        **_early(results),
    }


def _interruptions(real: Sequence[Outcome]) -> dict[str, Figure]:
    wanted = [one for one in real if one.happening.subtype != "stop"]
    return {
        "pause_p50_ms": quantile(_ms(one.pause_s for one in real), 0.5),
        "pause_p95_ms": quantile(_ms(one.pause_s for one in real), 0.95),
        "stop_p50_ms": quantile(_ms(one.stop_s for one in real), 0.5),
        "stop_p95_ms": quantile(_ms(one.stop_s for one in real), 0.95),
        "yield_mean_ms": mean(_ms(one.stop_s for one in real if one.yields)),
        "yields": share(one.yields for one in real),
        "stops_when_told": share(one.yields for one in real if one.happening.subtype == "stop"),
        "responds": share(one.responds for one in wanted),
        "interruption_response_p50_ms": quantile(_ms(one.response_s for one in wanted), 0.5),
    }


def _ignored(results: Results) -> dict[str, Figure]:
    found = {f"ignores_{kind}": share(_is_ignored(one) for one in _ignorable(results, (kind,))) for kind in IGNORED_KINDS}
    found["ignores_short"] = share(_is_ignored(one) for one in _ignorable(results, SHORT_KINDS))
    found["ignores_short_exactly"] = share(
        _is_ignored(one) and not one.breaks for one in _ignorable(results, SHORT_KINDS) if one.is_over_speech
    )
    found["ignores_others"] = share(_is_ignored(one) for one in _ignorable(results, OTHERS_KINDS))
    return found


def _ignorable(results: Results, kinds: Sequence[str]) -> list[Outcome]:
    """What should be ignored: over speech, and what is said to somebody else also where nobody speaks."""
    of = [one for one in results.outcomes if one.happening.kind in kinds]
    return [one for one in of if one.is_over_speech or (one.is_over_speech is False and one.happening.kind in _ALSO_IN_SILENCE)]


_ALSO_IN_SILENCE = ("side_talk", "vocal_tic")


def _is_ignored(one: Outcome) -> bool:
    return one.holds if one.is_over_speech else one.stays_silent


def _taken_back(false: Sequence[Outcome]) -> dict[str, Figure]:
    """Pauses that were wrong and were taken back."""
    paused = [one for one in false if one.silence_s > 0 and (one.holds or one.resumes_late)]
    return {
        "false_pauses": share(one.silence_s > 0 or not one.holds for one in false),
        "resume_p50_ms": quantile(_ms(one.silence_s for one in paused), 0.5),
        "resume_p95_ms": quantile(_ms(one.silence_s for one in paused), 0.95),
        "resumes_in_time": share(one.silence_s <= RESUME_S_MAX + 1e-9 for one in paused),
        "resumes_exactly": share(not one.breaks for one in paused if one.holds),
    }


def _turn_figures(results: Results) -> dict[str, Figure]:
    smooth = [turn for turn in results.turns if turn.category == "smooth_turn_taking"]
    in_parts = [turn for turn in results.turns if turn.category in TURN_KINDS]
    patience = {
        f"cuts_off_{kind}": share(turn.is_cut for turn in results.turns if turn.category == kind) for kind in PATIENCE_KINDS
    }
    return {
        "answers": share(turn.is_taken for turn in results.turns),
        "answers_smooth": share(turn.is_taken for turn in smooth),
        "response_mean_ms": mean(_ms(turn.latency_s for turn in results.turns)),
        "response_p50_ms": quantile(_ms(turn.latency_s for turn in results.turns), 0.5),
        "response_p95_ms": quantile(_ms(turn.latency_s for turn in results.turns), 0.95),
        "dead_air_p50_ms": quantile(_ms(turn.latency_s for turn in in_parts), 0.5),
        **patience,
        "cuts_off_at_silences": share(hold.is_cut for hold in results.holds),
        "starts_over_user": _ratio(results.starts_over_user, results.user_turns),
    }


def _early(results: Results) -> dict[str, Figure]:
    """Interruptions before the answer is heard."""
    early = [one for one in results.outcomes if one.category == "early_interruption"]
    return {
        "early_gives_way": share(one.yields or one.waits for one in early),
        "early_silent": share(one.yields or one.stays_silent for one in early),
        "early_response_p50_ms": quantile(_ms(one.response_s for one in early), 0.5),
    }


def _ratio(count: int, of: int) -> Figure:
    return Figure(count / of if of else None, of)


def _cost_s(one: Outcome) -> float:
    return one.stop_s if one.yields and one.stop_s is not None else LOST_S


def _ms(seconds: Iterable[float | None]) -> list[float | None]:
    return [None if value is None else 1000 * value for value in seconds]


# --- by category, and what went wrong ----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Something in an item that did not go as a person would expect."""

    item: str
    at_s: float
    what: str


def failures(results: Results) -> list[Failure]:
    """In the order of the set."""
    found = [Failure(one.item, one.happening.start_s, what) for one in results.outcomes for what in _complaints(one)]
    cuts = [(turn.item, turn.cut_s) for turn in results.turns if turn.cut_s is not None]
    found += [Failure(item, at_s, "took the turn before it was over") for item, at_s in cuts]
    found += [Failure(turn.item, 0.0, "no answer") for turn in results.turns if not turn.is_taken]
    return [*sorted(found, key=lambda one: (one.item, one.at_s)), *(Failure(id_, 0.0, "no recording") for id_ in results.missing)]


def _complaints(one: Outcome) -> list[str]:
    if one.category == "early_interruption":
        return [] if one.yields or one.waits else ["spoke into an early interruption"]
    if one.is_over_speech is None:
        return []
    if one.happening.kind == "interruption":
        return _interruption_complaints(one)
    return _ignorable_complaints(one)


_STOP_S_MAX = 0.35
"""A stop that takes longer is listed."""


def _interruption_complaints(one: Outcome) -> list[str]:
    if not one.is_over_speech:
        return ["nobody spoke who could be interrupted"]
    if not one.yields:
        return [f"interruption not obeyed (silent after {_told(one.pause_s)}, spoke until {_told(one.stop_s)})"]
    found = [f"stopped late: {_told(one.stop_s)} after the onset"] if (one.stop_s or 0.0) > _STOP_S_MAX else []
    is_unanswered = one.happening.subtype != "stop" and not one.responds
    return found + ([f"interruption not answered in time ({_told(one.response_s)})"] if is_unanswered else [])


def _ignorable_complaints(one: Outcome) -> list[str]:
    kind = one.happening.kind
    if not one.is_over_speech:
        is_fault = kind in _ALSO_IN_SILENCE and not one.stays_silent
        return [f"answered a {kind} in silence"] if is_fault else []
    if not one.holds:
        return [f"{kind} cut the answer {_told(one.stop_s)} after its onset{', which went on later' if one.resumes_late else ''}"]
    found = [f"resumed late after a {kind}: {_told(one.silence_s)} of silence"] if one.silence_s > RESUME_S_MAX + 1e-9 else []
    return found + ([f"samples lost or repeated around a {kind}: {list(one.breaks)}"] if one.breaks else [])


def _told(seconds: float | None) -> str:
    return "never" if seconds is None else f"{1000 * seconds:.0f} ms"


def by_category(results: Results) -> dict[str, Figure]:
    """The share of items of each category without a failure."""
    categories = {turn.item: turn.category for turn in results.turns} | {one.item: one.category for one in results.outcomes}
    failed = {failure.item for failure in failures(results)}
    names = sorted(set(categories.values()) - {"context"})
    return {name: share(item not in failed for item, of in categories.items() if of == name) for name in names}

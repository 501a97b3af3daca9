"""The barge-in decision: integers and words in, verdict and reason out. Nothing else decides.

Two stages. The *onset* of near-end speech over our voice pauses playout at once: that is cheap and can be undone. Then every new
piece of evidence asks `decide`, which answers confirm, reject or wait:

    a stop word            confirm      "stop", "wait": the user means it, however short
    enough other words     confirm      backchannels ("mm-hm", "okay") do not count
    long enough speech     confirm      the recogniser may be slow or deaf; twice as long at the start of a reply
    over, and too short    reject       a cough, a click
    over, backchannel      reject       the user follows us
    over, no words in time reject       noise
    out of time            as the evidence stands

While the reply is not audible yet (PROCESSING) the same rule is more patient: there is nothing to reject, and only words or twice
the usual speech confirm.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Mapping

from voicefsm.context import Context, NearEnd, State


class Verdict(enum.Enum):
    """What a decision says."""

    CONFIRM = "confirm"
    REJECT = "reject"
    WAIT = "wait"


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and why it fell."""

    verdict: Verdict
    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Lexicon:
    """What short utterances mean in one language. Phrases are lower case, without punctuation."""

    backchannels: frozenset[str]
    """The user follows; never a turn of its own."""
    stops: frozenset[str]
    """The user wants silence."""

    def content_words(self, text: str) -> int:
        """The number of words that belong to no backchannel. Longer phrases are looked for first."""
        rest = _spaced(text)
        for phrase in _phrases(self.backchannels):
            rest = rest.replace(phrase, " ")
        return sum(word not in self.backchannels for word in rest.split())

    def has_stop(self, text: str) -> bool:
        """Whether a stop phrase stands in the text at word boundaries."""
        return any(f" {stop} " in f" {text} " for stop in self.stops)


@functools.cache
def _phrases(backchannels: frozenset[str]) -> tuple[str, ...]:
    """Those of more than one word, ready to be cut out, longest first. One result per lexicon."""
    return tuple(_spaced(phrase) for phrase in sorted(backchannels, key=lambda phrase: (-len(phrase), phrase)) if " " in phrase)


def _spaced(text: str) -> str:
    """Each word between spaces of its own, so that neighbours can be cut out one by one."""
    return "".join(f" {word} " for word in text.split())


ENGLISH = Lexicon(
    backchannels=frozenset(
        "mm mmm mhm mm-hm mm-hmm mmhmm hmm hm uh-huh uhhuh uh huh um ah aha oh okay ok yeah yep yes yup right sure wow cool nice "
        "great alright really indeed".split()
    )
    | {"i see", "of course", "all right", "go on", "got it", "uh huh"},
    stops=frozenset({"stop", "wait", "hold on", "hang on", "shut up", "be quiet", "cancel", "enough", "never mind", "excuse me"}),
)
HINDI = Lexicon(
    backchannels=frozenset("हाँ हां जी हम्म हूँ हूं अच्छा ठीक सही ओके ओह वाह बिल्कुल".split()) | {"ठीक है", "जी हाँ", "जी हां", "अच्छा जी"},
    stops=frozenset({"रुको", "रुकिए", "ठहरो", "बस", "चुप", "एक मिनट", "सुनो", "सुनिए", "बंद करो"}),
)
LEXICONS: Mapping[str, Lexicon] = {"en": ENGLISH, "hi": HINDI}
"""By primary language subtag."""


def lexicon_of(language_code: str) -> Lexicon:
    """The lexicon for a BCP-47 tag; English where we have none, since its interjections travel furthest."""
    return LEXICONS.get(language_code.partition("-")[0].lower(), ENGLISH)


def normal(text: str) -> str:
    """Lower case, no punctuation but inner hyphens and apostrophes, single spaces."""
    kept = "".join(c if c.isalnum() or c in "-'" or c.isspace() or _is_mark(c) else " " for c in text.lower())
    return " ".join(filter(None, (word.strip("-'") for word in kept.split())))


def _is_mark(char: str) -> bool:
    """Devanagari vowel signs, virama and nukta are combining marks: neither letters nor punctuation."""
    return "\u0900" <= char <= "\u0963"


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """Everything a decision may depend on."""

    voiced_ms: int
    is_over: bool
    """The near end is quiet again."""
    words: int
    """Words, backchannels apart, that the recogniser has finalised or said twice: its first guesses flicker."""
    has_stop: bool
    is_backchannel: bool
    """There are words, and all of them are backchannels."""
    speech_ms_min: int
    """How much wordless speech confirms."""
    is_late: bool
    """The deadline has passed: wait is no answer."""


def candidate_of(context: Context, *, is_late: bool) -> Candidate:
    """What the context knows about near-end speech over, or before, the live reply."""
    settings = context.settings
    lexicon = lexicon_of(context.language_code)
    text = normal(context.heard_so_far())
    is_guarded = context.state is State.PROCESSING or context.heard_ms < settings.guard_ms
    return Candidate(
        voiced_ms=context.evidence.voiced_ms,
        is_over=context.near_end is NearEnd.QUIET,
        words=lexicon.content_words(normal(f"{context.user_text} {context.agreed}")),
        has_stop=lexicon.has_stop(text),
        is_backchannel=bool(text) and lexicon.content_words(text) == 0,
        speech_ms_min=settings.barge_in_speech_ms_min * (2 if is_guarded and not is_late else 1),
        is_late=is_late,
    )


def decide(candidate: Candidate, *, onset_ms_min: int, words_min: int) -> Decision:  # noqa: PLR0911 (one line per reason)
    """The one rule. The first line that applies is the reason."""
    long_enough = candidate.voiced_ms >= onset_ms_min
    if long_enough and candidate.has_stop:
        return Decision(Verdict.CONFIRM, "stop word")
    if long_enough and candidate.words >= words_min:
        return Decision(Verdict.CONFIRM, f"{candidate.words} words")
    if candidate.voiced_ms >= candidate.speech_ms_min and not candidate.is_backchannel:
        return Decision(Verdict.CONFIRM, f"{candidate.voiced_ms} ms of speech")
    if candidate.is_over and not long_enough:
        return Decision(Verdict.REJECT, f"only {candidate.voiced_ms} ms of speech")
    if candidate.is_backchannel and (candidate.is_over or candidate.is_late):
        return Decision(Verdict.REJECT, "backchannel")
    if candidate.is_late:
        return Decision(Verdict.REJECT, f"no words in {candidate.voiced_ms} ms of speech")
    return Decision(Verdict.WAIT, "not clear yet")


def judge(context: Context, *, is_late: bool = False) -> Decision:
    """Ask the rule about this session."""
    settings = context.settings
    candidate = candidate_of(context, is_late=is_late)
    return decide(candidate, onset_ms_min=settings.barge_in_onset_ms_min, words_min=settings.barge_in_words_min)

"""The barge-in decision: integers and words in, verdict and reason out. Nothing else decides.

Theory of operation
-------------------
Two stages. The *onset* of near-end speech over our voice pauses playout at once: that is cheap and can be undone. Then every new
piece of evidence asks `decide`, which answers confirm, reject or wait. A rejected candidate stays open: playout goes on, and words
or speech that come later may still confirm it, by the same rule.

First, what is it that sounds? (`sound_of`)

    alien   nobody who talks to us: the gate or the level says our own echo, it is steady like a horn, or it is far away
    soft    speech, but much quieter than this user usually is: to somebody else, or somebody else
    clear   near-end speech as loud as the user's

Then, is it for us? The first line that applies is the reason.

    words nobody heard     confirm      the recogniser hears what the detector does not, and it is not what we say
    a stop word            confirm      clear or soft; "stop", "wait": the user means it, however short
    enough other words     confirm      clear; backchannels ("mm-hm", "okay") do not count
    long enough speech     confirm      clear; the recogniser may be slow or deaf; twice as long at the start of a reply
    speech for seconds     confirm      soft: who insists is talking to us
    over, and too short    reject       a cough, a click
    over, not clear        reject       side talk, a voice in the background, a horn
    over, backchannel      reject       the user follows us
    out of time            as the evidence stands

Words decide best, so they are asked for as soon as the speech pauses, at a comma if need be, and a recogniser that has said its
last word of an "okay" ends the pause of playout at once. Between the lines is time. `verdict_ms_max` after the pause began a
listener's "uh-huh" is over and a barge-in is not: for who has fallen silent by then, or is not clear, playout resumes; for who goes
on it stays paused until words come or the speech is long enough. So the rule does not depend on a recogniser that is fast, or hears
at all.

While the reply is not audible yet (PROCESSING) the same rule is more patient: there is nothing to reject, and only words or twice
the usual speech confirm.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from voicefsm.context import SAID_CHARS_MAX, Context, NearEnd, State, TurnSettings
from voicefsm.events import UNKNOWN_DB, UNKNOWN_SWING_DB, Evidence, Fact, FinalHeard, PartialHeard, Timer, TimerFired
from voicefsm.lexicon import Lexicon, lexicon_of, normal


class Verdict(enum.Enum):
    """What a decision says."""

    CONFIRM = "confirm"
    REJECT = "reject"
    WAIT = "wait"


class Decision(NamedTuple):
    """A verdict and why it fell."""

    verdict: Verdict
    why: str


class Standing(enum.Enum):
    """What sounds, as far as it bears on a decision."""

    CLEAR = "clear"
    """Near-end speech at the level of the user."""
    SOFT = "soft"
    """Speech, much quieter than the user usually is."""
    ALIEN = "alien"
    """Our own echo, a steady sound, or speech from far away."""


class Sound(NamedTuple):
    """What sounds, and how we know."""

    standing: Standing
    why: str = ""


_CLEAR = Sound(Standing.CLEAR)


def sound_of(evidence: Evidence, usual_db: int, settings: TurnSettings, *, is_doubted: bool = False) -> Sound:
    """What this evidence is evidence of. `usual_db` is the level of the user's speech, `UNKNOWN_DB` before the first turn.

    `is_doubted`: it was not clear when the verdict was due. Levels come and go by some dB, so that it has to become clearly clear.
    """
    if evidence.gate_pct < settings.barge_in_gate_pct_min:
        return Sound(Standing.ALIEN, f"the gate gives near-end speech {evidence.gate_pct} %")
    if evidence.near_db == UNKNOWN_DB:
        return _CLEAR
    if evidence.near_db < evidence.echo_db + settings.barge_in_echo_db_min:
        return Sound(Standing.ALIEN, "no louder than our own echo")
    if evidence.swing_db < settings.barge_in_swing_db_min and evidence.voiced_ms >= settings.barge_in_onset_ms_min:
        return Sound(Standing.ALIEN, "steadier than speech")
    return _by_level(usual_db - evidence.near_db, settings, is_doubted=is_doubted) if usual_db != UNKNOWN_DB else _CLEAR


_DOUBT_DB = 4
"""By how much louder a doubted voice has to be to count as the user's."""


def _by_level(quieter_db: int, settings: TurnSettings, *, is_doubted: bool) -> Sound:
    if quieter_db >= settings.barge_in_far_db:
        return Sound(Standing.ALIEN, f"{quieter_db} dB quieter than the user")
    if quieter_db >= max(1, settings.barge_in_soft_db - _DOUBT_DB * is_doubted):
        return Sound(Standing.SOFT, f"{quieter_db} dB quieter than the user")
    return _CLEAR


def sound_in(context: Context) -> Sound:
    """What sounds in this session, as far as is known."""
    return sound_of(context.evidence, context.usual_db, context.settings, is_doubted=context.is_doubted)


class Candidate(NamedTuple):
    """Everything a decision may depend on."""

    voiced_ms: int
    is_over: bool
    """The near end is quiet again."""
    words: int
    """Words, backchannels apart, that the recogniser has finalised or said twice: first guesses flicker, and count only late."""
    has_stop: bool
    is_backchannel: bool
    """This stretch of speech has words, and all of them are backchannels."""
    speech_ms_min: int
    """How much wordless speech confirms."""
    is_late: bool
    """A deadline has passed: wait is no answer."""
    sound: Sound = _CLEAR
    """What it is that sounds."""
    strange_words: int = 0
    """Words that the detector heard nobody speak, and that are not ours."""
    is_final: bool = False
    """The recogniser has just said its last word about it."""


def candidate_of(context: Context, fact: Fact | None = None) -> Candidate:
    """What the context knows about near-end speech over, or before, the live reply, once this fact has happened."""
    settings = context.settings
    deadline = fact.timer if isinstance(fact, TimerFired) else None
    voiced_ms = _voiced_ms(context, fact)
    lexicon = lexicon_of(context.language_code)
    text, agreed = normal(context.heard_so_far()), normal(f"{context.user_text} {context.agreed}")
    is_backchannel = bool(text) and context.is_transcribed and lexicon.content_words(text) == 0
    is_guarded = context.state is State.PROCESSING or context.heard_ms < settings.guard_ms
    return Candidate(
        voiced_ms=voiced_ms,
        is_over=context.near_end is NearEnd.QUIET,
        words=lexicon.content_words(agreed if deadline is None else text, is_open=True),
        has_stop=lexicon.has_stop(text),
        is_backchannel=is_backchannel,
        is_final=isinstance(fact, FinalHeard) and bool(fact.text),
        speech_ms_min=settings.barge_in_speech_ms_min * (2 if is_guarded and deadline is not Timer.DECISION else 1),
        is_late=deadline is not None,
        sound=sound_in(context),
        strange_words=0 if voiced_ms else _strange_words(agreed, context.said, lexicon),
    )


def _voiced_ms(context: Context, fact: Fact | None) -> int:
    """Length of the speech that this is about. Words that come later than a recogniser lags are not about the last stretch."""
    is_late = isinstance(fact, PartialHeard | FinalHeard) and fact.at_ms > context.last_voiced_ms + context.settings.final_ms_max
    return 0 if is_late and context.near_end is NearEnd.QUIET else context.evidence.voiced_ms


def _strange_words(text: str, said: str, lexicon: Lexicon) -> int:
    """The number of content words; none if it may be our own voice, which the recogniser mishears, but not in every word."""
    ours, words = set(said.split()), text.split()
    known = sum(word in ours for word in words)
    return 0 if known * _OWN_SHARE > len(words) else lexicon.content_words(text, is_open=True)


_OWN_SHARE = 4
"""One word in so many may be ours by chance."""


def decide(candidate: Candidate, settings: TurnSettings) -> Decision:
    """The one rule. The first line that applies is the reason."""
    return _confirmed(candidate, settings) or _rejected(candidate, settings) or _WAIT


_WAIT = Decision(Verdict.WAIT, "not clear yet")


def _confirmed(candidate: Candidate, settings: TurnSettings) -> Decision | None:
    """Is it the user, and meant for us?"""
    if candidate.strange_words >= settings.barge_in_strange_words_min:
        return Decision(Verdict.CONFIRM, f"{candidate.strange_words} words that are not ours")
    if candidate.sound.standing is Standing.ALIEN or candidate.voiced_ms < settings.barge_in_onset_ms_min:
        return None
    if candidate.has_stop:
        return Decision(Verdict.CONFIRM, "stop word")
    return None if candidate.is_backchannel else _long_enough(candidate, settings)


def _long_enough(candidate: Candidate, settings: TurnSettings) -> Decision | None:
    """Is there enough of it, in words or in time?"""
    voiced_ms = candidate.voiced_ms
    if candidate.sound.standing is Standing.SOFT:
        insists = voiced_ms >= settings.barge_in_insist_ms_min
        return Decision(Verdict.CONFIRM, f"soft, but {voiced_ms} ms of speech") if insists else None
    if candidate.words >= settings.barge_in_words_min:
        return Decision(Verdict.CONFIRM, f"{candidate.words} words")
    return Decision(Verdict.CONFIRM, f"{voiced_ms} ms of speech") if voiced_ms >= candidate.speech_ms_min else None


def _rejected(candidate: Candidate, settings: TurnSettings) -> Decision | None:
    """Is it certain to be nothing, or is there no more time?"""
    is_settled = candidate.is_over or candidate.is_late
    if candidate.is_over and candidate.voiced_ms < settings.barge_in_onset_ms_min:
        return Decision(Verdict.REJECT, f"only {candidate.voiced_ms} ms of speech")
    if is_settled and candidate.sound.why:
        return Decision(Verdict.REJECT, candidate.sound.why)
    if (is_settled or candidate.is_final) and candidate.is_backchannel:
        return Decision(Verdict.REJECT, "backchannel")
    return Decision(Verdict.REJECT, f"no words in {candidate.voiced_ms} ms of speech") if candidate.is_late else None


def remember(context: Context, sentence: str) -> None:
    """One more sentence of the live reply goes to the voice: its words may come back from a loudspeaker."""
    context.sentences += 1
    context.said = f"{context.said} {normal(sentence)}"[-SAID_CHARS_MAX:]


def judge(context: Context, fact: Fact | None = None) -> Decision:
    """Ask the rule about this session. A deadline that passes wants an answer."""
    return decide(candidate_of(context, fact), context.settings)


def is_clear(context: Context) -> bool:
    """Does the near end sound like the user, as far as is known?"""
    return sound_in(context).standing is Standing.CLEAR


def is_alien(context: Context) -> bool:
    """Does it sound like nobody who talks to us?"""
    return sound_in(context).standing is Standing.ALIEN


def account(context: Context, why: str) -> str:
    """The reason of a decision and what it rests on, for the journal. What is not known is left out."""
    evidence = context.evidence
    parts = [] if f"{evidence.voiced_ms} ms" in why else [f"{evidence.voiced_ms} ms voiced"]
    if UNKNOWN_DB not in {context.usual_db, evidence.near_db}:
        parts.append(f"{evidence.near_db - context.usual_db:+d} dB of the user's level")
    if evidence.echo_db > UNKNOWN_DB:
        parts.append(f"{evidence.near_db - evidence.echo_db:+d} dB over echo")
    if evidence.far_db > UNKNOWN_DB:
        parts.append(f"gate {evidence.gate_pct} %")
    if evidence.swing_db < UNKNOWN_SWING_DB:
        parts.append(f"swing {evidence.swing_db} dB")
    return f"{why}: {', '.join(parts)}" if parts else why

"""The core, compiled: every step it can take, computed once by the real `machine.step` and kept in a plain table.

A context is reduced to what the core's questions can tell apart (`freeze`), and made again from that (`thaw`). Nothing of the
machine is written here a second time: `Core.move` thaws, asks `step`, and freezes the result. What is left out, and why that
loses nothing:

- times: a deadline is armed or not, and any armed one may pass next, in any order. That is more than a clock would allow;
- numbers of replies: only "the last one given out" and "an earlier one" differ for `is_stale`;
- words: a text is empty, all backchannels, has a content word, or has a stop word: all that the decision asks. Hypotheses are
  given relative to what was heard (`again`, `more`, `other`), because only repetition and continuation are told apart. What was
  heard before a reply began, or is being answered, can only be there or not: the decision looks at what is said over the reply;
- lengths of speech, and of what was heard: between two thresholds of the decision all lengths are alike;
- words without speech are none: they count from the third on, which is more than is said here (`scopes` sets the limit high);
- levels: speech sounds like the user or it does not, doubted or not. The user's own level is taken as known, and stays;
- whatever is written before it is read again: evidence while no reply is alive, the question of a reply that was heard, the
  position between two replies, the talk button in a session without one; and everything once the session is closed;
- calls of tools: how many are open. Who asks wrongly has used up the rounds of such a session as well;
- what only chooses the words of an order, and answers no question: who is to blame for a failure.

`test_abstraction.py` drives real contexts, with real times, numbers and words, and compares every step with the table.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from voicefsm import machine
from voicefsm.bargein import is_clear
from voicefsm.context import (
    AUDIBLE_MS_MIN,
    NEVER,
    Context,
    Excuse,
    Generation,
    NearEnd,
    Playout,
    Recognition,
    State,
    TurnSettings,
)
from voicefsm.effects import Effect
from voicefsm.errors import LocalProtocolError
from voicefsm.events import (
    BackendFailed,
    ClientCancelled,
    ClientClosed,
    DrainRequested,
    Evidence,
    EvidenceChanged,
    Fact,
    FinalHeard,
    FirstAudio,
    GenerationFinished,
    PartialHeard,
    PlayoutAdvanced,
    PlayoutFinished,
    PlayoutStarted,
    RecognitionFailed,
    RecognitionOpened,
    ReplyFact,
    SentenceReady,
    SessionOpened,
    ShutdownRequested,
    SpeechEnded,
    SpeechFinished,
    SpeechStarted,
    TextReceived,
    Timer,
    TimerFired,
    TokenArrived,
    ToolAnswered,
    ToolCall,
    ToolsCalled,
)
from voicefsm.lexicon import ENGLISH, normal
from voicefsm.values import NO_EPOCH, Backend, Epoch

LAST = Epoch(3)
"""The number of the last reply in a thawed context, alive or over."""
FAR_FUTURE_MS = 10**9
USUAL_DB, SOFT_DB = -30, -37
"""How loud the user is known to be; and the level of somebody who is not, or does not speak to us."""
NOW_MS = 1
"""When everything happens in a thawed context: after all that has happened."""

# --- words -------------------------------------------------------------------------------------------------------------------

BACKCHANNEL, CONTENT, STOP = 1, 2, 3
"""Kinds of text, 0 being none. The kind of two texts is the greater of both."""
_POOLS = {
    BACKCHANNEL: tuple("okay yes right sure wow cool nice great really indeed".split()),
    CONTENT: tuple(f"tea{number}" for number in range(40)),
    STOP: ("stop", "wait", "cancel", "enough"),
}


@functools.cache
def kind_of(text: str) -> int:
    """All that the decision asks of a text."""
    plain = normal(text)
    if ENGLISH.has_stop(plain):
        return STOP
    if ENGLISH.content_words(plain):
        return CONTENT
    return BACKCHANNEL if plain else 0


def _sample(kind: int, place: int) -> str:
    """A text of this kind that occurs in no other place."""
    return _POOLS[kind][place] if kind else ""


def new_word(context: Context, kind: int) -> str:
    """A word of this kind that is in nobody's mouth yet."""
    known = f"{context.user_text} {context.taken} {context.partial} {context.asked}".split()
    pool = _POOLS[kind]
    return next((word for word in pool if word not in known), pool[-1])


# --- a context, reduced ------------------------------------------------------------------------------------------------------

Frozen = tuple[Any, ...]
"""A reduced context; `FIELDS` names its places."""
FIELDS = tuple(
    "state near_end recognition generation playout live armed user_text partial agreed stable taken asked ends_with_taken voiced "
    "transcribed sentences heard attempts released mid_utterance overheard unheard soft pauses last_words excuse retries has_audio "
    "dry calls rounds filler".split()
)
PLACE: Mapping[str, int] = {name: place for place, name in enumerate(FIELDS)}
_REPLYING = (State.PROCESSING, State.SPEAKING, State.INTERRUPTING)
_HEARD = (State.SPEAKING, State.INTERRUPTING)
_WRITING = (Generation.WAITING, Generation.WRITING, Generation.CALLING)


def freeze(context: Context) -> Frozen:
    """What of a context can matter."""
    state = context.state
    if state is State.CLOSED:
        return _closed(context)
    asked, ends = _asked(context)
    settings, is_replying = context.settings, state in _REPLYING
    has_filler = context.generation in _WRITING and context.has_filler and settings.filler_ms > 0
    return (
        state,
        context.near_end,
        context.recognition,
        context.generation,
        context.playout,
        context.epoch != NO_EPOCH,
        tuple(at_ms != NEVER for at_ms in context.deadlines),
        kind_of(context.user_text) if is_replying else _any(context.user_text),
        kind_of(context.partial) if is_replying else _any(context.partial),
        is_replying and kind_of(context.agreed) >= CONTENT,
        (bool(context.partial) or ends) and context.partial_is_stable,  # a turn taken back makes a partial of it again
        _any(context.taken),
        asked,
        ends,
        _floor(voiced_ms(settings), context.evidence.voiced_ms) if is_replying else 0,
        context.is_transcribed,
        min(context.sentences, 1 + has_filler) if is_replying else 0,  # is the filler all?
        _floor((0, settings.guard_ms), context.heard_ms) if is_replying else 0,
        context.reopen_attempts,
        context.is_released and settings.push_to_talk,
        context.is_mid_utterance,
        context.is_overheard,
        context.playout is not Playout.AUDIBLE and _is_unheard(context),
        is_replying and not is_clear(context),
        context.pauses if state in _HEARD else 0,
        state is State.SPEAKING and context.is_made and context.left_ms <= settings.last_words_ms,
        context.excuse if is_replying else Excuse.NONE,
        context.retries if state is State.PROCESSING else 0,
        state is State.PROCESSING and context.has_audio,
        is_replying and context.is_dry,
        len(context.open_calls),
        context.rounds if context.generation in _WRITING else 0,
        has_filler,
    )


def _closed(context: Context) -> Frozen:
    """Nobody listens and nobody answers; only that can go wrong."""
    armed = tuple(at_ms != NEVER for at_ms in context.deadlines)
    small = (context.near_end, context.recognition, context.generation, context.playout)
    return (
        State.CLOSED,
        *small,
        context.epoch != NO_EPOCH,
        armed,
        0,
        0,
        False,
        False,
        0,
        0,
        False,
        0,
        True,
        0,
        0,
        0,
        False,
        False,
        False,
        False,
        False,
        0,
        False,
        Excuse.NONE,
        0,
        False,
        False,
        0,
        0,
        False,
    )


def _is_unheard(context: Context) -> bool:
    """Has the user given no sign since the last reply that was heard?"""
    return NEVER != context.reply_ended_ms >= context.last_voiced_ms


def _any(text: str) -> int:
    return CONTENT if text.strip() else 0


def _asked(context: Context) -> tuple[int, bool]:
    if context.state is not State.PROCESSING:
        return 0, False
    if context.taken and context.asked.endswith(context.taken):
        return _any(context.asked.removesuffix(context.taken)), True
    return _any(context.asked), False


def _floor(steps: Sequence[int], value: int) -> int:
    return max(step for step in steps if step <= value)


LEFT_OUT = frozenset(
    "settings language_code epoch last_epoch deadlines onset_ms last_voiced_ms opened_ms left_ms "
    "reply_ended_ms stale_dropped said is_doubted usual_db turn_voiced_ms turn_db bad_rounds effects raised".split()
)
"""Fields that are not kept as they are: numbers and times, and what the docstring names. A test holds the list complete."""


def thaw(frozen: Frozen, settings: TurnSettings) -> Context:
    """A context that behaves like every one that was reduced to this."""
    (state, near_end, recognition, generation, playout, live, armed, user_text, partial, agreed, stable, taken, asked, ends, voiced,
     transcribed, sentences, heard, attempts, released, mid_utterance, overheard, unheard, soft, pauses,
     last_words, excuse, retries, has_audio, dry, calls,
     rounds, filler) = frozen  # fmt: skip
    taken_text, partial_text = _sample(taken, 1), _sample(partial, 2)
    asked_text = _sample(asked, 3)
    return Context(
        settings=settings,
        state=state,
        near_end=near_end,
        recognition=recognition,
        generation=generation,
        playout=playout,
        epoch=LAST if live else NO_EPOCH,
        last_epoch=LAST,
        deadlines=[FAR_FUTURE_MS if is_armed else NEVER for is_armed in armed],
        user_text=_sample(user_text, 0),
        partial=partial_text,
        agreed=(partial_text if partial >= CONTENT else _sample(CONTENT, 3)) if agreed else "",
        partial_is_stable=stable,
        taken=taken_text,
        asked=f"{asked_text} {taken_text}".strip() if ends else asked_text,
        evidence=Evidence(voiced_ms=voiced, near_db=SOFT_DB if soft else USUAL_DB),
        usual_db=USUAL_DB,
        pauses=pauses,
        is_made=last_words,
        left_ms=0 if dry else AUDIBLE_MS_MIN if last_words else 1000,
        excuse=excuse,
        retries=retries,
        has_audio=has_audio,
        open_calls=tuple(f"call {k}" for k in range(calls)),
        rounds=rounds,
        has_filler=filler,
        is_transcribed=transcribed,
        sentences=sentences,
        heard_ms=heard,
        reopen_attempts=attempts,
        is_released=released,
        is_mid_utterance=mid_utterance,
        is_overheard=overheard,
        reply_ended_ms=0 if unheard else NEVER,
    )


# --- what can happen ---------------------------------------------------------------------------------------------------------


@functools.cache
def voiced_ms(settings: TurnSettings) -> tuple[int, ...]:
    """One length of speech of each kind: none, too short, enough for words, enough alone, enough alone at the start of a reply."""
    onset, speech = settings.barge_in_onset_ms_min, settings.barge_in_speech_ms_min
    insist = {settings.barge_in_insist_ms_min} if len(levels_db(settings)) > 1 else set()
    return tuple(sorted({0, min(60, onset - 1), onset, speech, 2 * speech} | insist))


def levels_db(settings: TurnSettings) -> dict[str, int]:
    """How loud speech is: as the user, or soft, in sessions that tell these apart. What is alien differs only in unit tests."""
    return {"": USUAL_DB} | ({" soft": SOFT_DB} if settings.barge_in_soft_db <= USUAL_DB - SOFT_DB else {})


class Speech(NamedTuple):
    """What users say, what the recogniser tells of it, and which backends fail."""

    kinds: tuple[int, ...] = (BACKCHANNEL, CONTENT, STOP)
    with_partials: bool = True
    """Or finals alone."""
    failing: tuple[Backend, ...] = tuple(Backend)
    """At any time, and again and again, and are too late. The others are in time: their deadlines do not pass."""
    question: str = ""
    """What was being answered where the conversation began, if it began in another session."""

    @property
    def opening(self) -> SessionOpened:
        """How the session begins."""
        return SessionOpened(0, question=self.question)


def hypotheses(context: Context, kinds: Sequence[int]) -> dict[str, str]:
    """Texts of the recogniser, told apart as the core does: relative to what it has heard."""
    known = f"{context.taken} {context.partial}".strip()
    texts = {"nothing": "", **{f"other {kind}": new_word(context, kind) for kind in kinds}}
    if known:
        texts["again"] = known
        texts |= {f"more {kind}": f"{known} {new_word(context, kind)}" for kind in kinds}
    return texts


def _moments(context: Context, now_ms: int) -> dict[str, int]:
    """When words can come, where it matters: soon after the last sign of the user, or of us, or later than a recogniser lags."""
    if context.state in _REPLYING and context.near_end is NearEnd.QUIET:
        since_ms = context.last_voiced_ms
    elif context.state is State.IDLE and _is_unheard(context):
        since_ms = context.reply_ended_ms
    else:
        return {"": now_ms}
    late_ms = since_ms + context.settings.final_ms_max + 1
    return {" late": max(now_ms, late_ms)} if now_ms >= late_ms else {"": now_ms, " late": late_ms}


def _ends_of_stream(context: Context, now_ms: int) -> dict[str, int]:
    """When the stream can break, where it matters: soon, or after it has lived long enough to make up for failures before it."""
    if context.recognition is not Recognition.OPEN:
        return {"": now_ms}
    late_ms = context.opened_ms + context.settings.asr_reopen_ms_max
    return {" late": now_ms} if now_ms >= late_ms else {"": now_ms, " late": late_ms}


def stimuli(context: Context, now_ms: int, speech: Speech) -> dict[str, Fact]:
    """Everything that can happen to this context at this time, by name. Nothing is held back for being unlikely."""
    return {**unforced(context, now_ms, speech), **reply_facts(context, now_ms, speech)}


def unforced(context: Context, now_ms: int, speech: Speech) -> dict[str, Fact]:
    """What happens without our backends and our voice."""
    facts = {**session_facts(context, now_ms), **near_end_facts(context, now_ms)}
    in_time = {f"Timer {timer.name}" for backend in Backend if backend not in speech.failing for timer in _WAITS_FOR[backend]}
    timers = {name: fact for name, fact in timer_facts(context, now_ms).items() if name not in in_time}
    return {**facts, **recogniser_facts(context, now_ms, speech), **timers}


_WAITS_FOR: Mapping[Backend, tuple[Timer, ...]] = {
    Backend.ASR: (),
    Backend.LLM: (Timer.FIRST_SENTENCE,),
    Backend.TTS: (Timer.FIRST_HEARD, Timer.PLAYOUT),
}
"""Deadlines that only a backend lets pass, or a client that does not play. Late finals are everybody's."""


def session_facts(context: Context, now_ms: int) -> dict[str, Fact]:
    """What the client and the process do."""
    facts: dict[str, Fact] = {
        "ClientClosed": ClientClosed(now_ms),
        "DrainRequested": DrainRequested(now_ms),
        "ShutdownRequested": ShutdownRequested(now_ms),
        "SpeechFinished": SpeechFinished(now_ms),
        "TextReceived": TextReceived(now_ms, new_word(context, CONTENT)),
        "ClientCancelled whichever": ClientCancelled(now_ms, NO_EPOCH),
        "ClientCancelled late": ClientCancelled(now_ms, Epoch(max(0, context.last_epoch - 1)) or Epoch(99)),
        "ClientCancelled": ClientCancelled(now_ms, context.last_epoch or Epoch(99)),
    }
    return facts


def near_end_facts(context: Context, now_ms: int) -> dict[str, Fact]:
    """What the voice detector says; repeated edges too."""
    _, short, *longer = voiced_ms(context.settings)
    if context.state not in _REPLYING:
        edges = (SpeechStarted(now_ms, now_ms), EvidenceChanged(now_ms, Evidence(short)), SpeechEnded(now_ms, now_ms))
        return {type(fact).__name__: fact for fact in edges}
    facts: dict[str, Fact] = {}
    for level, near_db in levels_db(context.settings).items():
        for late, at_ms in _onsets(context, now_ms).items():
            facts[f"SpeechStarted{level}{late}"] = SpeechStarted(at_ms, at_ms, Evidence(short, near_db))
        facts |= {f"EvidenceChanged {v}{level}": EvidenceChanged(now_ms, Evidence(v, near_db)) for v in longer}
        facts |= {f"SpeechEnded {v}{level}": SpeechEnded(now_ms, now_ms, Evidence(v, near_db)) for v in (short, *longer)}
    return facts


def _onsets(context: Context, now_ms: int) -> dict[str, int]:
    """When speech can begin, where it matters: soon after rejected speech, or so late that it has nothing to do with it."""
    if context.state is not State.SPEAKING or context.near_end is NearEnd.SPEECH or not context.pauses:
        return {"": now_ms}
    late_ms = context.last_voiced_ms + context.settings.candidate_ms + 1
    return {" late": now_ms} if now_ms >= late_ms else {"": now_ms, " late": late_ms}


def recogniser_facts(context: Context, now_ms: int, speech: Speech) -> dict[str, Fact]:
    """What the recogniser says, and what becomes of its stream."""
    facts: dict[str, Fact] = {"RecognitionFailed for good": RecognitionFailed(now_ms, "The stream was refused.", retryable=False)}
    if Backend.ASR in speech.failing:
        facts["RecognitionOpened"] = RecognitionOpened(now_ms)  # to a stream that never breaks it means nothing
        for late, at_ms in _ends_of_stream(context, now_ms).items():
            facts[f"RecognitionFailed{late}"] = RecognitionFailed(at_ms, "The stream broke.", retryable=True)
    for name, text in hypotheses(context, speech.kinds).items():
        for late, at_ms in _moments(context, now_ms).items():
            facts[f"FinalHeard {name}{late}"] = FinalHeard(at_ms, text)
            if not speech.with_partials:
                continue
            facts[f"PartialHeard {name}{late}"] = PartialHeard(at_ms, text)
            if text:
                facts[f"PartialHeard {name} stable{late}"] = PartialHeard(at_ms, text, 1.0)
    return facts


def reply_facts(context: Context, now_ms: int, speech: Speech) -> dict[str, Fact]:
    """What the backends and the ear tell of the last reply, alive or not, and, late, of the one before."""
    last = context.last_epoch or Epoch(99)
    late = Epoch(last - 1) or Epoch(99)
    heard = PlayoutAdvanced(now_ms, last, context.settings.guard_ms, 0)
    facts: dict[str, Fact] = {fact_name: kind(now_ms, last) for fact_name, kind in _PLAIN.items()}
    facts |= {"SentenceReady": SentenceReady(now_ms, last, context.sentences, "So it is."), "PlayoutAdvanced": heard}
    for backend in speech.failing:
        if backend is not Backend.ASR:
            facts |= _failures(context, BackendFailed(now_ms, last, backend, "It broke."))
    if context.settings.tool_rounds_max:
        facts |= tool_facts(context, now_ms, last)
    if context.state is State.SPEAKING:
        facts["PlayoutAdvanced, and there is more"] = dataclasses.replace(heard, left_ms=1000)
    if context.settings.last_words_ms and context.state is State.SPEAKING:
        facts["PlayoutAdvanced last words"] = dataclasses.replace(heard, left_ms=0, is_made=True)
    if context.playout is not Playout.AUDIBLE:
        facts["PlayoutAdvanced not yet"] = PlayoutAdvanced(now_ms, last, context.heard_ms, 0)
    return facts | {
        f"late {fact_name}": dataclasses.replace(cast(ReplyFact, facts[fact_name]), epoch=late) for fact_name in tuple(facts)
    }


def tool_facts(context: Context, now_ms: int, last: Epoch) -> dict[str, Fact]:
    """What the model asks for, and what the client answers."""
    calls = tuple(ToolCall(f"call {k}", "name", "{}") for k in range(2))
    return {
        "ToolsCalled": ToolsCalled(now_ms, last, calls),
        "ToolsCalled in vain": ToolsCalled(now_ms, last, (dataclasses.replace(calls[0], problem="It is not there."),)),
        "ToolAnswered": ToolAnswered(now_ms, last, next(iter(context.open_calls), "none")),
        "ToolAnswered, and nobody asked": ToolAnswered(now_ms, last, "none"),
    }


def _failures(context: Context, failed: BackendFailed) -> dict[str, Fact]:
    """Of model or voice: what is worth another attempt, where there is one, and what is not."""
    name = f"BackendFailed {failed.backend}"
    facts: dict[str, Fact] = {name: failed}
    if context.settings.reply_retries_max:
        facts[f"{name} for good"] = dataclasses.replace(failed, retryable=False)
    return facts


_PLAIN = {kind.__name__: kind for kind in (TokenArrived, GenerationFinished, FirstAudio, PlayoutStarted, PlayoutFinished)}


def timer_facts(context: Context, now_ms: int) -> dict[str, Fact]:
    """Any deadline that is set may pass next."""
    return {
        f"Timer {timer.name}": TimerFired(max(now_ms, context.deadlines[timer]), timer)
        for timer in Timer
        if context.is_armed(timer)
    }


# --- the table ---------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Move:
    """One entry of the table."""

    after: int
    """The number of the context that follows."""
    effects: tuple[Effect, ...]
    """About `LAST`, the reply before the step, and `LAST + 1`, one that began in it."""
    refusal: str = ""


Check = Callable[["Core", int, Fact, Move], None]


class Core:
    """The table of one kind of session, filled as it is asked. Contexts are numbered as they are met."""

    def __init__(self, settings: TurnSettings, speech: Speech, check: Check) -> None:
        """`check` sees every entry once, when it is made, and may raise."""
        self.settings, self.speech, self.check = settings, speech, check
        self.contexts: list[Frozen] = []
        self._numbers: dict[Frozen, int] = {}
        self.checked = set[int]()
        """Contexts that `check` has seen; it need not look at what holds in each of them again and again."""
        self.table: dict[tuple[int, str], Move] = {}
        opened = Context(settings=settings, usual_db=USUAL_DB)
        machine.step(opened, speech.opening)
        self.initial = self._number(freeze(opened))

    def _number(self, frozen: Frozen) -> int:
        number = self._numbers.setdefault(frozen, len(self.contexts))
        if number == len(self.contexts):
            self.contexts.append(frozen)
        return number

    def number_of(self, context: Context) -> int | None:
        """The number of a context, None if it was never met."""
        return self._numbers.get(freeze(context))

    def context(self, number: int) -> Context:
        """The context of this number, thawed."""
        return thaw(self.contexts[number], self.settings)

    def moves(self, number: int, facts: Mapping[str, Fact]) -> Mapping[str, Move]:
        """What the machine does here with each of these facts."""
        return {name: self._move(number, name, fact) for name, fact in facts.items()}

    def move(self, number: int, name: str) -> Move:
        """What the machine does here with a fact about a reply."""
        known = self.table.get((number, name))
        return known or self._move(number, name, stimuli(self.context(number), NOW_MS, self.speech)[name])

    def _move(self, number: int, name: str, fact: Fact) -> Move:
        known = self.table.get((number, name))
        if known is None:
            known = self.table[number, name] = self._step(number, fact)
            self.check(self, number, fact, known)
        return known

    def _step(self, number: int, fact: Fact) -> Move:
        context = self.context(number)
        try:
            effects = machine.step(context, fact)
        except LocalProtocolError as error:
            return Move(number, (), error.message)
        return Move(self._number(freeze(context)), effects)

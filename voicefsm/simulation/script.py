"""What happens to one simulated session: a user's and a client's doings and everybody's faults, all of it decided beforehand.

    # voicefsm simulate --seed 7, session 12
    seed="7-12" frame_ms=20 latency_ms=40 turns.silence_ms=400
    2000 say text="tell me a story" number=300
    9000 llm_break for_ms=5000 number=3
    60000 hang_up

Theory of operation. `script_of` throws all the dice; whoever plays a script throws none. An act stands by itself, by its time and
not by its place in the list: take one away and all others still mean the same. That is what makes a failure shrink.

A fault is a window of time (`for_ms`): the backend, the line or the client misbehaves while it is open. `number` is its measure.
"""

from __future__ import annotations

import dataclasses
import enum
import random
from collections.abc import Sequence
from functools import cached_property
from typing import cast

from voicefsm.context import Interruption, TurnSettings
from voicefsm.simulation.scenario import build, pairs_of, read_pairs


class Kind(enum.StrEnum):
    """What can happen."""

    # the user
    SAY = "say"
    """Says `text`, a word every `number` ms."""
    NOISE = "noise"
    """A cough or a door: as loud as speech, without words."""
    TYPE = "type"
    PRESS_STOP = "press_stop"
    """`number` is the reply; 0 is whichever plays."""
    RELEASE = "release"
    """Of the talk button."""
    HANG_UP = "hang_up"
    # the client
    VANISH = "vanish"
    STOP_READING = "stop_reading"
    LIE = "lie"
    """Its reports are `number` samples off."""
    FREEZE = "freeze"
    """Its loudspeaker stands still."""
    MUTE = "mute"
    """Its microphone delivers nothing, and its clock goes on."""
    FLOOD = "flood"
    """Sends `number` ms of audio at once."""
    STEP_BACK = "step_back"
    """Sends a piece of audio twice: a breach of the protocol."""
    # the process
    SHUT_DOWN = "shut_down"
    # the network; one message of `number` is hit
    UP_STALL = "up_stall"
    UP_DROP = "up_drop"
    """Pieces of audio, and reports."""
    UP_DUPLICATE = "up_duplicate"
    """Whatever is not audio."""
    UP_REORDER = "up_reorder"
    """Whatever is not audio comes late."""
    DOWN_STALL = "down_stall"
    DOWN_DROP = "down_drop"
    """Audio."""
    DOWN_DUPLICATE = "down_duplicate"
    """Anything."""
    DOWN_REORDER = "down_reorder"
    """Audio comes late."""
    # the recogniser
    ASR_NO_FINAL = "asr_no_final"
    """It hears, and never finalises."""
    ASR_STALE = "asr_stale"
    """It says nothing at all."""
    ASR_LATE = "asr_late"
    """What it says comes `number` ms late."""
    ASR_FLICKER = "asr_flicker"
    """Every second partial ends in another word."""
    ASR_REPEAT = "asr_repeat"
    """Everything is said twice."""
    ASR_DIE = "asr_die"
    ASR_END = "asr_end"
    """The stream ends as if all were well."""
    ASR_REFUSE = "asr_refuse"
    # the model
    LLM_REFUSE = "llm_refuse"
    LLM_BREAK = "llm_break"
    """The stream is cut inside a token."""
    LLM_STALL = "llm_stall"
    LLM_SLOW = "llm_slow"
    """A token every `number` ms."""
    LLM_EMPTY = "llm_empty"
    LLM_UNSPEAKABLE = "llm_unspeakable"
    LLM_BURST = "llm_burst"
    """The whole answer in one piece, without a pause."""
    # the voice
    TTS_REFUSE = "tts_refuse"
    TTS_BREAK = "tts_break"
    """It dies in mid-word."""
    TTS_STALL = "tts_stall"
    TTS_SLOW = "tts_slow"
    """Slower than it is heard: underruns."""
    TTS_SILENT = "tts_silent"
    TTS_END = "tts_end"
    """The stream ends as if all were spoken."""
    TTS_UNTIMED = "tts_untimed"
    """No word timings."""


USER = tuple(Kind)[: tuple(Kind).index(Kind.VANISH)]
NETWORK = tuple(kind for kind in Kind if kind.startswith(("up_", "down_")))
BACKENDS = tuple(kind for kind in Kind if kind.startswith(("asr_", "llm_", "tts_")))
CLIENT = (Kind.STOP_READING, Kind.LIE, Kind.FREEZE, Kind.MUTE, Kind.FLOOD, Kind.STEP_BACK)


@dataclasses.dataclass(frozen=True, slots=True)
class Act:
    """One thing that happens."""

    at_ms: int
    kind: Kind
    for_ms: int = 0
    """How long, for what takes time."""
    text: str = ""
    number: int = 0

    def is_on(self, now_ms: float) -> bool:
        """Is it going on?"""
        return self.at_ms <= now_ms < self.at_ms + self.for_ms


@dataclasses.dataclass(frozen=True)
class Script:
    """One session."""

    seed: str = "0"
    """Of the backends' answers."""
    frame_ms: int = 20
    latency_ms: int = 0
    """Of the network, in each direction."""
    drift_ppm: int = 0
    """How much faster the client's sample clock runs than ours."""
    reports: bool = True
    """Does the client tell what it has rendered?"""
    output_rate_hz: int = 16000
    language_code: str = "en-US"
    turns: TurnSettings = TurnSettings()
    acts: tuple[Act, ...] = ()

    @cached_property
    def by_kind(self) -> dict[Kind, tuple[Act, ...]]:
        """The acts of each kind, in order."""
        return {kind: tuple(act for act in self.acts if act.kind is kind) for kind in Kind}

    def on(self, kind: Kind, now_ms: float) -> Act | None:
        """The act of this kind that is going on, if any."""
        return next((act for act in self.by_kind[kind] if act.is_on(now_ms)), None)

    def has(self, *kinds: Kind) -> bool:
        """Does anything of this kind happen at all?"""
        return any(self.by_kind[kind] for kind in kinds)

    @property
    def end_ms(self) -> int:
        """When the last act begins."""
        return max((act.at_ms for act in self.acts), default=0)


# --- text --------------------------------------------------------------------------------------------------------------------


def read(text: str) -> Script:
    """Undo `write`. Raises `ValueError`, `KeyError` or `TypeError` when a line is not understood."""
    fields: dict[str, object] = {}
    acts: list[Act] = []
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if not line[0].isdigit():
            fields |= read_pairs(line)
            continue
        at_ms, kind, *rest = line.split(maxsplit=2)
        acts.append(Act(int(at_ms), Kind(kind), **read_pairs(rest[0] if rest else "")))
    return dataclasses.replace(cast("Script", build(Script, fields)), acts=tuple(acts))


def write(script: Script, *comments: str) -> str:
    """The script as text, as above."""
    lines = [f"# {line}" for comment in comments for line in comment.splitlines()]
    lines.append(" ".join(pairs_of(script, without=("acts",))))
    lines += [" ".join([str(act.at_ms), act.kind.value, *pairs_of(act, without=("at_ms", "kind"))]) for act in script.acts]
    return "\n".join(lines) + "\n"


# --- dice --------------------------------------------------------------------------------------------------------------------

_QUESTIONS = (
    "tell me a story",
    "what time is it now please",
    "how do I bake bread at home",
    "and then what did she say",
    "no I mean the other one",
    "count to twenty",
    "why",
)
_INTERJECTIONS = ("okay", "mm-hm", "yes", "stop", "wait", "right I see", "hold on a second")
_HINDI = ("एक कहानी सुनाओ", "हाँ", "रुको", "अभी क्या समय हुआ है", "ठीक है")
_LENGTH_MS = (30_000, 240_000)
_QUIET_MS_MEAN = 4000
_FAULT_EVERY_MS = (5_000, 40_000)
_SMALL_CHANCE, _CHANCE, _EVEN_CHANCE = 0.08, 0.2, 0.5


def script_of(seed: str) -> Script:
    """Throw all dice of one session."""
    dice = random.Random(seed)  # noqa: S311  # the same for the same seed: that is the point
    language_code = dice.choice(("en-US", "en-US", "en-US", "hi-IN"))
    length_ms = dice.randrange(*_LENGTH_MS)
    acts = [*_doings(dice, length_ms, language_code), *_faults(dice, length_ms), _end(dice, length_ms)]
    return Script(
        seed=seed,
        frame_ms=dice.choice((20, 20, 40, 60, 100)),
        latency_ms=dice.choice((0, 0, 10, 40, 120)),
        drift_ppm=dice.choice((0, 0, -200, 200, 800, -800)),
        reports=dice.random() > _SMALL_CHANCE,
        output_rate_hz=dice.choice((8000, 16000, 16000, 24000, 48000)),
        language_code=language_code,
        turns=_turns(dice),
        acts=tuple(sorted(acts, key=lambda act: act.at_ms)),
    )


def _turns(dice: random.Random) -> TurnSettings:
    """Settings at their defaults or tight."""
    return TurnSettings(
        interruption=dice.choice((*[Interruption.ENABLED] * 8, Interruption.CLIENT_ONLY, Interruption.DISABLED)),
        push_to_talk=dice.random() < _SMALL_CHANCE,
        silence_ms=dice.choice((300, 500, 800)),
        words_ms_max=dice.choice((1000, 4000)),
        final_ms_max=dice.choice((300, 1000)),
        utterance_ms_max=dice.choice((5000, 60000)),
        first_sentence_ms_max=dice.choice((1500, 10000)),
        first_heard_ms_max=dice.choice((1500, 5000)),
        playout_stall_ms_max=dice.choice((1500, 5000)),
        guard_ms=dice.choice((0, 300)),
        barge_in_words_min=dice.choice((1, 2)),
        idle_ms_max=dice.choice((15_000, 600_000, 600_000)),
    )


def _doings(dice: random.Random, length_ms: int, language_code: str) -> list[Act]:
    """A user who talks, coughs, listens, types and presses stop."""
    phrases = _HINDI if language_code == "hi-IN" else (*_QUESTIONS, *_INTERJECTIONS)
    acts: list[Act] = []
    at_ms = 1000
    while at_ms < length_ms:
        act = _doing(dice, at_ms, phrases)
        acts.append(act)
        busy_ms = act.number * len(act.text.split()) if act.kind is Kind.SAY else act.for_ms
        if dice.random() < _EVEN_CHANCE and act.kind is Kind.SAY:
            acts.append(Act(at_ms + busy_ms, Kind.RELEASE))
        if dice.random() < _CHANCE and act.kind in (Kind.TYPE, Kind.PRESS_STOP):
            acts.append(Act(at_ms - 50, Kind.UP_STALL, for_ms=300))  # what comes at once is taken in one breath
        at_ms += busy_ms + 100 + int(dice.expovariate(1 / _QUIET_MS_MEAN))
    return acts


def _doing(dice: random.Random, at_ms: int, phrases: Sequence[str]) -> Act:
    (kind,) = dice.choices((Kind.SAY, Kind.NOISE, Kind.TYPE, Kind.PRESS_STOP, Kind.RELEASE), (70, 15, 5, 5, 5))
    if kind is Kind.SAY:
        return Act(at_ms, kind, text=dice.choice(phrases), number=dice.choice((150, 300, 400)))
    if kind is Kind.NOISE:
        return Act(at_ms, kind, for_ms=dice.choice((40, 100, 200, 400, 2500)))
    if kind is Kind.TYPE:
        return Act(at_ms, kind, text=dice.choice(phrases))
    return Act(at_ms, kind, number=dice.choice((0, 0, 1, 9)) if kind is Kind.PRESS_STOP else 0)


def _faults(dice: random.Random, length_ms: int) -> list[Act]:
    """None in a fifth of the sessions; in the others, one every so often, of a few kinds."""
    if dice.random() < _CHANCE:
        return []
    kinds = dice.sample((*NETWORK, Kind.STOP_READING, *BACKENDS, *BACKENDS), 6)
    if dice.random() < _CHANCE:
        kinds.append(dice.choice(CLIENT))
    every_ms = dice.randrange(*_FAULT_EVERY_MS)
    return [_fault(dice, dice.randrange(length_ms), dice.choice(kinds)) for _ in range(length_ms // every_ms + 1)]


def _fault(dice: random.Random, at_ms: int, kind: Kind) -> Act:
    for_ms = dice.choice((300, 2000, 8000, 20_000))
    if kind in (*NETWORK, Kind.STOP_READING, Kind.TTS_BREAK, Kind.LLM_BREAK):
        return Act(at_ms, kind, for_ms=min(for_ms, 3000), number=dice.choice((1, 2, 5)))
    if kind in (Kind.LLM_SLOW, Kind.ASR_LATE, Kind.FLOOD):
        return Act(at_ms, kind, for_ms=for_ms, number=dice.choice((100, 500, 2000, 6000)))
    return Act(at_ms, kind, for_ms=for_ms, number=dice.choice((-16000, 1600, 1_000_000)) if kind is Kind.LIE else 0)


def _end(dice: random.Random, length_ms: int) -> Act:
    return Act(length_ms, dice.choice((*[Kind.HANG_UP] * 8, Kind.VANISH, Kind.SHUT_DOWN)))

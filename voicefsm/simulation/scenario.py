"""Scenarios: transcripts of the core that a person can read and a program can run.

    # The user talks over the reply.
    set barge_in_speech_ms_min=600

    0 SessionOpened
        OpenRecognition
        until 600000 IDLE
    3900 SpeechStarted onset_ms=3840 evidence.voiced_ms=60
        SPEAKING -> INTERRUPTING
        near_end quiet -> speech
        PausePlayout epoch=1
        until 5400 DECISION

Lines at the margin are given: settings (`set`, before the first fact) and facts, as `<at_ms> <Fact> field=value …`; a timer is
`<at_ms> Timer NAME`. Values are JSON, enumerations are named, `a.b=` sets a field of a field, defaults are left out. Indented lines
are what the machine did: the turn machine's move, the small machines' moves, the orders in order, `stale` or `refused`, and the
next deadline when it changed. The writer makes them; the reader skips them. Comments and blank lines are kept where they are.

The three parts are independent: `read` (text -> `Scenario`), `run` (facts -> `Taken`s), `write` (a scenario -> its transcript).
`transcript` makes one from facts alone: a counterexample of a property test, or an excerpt of a journal.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from voicefsm.context import Context, State, TurnSettings
from voicefsm.effects import Effect
from voicefsm.errors import LocalProtocolError
from voicefsm.events import FACTS, Fact, Timer, TimerFired
from voicefsm.machine import STREAMS, next_deadline, step
from voicefsm.values import checked_replace

INDENT = "    "
_KINDS: Mapping[str, type[Fact]] = {kind.__name__: kind for kind in FACTS}
_SPACE = re.compile(r"\s*")


class ScenarioError(ValueError):
    """A line that is neither a setting, a fact, a comment nor indented. The message names the line and what is wrong with it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Scenario:
    """What is given: settings, facts, and the lines between them."""

    settings: TurnSettings
    language_code: str
    lines: tuple[str | Fact, ...]
    """Facts, and the comments, settings and blank lines between them as they stood."""

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The facts alone."""
        return tuple(line for line in self.lines if isinstance(line, Fact))


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """What the machine did with one fact."""

    fact: Fact
    moves: tuple[str, ...]
    """Of the turn machine first, then of the small machines."""
    effects: tuple[Effect, ...]
    verdict: str = ""
    """"stale", "refused: why", or empty."""
    deadline: tuple[int, Timer] | None = None
    is_new_deadline: bool = False


# --- text -> scenario --------------------------------------------------------------------------------------------------------


def read(text: str) -> Scenario:
    """Parse a transcript. What the machine did is skipped.

    Raises:
        ScenarioError: a line cannot be understood.

    """
    changes: dict[str, Any] = {}
    lines: list[str | Fact] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith(INDENT):
            continue
        try:
            lines.append(_read_line(line, changes))
        except (ValueError, TypeError, KeyError) as error:
            raise ScenarioError(f"line {number}: {line!r}: {error}") from error
    language_code = changes.pop("language_code", "en-US")
    return Scenario(_settings(changes), language_code, tuple(lines))


def _read_line(line: str, changes: dict[str, Any]) -> str | Fact:
    if line.startswith("set "):
        changes.update(read_pairs(line.removeprefix("set ")))
        return line
    if line.startswith("#") or not line.strip():
        return line
    return read_fact(line)


def _settings(changes: Mapping[str, Any]) -> TurnSettings:
    hints = typing.get_type_hints(TurnSettings)
    try:
        known = {name: _typed(hints.get(name, object), value) for name, value in changes.items()}
        return checked_replace(TurnSettings(), **known)
    except ValueError as error:
        raise ScenarioError(str(error)) from error


def read_fact(line: str) -> Fact:
    """One fact from its line.

    Raises:
        ValueError, TypeError, KeyError: there is no such fact or field, or a value is not JSON.

    """
    at_ms, name, *rest = line.split(maxsplit=2)
    if name == "Timer":
        return TimerFired(int(at_ms), Timer[rest[0]])
    kind = _KINDS[name]
    return typing.cast("Fact", build(kind, {"at_ms": int(at_ms), **read_pairs(rest[0] if rest else "")}))


def read_pairs(text: str) -> dict[str, Any]:
    """`a=1 b.c="x y"` as {"a": 1, "b": {"c": "x y"}}."""
    decoder, position = json.JSONDecoder(), 0
    pairs: dict[str, Any] = {}
    while position < len(text):
        name, equals, _ = text[position:].partition("=")
        if not equals:
            raise ValueError(f"{text[position:]!r} is no field=value")
        value, position = decoder.raw_decode(text, position + len(name) + 1)
        outer, dot, inner = name.partition(".")
        if dot:
            pairs.setdefault(outer, {})[inner] = value
        else:
            pairs[outer] = value
        position = _end_of_space(text, position)
    return pairs


def _end_of_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def build(kind: type[Any], values: Mapping[str, Any]) -> object:
    """A frozen dataclass from JSON values, by the types of its fields."""
    hints = typing.get_type_hints(kind)
    unknown = values.keys() - hints.keys()
    if unknown:
        raise ValueError(f"{kind.__name__} has no field {', '.join(sorted(unknown))}")
    unsaid: dict[str, Any] = {
        field.name: {} for field in dataclasses.fields(kind) if dataclasses.is_dataclass(hints[field.name]) and _is_required(field)
    }
    return kind(**{name: _typed(hints[name], value) for name, value in {**unsaid, **values}.items()})


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _typed(hint: Any, value: Any) -> Any:
    """A JSON value as what a field of this type holds."""
    if isinstance(hint, typing.NewType) or not isinstance(hint, type | types.GenericAlias):
        return value
    if isinstance(hint, types.GenericAlias):
        return tuple(_typed(hint.__args__[0], item) for item in value)
    if issubclass(hint, enum.IntEnum):
        return hint[value]
    if issubclass(hint, enum.Enum):
        return hint(value)
    return build(hint, value) if dataclasses.is_dataclass(hint) else value


# --- facts -> what happened --------------------------------------------------------------------------------------------------


def run(context: Context, facts: Iterable[Fact]) -> Iterator[Taken]:
    """Feed facts to a context, one by one. A refused fact is told like any other; nothing is raised for it."""
    for fact in facts:
        yield take(context, fact)


def take(context: Context, fact: Fact) -> Taken:
    """One step, described."""
    machines, due, stale = _states(context), next_deadline(context), context.stale_dropped
    effects: tuple[Effect, ...] = ()
    verdict = ""
    try:
        effects = step(context, fact)
    except LocalProtocolError as error:
        verdict = f"refused: {error.message}"
    if context.stale_dropped != stale:
        verdict = "stale"
    now = next_deadline(context)
    return Taken(fact, tuple(_moves(machines, _states(context))), effects, verdict, now, now != due)


def _states(context: Context) -> Mapping[str, enum.Enum]:
    return {"": context.state, **{name: getattr(context, name) for name in STREAMS}}


def _moves(before: Mapping[str, enum.Enum], after: Mapping[str, enum.Enum]) -> Iterator[str]:
    for name, state in before.items():
        if after[name] is not state:
            move = (state.name, after[name].name) if isinstance(state, State) else (state.value, after[name].value)
            yield f"{name} {' -> '.join(move)}".strip()


# --- what happened -> text ---------------------------------------------------------------------------------------------------


def write(scenario: Scenario) -> str:
    """The transcript of a scenario: what is given, as it stood, and below each fact what the machine did."""
    context = Context(settings=scenario.settings, language_code=scenario.language_code)
    lines: list[str] = []
    for line in scenario.lines:
        lines += [line] if isinstance(line, str) else written(take(context, line))
    return "\n".join(lines) + "\n"


def transcript(
    facts: Sequence[Fact], settings: TurnSettings | None = None, *, language_code: str = "en-US", title: str = ""
) -> str:
    """The transcript of facts alone, ready to be kept as a scenario."""
    settings = settings or TurnSettings()
    head = [f"# {line}" for line in title.splitlines()]
    changed = pairs_of(settings) if language_code == "en-US" else [*pairs_of(settings), f"language_code={_json(language_code)}"]
    head += [f"set {pair}" for pair in changed]
    return write(Scenario(settings, language_code, (*head, *([""] if head else []), *facts)))


def written(taken: Taken) -> list[str]:
    """The lines of one fact."""
    did = [*taken.moves, *(line_of(effect) for effect in taken.effects)]
    if taken.verdict:
        did.append(taken.verdict)
    if taken.is_new_deadline:
        did.append(f"until {taken.deadline[0]} {taken.deadline[1].name}" if taken.deadline else "until nothing")
    return [line_of_fact(taken.fact), *(INDENT + line for line in did)]


def line_of_fact(fact: Fact) -> str:
    """One fact as its line; `read_fact` undoes it."""
    name = f"Timer {fact.timer.name}" if isinstance(fact, TimerFired) else line_of(fact, without=("at_ms",))
    return f"{fact.at_ms} {name}"


def line_of(item: Any, *, without: Sequence[str] = ()) -> str:
    """A fact or an order: its name and its fields, defaults left out."""
    return " ".join([type(item).__name__, *pairs_of(item, without=without)])


def pairs_of(item: Any, *, prefix: str = "", without: Sequence[str] = ()) -> list[str]:
    """The fields of a dataclass that are not at their defaults, as `name=JSON`; `read_pairs` undoes it."""
    pairs: list[str] = []
    for field in dataclasses.fields(item):
        value = getattr(item, field.name)
        if field.name in without or value == field.default:
            continue
        if dataclasses.is_dataclass(value):
            pairs += pairs_of(value, prefix=f"{field.name}.")
        else:
            pairs.append(f"{prefix}{field.name}={_json(value)}")
    return pairs


def _json(value: object) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))


def _plain(value: object) -> object:
    if isinstance(value, enum.Enum):
        return value.name if isinstance(value, enum.IntEnum) else value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value

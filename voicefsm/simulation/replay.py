"""Replay: a recorded session's facts, fed to today's machine.

Theory of operation. A journal holds the settings a session ran with, every fact with its time, and what the machine did about it.
The machine has no clock, no chance and no I/O, so the same facts must lead to the same states, orders and deadlines. Where they do
not, the machine has changed since: meant or not, that is what a reader wants to see, with the facts before it.

After the first difference the two sessions go different ways, and most of what follows is its consequence: a few are shown, all are
counted. Texts of a redacted journal are stand-ins (voicefsm/runtime/redaction.py) and are not compared.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from voicefsm.context import Context, TurnSettings
from voicefsm.errors import LocalProtocolError, VoiceFsmError
from voicefsm.events import FACTS, Fact
from voicefsm.machine import next_deadline, step
from voicefsm.runtime.journal import FORMAT, record_of, until
from voicefsm.runtime.redaction import without_texts
from voicefsm.simulation.scenario import INDENT, build, line_of_fact, transcript

CONTEXT_STEPS = 3
"""Steps shown before the first difference."""
DIFFERENCES_MAX = 5
"""Differences shown."""

_NO_JOURNAL = "Give the path of a session's journal."

_KINDS: Mapping[str, type[Fact]] = {kind.__name__: kind for kind in FACTS}
Record = Mapping[str, Any]


class JournalError(VoiceFsmError):
    """A file is no journal, is damaged, or tells of things this version does not know."""


@dataclasses.dataclass(frozen=True, slots=True)
class Recorded:
    """One step as the journal has it. A step that was `refused` ended its session: it has no orders and no state after it."""

    fact: Fact
    before: str
    after: str
    effects: tuple[Record, ...]
    until: tuple[int, str] | None
    """The next deadline."""
    refused: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Recording:
    """What a journal holds for the machine."""

    version: str
    settings: TurnSettings
    language_code: str
    is_redacted: bool
    steps: tuple[Recorded, ...]
    stale_dropped: int | None
    """At the end of the session; None when the journal has no end."""
    missing: str
    """Why the journal is not whole; empty when it is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """A step of today's machine that is not what was recorded."""

    number: int
    """Of the step, from 0."""
    recorded: tuple[str, ...]
    today: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """What a replay came to."""

    recording: Recording
    differences: tuple[Difference, ...]

    def report(self) -> str:
        """The first differences and the steps before them, for people; empty when there are none."""
        return "\n".join(_report(self.recording, self.differences))


# --- journal -> recording ----------------------------------------------------------------------------------------------------


def read(path: Path) -> Recording:
    """Read a journal; one that stops early is read as far as it goes.

    Raises:
        JournalError: it is no journal, or this version cannot understand it.

    """
    records, missing = _records(path)
    if not records or records[0].get("kind") != "session":
        raise JournalError(f"{path} does not begin with a session record.", remedy=_NO_JOURNAL)
    head, body, last = records[0], records[1:], records[-1]
    if head.get("format", FORMAT) != FORMAT:
        raise JournalError(
            f"{path} has format {head['format']}; this version of voicefsm reads {FORMAT}.",
            remedy=f"Replay it with voicefsm {head.get('version', 'of its time')}.",
        )
    if not missing and last["kind"] != "end":
        full = last["kind"] == "truncated"
        missing = "it reached journal.bytes_max" if full else "it has no end: the process was stopped, or the file was cut"
    try:
        return Recording(
            version=str(head.get("version", "")),
            settings=cast("TurnSettings", build(TurnSettings, head["turns"])),
            language_code=head["language_code"],
            is_redacted=bool(head.get("redacted")),
            steps=tuple(_recorded(path, n, record) for n, record in enumerate(body, 2) if record["kind"] in {"step", "refused"}),
            stale_dropped=last.get("stale_dropped") if last["kind"] == "end" else None,
            missing=missing,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _unknown(path, 1, head, error) from error


def _records(path: Path) -> tuple[list[dict[str, Any]], str]:
    """The records, and what is wrong with the end of the file."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror}.") from error
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                return records, f"line {number} is cut"
            raise JournalError(f"Line {number} of {path} is damaged: {error}.", remedy="Restore the file.") from error
        if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
            raise JournalError(f"Line {number} of {path} is no record of a journal.", remedy=_NO_JOURNAL)
        records.append(record)
    return records, ""


def _recorded(path: Path, number: int, record: Record) -> Recorded:
    """One step."""
    try:
        fact, before = fact_of(record), record["before"]
        if record["kind"] == "refused":
            return _refused(fact, before)
        return Recorded(fact, before, record["after"], tuple(record["effects"]), _pair(record["until"]))
    except (KeyError, TypeError, ValueError) as error:
        raise _unknown(path, number, record, error) from error


def _refused(fact: Fact, before: str) -> Recorded:
    return Recorded(fact, before, "", (), None, refused=True)


def _unknown(path: Path, number: int, record: Record, error: Exception) -> JournalError:
    return JournalError(
        f"Line {number} of {path} is not understood: {type(error).__name__} {error} in {json.dumps(record)[:200]}.",
        remedy="The journal is damaged, or of a version that knows other facts or settings; its first line says which.",
    )


def fact_of(record: Record) -> Fact:
    """The fact of a `step` record: undoes `journal.record_of`. Raises `KeyError`, `TypeError` or `ValueError`."""
    fields = dict(record["fact"])
    return cast("Fact", build(_KINDS[fields.pop("type")], {"at_ms": record["at_ms"], **fields}))


# --- recording -> comparison -------------------------------------------------------------------------------------------------


def compare(recording: Recording) -> Comparison:
    """Feed every fact to today's machine, and compare every state, order and deadline."""
    context = Context(settings=recording.settings, language_code=recording.language_code)
    differences = list(_differences(context, recording))
    if recording.stale_dropped not in (None, context.stale_dropped):
        counts = (f"{recording.stale_dropped} facts dropped as stale",), (f"{context.stale_dropped} facts dropped as stale",)
        differences.append(Difference(len(recording.steps), *counts))
    return Comparison(recording, tuple(differences))


def _differences(context: Context, recording: Recording) -> Iterator[Difference]:
    for number, recorded in enumerate(recording.steps):
        today = _step(context, recorded.fact)
        if _compared(today, recording) != _compared(recorded, recording):
            yield Difference(number, _lines(recorded), _lines(today))


def _step(context: Context, fact: Fact) -> Recorded:
    """What today's machine does, in the terms of a journal."""
    before = context.state.value
    try:
        effects = step(context, fact)
    except LocalProtocolError:
        context.effects.clear()
        return _refused(fact, before)
    orders = json.loads(json.dumps([record_of(one) for one in effects]))  # lists for tuples, as in a journal
    return Recorded(fact, before, context.state.value, tuple(orders), _pair(until(next_deadline(context))))


def _pair(deadline: Sequence[Any] | None) -> tuple[int, str] | None:
    return None if deadline is None else (deadline[0], deadline[1])


def _compared(recorded: Recorded, recording: Recording) -> Recorded:
    """What counts."""
    if not recording.is_redacted:
        return recorded
    return dataclasses.replace(recorded, effects=tuple(without_texts(effect) for effect in recorded.effects))


# --- comparison -> text ------------------------------------------------------------------------------------------------------


def _lines(recorded: Recorded) -> tuple[str, ...]:
    """What happened in one step, a line for each thing."""
    if recorded.refused:
        return (f"refused in {recorded.before.upper()}",)
    states = [recorded.before.upper()] + [recorded.after.upper()] * (recorded.before != recorded.after)
    deadline = "until nothing" if recorded.until is None else f"until {recorded.until[0]} {recorded.until[1]}"
    return (" -> ".join(states), *(_order(effect) for effect in recorded.effects), deadline)


def _order(effect: Record) -> str:
    pairs = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in effect.items() if name != "type"]
    return " ".join([str(effect["type"]), *pairs])


def _report(recording: Recording, differences: Sequence[Difference]) -> Iterator[str]:
    shown = 0
    for difference in differences[:DIFFERENCES_MAX]:
        for number in range(max(shown, difference.number - CONTEXT_STEPS), min(difference.number, len(recording.steps))):
            yield from _told(recording.steps[number])
        shown = difference.number + 1
        yield line_of_fact(recording.steps[difference.number].fact) if shown <= len(recording.steps) else "at the end"
        yield from _diff(difference)
    if len(differences) > DIFFERENCES_MAX:
        yield f"… and {len(differences) - DIFFERENCES_MAX} more steps that differ, mostly in consequence"


def _told(recorded: Recorded) -> Iterator[str]:
    yield line_of_fact(recorded.fact)
    yield from (f"{INDENT}{line}" for line in _lines(recorded))


def _diff(difference: Difference) -> Iterator[str]:
    """Recorded lines with -, today's with +, those in common with neither; in order as far as they agree."""
    for line in difference.recorded:
        yield f"{'  ' if line in difference.today else '- '}{INDENT}{line}"
    for line in difference.today:
        if line not in difference.recorded:
            yield f"+ {INDENT}{line}"
    if set(difference.recorded) == set(difference.today):
        yield f"+ {INDENT}the same in another order or number: {'; '.join(difference.today)}"


def scenario_of(recording: Recording, title: str) -> str:
    """The recording as a scenario transcript: today's machine, told the recorded facts."""
    facts = [recorded.fact for recorded in recording.steps]
    return transcript(facts, recording.settings, language_code=recording.language_code, title=title)


def rerecorded(path: Path) -> str:
    """The text of a journal with today's states and orders in the place of the recorded ones. Raises `JournalError`."""
    recording = read(path)
    context = Context(settings=recording.settings, language_code=recording.language_code)
    steps = iter(recording.steps)
    records, _ = _records(path)
    for record in records:
        if record["kind"] in {"step", "refused"}:
            today = _step(context, next(steps).fact)
            record |= {"before": today.before, "after": today.after, "effects": today.effects, "until": today.until}
        elif "stale_dropped" in record:
            record |= {"stale_dropped": context.stale_dropped}
    return "".join(f"{json.dumps(record, ensure_ascii=False, separators=(',', ':'))}\n" for record in records)

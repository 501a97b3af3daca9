"""The record of a session: complete, bounded, and replayable to the last order."""

from __future__ import annotations

import dataclasses
import enum
import errno
import json
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from voicefsm import effects, events, values
from voicefsm.context import Context, TurnSettings
from voicefsm.events import FACTS, Evidence, Fact, FinalHeard, SpeechStarted, Timer, TimerFired, Word
from voicefsm.machine import step
from voicefsm.ports import Hypothesis
from voicefsm.runtime.journal import FileJournal, NullJournal, plain, record_of
from voicefsm.runtime.session import Session
from voicefsm.simulation.fakes import FakeLanguageModel, FakeRecognizer
from voicefsm.simulation.stage import Stage, plan_with, saying
from voicefsm.values import Backend


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# --- reading a journal back: the seed of `replay` ---


def value_of(hint: Any, value: Any) -> Any:
    """What `journal.plain` wrote, as the type it was."""
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint[value] if issubclass(hint, int) else hint(value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return object_of(hint, value)
    if typing.get_origin(hint) is tuple:
        return tuple(value_of(typing.get_args(hint)[0], item) for item in value)
    return value


def object_of(kind: type[Any], fields: Mapping[str, Any]) -> Any:
    """A dataclass from its recorded fields."""
    hints = typing.get_type_hints(kind)
    return kind(**{name: value_of(hints[name], value) for name, value in fields.items()})


def fact_of(record: Mapping[str, Any]) -> Fact:
    """The fact of a `step` record."""
    fields = dict(record["fact"])
    kind = getattr(events, fields.pop("type"))
    return typing.cast("Fact", object_of(kind, {"at_ms": record["at_ms"], **fields}))


def replay(records: list[dict[str, Any]]) -> int:
    """Feed the facts of a journal to a new machine and compare everything it says; how many steps there were."""
    head = records[0]
    machine = Context(settings=object_of(TurnSettings, head["turns"]), language_code=head["language_code"])
    steps = [record for record in records if record["kind"] == "step"]
    for record in steps:
        assert machine.state.value == record["before"], record
        ordered = step(machine, fact_of(record))
        assert [record_of(effect) for effect in ordered] == record["effects"], record
        assert machine.state.value == record["after"], record
    return len(steps)


@pytest.mark.looptime
async def test_a_recorded_session_replays_to_the_last_order(tmp_path: Path) -> None:
    """Otherwise no failure in the field can ever be looked at again at a desk."""
    path = tmp_path / "s-1.jsonl"
    words = (Word("wait", 6100, 6300),)
    stage = Stage(
        plan_with(turns={"silence_ms": 600, "barge_in_words_min": 2}, language_code="hi-IN"),
        recognizer=FakeRecognizer(
            [
                *saying((2000, "एक कहानी सुनाओ")),
                (4700, Hypothesis("हाँ", is_final=False)),
                (6900, Hypothesis("wait what time is it", is_final=False, stability=0.1)),
                (7800, Hypothesis("wait what time is it", is_final=True, words=words)),
            ]
        ),
        model=FakeLanguageModel(
            ["Once upon a time there was a king. He had a very long story to tell. It went on and on.", "Noon."]
        ),
        journal=FileJournal(path, bytes_max=10**6),
    )
    script = [
        (12_000, lambda s: s.type_text("typed")),
        (12_100, lambda s: s.cancel_tts(values.Epoch(0))),
        (14_000, Session.hang_up),
    ]
    await stage.play(speech=[(1000, 2000), (4500, 4800), (6000, 7500)], script=script)
    records = lines_of(path)
    assert [record["kind"] for record in (records[0], records[-1])] == ["session", "end"]
    assert replay(records) == len(stage.witness.steps) > 40
    turns = [record for record in records if record["kind"] == "turn"]
    assert [turn["outcome"] for turn in turns] == ["interrupted", "completed", "interrupted"]
    assert records[-1]["reason"] == "client"


def test_every_fact_survives_the_journal() -> None:
    """Otherwise some journals replay and some do not, by what happened in them."""
    samples: dict[str, Any] = {
        "int": 7, "str": "tê\u2028xt", "float": 0.30000001192092896, "bool": False,
        "Epoch": 3, "Timer": Timer.FINAL, "Backend": Backend.TTS, "Evidence": Evidence(1, -2, -3, 4),
        "tuple[Word, ...]": (Word("a", 1, 2), Word("b", 3, 4)),
    }  # fmt: skip
    for kind in FACTS:
        fact = kind(**{f.name: samples[str(f.type)] for f in dataclasses.fields(kind)})
        line = json.loads(json.dumps({"at_ms": fact.at_ms, "fact": record_of(fact)}))
        assert fact_of(line) == fact


def test_every_order_and_setting_is_plain() -> None:
    """Otherwise a rare order breaks the journal in the middle of a conversation."""
    for kind in effects.EFFECTS:
        required = {f.name: "x" for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING}
        json.dumps(record_of(kind(**required)))
    assert object_of(TurnSettings, json.loads(json.dumps(plain(TurnSettings())))) == TurnSettings()


def test_defaults_are_left_out() -> None:
    """Otherwise journals are mostly noise."""
    assert record_of(SpeechStarted(5, 4)) == {"type": "SpeechStarted", "onset_ms": 4}
    assert record_of(TimerFired(5, Timer.WORDS)) == {"type": "TimerFired", "timer": "WORDS"}
    assert record_of(FinalHeard(5, "a")) == {"type": "FinalHeard", "text": "a"}


def test_a_full_journal_says_so_and_stops(tmp_path: Path) -> None:
    """Otherwise one endless session fills the disk, in scripts of several bytes a letter all the sooner."""
    path = tmp_path / "new" / "s.jsonl"
    journal = FileJournal(path, bytes_max=10_000)
    for k in range(1000):
        journal.write("step", k, {"text": "नमस्ते" * 10})
    journal.close()
    records = lines_of(path)
    assert records[-1] == {"kind": "truncated", "at_ms": len(records) - 1}
    assert 9000 < path.stat().st_size < 10_100


def test_half_a_character_does_not_break_the_journal(tmp_path: Path) -> None:
    """Otherwise a model that writes half an emoji ends the session."""
    path = tmp_path / "s.jsonl"
    journal = FileJournal(path, bytes_max=10_000)
    journal.write("turn", 0, {"text": "\ud83d"})
    journal.close()
    assert lines_of(path)[0]["text"] == "\ud83d"


class FullDisk:
    """A file on a disk without room."""

    def __init__(self) -> None:
        self.closed = 0

    def write(self, _: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        self.closed += 1
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("fails_at", ["write", "close"])
def test_a_full_disk_ends_the_journal_and_nothing_else(tmp_path: Path, fails_at: str) -> None:
    """Otherwise a full disk hangs up on every user."""
    lost: list[OSError] = []
    journal = FileJournal(tmp_path / "s.jsonl", bytes_max=10_000, lost=lost.append)
    disk = FullDisk()
    journal._file.close()  # type: ignore[union-attr]
    journal._file = disk  # type: ignore[assignment]
    if fails_at == "write":
        journal.write("step", 0, {})
        journal.write("step", 1, {})
    journal.close()
    journal.close()
    assert [error.errno for error in lost] == [errno.ENOSPC]
    assert disk.closed == 1


def test_no_journal_records_nothing() -> None:
    """Otherwise the default setting writes somewhere."""
    journal = NullJournal()
    journal.write("step", 0, {})
    journal.close()

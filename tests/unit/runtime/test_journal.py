"""The record of a session: complete, bounded, and replayable to the last order."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import stat
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from voicefsm import effects, values
from voicefsm.context import TurnSettings
from voicefsm.errors import LocalProtocolError
from voicefsm.events import FACTS, Evidence, FinalHeard, SpeechStarted, Timer, TimerFired, ToolCall, Word
from voicefsm.ports import Hypothesis
from voicefsm.runtime.journal import FileJournal, JournalDirectory, JournalSettings, NullJournal, plain, record_of
from voicefsm.runtime.session import Session
from voicefsm.simulation import replay
from voicefsm.simulation.fakes import FakeLanguageModel, FakeRecognizer
from voicefsm.simulation.scenario import build
from voicefsm.simulation.stage import Stage, plan_with, saying
from voicefsm.values import Backend


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


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
    recording = replay.read(path)
    assert not replay.compare(recording).differences
    assert len(recording.steps) == len(stage.witness.steps) > 40
    turns = [record for record in records if record["kind"] == "turn"]
    assert [turn["outcome"] for turn in turns] == ["interrupted", "completed", "interrupted"]
    assert records[-1]["reason"] == "client"


def test_every_fact_survives_the_journal() -> None:
    """Otherwise some journals replay and some do not, by what happened in them."""
    samples: dict[str, Any] = {
        "int": 7, "str": "tê\u2028xt", "float": 0.30000001192092896, "bool": False,
        "Epoch": 3, "Timer": Timer.FINAL, "Backend": Backend.TTS, "Evidence": Evidence(1, -2, -3, 4, -5, 6),
        "tuple[Word, ...]": (Word("a", 1, 2), Word("b", 3, 4)),
        "tuple[ToolCall, ...]": (ToolCall("1", "a", "{}"), ToolCall("2", "b", "{}", "no")),
    }  # fmt: skip
    for kind in FACTS:
        fact = kind(**{f.name: samples[str(f.type)] for f in dataclasses.fields(kind)})
        line = json.loads(json.dumps({"at_ms": fact.at_ms, "fact": record_of(fact)}))
        assert replay.fact_of(line) == fact


def test_every_order_and_setting_is_plain() -> None:
    """Otherwise a rare order breaks the journal in the middle of a conversation."""
    for kind in effects.EFFECTS:
        required = {f.name: "x" for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING}
        json.dumps(record_of(kind(**required)))
    assert build(TurnSettings, json.loads(json.dumps(plain(TurnSettings())))) == TurnSettings()


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


def directory(path: Path, files_max: int) -> Callable[[str], FileJournal]:
    """What opens journals there."""
    return partial(JournalDirectory(JournalSettings(dir=str(path), files_max=files_max)).open, lost=lambda _: None)


def names_in(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


def test_a_gateways_journal_says_when_each_line_was_written(tmp_path: Path) -> None:
    """Otherwise nobody can tell how soon another process saw what the machine had decided. A simulated one has no such time."""
    before_us = time.monotonic_ns() // 1000
    (journal := directory(tmp_path, 1)("live")).write("step", 7, {"effects": []})
    after_us = time.monotonic_ns() // 1000
    journal.close()
    (line,) = lines_of(tmp_path / "live.jsonl")
    assert before_us <= line.pop("written_us") <= after_us
    assert line == {"kind": "step", "at_ms": 7, "effects": []}
    (journal := FileJournal(tmp_path / "simulated.jsonl", bytes_max=10_000)).write("step", 7, {"effects": []})
    journal.close()
    assert lines_of(tmp_path / "simulated.jsonl") == [line]


def test_the_oldest_journals_make_room(tmp_path: Path) -> None:
    """Otherwise a busy gateway fills its disk in a week; or it removes what was never its own."""
    names = [f"{k:016x}.jsonl" for k in range(5)]
    for k, name in enumerate([*names, "notes.jsonl", "x.txt"]):
        (tmp_path / name).write_text("{}")
        os.utime(tmp_path / name, (k, k))
    directory(tmp_path, 3)("new").close()
    assert names_in(tmp_path) == sorted([*names[3:], "notes.jsonl", "x.txt", "new.jsonl"])
    directory(tmp_path / "not there yet", 3)("new").close()


def test_journals_of_live_sessions_stay(tmp_path: Path) -> None:
    """Otherwise the longest call, which is the one to look at, leaves no journal."""
    opened = directory(tmp_path, 2)
    long = opened("long")
    for k in range(5):
        opened(f"short{k}").close()
    assert names_in(tmp_path) == ["long.jsonl", "short4.jsonl"]
    others = [opened(f"other{k}") for k in range(3)]
    assert names_in(tmp_path) == ["long.jsonl", "other0.jsonl", "other1.jsonl", "other2.jsonl"], "more than two, but all live"
    for journal in [*others, long]:
        journal.close()
    opened("last").close()
    assert len(names_in(tmp_path)) == 2


def test_a_full_journal_of_a_live_session_stays(tmp_path: Path) -> None:
    """Otherwise the session that had most to say is the first to be forgotten."""
    opened = partial(JournalDirectory(JournalSettings(dir=str(tmp_path), files_max=1, bytes_max=10_000)).open, lost=lambda _: None)
    opened("full").write("step", 0, {"text": "x" * 20_000})
    opened("next").close()
    assert names_in(tmp_path) == ["full.jsonl", "next.jsonl"]


def test_live_journals_of_another_worker_stay(tmp_path: Path) -> None:
    """Otherwise a worker that is started anew removes the journals of the calls that the others hold."""
    live, ended = f"{1:016x}", f"{2:016x}"
    theirs = directory(tmp_path, 3)
    held = theirs(live)
    theirs(ended).close()
    directory(tmp_path, 1)("ours").close()
    assert names_in(tmp_path) == [f"{live}.jsonl", "ours.jsonl"]
    held.close()
    directory(tmp_path, 1)("later").close()
    assert names_in(tmp_path) == ["later.jsonl", "ours.jsonl"], "ours has no name of a session"


def test_the_directory_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise each session that begins makes all others stutter while a thousand files are looked at."""
    opened = directory(tmp_path, 3)
    monkeypatch.setattr(Path, "glob", None)
    monkeypatch.setattr("voicefsm.runtime.journal._written_ns", None)
    for k in range(10):
        opened(f"s{k}").close()
    assert names_in(tmp_path) == ["s7.jsonl", "s8.jsonl", "s9.jsonl"]


def test_nobody_else_may_read_a_journal(tmp_path: Path) -> None:
    """Otherwise what users say is open to everybody with an account on the machine."""
    before = os.umask(0)
    try:
        directory(tmp_path / "new", 3)("s").close()
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new", tmp_path / "new" / "s.jsonl")] == [0o700, 0o600]


def test_a_redacted_journal_holds_no_words_and_says_so(tmp_path: Path) -> None:
    """Otherwise the operator who promised not to keep what people say keeps it."""
    path = tmp_path / "s.jsonl"
    journal = FileJournal(path, bytes_max=10_000, redact=True)
    journal.write("session", 0, {"version": "1"})
    words = (Word("my", 0, 1), Word("secret", 1, 2))
    journal.write("step", 1, {"fact": record_of(FinalHeard(1, "my secret", words)), "effects": []})
    journal.close()
    head, spoken = lines_of(path)
    assert head["redacted"] is True
    assert "secret" not in path.read_text()
    assert spoken["fact"]["text"].split() == [word["text"] for word in spoken["fact"]["words"]]


async def test_what_the_machine_refuses_is_in_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the journal of a defect lacks the one fact that matters."""

    def refuse(*_: object) -> None:
        raise LocalProtocolError("A bug.")

    stage = Stage()
    monkeypatch.setattr("voicefsm.runtime.session.step", refuse)
    with pytest.raises(LocalProtocolError):
        await stage.play()
    assert [(kind, body.get("fact"), body.get("before")) for kind, _, body in stage.journal.records][1:] == [
        ("refused", {"type": "SessionOpened"}, "idle"),
        ("end", None, None),
    ]


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

"""Replay: journals that hold are identical, and those that do not say where, and what today's machine does instead."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from voicefsm.simulation import replay, scenario

DEMO = Path(__file__).parents[2] / "journals" / "demo.jsonl"


def voicefsm_replay(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "voicefsm", "replay", str(path), *options]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, check=False)


def altered(tmp_path: Path, change: Any) -> Path:
    """The demo's journal after `change`, which is given the list of its records."""
    records = [json.loads(line) for line in DEMO.read_text(encoding="utf-8").splitlines()]
    change(records)
    path = tmp_path / "altered.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def cancelled(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The first step that cuts a reply."""
    return next(r for r in records if any(effect["type"] == "CancelTts" for effect in r.get("effects", ())))


def test_the_demo_is_identical() -> None:
    """Otherwise the first thing a newcomer tries with replay fails."""
    done = voicefsm_replay(DEMO)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"replay {DEMO}: identical, {len(replay.read(DEMO).steps)} steps"


def test_an_altered_effect_is_shown_with_the_facts_before_it(tmp_path: Path) -> None:
    """Otherwise a change of behaviour goes by unseen, or is seen and not understood."""

    def alter(records: list[dict[str, Any]]) -> None:
        cancelled(records)["effects"][1]["reason"] = "client"

    path = altered(tmp_path, alter)
    done = voicefsm_replay(path)
    assert done.returncode == 1
    removed = [line for line in done.stdout.splitlines() if line.startswith("-")]
    added = [line for line in done.stdout.splitlines() if line.startswith("+")]
    assert len(removed) == len(added) == 1
    assert 'CancelTts epoch=2 reason="client"' in removed[0]
    assert 'CancelTts epoch=2 reason="barge_in"' in added[0]
    assert sum(line[:1].isdigit() for line in done.stdout.splitlines()) == replay.CONTEXT_STEPS + 1
    assert done.stdout.splitlines()[-1].startswith(f"replay {path}: DIFFERENT, 1 of ")


@pytest.mark.parametrize(
    "change",
    [
        lambda records: cancelled(records)["effects"].reverse(),
        lambda records: cancelled(records)["effects"].append(cancelled(records)["effects"][0]),
        lambda records: cancelled(records)["effects"].clear(),
        lambda records: cancelled(records).update(after="idle"),
        lambda records: cancelled(records).update(before="idle"),
        lambda records: cancelled(records).update(until=None),
        lambda records: cancelled(records).update(until=[0, "IDLE"]),
        lambda records: cancelled(records).update(kind="refused"),
        lambda records: records[-1].update(stale_dropped=99),
    ],
)
def test_every_kind_of_difference_counts_and_is_told(tmp_path: Path, change: Any) -> None:
    """Otherwise a machine that gives the right orders in the wrong order passes."""
    comparison = replay.compare(replay.read(altered(tmp_path, change)))
    assert len(comparison.differences) == 1
    assert any(line.startswith(("+", "-")) for line in comparison.report().splitlines())


def test_many_differences_are_counted_and_few_shown(tmp_path: Path) -> None:
    """Otherwise the consequences of a change bury it."""
    path = altered(tmp_path, lambda records: records[0]["turns"].update(silence_ms=3000))
    comparison = replay.compare(replay.read(path))
    assert len(comparison.differences) > replay.DIFFERENCES_MAX
    assert len(comparison.report().splitlines()) < 100


def test_redacted_texts_do_not_count_and_decisions_do(tmp_path: Path) -> None:
    """Otherwise stand-ins would be taken for a change of the machine; or a change would hide behind them."""

    def redact(records: list[dict[str, Any]]) -> None:
        records[0]["redacted"] = True
        cancelled(records)["effects"][0]["text"] = "xxx"

    assert not replay.compare(replay.read(altered(tmp_path, redact))).differences

    def redact_and_alter(records: list[dict[str, Any]]) -> None:
        redact(records)
        cancelled(records)["effects"].pop()

    path = altered(tmp_path, redact_and_alter)
    assert len(replay.compare(replay.read(path)).differences) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda records: records.clear(), "does not begin with a session record"),
        (lambda records: records.pop(0), "does not begin with a session record"),
        (lambda records: records.insert(3, [1]), "Line 4 of"),
        (lambda records: records[0].update(format=2, version="9.9"), "has format 2"),
        (lambda records: records[0]["turns"].update(patience_ms=3), "has no field patience_ms"),
        (lambda records: records[0].pop("turns"), "'turns'"),
        (lambda records: records[5]["fact"].update(type="SomethingNew"), "Line 6 of"),
        (lambda records: records[5]["fact"].update(loudness=3), "has no field loudness"),
        (lambda records: records[5].pop("before"), "'before'"),
    ],
)
def test_what_is_not_understood_is_said(tmp_path: Path, change: Any, message: str) -> None:
    """Otherwise a journal of another version ends in a traceback, or worse, in "identical"."""
    with pytest.raises(replay.JournalError) as raised:
        replay.read(altered(tmp_path, change))
    assert message in raised.value.message
    assert raised.value.remedy


def test_damage_is_exit_code_2(tmp_path: Path) -> None:
    """Otherwise a script takes a damaged journal for a changed machine, or for a good one."""
    text = DEMO.read_text(encoding="utf-8")
    path = tmp_path / "damaged.jsonl"
    path.write_text(text.replace('"kind":"step"', '"kind":step', 1), encoding="utf-8")
    done = voicefsm_replay(path)
    assert done.returncode == 2
    assert "Line 2 of" in done.stderr
    assert "damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert voicefsm_replay(tmp_path / "nowhere.jsonl").returncode == 2


@pytest.mark.parametrize(
    ("cut", "why"),
    [
        (lambda text: text[:-200], "it has no end"),
        (lambda text: text[:-30], "is cut"),
        (lambda text: text[: text.rindex("\n", 0, -1)] + '\n{"kind":"truncated","at_ms":9}\n', "journal.bytes_max"),
    ],
)
def test_a_journal_that_stops_early_is_compared_as_far_as_it_goes(tmp_path: Path, cut: Any, why: str) -> None:
    """Otherwise the journal of a process that was killed, which is the one that matters, cannot be replayed."""
    path = tmp_path / "cut.jsonl"
    text = cut(DEMO.read_text(encoding="utf-8"))
    path.write_text(text[: text.rindex("\n") + 1] if why == "it has no end" else text, encoding="utf-8")
    done = voicefsm_replay(path)
    assert done.returncode == 2
    assert "incomplete" in done.stdout
    assert why in done.stdout


def test_a_refused_fact_replays_as_refused(tmp_path: Path) -> None:
    """Otherwise the journal of a defect cannot show whether it is mended."""
    head = json.loads(DEMO.read_text(encoding="utf-8").splitlines()[0])
    records = [
        head,
        {"kind": "refused", "at_ms": 1, "fact": {"type": "SentenceReady", "epoch": 0, "index": 0, "text": "x"}, "before": "idle"},
        {"kind": "end", "at_ms": 1},
    ]
    path = tmp_path / "defect.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert not replay.compare(replay.read(path)).differences
    records[1]["fact"] = {"type": "SessionOpened"}
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert "refused in IDLE" in replay.compare(replay.read(path)).report()


def test_a_journal_becomes_a_scenario() -> None:
    """Otherwise a failure of the field has to be typed by hand before it becomes a regression."""
    done = voicefsm_replay(DEMO, "--scenario")
    assert done.returncode == 0
    recording = replay.read(DEMO)
    assert scenario.read(done.stdout).facts == tuple(recorded.fact for recorded in recording.steps)


def test_rerecording_changes_nothing_that_holds() -> None:
    """Otherwise every rewrite of the corpus is a difference to review."""
    assert replay.rerecorded(DEMO) == DEMO.read_text(encoding="utf-8")

"""The history of what was measured: written, read, drawn."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from typer.testing import CliRunner

from voicefsm.bench import counts
from voicefsm.bench.history import PATH, ROWS_MAX, SLACK, Entry, allowed, append, page, read
from voicefsm.cli.bench import bench
from voicefsm.cli.history import SCRIPTS

ENTRY = Entry(
    date="2026-11-27",
    commit="abc",
    python="3.11.7",
    loop_us=2.0,
    frame_calls={"nobody speaks": 50.1, "both speak": 120.0},
    frame_loops={"nobody speaks": 1.25},
    second_calls={"s": 12_000},
    modules_ours=100,
    modules_all=800,
    near_end_muted_kib=20.0,
    near_end_talking_kib=600.0,
)


def test_what_was_appended_is_read(tmp_path: Path):
    """Otherwise the budget is not what was measured."""
    path = tmp_path / "benchmarks.jsonl"
    later = dataclasses.replace(ENTRY, start_ratio=70.0, idle_kib=140.5, talking_kib=1200, talking_sessions=24)
    append(path, ENTRY)
    append(path, later)
    assert read(path) == [ENTRY, later]
    row, older = [line for line in page(read(path)) if line.startswith("| 2026")]
    assert "| 50 / 120 | 1.2 | 12000 | 100 / 800 | 70 | 20 / 600 | 140 | 1200 (24) |" in row
    assert older.endswith("| 100 / 800 | - | 20 / 600 | - | - |")


def test_the_page_has_an_end():
    """Otherwise it grows with every commit that was measured."""
    entries = [dataclasses.replace(ENTRY, commit=f"c{nth}") for nth in range(2 * ROWS_MAX)]
    rows = [line for line in page(entries) if line.startswith("| 2026")]
    assert len(rows) == ROWS_MAX
    assert f"`c{2 * ROWS_MAX - 1}`" in rows[0]


def test_somewhat_more_is_no_regression():
    """Otherwise another version of Python is one, or nothing is."""
    assert allowed(100) == 100 * (1 + SLACK)
    assert 0 < SLACK < 0.1


def test_the_command_prints_the_page(tmp_path: Path):
    """Otherwise the page in docs/ is made by nobody."""
    path = tmp_path / "benchmarks.jsonl"
    append(path, ENTRY)
    told = CliRunner().invoke(bench, ["history", "--file", str(path)])
    assert told.exit_code == 0
    assert told.output.startswith("# Benchmarks")


def test_every_line_of_ours_is_whole():
    """Otherwise the gate compares with nothing."""
    kept = read(Path(__file__).resolve().parents[3] / PATH)
    assert kept[-1].frame_calls.keys() == kept[-1].frame_loops.keys() == counts.SCENES.keys()
    assert kept[-1].second_calls.keys() == set(SCRIPTS)
    assert all(json.loads(json.dumps(dataclasses.asdict(one))) for one in kept)

"""Every journal in this directory, replayed on today's machine. `pytest tests/journals --rewrite` records today's orders
instead: read the difference before it is committed, since what it says is what would have happened to those users."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from voicefsm.runtime.journal import FileJournal
from voicefsm.simulation import replay

FILES = sorted(Path(__file__).parent.glob("*.jsonl"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_replays(path, pytestconfig):
    """Otherwise these users would live through something else today."""
    if pytestconfig.getoption("rewrite", default=False):
        path.write_text(replay.rerecorded(path), encoding="utf-8")
    comparison = replay.compare(replay.read(path))
    assert not comparison.report()
    assert not comparison.recording.missing


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_replays_redacted(path, tmp_path):
    """Otherwise an operator has to choose between the users' privacy and a journal that can be replayed."""
    redacted = FileJournal(tmp_path / "redacted.jsonl", bytes_max=10**7, redact=True)
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        redacted.write(record.pop("kind"), record.pop("at_ms"), record)
    redacted.close()
    recording = replay.read(tmp_path / "redacted.jsonl")
    assert recording.is_redacted
    assert not replay.compare(recording).report()


def test_there_are_journals():
    """Otherwise the tests above would pass on an empty directory."""
    assert {"demo", "hindi", "backchannel_and_barge_in"} < {path.stem for path in FILES}
    assert len(FILES) >= 6

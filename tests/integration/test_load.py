"""`voicefsm load` on its own gateway and backends, small: counts, never times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from voicefsm.cli import app
from voicefsm.errors import SettingsError
from voicefsm.server.busy import FEW_SESSIONS


def test_two_callers(tmp_path, monkeypatch):
    """Otherwise nobody knows whether the load test itself works before a big run."""
    monkeypatch.setenv("GRPC_VERBOSITY", "ERROR")
    file, picture = tmp_path / "load.json", tmp_path / "load.svg"
    arguments = ["load", "--sessions", "2", "--seconds", "8", "--json", str(file), "--picture", str(picture)]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "logs")])
    assert result.output.splitlines()[-1].startswith("load: 2 sessions"), result.output
    (level,) = json.loads(file.read_text())["levels"]
    assert not level["errors"]
    assert level["refused"] == 0
    assert level["overhead_ms"]["n"] >= 1
    assert level["pause_ms"]["n"] >= 1
    assert level["cancel_ms"]["n"] >= 1
    assert level["memory_kib_per_session"] > 0
    assert (level["false_pauses"], level["false_cuts"]) == (0, 0)
    assert 2 < level["words_per_utterance"] < 9
    assert level["loop_lag_ms"]["n"] >= 10  # every half second
    assert 1 <= level["loop_lag_ms"]["p50"] <= level["loop_lag_ms"]["p95"]
    assert level["counts"]["voicefsm_barge_ins_total"] >= 1
    assert level["counts"]["voicefsm_crashes_total"] == 0
    cancellations = level["cancellations"]
    assert cancellations["reached_ms"]["n"] >= 1
    assert (cancellations["not_cancelled"], cancellations["unknown"], cancellations["late_texts"]) == (0, 0, 0)
    assert cancellations["decisions"] == cancellations["reached_ms"]["n"] + cancellations["nothing_left"]
    assert "CANCEL at the voice's server" in result.output
    assert f" <= {level['loop_lag_ms']['p95']:.0f} ms" in result.output.splitlines()[1]
    assert picture.read_text().lstrip().startswith("<?xml")


def test_callers_with_loudspeakers(tmp_path, monkeypatch):
    """Otherwise what a line with an echo costs is measured on a line without, or with callers who are not understood over it."""
    monkeypatch.setenv("GRPC_VERBOSITY", "ERROR")
    file = tmp_path / "load.json"
    arguments = [
        "load",
        "--sessions",
        "2",
        "--seconds",
        "8",
        "--echo-db",
        "12",
        "--json",
        str(file),
        "--out",
        str(tmp_path / "logs"),
    ]
    result = CliRunner().invoke(app, arguments)
    (level,) = json.loads(file.read_text())["levels"]
    assert level["echo_db"] == 12
    assert not level["errors"]
    assert level["pause_ms"]["n"] >= 1
    assert level["cancel_ms"]["n"] >= 1
    assert level["means"]["voicefsm_erle_db"]["mean"] > 0
    assert "with an echo 12 dB below" in result.output


@pytest.mark.parametrize("override", ["metrics.enabled=false", "metrics.port=0"])
def test_without_metrics_nothing_is_made_up(tmp_path, monkeypatch, override):
    """Otherwise a gateway whose metrics are off looks as if its loop were never late."""
    monkeypatch.setenv("GRPC_VERBOSITY", "ERROR")
    file = tmp_path / "load.json"
    arguments = ["load", "--sessions", "1", "--seconds", "1", "--json", str(file), "--out", str(tmp_path / "logs")]
    result = CliRunner().invoke(app, [*arguments, "--set", override])
    (level,) = json.loads(file.read_text())["levels"]
    assert (level["loop_lag_ms"], level["counts"]) == (None, None)
    assert " <= " not in result.output.splitlines()[1]


def test_without_journals_nothing_is_said_of_cancellations(tmp_path, monkeypatch):
    """Otherwise a run that cannot know when the gateway decided says that it never did."""
    monkeypatch.setenv("GRPC_VERBOSITY", "ERROR")
    file = tmp_path / "load.json"
    arguments = ["load", "--sessions", "1", "--seconds", "1", "--json", str(file), "--out", str(tmp_path / "logs")]
    result = CliRunner().invoke(app, [*arguments, "--set", f"journal.dir={tmp_path / 'elsewhere'}"])
    (level,) = json.loads(file.read_text())["levels"]
    assert level["cancellations"] is None
    assert "CANCEL" not in result.output


def test_two_workers(tmp_path, monkeypatch):
    """Otherwise nobody knows what each of them takes, or whether both do."""
    monkeypatch.setenv("GRPC_VERBOSITY", "ERROR")
    file = tmp_path / "load.json"
    arguments = ["load", "--sessions", "4", "--workers", "2", "--calls-per-connection", "1", "--seconds", "2", "--json", str(file)]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "logs")])
    (level,) = json.loads(file.read_text())["levels"]
    assert level["refused"] == 0
    assert len(level["worker_shares"]) == 2
    assert sum(level["worker_shares"]) > 0
    assert level["loop_lag_ms"]["n"] >= 4  # of both
    assert "2 workers:" in result.output


def test_beside_muted_ones(tmp_path, monkeypatch):
    """Otherwise nobody knows what sessions cost in which nobody speaks, and whether they live."""
    monkeypatch.setenv("GRPC_VERBOSITY", "ERROR")
    file = tmp_path / "load.json"
    arguments = ["load", "--sessions", "0", "--idle", "30", "--seconds", "2", "--json", str(file), "--out", str(tmp_path / "logs")]
    result = CliRunner().invoke(app, [*arguments, "--set", "server.busy_pct_max=100"])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == "load: nobody spoke; nothing was lost"
    (level,) = json.loads(file.read_text())["levels"]
    assert (level["idle"]["sessions"], level["idle"]["lost"], level["idle"]["errors"]) == (30, 0, [])
    assert 50 < level["idle"]["memory_kib_per_session"] < 3000


def test_muted_ones_that_are_refused_are_lost(tmp_path, monkeypatch):
    """Otherwise a gateway that throws them out looks cheap."""
    monkeypatch.setenv("GRPC_VERBOSITY", "ERROR")
    arguments = ["load", "--sessions", "0", "--idle", "4", "--seconds", "1", "--set", "server.sessions_max=3"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "logs")])
    assert result.exit_code == 1
    assert "beside 4 muted sessions: 1 lost" in result.output
    assert "RESOURCE_EXHAUSTED" in result.output


@pytest.mark.parametrize("sessions", ["ten", "0", "1,,2", ""])
def test_no_number_of_sessions(sessions):
    """Otherwise a typo is a traceback."""
    result = CliRunner().invoke(app, ["load", "--sessions", sessions])
    assert isinstance(result.exception, SettingsError)


def test_nobody_there(tmp_path, monkeypatch):
    """Otherwise a wrong address is a traceback and no figures."""
    monkeypatch.setenv("GRPC_VERBOSITY", "ERROR")
    result = CliRunner().invoke(app, ["load", "--sessions", "1", "--seconds", "1", "--target", "127.0.0.1:9"])
    assert result.exit_code == 1, result.output
    assert "error: UNAVAILABLE" in result.output


def too_many(directory: Path, sessions: int, limit: str) -> tuple[dict[str, Any], str]:
    """So many callers, for some of whom there is no room: the level, and what is printed."""
    file = directory / "load.json"
    arguments = ["load", "--sessions", str(sessions), "--seconds", "2", "--json", str(file), "--out", str(directory / "logs")]
    result = CliRunner().invoke(app, [*arguments, "--set", limit])
    assert result.exit_code == 1
    (level,) = json.loads(file.read_text())["levels"]
    return level, result.output


def test_past_what_its_core_can_do_callers_are_refused(tmp_path, monkeypatch):
    """Otherwise one caller too many makes all of them late. Here a fifth of a core is all there is."""
    monkeypatch.setenv("GRPC_VERBOSITY", "ERROR")
    level, printed = too_many(tmp_path, 40, "server.busy_pct_max=20")
    assert 1 <= level["refused"] <= 40 - FEW_SESSIONS, printed


def test_past_capacity_callers_are_refused_and_counted(tmp_path, monkeypatch):
    """Otherwise a gateway that is full would look broken."""
    monkeypatch.setenv("GRPC_VERBOSITY", "ERROR")
    level, _ = too_many(tmp_path, 3, "server.sessions_max=1")
    assert level["refused"] == 2
    assert not level["errors"]

"""The command line: real processes, exit codes, last lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from typing import cast

import pytest
import typer
from typer.testing import CliRunner, Result

from voicefsm import cli
from voicefsm.cli import app, common
from voicefsm.cli.settings import Format
from voicefsm.config import SECTIONS, Settings, load
from voicefsm.errors import SettingsError
from voicefsm.processes import environment_without_settings
from voicefsm.values import bounds_of

HEAVY = ("pydantic", "grpc", "numpy", "httpx", "matplotlib", "voicefsm.config", "voicefsm.embedded")


NOWHERE = {"VOICEFSM_RIVA__TARGET": "127.0.0.1:1", "VOICEFSM_LLM__BASE_URL": "http://127.0.0.1:1/v1"}


def surroundings(**environment: str) -> dict[str, str]:
    return environment_without_settings() | environment


def voicefsm(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "voicefsm", *arguments]
    return subprocess.run(command, env=surroundings(**environment), capture_output=True, encoding="utf-8", timeout=60, check=False)


def here(*arguments: str) -> Result:
    """In this process: for commands that load nothing that another would mind."""
    return CliRunner().invoke(app, arguments, prog_name="voicefsm", catch_exceptions=False)


def test_help_names_every_command():
    """Otherwise a newcomer would not find what there is."""
    done = voicefsm("--help")
    assert done.returncode == 0
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.callback.__name__
        assert f" {name} " in done.stdout


def test_help_loads_nothing_heavy():
    """Otherwise every look at the help would cost a second, and a missing extra would spoil all commands."""
    code = f"import sys, voicefsm.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", [c.callback.__name__ for c in app.registered_commands if c.callback])
def test_every_command_explains_itself(command):
    """Otherwise an option could break a command before it runs."""
    done = here(command, "--help")
    assert done.exit_code == 0
    assert f"voicefsm {command}" in done.stdout


def test_wrong_settings_are_a_list_and_exit_code_2():
    """Otherwise a gateway with a mistyped limit would open its port."""
    done = voicefsm("serve", "--set", "turns.silence_ms=5", VOICEFSM_TURNS__GUARDMS="1")
    assert done.returncode == 2
    assert "turns.silence_ms = '5': must be between 100 and 3000 ms, from the command line" in done.stderr
    assert "VOICEFSM_TURNS__GUARDMS: no such setting" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_extra_says_how_to_get_it():
    """Otherwise a newcomer would see a traceback where one pip command is enough."""
    with pytest.raises(SettingsError) as raised, common.needs("talk", "talk"):
        raise ModuleNotFoundError("No module named 'sounddevice'", name="sounddevice")
    assert "`voicefsm talk` needs the package sounddevice" in raised.value.message
    assert "pip install '.[talk]'" in raised.value.remedy


def test_our_own_missing_module_is_a_defect_and_not_an_extra():
    """Otherwise a broken release would tell people to install something."""
    with pytest.raises(ModuleNotFoundError), common.needs("talk", "talk"):
        raise ModuleNotFoundError("No module named 'voicefsm.nope'", name="voicefsm.nope")


def test_options_stand_for_settings():
    """Otherwise `--port` could mean something else than the setting it names."""
    assert common.chosen({"log.level": "debug", "log.format": None}, ["log.format=json"]) == ["log.level=debug", "log.format=json"]


def page_of_settings(form: Format) -> str:
    """In a process of its own: the embedded backends cannot be loaded beside the gateway."""
    done = voicefsm("settings", "--format", form)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("form", [form for form in Format if form is not Format.MEMORY])
def test_settings_are_listed_whole(form):
    """Otherwise a setting could exist that no page shows."""
    text = page_of_settings(form)
    for section, kind in SECTIONS.items():
        for name in bounds_of(kind):
            assert (name if form is not Format.ENV else f"VOICEFSM_{section}__{name}".upper()) in text
    assert ("VOICEFSM_EMBEDDED__RIVA_PORT" if form is Format.ENV else "riva_port") in text
    assert text.splitlines()[-1].removeprefix("# ").endswith("sections.")


def test_the_toml_page_is_a_valid_file_that_changes_nothing(tmp_path, monkeypatch):
    """Otherwise the file people start from would be refused, or would change what it claims to leave alone."""
    page = page_of_settings(Format.TOML).splitlines()
    uncommented = [line.removeprefix("# ") if " = " in line and line.startswith("# ") else line for line in page]
    lines = [line for line in uncommented if line.startswith(("[", "#")) or " = " in line]
    embedded = lines.index("[embedded]") if "[embedded]" in lines else len(lines)
    file = tmp_path / "all.toml"
    file.write_text("\n".join(lines[:embedded]), encoding="utf-8")
    for name in [name for name in os.environ if name.startswith("VOICEFSM_")]:
        monkeypatch.delenv(name)
    assert tomllib.loads(file.read_text(encoding="utf-8"))["turns"]["silence_ms"] == 500
    assert load(file=file) == Settings()


# --- commands as processes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def gateway() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "voicefsm", "serve", "--port", "0"]
    with subprocess.Popen(command, env=surroundings(**NOWHERE), stdout=subprocess.PIPE, encoding="utf-8") as process:
        watchdog = threading.Timer(30, process.kill)
        watchdog.start()
        yield process
        watchdog.cancel()
        process.kill()


def test_serve_says_where_it_listens_and_stops_when_told(gateway):
    """Otherwise who starts a gateway would not know its port, or could not end it without losing what it holds."""
    assert gateway.stdout is not None
    lines = iter(gateway.stdout.readline, "")
    for line in lines:
        if line == "voicefsm gateway: ready\n":
            break
    gateway.send_signal(signal.SIGTERM)
    rest = [*lines]
    assert rest[-1:] == ["voicefsm gateway: stopped\n"], gateway.wait(timeout=30)
    assert gateway.wait(timeout=30) == 0


def test_doctor_fails_where_no_backend_is():
    """Otherwise a script could not ask whether `serve` would work."""
    done = voicefsm("doctor", "--set", "server.port=0", **NOWHERE)
    assert done.returncode == 1
    assert "(riva, llm)" in done.stdout.splitlines()[-1]


def test_serve_refuses_what_its_embedded_backends_refuse(tmp_path):
    """Otherwise a mistyped setting of theirs would be lost without a word."""
    file = tmp_path / "voicefsm.toml"
    file.write_text("[embedded]\nriva_prt = 0\n[server]\nport = 0\n", encoding="utf-8")
    done = voicefsm("serve", "--embedded", "--config", str(file), "--set", "embedded.llm_port=many")
    assert done.returncode == 2
    assert f"embedded.riva_prt: no such setting, from the file {file}; did you mean riva_port?" in done.stderr
    assert "embedded.llm_port = 'many': must be a whole number, from the command line" in done.stderr
    assert "ended with exit code 2 before they were ready" in done.stderr
    assert ("Traceback" in done.stderr, done.stdout) == (False, "")


def test_without_the_embedded_backends_their_settings_have_no_place_on_the_command_line():
    """Otherwise an option would be taken and have no effect."""
    done = voicefsm("serve", "--set", "embedded.riva_port=0")
    assert (done.returncode, "embedded: no such section" in done.stderr) == (2, True)


def test_piped_findings_are_not_wrapped():
    """Otherwise nobody could search the doctor's output for a sentence."""
    done = voicefsm("doctor", **NOWHERE)
    assert "or set riva.target (VOICEFSM_RIVA__TARGET) to your Riva server, HOST:PORT." in done.stdout


def test_journals_that_cannot_be_written_keep_the_gateway_from_starting(tmp_path):
    """Otherwise an operator who wants journals would find out that there are none when one is needed."""
    file = tmp_path / "file"
    file.touch()
    done = voicefsm("serve", "--port", "0", "--journal-dir", str(file / "journals"), **NOWHERE)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--journal-dir" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("form", ["md", "mermaid", "json"])
def test_table_has_every_state(form):
    """Otherwise the page would tell of a part of the behaviour."""
    done = here("table", "--format", form)
    assert done.exit_code == 0
    assert all(state in done.stdout for state in ("IDLE", "LISTENING", "PROCESSING", "SPEAKING", "INTERRUPTING", "CLOSED"))
    if form == "json":
        assert json.loads(done.stdout)


def test_a_room_has_a_name_or_values_or_stands_for_the_default(tmp_path):
    """Otherwise a mistyped room would be another one, and `demo --room` alone would be refused."""
    wrong = voicefsm("demo", "--room", "moon", "--out", str(tmp_path / "out"))
    assert (wrong.returncode, '"moon" is no room' in wrong.stderr) == (2, True)
    command = cast(typer.core.TyperGroup, typer.main.get_command(app)).commands["demo"]
    for arguments, room in (
        (["--room"], "office"),
        (["--room", "--out", "x"], "office"),
        (["--room", "near"], "near"),
        ([], "office"),
    ):
        assert command.make_context("demo", arguments).params["room"] == room


def test_timeline_refuses_what_it_cannot_draw(tmp_path):
    """Otherwise a mistyped ending would cost the picture, or a traceback would stand for a wrong file."""
    journal = tmp_path / "journal.jsonl"
    journal.write_text("no journal\n", encoding="utf-8")
    assert voicefsm("timeline", str(journal), "--out", "picture.gif").returncode == 2
    done = voicefsm("timeline", str(journal), "--out", str(tmp_path / "picture.html"))
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)


def test_a_file_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, capsys):
    """Otherwise a mistyped directory would cost a newcomer fifty lines of traceback."""

    def command() -> None:
        (tmp_path / "nowhere" / "picture.html").write_text("", encoding="utf-8")

    monkeypatch.setattr(cli, "app", command)
    with pytest.raises(SystemExit) as left:
        cli.run()
    assert left.value.code == 2
    assert capsys.readouterr().err == f"voicefsm: {tmp_path}/nowhere/picture.html: No such file or directory\n"

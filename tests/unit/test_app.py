"""The composition root: the right parts in the right places, opened and closed in the right order."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from voicefsm import app
from voicefsm.config import Settings
from voicefsm.errors import SettingsError
from voicefsm.runtime.journal import FileJournal, JournalSettings, NullJournal
from voicefsm.scripted import ScriptedLlm, ScriptedRiva
from voicefsm.server.admission import ServerSettings


def with_changes(settings: Settings, **sections: dict[str, Any]) -> Settings:
    replaced = {name: dataclasses.replace(getattr(settings, name), **fields) for name, fields in sections.items()}
    return dataclasses.replace(settings, **replaced)


LOCAL = with_changes(Settings(server=ServerSettings(port=0, drain_ms_max=0)), llm={"warm_up": False})


@pytest.fixture(autouse=True)
def _fresh_log() -> Iterator[None]:
    """`serve` sets the log up for a process of its own."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


async def answers(port: int) -> bool:
    """Whether anybody listens."""
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await writer.wait_closed()
        return True
    return False


def test_a_plan_is_the_operators_settings() -> None:
    """Otherwise a setting is read, documented, and without effect."""
    settings = with_changes(
        LOCAL,
        session={"language_code": "hi-IN", "voice_name": "Asha", "system_prompt": "P", "temperature": 0.1, "tokens_max": 77},
        turns={"silence_ms": 700},
        playout={"piece_ms": 20},
        vad={"mode": 3},
        aec={"tail_ms": 100},
        audio={"gap_ms_max": 10},
    )
    plan = app.plan_of(settings)
    assert (plan.language_code, plan.voice_name, plan.system_prompt, plan.temperature, plan.tokens_max) == (
        "hi-IN",
        "Asha",
        "P",
        0.1,
        77,
    )
    assert (plan.session, plan.turns, plan.playout) == (settings.session, settings.turns, settings.playout)
    assert (plan.hearing.audio, plan.hearing.vad, plan.hearing.aec) == (settings.audio, settings.vad, settings.aec)


def test_journals_are_written_where_the_operator_wants_them(tmp_path: Path) -> None:
    """Otherwise they are written elsewhere, or not at all; or a bad directory costs calls."""
    assert isinstance(app.open_journal(JournalSettings(), "s"), NullJournal)
    journal = app.open_journal(JournalSettings(dir=str(tmp_path / "j")), "s-1")
    assert isinstance(journal, FileJournal)
    journal.close()
    assert (tmp_path / "j" / "s-1.jsonl").is_file()
    (tmp_path / "file").touch()
    with capture_logs() as lines:
        assert isinstance(app.open_journal(JournalSettings(dir=str(tmp_path / "file")), "s-2"), NullJournal)
    assert [(line["event"], line["session"], line["remedy"]) for line in lines] == [("no journal", "s-2", "Check journal.dir.")]


async def test_a_gateway_runs_without_its_backends_and_closes_its_port() -> None:
    """Otherwise the order in which a cluster starts its parts matters; or a restart finds its port taken."""
    async with app.running(LOCAL) as port:
        assert await answers(port)
    assert not await answers(port)


async def test_a_missing_canceller_is_said_before_a_port_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the operator learns from the users that there is no echo cancellation."""

    def missing(_: object) -> None:
        raise SettingsError("libspeexdsp is not installed.")

    monkeypatch.setattr(app, "choose_canceller", missing)
    with pytest.raises(SettingsError, match="libspeexdsp"):
        async with app.running(LOCAL) as port:
            raise AssertionError(port)


async def test_serve_says_where_it_listens_and_stops_when_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise parents cannot find the port, and `kill` hangs up on everybody."""
    async with ScriptedRiva() as riva, ScriptedLlm() as llm:
        settings = with_changes(LOCAL, riva={"target": riva.target}, llm={"base_url": llm.base_url})
        serving = asyncio.create_task(app.serve(settings))
        lines: list[str] = []
        async with asyncio.timeout(20):
            while "voicefsm gateway: ready" not in lines:
                await asyncio.sleep(0.02)
                lines += capsys.readouterr().out.splitlines()
            port = int(next(line for line in lines if "listening on" in line).rpartition(":")[2])
            assert await answers(port)
            os.kill(os.getpid(), signal.SIGTERM)
            await serving
        assert not await answers(port)


# --- the embedded backends, in a process of their own ---


START = asyncio.create_subprocess_exec


def child(monkeypatch: pytest.MonkeyPatch, code: str) -> list[asyncio.subprocess.Process]:
    """Let `serve --embedded` start this instead; the processes it starts."""
    started: list[asyncio.subprocess.Process] = []

    async def replaced(*args: str, **kwargs: Any) -> asyncio.subprocess.Process:
        assert args[1:] == ("-m", "voicefsm", "embedded")
        started.append(await START(sys.executable, "-u", "-c", code, **kwargs))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", replaced)
    return started


READY = "import time; print('starting'); print('voicefsm embedded: ready'); time.sleep(60)"


async def test_the_embedded_backends_live_as_long_as_the_gateway(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise they are used before they are ready, or outlive the gateway and keep its ports."""
    started = child(monkeypatch, READY)
    async with app._embedded_backends(wanted=True):
        assert "starting" in capsys.readouterr().out
        assert started[0].returncode is None
    assert started[0].returncode == -signal.SIGTERM
    async with app._embedded_backends(wanted=False):
        assert len(started) == 1


async def test_embedded_backends_that_end_or_hang_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise `serve --embedded` waits for ever, or goes on without ears."""
    child(monkeypatch, "print('no engine')")
    with pytest.raises(SettingsError, match=r"ended before they were ready.*Run `voicefsm embedded`"):
        async with app._embedded_backends(wanted=True):
            raise AssertionError
    started = child(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(app, "_EMBEDDED_START_S_MAX", 0.2)
    with pytest.raises(SettingsError, match="did not start in time"):
        async with app._embedded_backends(wanted=True):
            raise AssertionError
    assert started[0].returncode is not None


async def test_a_child_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the gateway cannot be stopped."""
    monkeypatch.setattr(app, "_EMBEDDED_STOP_S_MAX", 0.2)
    started = child(monkeypatch, f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}")
    async with app._embedded_backends(wanted=True):
        pass
    assert started[0].returncode == -signal.SIGKILL


async def test_what_goes_wrong_in_the_gateway_is_not_blamed_on_the_embedded_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a time-out of something else sends the operator to the wrong place."""
    child(monkeypatch, READY)
    with pytest.raises(TimeoutError):
        async with app._embedded_backends(wanted=True):
            raise TimeoutError

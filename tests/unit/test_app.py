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
from voicefsm.config import Settings, Source
from voicefsm.errors import SettingsError
from voicefsm.processes import told_to_stop
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


async def until_printed(line: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What is printed up to that line."""
    printed: list[str] = []
    async with asyncio.timeout(20):
        while line not in printed:
            await asyncio.sleep(0.02)
            printed += capsys.readouterr().out.splitlines()
    return printed


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
    assert isinstance(app.journal_opener(JournalSettings())("s"), NullJournal)
    journal = app.journal_opener(JournalSettings(dir=str(tmp_path / "j")))("s-1")
    assert isinstance(journal, FileJournal)
    journal.close()
    assert (tmp_path / "j" / "s-1.jsonl").is_file()
    (tmp_path / "file").touch()
    with capture_logs() as lines:
        assert isinstance(app.journal_opener(JournalSettings(dir=str(tmp_path / "file")))("s-2"), NullJournal)
    assert [(line["event"], line["session"], line["remedy"]) for line in lines] == [("no journal", "s-2", "Check journal.dir.")]


async def test_a_gateway_runs_without_its_backends_and_closes_its_port() -> None:
    """Otherwise the order in which a cluster starts its parts matters; or a restart finds its port taken."""
    async with app.running(LOCAL) as port:
        assert await answers(port)
    assert not await answers(port)


async def test_missing_backends_are_said_once_at_the_start() -> None:
    """Otherwise an operator learns from the first caller that nobody hears."""
    settings = with_changes(LOCAL, riva={"target": "127.0.0.1:1"}, llm={"warm_up": False})
    with capture_logs() as lines:
        async with app.running(settings), asyncio.timeout(10):
            while not any(line["log_level"] == "warning" for line in lines):  # noqa: ASYNC110 (the log has no event)
                await asyncio.sleep(0.01)
            await asyncio.sleep(1)
    (warning,) = [line for line in lines if line["event"] == "not ready"]
    assert "asr" in warning["down"]
    assert "voicefsm doctor" in warning["problem"]


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
        lines = await until_printed("voicefsm gateway: ready", capsys)
        port = int(next(line for line in lines if "listening on" in line).rpartition(":")[2])
        assert await answers(port)
        async with asyncio.timeout(20):
            os.kill(os.getpid(), signal.SIGTERM)
            await serving
        assert not await answers(port)


# --- the embedded backends, in a process of their own ---


START = asyncio.create_subprocess_exec
ARGUMENTS = ("--set", "embedded.llm_port=0")


def child(monkeypatch: pytest.MonkeyPatch, code: str) -> list[asyncio.subprocess.Process]:
    """Let `serve --embedded` start this instead; the processes it starts."""
    started: list[asyncio.subprocess.Process] = []

    async def replaced(*args: str, **kwargs: Any) -> asyncio.subprocess.Process:
        assert args == (sys.executable, "-m", "voicefsm", "embedded", *ARGUMENTS)
        started.append(await START(sys.executable, "-u", "-c", code, **kwargs))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", replaced)
    return started


ADDRESSES = "print('voicefsm embedded: Riva ASR+TTS on 127.0.0.1:1'); print('voicefsm embedded: LLM on http://127.0.0.1:2/v1')"
READY = f"import time; {ADDRESSES}; print('voicefsm embedded: ready'); time.sleep(60)"


def serving_embedded(given: list[Source] | None = None) -> asyncio.Task[None]:
    """`serve --embedded`; `given` collects where the backends were found."""

    def settings_with(found: Source) -> Settings:
        if given is not None:
            given.append(found)
        return LOCAL

    return asyncio.create_task(app.serve_embedded(LOCAL, ARGUMENTS, settings_with))


async def over(serving: asyncio.Task[None]) -> None:
    """Wait for the end of `serve`."""
    async with asyncio.timeout(20):
        await serving


async def test_the_embedded_backends_live_as_long_as_the_gateway(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise they are used before they are ready, or outlive the gateway and keep its ports."""
    started = child(monkeypatch, READY)
    serving = serving_embedded()
    await until_printed("voicefsm gateway: ready", capsys)
    assert started[0].returncode is None
    os.kill(os.getpid(), signal.SIGTERM)
    await over(serving)
    assert started[0].returncode == -signal.SIGTERM


async def test_the_gateway_uses_the_backends_where_they_listen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise `[embedded] riva_port` brings up backends that nobody talks to."""
    child(monkeypatch, READY)
    given: list[Source] = []
    serving = serving_embedded(given)
    await until_printed("voicefsm gateway: ready", capsys)
    os.kill(os.getpid(), signal.SIGTERM)
    await over(serving)
    assert [source.values for source in given] == [
        {
            "riva": {"target": "127.0.0.1:1"},
            "llm": {"base_url": "http://127.0.0.1:2/v1"},
            "tts": {"segment_chars_max": "200"},  # as they like it best
            "asr": {"stall_ms": "5000"},
        }
    ]


async def test_a_gateway_whose_backends_die_ends_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise it lives on, takes calls and answers none."""
    started = child(monkeypatch, READY)
    monkeypatch.setattr(app, "configure", lambda *_: None)
    with capture_logs() as lines:
        serving = serving_embedded()
        await until_printed("voicefsm gateway: ready", capsys)
        started[0].kill()
        with pytest.raises(app.BackendsDied, match="ended with exit code -9"):
            await over(serving)
    assert [(line["log_level"], line["exit_code"]) for line in lines if line["event"] == "embedded backends died"] == [
        ("error", -9)
    ]


async def test_ctrl_c_reaches_the_gateway_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise the backends are gone before the calls that drain have been answered."""
    started = child(monkeypatch, READY)
    serving = serving_embedded()
    await until_printed("voicefsm gateway: ready", capsys)
    assert os.getsid(started[0].pid) != os.getsid(0)
    assert os.getpgid(started[0].pid) != os.getpgid(0)
    os.kill(os.getpid(), signal.SIGINT)
    await over(serving)
    assert started[0].returncode == -signal.SIGTERM, "stopped by us"


async def test_told_to_stop_while_the_backends_start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise Ctrl-C seems dead for as long as the engines load; or the gateway opens its port to close it."""
    started = child(monkeypatch, "import time; print('loading'); time.sleep(60)")
    serving = serving_embedded()
    await until_printed("loading", capsys)
    os.kill(os.getpid(), signal.SIGINT)
    await over(serving)
    assert started[0].returncode == -signal.SIGTERM
    assert "gateway" not in capsys.readouterr().out


async def test_a_closed_terminal_ends_the_gateway_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise the backends, which have no terminal, outlive it and keep their ports; or nohup has no effect."""
    started = child(monkeypatch, READY)
    serving = serving_embedded()
    await until_printed("voicefsm gateway: ready", capsys)
    os.kill(os.getpid(), signal.SIGHUP)
    await over(serving)
    assert started[0].returncode == -signal.SIGTERM
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        told_to_stop()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_embedded_backends_that_end_or_hang_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise `serve --embedded` waits for ever, or goes on without ears."""
    child(monkeypatch, "import sys; print('no engine'); sys.exit(2)")
    with pytest.raises(SettingsError, match=r"exit code 2 before they were ready.*What they said stands above"):
        await over(serving_embedded())
    started = child(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(app, "_EMBEDDED_START_S_MAX", 0.2)
    with pytest.raises(SettingsError, match="did not start in time"):
        await over(serving_embedded())
    assert started[0].returncode is not None


async def test_a_child_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise the gateway cannot be stopped."""
    monkeypatch.setattr(app, "_EMBEDDED_STOP_S_MAX", 0.2)
    started = child(monkeypatch, f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}")
    serving = serving_embedded()
    await until_printed("voicefsm gateway: ready", capsys)
    os.kill(os.getpid(), signal.SIGTERM)
    await over(serving)
    assert started[0].returncode == -signal.SIGKILL


async def test_what_goes_wrong_in_the_gateway_is_not_blamed_on_the_embedded_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a time-out of something else sends the operator to the wrong place; or the backends are left behind."""
    started = child(monkeypatch, READY)

    def late(_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(app, "choose_canceller", late)
    with pytest.raises(TimeoutError):
        await over(serving_embedded())
    assert started[0].returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    ("backend", "failover"),
    [("riva", {"tts_targets": ("tts.example:50051",)}), ("llm", {"llm_base_urls": ("http://nim.example/v1",)})],
)
async def test_key_goes_unencrypted_to_no_second_server_either(backend: str, failover: dict[str, Any]) -> None:
    """Otherwise the check of the first address is walked around by a list of others; or a traceback says so."""
    settings = with_changes(LOCAL, **{backend: {"api_key": "k"}}, failover=failover)
    with pytest.raises(SettingsError, match=r"failover: the key would go to (tts|nim)\.example"):
        async with app.running(settings):
            pass


async def test_traces_without_their_package_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise somebody waits for traces that nobody makes."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "voicefsm.telemetry.tracing", raising=False)
    with pytest.raises(SettingsError, match=r"voicefsm\[otel\]"):
        async with app.running(LOCAL):
            pass

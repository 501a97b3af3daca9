"""Settings that change while the gateway runs: for new sessions, and only if they are good."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from tests.integration.conftest import World
from tests.integration.test_metrics import eventually, value
from voicefsm.app import running
from voicefsm.client import Conversation, ServerFull
from voicefsm.config import TUNABLE, Settings, fixed_changes, load, rereading
from voicefsm.processes import child, free_port
from voicefsm.scripted import ScriptedLlm, ScriptedRiva
from voicefsm.values import bounds_of


class Tuned(World):
    """A gateway with a settings file."""

    file: Path
    port: int

    def write(self, text: str) -> None:
        """As a ConfigMap changes: another file takes the name."""
        self.file.with_suffix(".new").write_text(text)
        self.file.with_suffix(".new").rename(self.file)

    async def taken(self, how: str, times: int = 1) -> None:
        """Until the file was looked at."""
        await eventually(self.port, lambda s: value(s, "voicefsm_reloads_total", what="settings", taken=how) == times)

    def asked(self) -> dict[str, Any]:
        return dict(self.llm.requests[-1].body)


@asynccontextmanager
async def tuned(directory: Path, text: str = "") -> AsyncIterator[Tuned]:
    file, port = directory / "voicefsm.toml", free_port()
    file.write_text(text)
    async with ScriptedRiva() as riva, ScriptedLlm(["It is noon."]) as llm:
        overrides = [
            "server.port=0", "server.drain_ms_max=0", f"riva.target={riva.target}", f"llm.base_url={llm.base_url}",
            "llm.warm_up=false", "auth.reload_ms=20", f"metrics.port={port}", "metrics.sample_ms=20",
        ]  # fmt: skip
        read = partial(load, file=file, overrides=overrides)
        world = Tuned(riva, llm, read())
        world.file, world.port = file, port
        async with running(world.settings, rereading(read, file)) as listening:
            world.target = f"127.0.0.1:{listening}"
            yield world


async def test_new_sessions_have_what_the_file_says_now_and_live_ones_what_it_said(tmp_path: Path) -> None:
    """Otherwise tuning a prompt costs a restart; or changes a conversation under its user."""
    before, after = (
        f'[session]\nsystem_prompt = "{prompt}"\ntemperature = {t}\ntokens_max = {n}\n'
        for prompt, t, n in (("Old.", 0.2, 64), ("New.", 0.9, 99))
    )
    async with tuned(tmp_path, before) as w, w.connect() as living:
        w.write(after + "[turns]\nsession_ms_max = 60000\n")
        await w.taken("taken")
        async with w.connect() as new:
            assert new.session.limits.session_ms_max == 60_000
            await w.turn(new, "hello")
            asked = w.asked()
            assert (asked["messages"][0]["content"], asked["temperature"], asked["max_tokens"]) == ("New.", 0.9, 99)
        await w.turn(living, "hello")
        asked = w.asked()
        assert (asked["messages"][0]["content"], asked["temperature"], asked["max_tokens"]) == ("Old.", 0.2, 64)


@pytest.mark.parametrize("bad", ["[session\n", "[session]\ntemperature = 7\n", "[session]\ntemprature = 0.5\n", None])
async def test_a_bad_file_changes_nothing_and_is_told(tmp_path: Path, bad: str | None) -> None:
    """Otherwise a typing error ends conversations, or nobody learns that a change was not taken."""
    structlog.reset_defaults()
    with capture_logs() as lines:
        async with tuned(tmp_path, "[session]\ntemperature = 0.2\n") as w:
            if bad is None:
                w.file.unlink()
            else:
                w.write(bad)
            await w.taken("kept")
            async with w.connect() as new:
                await w.turn(new, "hello")
                assert w.asked()["temperature"] == 0.2
            w.write("[session]\ntemperature = 0.3\n")
            await w.taken("taken")
            async with w.connect() as new:
                await w.turn(new, "hello")
                assert w.asked()["temperature"] == 0.3
    (line,) = [line for line in lines if line["event"] == "not reloaded"]
    assert "voicefsm.toml" in line["problem"] or "session" in line["problem"]


async def test_how_many_may_call_and_what_is_logged(tmp_path: Path) -> None:
    """Otherwise an operator cannot make room, or look closer, while it burns."""
    async with tuned(tmp_path, "[server]\nsessions_max = 1\n") as w, w.connect():
        with pytest.raises(ServerFull):
            async with w.connect():
                pass
        w.write('[server]\nsessions_max = 2\n[log]\nlevel = "debug"\n')
        await w.taken("taken")
        async with w.connect():
            await eventually(w.port, lambda s: value(s, "voicefsm_sessions_max") == 2)


async def test_what_needs_a_restart_is_told(tmp_path: Path) -> None:
    """Otherwise an operator believes that a change is in force."""
    structlog.reset_defaults()
    with capture_logs() as lines:
        async with tuned(tmp_path) as w:
            w.write("[session]\ntemperature = 0.3\n[health]\ncheck_ms = 1234\n")
            await w.taken("taken")
    (line,) = [line for line in lines if line["event"] == "needs a restart"]
    assert line["settings"] == ["health.check_ms"]


def _names(section: str) -> set[str]:
    return set(bounds_of(type(getattr(Settings(), section))))


def test_what_is_tunable_exists() -> None:
    """Otherwise the list promises what there is not."""
    for section, names in TUNABLE.items():
        assert (names or set()) <= _names(section)
    assert fixed_changes(Settings(), Settings()) == []


async def test_a_level_counts_from_now_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise loggers that exist keep the level they began with."""
    from voicefsm.telemetry.log import configure, set_level

    try:
        configure("warning", "json")
        log = structlog.get_logger("voicefsm")
        log.info("one")
        log.error("two")
        set_level("debug")
        log.debug("three")
        set_level("error")
        log.warning("four")
    finally:
        structlog.reset_defaults()
        set_level("info")
    said = capsys.readouterr().err
    assert [word in said for word in ("one", "two", "three", "four")] == [False, True, True, False]


@pytest.mark.parametrize("by", ["--config", "VOICEFSM_CONFIG"])
async def test_the_program_follows_its_file(tmp_path: Path, by: str) -> None:
    """Otherwise all this is in the library, and not in what people run."""
    file = tmp_path / "voicefsm.toml"
    file.write_text("[session]\ntemperature = 0.2\n[auth]\nreload_ms = 20\n")
    async with ScriptedRiva() as riva, ScriptedLlm(["It is noon."]) as llm:
        command = [sys.executable, "-m", "voicefsm", "serve", "--port", "0", "--set", f"riva.target={riva.target}"]
        command += ["--set", f"llm.base_url={llm.base_url}", "--set", "llm.warm_up=false", "--set", "server.drain_ms_max=0"]
        command += ["--config", str(file)] if by == "--config" else []
        environment = {**os.environ, **({} if by == "--config" else {by: str(file)})}
        async with child("serve", command, environment=environment, log=tmp_path / "log", stop_ms_max=20_000) as process:
            target, _ = await process.ready([r"listening on (\S+)$", "gateway: ready$"], 60_000)
            file.write_text("[session]\ntemperature = 0.75\n[auth]\nreload_ms = 20\n")
            await process.ready(['"reloaded"'], 60_000)
            async with Conversation.connect(target) as conversation:
                await conversation.send_text("hello")
                await _until(lambda: bool(llm.requests))
            assert llm.requests[-1].body["temperature"] == 0.75


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 (the other end is a server)
            await asyncio.sleep(0.02)

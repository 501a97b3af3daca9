"""The admin service of a real gateway, and who may use it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import structlog
from structlog.testing import capture_logs

from voicefsm.adapters.identities import hash_of
from voicefsm.client import (
    Access,
    ClientSettings,
    Conversation,
    ConversationFailed,
    InvalidRequest,
    NotAllowed,
    NotOffered,
    NotSupported,
    ServerFull,
    SessionOptions,
)
from voicefsm.client.admin import Admin, LiveSession
from voicefsm.telemetry import log

WorldOf: TypeAlias = Callable[..., contextlib.AbstractAsyncContextManager[Any]]
FILE = f'[kiosk]\nkey_sha256 = ["{hash_of("kiosk")}"]\n[boss]\nkey_sha256 = ["{hash_of("boss")}"]\nadmin = true\n'
SERVER = {"port": 0, "drain_ms_max": 0, "admin": True, "admin_watch_ms": 20}
PATIENT = ClientSettings(connect_ms_max=20_000)


def guarded(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "identities.toml").write_text(FILE)
    return {"auth": {"identities_file": str(tmp_path / "identities.toml")}, "server": SERVER}


def kiosk(target: str, options: SessionOptions | None = None) -> contextlib.AbstractAsyncContextManager[Conversation]:
    return Conversation.connect(target, options, access=Access(key="kiosk"), settings=PATIENT)


def boss(target: str) -> contextlib.AbstractAsyncContextManager[Admin]:
    return Admin.connect(target, Access(key="boss"))


async def test_an_operator_sees_who_converses_and_can_end_it(world: WorldOf, tmp_path: Path) -> None:
    """Otherwise a session that should not be cannot be found, or only ended with everybody's."""
    async with world(**guarded(tmp_path)) as w, boss(w.target) as admin:
        assert await admin.sessions() == []
        async with kiosk(w.target) as first, kiosk(w.target) as second:
            found = await admin.sessions()
            assert {one.session_id for one in found} == {first.session.session_id, second.session.session_id}
            assert {(one.identity, one.state, one.language_code) for one in found} == {("kiosk", "IDLE", "en-US")}
            assert found[0].age_ms >= found[1].age_ms >= 0
            await admin.end(first.session.session_id)
            async with asyncio.timeout(20):
                async for _ in first:
                    pass
            assert first.ended
            assert [one.session_id for one in await admin.sessions()] == [second.session.session_id]
            with pytest.raises(NotOffered, match="There is no session"):
                await admin.end(first.session.session_id)
            with pytest.raises(NotOffered, match="not known here"):
                async with kiosk(w.target, SessionOptions(resume_token=first.session.resume_token)):
                    pass  # who was ended by an operator does not come back through the other door
            assert not second.ended


async def test_a_watch_tells_of_beginnings_moves_and_ends(world: WorldOf, tmp_path: Path) -> None:
    """Otherwise an operator has to ask again and again, and misses what was between."""
    async with world(**guarded(tmp_path)) as w, boss(w.target) as admin:
        seen: list[LiveSession] = []

        async def watch() -> None:
            async for session in admin.watch():
                seen.append(session)  # noqa: PERF401 (others look at it meanwhile)

        watching = asyncio.create_task(watch())
        async with kiosk(w.target) as conversation:
            w.connect = lambda: kiosk(w.target)
            await until(lambda: bool(seen))
            await w.turn(conversation, "hello")
        await until(lambda: seen[-1].state == "CLOSED")
        watching.cancel()
        await asyncio.wait([watching])
        assert {one.session_id for one in seen} == {conversation.session.session_id}
        assert "SPEAKING" in {one.state for one in seen}


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 (the other end is a server)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("access", "error", "words"),
    [
        (Access(), NotAllowed, "shows no credentials"),
        (Access(key="kiosk"), NotAllowed, "kiosk may not administer"),
        (Access(key="nobody"), NotAllowed, "not known"),
    ],
    ids=["nobody", "a caller", "a stranger"],
)
async def test_nobody_else_may(world: WorldOf, tmp_path: Path, access: Access, error: type[ConversationFailed], words: str) -> None:
    """Otherwise every caller can listen in on who calls, and end their sessions."""
    async with world(**guarded(tmp_path)) as w, kiosk(w.target) as conversation, Admin.connect(w.target, access) as admin:
        for ask in (admin.sessions(), admin.end(conversation.session.session_id), admin.set_log_level("debug"), _first(admin)):
            with pytest.raises(error, match=words):
                await ask
        assert not conversation.ended


async def _first(admin: Admin) -> LiveSession:
    async for session in admin.watch():
        return session
    raise AssertionError


async def test_without_authentication_nobody_may_and_by_default_it_is_not_there(world: WorldOf) -> None:
    """Otherwise a gateway for everybody is administered by everybody."""
    async with world(server=SERVER) as w, Admin.connect(w.target, Access()) as admin:
        with pytest.raises(NotAllowed, match="anonymous may not administer"):
            await admin.sessions()
    async with world() as w, Admin.connect(w.target, Access()) as admin:
        with pytest.raises(NotSupported, match=r"cannot be administered\. Start it with server\.admin = true"):
            await admin.sessions()
        with pytest.raises(NotSupported, match="cannot be administered"):
            await _first(admin)


async def test_the_log_level_is_set_and_a_bad_one_is_not(world: WorldOf, tmp_path: Path) -> None:
    """Otherwise an operator cannot look closer without a restart, which ends what was to be looked at."""
    structlog.reset_defaults()
    try:
        with capture_logs() as lines:
            async with world(**guarded(tmp_path)) as w, boss(w.target) as admin:
                await admin.set_log_level("debug")
                assert log._Threshold.level == log._LEVELS["debug"]
                with pytest.raises(InvalidRequest, match="Use one of debug, info, warning, error"):
                    await admin.set_log_level("loud")
        assert ("boss", "debug") in {(line.get("operator"), line.get("level")) for line in lines}
    finally:
        log.set_level("info")


async def test_watchers_are_bounded(world: WorldOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise forgotten watches slow the gateway down; or an operator is told that a credential does not open what is full."""
    from voicefsm.server import admin as module

    monkeypatch.setattr(module, "WATCHERS_MAX", 1)
    async with world(**guarded(tmp_path)) as w, kiosk(w.target), boss(w.target) as admin:
        watching = admin.watch()
        await anext(watching)
        with pytest.raises(ServerFull, match="1 watch already"):
            await _first(admin)
        await watching.aclose()  # type: ignore[attr-defined]


async def test_the_command_line(world: WorldOf, tmp_path: Path) -> None:
    """Otherwise all this needs a program first."""
    (tmp_path / "key").write_text("boss")

    async def run(*words: str) -> tuple[int | None, str]:
        command = (sys.executable, "-m", "voicefsm", "admin", *words, "--target", w.target, "--key", f"@{tmp_path / 'key'}")
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        out, _ = await process.communicate()
        return process.returncode, out.decode()

    async with world(**guarded(tmp_path)) as w, kiosk(w.target) as conversation:
        session_id = conversation.session.session_id
        code, out = await run("list")
        assert code == 0
        assert f"{session_id}  IDLE" in out
        assert out.endswith("admin: 1 sessions\n")
        assert await run("end", session_id) == (0, f"admin: {session_id} was told to end\n")
        assert (await run("list"))[1] == "admin: 0 sessions\n"
        code, out = await run("end", session_id)
        assert code == 1
        assert "There is no session" in out
    log.set_level("info")

"""The load test as users of locust, really run: `tox -e locust`. Counts, never times."""

from __future__ import annotations

import asyncio
import csv
import os
import sys
from pathlib import Path

import pytest

from voicefsm.load import LoadSettings
from voicefsm.load.stage import stage

locust = pytest.importorskip("locust", reason="locust is not installed: tox -e locust")
pytestmark = pytest.mark.filterwarnings("ignore")

USERS = 3


async def run(target: str, out: Path) -> tuple[int, str, dict[str, dict[str, str]]]:
    """Exit code, what was printed, and the rows of locust's table by name."""
    import voicefsm.load

    file = Path(voicefsm.load.__file__).with_name("locustfile.py")
    users = ["-u", str(USERS), "-r", str(USERS), "-t", "15s", "--scripted-ms", str(LoadSettings().scripted_ms)]
    tables = ["--csv", str(out / "voice"), "--html", str(out / "voice.html")]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "locust", "--headless", "-f", str(file), "-H", target, *users, *tables),
        env=os.environ | {"GRPC_VERBOSITY": "ERROR"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(90):
        printed, _ = await process.communicate()
    with (out / "voice_stats.csv").open(encoding="utf-8") as table:
        rows = {row["Name"]: row for row in csv.DictReader(table)}
    assert process.returncode is not None
    return process.returncode, printed.decode(), rows


async def test_users_talk_and_interrupt(tmp_path):
    """Otherwise a team that has locust runs something that has never worked."""
    async with stage(LoadSettings(out=tmp_path), ()) as staged:
        code, printed, rows = await run(staged.gateway, tmp_path)
    assert code == 0, printed
    assert int(rows["call"]["Request Count"]) == USERS, printed
    for name in ("first audio", "pause", "cancel"):
        assert int(rows[name]["Request Count"]) >= USERS, printed
        assert int(rows[name]["Failure Count"]) == 0, printed
    assert (tmp_path / "voice.html").stat().st_size > 0


async def test_whom_the_gateway_refuses_has_failed(tmp_path):
    """Otherwise a gateway that is full looks idle and well."""
    async with stage(LoadSettings(out=tmp_path), ("server.sessions_max=1",)) as staged:
        code, printed, rows = await run(staged.gateway, tmp_path)
    assert code == 1, printed
    assert int(rows["call"]["Failure Count"]) >= USERS - 1
    assert int(rows["call"]["Request Count"]) == int(rows["call"]["Failure Count"]) + 1
    assert "refused" in printed

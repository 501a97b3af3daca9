"""Files that change while we run."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from voicefsm.adapters.followed import Followed, watch
from voicefsm.errors import SettingsError


def following(file: Path) -> tuple[Followed[int], list[tuple[str, str]]]:
    def read() -> int:
        try:
            return int(file.read_text())
        except (OSError, ValueError) as bad:
            raise SettingsError(f"no number: {bad}") from bad

    followed, told = Followed("number", [str(file)], read), []
    followed.told = lambda what, problem: told.append((what, problem))
    return followed, told


def write(file: Path, text: str) -> None:
    """As a Secret of Kubernetes changes: another file takes the name."""
    file.with_suffix(".new").write_text(text)
    file.with_suffix(".new").rename(file)


def test_a_change_counts_and_is_told_once(tmp_path: Path) -> None:
    """Otherwise a renewed certificate needs a restart; or the log fills with news that are none."""
    file = tmp_path / "number"
    write(file, "1")
    followed, told = following(file)
    followed.look()
    assert (followed.now, told) == (1, [])
    write(file, "2")
    followed.look()
    followed.look()
    assert (followed.now, told) == (2, [("number", "")])


@pytest.mark.parametrize("bad", ["two", "", None])
def test_a_bad_change_changes_nothing_and_is_told_once(tmp_path: Path, bad: str | None) -> None:
    """Otherwise a typing error shuts everybody out, or nobody learns of it."""
    file = tmp_path / "number"
    write(file, "1")
    followed, told = following(file)
    if bad is None:
        file.unlink()
    else:
        write(file, bad)
    followed.look()
    followed.look()
    assert followed.now == 1
    assert [(what, problem.startswith("no number")) for what, problem in told] == [("number", True)]
    write(file, "3")
    followed.look()
    assert (followed.now, told[-1]) == (3, ("number", ""))


def test_a_link_that_is_turned_is_a_change(tmp_path: Path) -> None:
    """Otherwise a ConfigMap, whose files are links, would never be reloaded."""
    for name, text in (("a", "1"), ("b", "2")):
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, ns=(1, 1))
    file = tmp_path / "number"
    file.symlink_to(tmp_path / "a")
    followed, _ = following(file)
    file.unlink()
    file.symlink_to(tmp_path / "b")
    followed.look()
    assert followed.now == 2


def test_a_file_that_may_be_read_now_is_a_change(tmp_path: Path) -> None:
    """Otherwise an operator mends the mode of a file, and the gateway goes on with what was there before."""
    file = tmp_path / "number"
    write(file, "1")
    may_read = [True]

    def read() -> int:
        if not may_read[0]:  # tests may run as root, whom no mode keeps out
            raise SettingsError("forbidden")
        return int(file.read_text())

    followed = Followed("number", [str(file)], read)
    write(file, "2")
    may_read[0] = False
    followed.look()
    assert followed.now == 1
    may_read[0] = True
    file.chmod(0o640)
    followed.look()
    assert followed.now == 2


def test_it_begins_with_something_good(tmp_path: Path) -> None:
    """Otherwise a server starts that lets nobody in, or everybody."""
    with pytest.raises(SettingsError):
        following(tmp_path / "missing")


async def test_it_is_looked_at_again_and_again(tmp_path: Path) -> None:
    """Otherwise changes count only when somebody happens to look."""
    file = tmp_path / "number"
    write(file, "1")
    followed, _ = following(file)
    watching = asyncio.create_task(watch([followed], 1))
    write(file, "2")
    async with asyncio.timeout(10):
        while followed.now == 1:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.001)
    watching.cancel()

"""The conformance list against the embedded servers: the command as its users run it."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from voicefsm.conformance import CHECKS

LACKING = frozenset({"H4", "A16", "A17", "A19", "A20", "A21", "A24", "A25", "A27", "T14", "T17", "L6", "L7", "L13"})
"""Items that do not apply to the embedded servers, by intention, or that no client can provoke."""
OPEN = frozenset({"T18", "L10", "L12", "L14"})
"""Items that may pass or not apply: whether a server is too fast to tell depends on the machine."""

LIVE = frozenset({"A26"})
"""Takes as long as its audio: in a process of its own, beside the others."""


def conformance(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "voicefsm", "conformance", *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=600, check=False)


def test_every_item_that_applies_passes(embedded_addresses: tuple[str, str], tmp_path: Path) -> None:
    """Otherwise what was tried out at home does not say what happens at a customer's."""
    riva, llm = embedded_addresses

    def examine(ids: frozenset[str]) -> dict[str, str]:
        """Outcomes by item."""
        report = tmp_path / f"{len(ids)}.json"
        chosen = ("--only", ",".join(sorted(ids)), "--json", str(report), "--idle-s", "1")
        done = conformance("--riva", riva, "--llm", llm, *chosen)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines()[-1].startswith("conformance: ")
        return {item["id"]: item["outcome"] for item in json.loads(report.read_text(encoding="utf-8"))["items"]}

    with ThreadPoolExecutor() as threads:
        live, rest = threads.map(examine, (LIVE, frozenset(check.id for check in CHECKS) - LIVE))
    outcomes = live | rest
    assert set(outcomes) == {check.id for check in CHECKS}
    assert {id_ for id_, outcome in outcomes.items() if outcome != "pass"} - OPEN == LACKING


def test_nobody_there_is_exit_code_1(tmp_path: Path) -> None:
    """Otherwise a job that tests a server which is not there is green."""
    done = conformance("--riva", "127.0.0.1:1", "--only", "H1,T3", "--set", "riva.open_ms_max=200")
    assert done.returncode == 1
    assert [line.split()[:2] for line in done.stdout.splitlines()[:-1]] == [["H1", "fail"]], "the rest is left out"
    assert done.stdout.splitlines()[-1] == "conformance: 0 passed, 1 failed (H1), 0 not supported"


def test_bad_usage_is_exit_code_2() -> None:
    """Otherwise a typing error passes for a run in which nothing failed."""
    for arguments, said in (
        ((), "say what to test"),
        (("--riva", "127.0.0.1:1", "--only", "T99"), "There is no item T99"),
        (("--riva", "nowhere"), "must look like HOST:PORT"),
    ):
        done = conformance(*arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr

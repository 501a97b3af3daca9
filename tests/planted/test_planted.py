"""Every planted bug is found by the layer that is said to find it, and the page says which there are.

The faults of the model checker and of the simulator are found by tests of their own (tests/model/test_planted.py,
tests/simulation/test_planted.py); `pytest tests/planted tests/model/test_planted.py tests/simulation/test_planted.py` runs all.
"""

from __future__ import annotations

import pytest

from tests.planted.catalogue import OTHERS, Bug, by_cancellation, by_garbage, by_regressions, listed

PAGE = "docs/planted-bugs.md"
BUGS_MIN = 12
ESSENTIAL = (
    "the stale guard is dropped",
    "resume at the wrong sample",
    "forget the decision deadline",
    "commit unheard text",
    "two live generations",
)


@pytest.mark.parametrize("bug", OTHERS, ids=lambda bug: f"{bug.layer}: {bug.name}")
def test_planted_bugs_are_found(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise this layer is blind to this fault, and to whatever is like it."""
    bug.plant(monkeypatch)
    assert bug.is_found(bug)


def test_without_a_bug_nothing_is_found() -> None:
    """Otherwise the faults above may have been found for another reason."""
    healthy = Bug("", "", lambda _: None, lambda _: True)
    assert not by_cancellation(healthy)
    assert not by_garbage(healthy)
    assert not by_regressions(healthy)


def test_the_page_lists_them(pytestconfig: pytest.Config) -> None:
    """Otherwise the list that people read is another than the one that runs."""
    lines = (pytestconfig.rootpath / PAGE).read_text(encoding="utf-8").splitlines()
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines if line.startswith("| ")]
    assert rows[1:] == listed()
    assert len(rows) - 1 >= BUGS_MIN
    assert {name for _, name in listed()} >= set(ESSENTIAL)

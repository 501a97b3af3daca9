"""Every transcript in this directory, run and compared byte for byte. `pytest tests/scenarios --rewrite` writes them anew: read the
difference before it is committed, since what it says is what a user will experience."""

from __future__ import annotations

from pathlib import Path

import pytest

from voicefsm.simulation import scenario

FILES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path, pytestconfig):
    """Otherwise a user would live through something else than the transcript tells."""
    text = path.read_text(encoding="utf-8")
    made = scenario.write(scenario.read(text))
    if pytestconfig.getoption("rewrite", default=False):
        path.write_text(made, encoding="utf-8")
        text = made
    assert made == text


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario_says_what_the_user_experiences(path):
    """Otherwise a transcript would be a puzzle: each begins with a sentence for people."""
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert scenario.read(path.read_text(encoding="utf-8")).facts


def test_there_are_scenarios():
    """Otherwise the tests above would pass on an empty directory."""
    assert len(FILES) >= 25

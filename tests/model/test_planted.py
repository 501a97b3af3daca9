"""The checker can fail: each planted bug is found, and its counter-example is a transcript that can be read and run."""

from __future__ import annotations

import re

import pytest

from tests.model.abstraction import Core
from tests.model.checker import search, search_core
from tests.model.faults import AROUND, CORE, ON_A_FAULTY_WIRE, planted
from tests.model.invariants import check_move
from tests.model.scopes import FINALS, PRODUCT, WORDLESS
from tests.model.story import tell
from voicefsm.simulation import scenario


@pytest.mark.parametrize("bug", CORE)
def test_bugs_of_the_core_are_found(bug):
    """Otherwise the search of the core is blind to this bug."""
    plant, expected = CORE[bug]
    with planted(plant):
        report = search_core(bug, Core(PRODUCT, FINALS, check_move))
        assert re.search(expected, report.violation), report
        check_story(tell(report, PRODUCT), len([step for step in report.path if step.name]))


@pytest.mark.parametrize("bug", [*AROUND, *ON_A_FAULTY_WIRE])
def test_bugs_around_the_core_are_found(bug):
    """Otherwise the search of the product is blind to this bug."""
    plant, expected = {**AROUND, **ON_A_FAULTY_WIRE}[bug]
    with planted(plant):
        report = search(bug, Core(PRODUCT, WORDLESS, check_move), is_faulty=bug in ON_A_FAULTY_WIRE)
        assert re.search(expected, report.violation), report
        check_story(tell(report, PRODUCT), len([step for step in report.path if step.name]))


def check_story(text: str, facts: int) -> None:
    """It can be read back, and holds every fact of the path."""
    assert len(scenario.read(text).facts) == facts + 1, text

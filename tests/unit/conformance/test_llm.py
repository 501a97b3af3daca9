"""The items of the language model, against the scripted server."""

from __future__ import annotations

import pytest

from voicefsm.conformance import Outcome
from voicefsm.conformance.llm import CHECKS
from voicefsm.scripted import FINISH, ROLE, ScriptedLlm

IDS = {check.id for check in CHECKS}


async def test_healthy_server_passes(outcomes):
    """Otherwise a report about a good server frightens its owner."""
    async with ScriptedLlm() as llm:
        assert (await outcomes(CHECKS, llm=llm.base_url))[Outcome.PASS] == IDS


@pytest.mark.parametrize(("broken", "replies"), [("L5", [[ROLE, "Hello.", FINISH]])])
async def test_broken_behaviour_fails_its_item(outcomes, broken, replies):
    """Otherwise the item cannot fail, and says nothing."""
    async with ScriptedLlm(replies) as llm:
        assert (await outcomes(CHECKS, llm=llm.base_url))[Outcome.FAIL] == {broken}

"""The items of what is around the calls, against the scripted servers."""

from __future__ import annotations

import pytest

from voicefsm.conformance import Outcome
from voicefsm.conformance.infra import CHECKS
from voicefsm.scripted import AsrScript, ScriptedRiva, TtsScript

IDS = {check.id for check in CHECKS}


async def test_healthy_server_passes(outcomes):
    """Otherwise a report about a good server frightens its owner."""
    async with ScriptedRiva() as riva:
        assert (await outcomes(CHECKS, riva=riva.target))[Outcome.PASS] == IDS


@pytest.mark.parametrize(("broken", "scripts"), [("H3", {"tts": TtsScript(voices=())}), ("H3", {"asr": AsrScript(models=())})])
async def test_broken_behaviour_fails_its_item(outcomes, broken, scripts):
    """Otherwise the item cannot fail, and says nothing."""
    async with ScriptedRiva(**scripts) as riva:
        assert (await outcomes(CHECKS, riva=riva.target))[Outcome.FAIL] == {broken}

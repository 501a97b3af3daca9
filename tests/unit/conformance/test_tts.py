"""The items of speech synthesis: a healthy server passes them, and each behaviour broken on purpose fails its own item alone."""

from __future__ import annotations

import pytest

from voicefsm.conformance import Outcome
from voicefsm.conformance.tts import CHECKS
from voicefsm.scripted import ScriptedRiva, TtsScript

IDS = {check.id for check in CHECKS}


async def test_healthy_server_passes(outcomes):
    """Otherwise a report about a good server frightens its owner."""
    async with ScriptedRiva() as riva:
        assert (await outcomes(CHECKS, riva=riva.target))[Outcome.PASS] == IDS


@pytest.mark.parametrize(("broken", "script"), [("T2", TtsScript(echoes_ids=False))])
async def test_broken_behaviour_fails_its_item(outcomes, broken, script):
    """Otherwise the item cannot fail, and says nothing."""
    async with ScriptedRiva(tts=script) as riva:
        assert (await outcomes(CHECKS, riva=riva.target))[Outcome.FAIL] == {broken}


async def test_old_server_lacks_streaming_input_alone(outcomes):
    """Otherwise the owner of a Riva 2.17 is told it is broken."""
    async with ScriptedRiva(tts=TtsScript(is_old=True)) as riva:
        found = await outcomes(CHECKS, riva=riva.target)
    assert found[Outcome.NOT_SUPPORTED] == {"T1"}
    assert found[Outcome.FAIL] == set()

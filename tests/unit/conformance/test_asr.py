"""The items of speech recognition, against the scripted server."""

from __future__ import annotations

from voicefsm.conformance import Outcome
from voicefsm.conformance.asr import CHECKS
from voicefsm.scripted import ScriptedRiva

IDS = {check.id for check in CHECKS}


async def test_healthy_server_passes(outcomes):
    """Otherwise a report about a good server frightens its owner."""
    async with ScriptedRiva() as riva:
        assert (await outcomes(CHECKS, riva=riva.target))[Outcome.PASS] == IDS

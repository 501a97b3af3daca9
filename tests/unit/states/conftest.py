"""Small conversations for the tests of the states, in the form of tests/scenarios."""

from __future__ import annotations

import pytest

from voicefsm.context import Context
from voicefsm.simulation import scenario

ASK = """
0 SessionOpened
1060 SpeechStarted onset_ms=1000
1900 FinalHeard text="hello"
2000 SpeechEnded last_voiced_ms=1900
"""
ANSWER = """
2400 Timer END_OF_TURN
2900 SentenceReady epoch=1 index=0 text="Hi."
"""
BEGINNINGS = {
    "idle": "0 SessionOpened",
    "listening": ASK,
    "processing": ASK + ANSWER,
    "speaking": f"{ASK}{ANSWER}3200 PlayoutStarted epoch=1\n3900 PlayoutAdvanced epoch=1 heard_ms=700 left_ms=900",
    "closed": "0 SessionOpened\n10 ClientClosed",
}
BEGINNINGS["interrupting"] = BEGINNINGS["speaking"] + "\n4060 SpeechStarted onset_ms=4000"


@pytest.fixture
def did():
    """`did("speaking", "5000 ClientClosed")`: what the machine does with the last of these facts in a session in this state."""

    def told(state: str, facts: str, sets: str = "") -> list[str]:
        given = scenario.read(f"{sets}\n{BEGINNINGS[state]}\n{facts}")
        context = Context(settings=given.settings, language_code=given.language_code)
        taken = list(scenario.run(context, given.facts))
        return [line.strip() for line in scenario.written(taken[-1])[1:]]

    return told

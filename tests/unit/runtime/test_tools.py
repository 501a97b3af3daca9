"""What a model asks for, as calls that a client can carry out."""

from __future__ import annotations

import pytest

from voicefsm.events import ToolCall
from voicefsm.ports import Tool, WantedCall
from voicefsm.runtime.tools import calls_of
from voicefsm.values import Epoch

WEATHER = Tool("weather", "", '{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}')
CLOCK = Tool("clock", "", '{"type":"object","properties":{}}')


def test_calls_are_numbered_within_the_session() -> None:
    """Otherwise two calls of one session have the same id, or a chat template refuses one that is not nine characters long."""
    calls = calls_of([WantedCall("weather", ' {"city":"Paris"} '), WantedCall("clock", "")], [WEATHER, CLOCK], Epoch(12), 3)
    assert calls == (ToolCall("000012003", "weather", '{"city":"Paris"}'), ToolCall("000012004", "clock", "{}"))
    assert all(len(call.id) == 9 and call.id.isalnum() for call in calls)


@pytest.mark.parametrize(
    ("wanted", "arguments", "problem"),
    [
        (WantedCall("weather", '{"city": "Par'), "{}", 'The arguments are no JSON object: {"city": "Par'),
        (WantedCall("weather", '["Paris"]'), "{}", 'The arguments are no JSON object: ["Paris"]'),
        (WantedCall("weather", "[" * 5000), "{}", f"The arguments are no JSON object: {'[' * 200}…"),
        (WantedCall("weather", '{"town":"Paris"}'), '{"town":"Paris"}', "The arguments lack city."),
        (WantedCall("wether", '{"city":"Paris"}'), '{"city":"Paris"}', "There is no tool wether. There are: weather, clock."),
    ],
)
def test_what_cannot_be_called_says_why_and_stays_readable(wanted: WantedCall, arguments: str, problem: str) -> None:
    """Otherwise the client has to look for the model's mistakes; or the server refuses every prompt with this call in it."""
    (call,) = calls_of([wanted], [WEATHER, CLOCK], Epoch(1), 0)
    assert (call.arguments, call.problem) == (arguments, problem)


def test_a_name_without_end_is_cut() -> None:
    """Otherwise a model that runs wild fills the journal with one name."""
    (call,) = calls_of([WantedCall("x" * 1000, "{}")], [CLOCK], Epoch(1), 0)
    assert call.name == "x" * 64
    assert len(call.problem) < 300

"""How much memory what waits in a queue holds: the queues of a session are bounded in bytes as well as in numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from voicefsm import events
from voicefsm.runtime import messages

ITEM_BYTES = 400
"""What any fact or message takes, with its numbers and its place in the queue."""
WORD_BYTES = 250
"""What a word with its times takes."""
CHAR_BYTES = 4
"""The most that a character takes."""


def weight(item: object) -> int:
    """Of a fact or a message, in bytes; what is only referred to elsewhere is counted too."""
    measure = _MEASURES.get(type(item))
    return ITEM_BYTES if measure is None else ITEM_BYTES + measure(item)


def _calls(calls: tuple[events.ToolCall, ...]) -> int:
    return sum(ITEM_BYTES + sys.getsizeof(call.arguments) + sys.getsizeof(call.problem) for call in calls)


_MEASURES: Mapping[type, Callable[[Any], int]] = {
    events.TextReceived: lambda fact: sys.getsizeof(fact.text),
    events.PartialHeard: lambda fact: sys.getsizeof(fact.text),
    events.FinalHeard: lambda fact: sys.getsizeof(fact.text) + WORD_BYTES * len(fact.words),
    events.SentenceReady: lambda fact: sys.getsizeof(fact.text),
    events.ToolsCalled: lambda fact: _calls(fact.calls),
    events.ToolAnswered: lambda fact: sys.getsizeof(fact.output) + sys.getsizeof(fact.error) + sys.getsizeof(fact.call_id),
    events.BackendFailed: lambda fact: sys.getsizeof(fact.message),
    messages.Transcript: lambda said: sys.getsizeof(said.text) + WORD_BYTES * len(said.words),
    messages.AssistantText: lambda said: sys.getsizeof(said.text),
    messages.AudioOutput: lambda said: said.samples.nbytes,
    messages.TurnCompleted: lambda said: sum(map(sys.getsizeof, (said.user_text, said.assistant_text, said.heard_text))),
    messages.ToolCalled: lambda said: sys.getsizeof(said.arguments),
    messages.Failure: lambda said: sys.getsizeof(said.message),
}
"""Those that hold more than numbers."""

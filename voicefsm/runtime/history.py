"""The conversation as the model sees it: append-only, so that its prefix cache stays warm; heard words only.

The one exception is a turn that turns out not to be over: `retract_user` takes its words back before anything else is added. What a
tool was called for stays in any case, since it may have been done.

While tools are at work the model is shown its own words before the call, heard or not. When the exchange is over they are cut to
what was heard, as the rest of the answer is. When
a limit is reached, the oldest exchanges are dropped a quarter at a time, not one by one, for the same cache's sake. Characters have
a limit as well as messages: a model refuses a prompt beyond its context, and would then refuse every later one. What it takes is
known only when it refuses, and then `halve` makes room.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from voicefsm.events import ToolCall
from voicefsm.ports import Message

CHARS_PATIENCE = 2
"""By so much what tools put out in one exchange may exceed the limit of the conversation, which is shortened between exchanges."""
UNFIT = "The output was left out: the conversation is too long already."
"""What the model is told of an output beyond that."""
UNANSWERED = "The call was given up: the user went on before it was answered. It may have been carried out or not."
"""What the model is told of a call that nobody waits for any more."""


class History:
    """What was said to and heard from the assistant in one session."""

    def __init__(self, system_prompt: str, messages_max: int, chars_max: int, said: Iterable[Message] = ()) -> None:
        """The limits are those of the conversation; the system prompt is not counted. `said`: what it begins with."""
        self._system = Message("system", system_prompt)
        self._messages = list(said)
        self._messages_max, self._chars_max = messages_max, chars_max

    def add_user(self, text: str) -> None:
        """The user's turn. It stays, however long it is."""
        self._messages.append(Message("user", text))
        if len(self._messages) > self._messages_max or self._chars() > self._chars_max:
            self._shorten(self._messages_max * 3 // 4, self._chars_max * 3 // 4, messages_min=1)

    def halve(self) -> bool:
        """The model took no prompt of this length: drop the oldest half, but not what is being answered.

        False when that alone is too long. It is dropped then, or it would be in the way of all that follows.
        """
        newest = max((k for k, message in enumerate(self._messages) if message.role == "user"), default=0)
        if newest == 0:
            self._messages.clear()
            return False
        self._shorten(self._messages_max, self._chars() // 2, messages_min=len(self._messages) - newest)
        return True

    def _shorten(self, messages_max: int, chars_max: int, *, messages_min: int) -> None:
        """Drop the oldest until the rest is short enough and begins with the user: many chat templates insist on that as well."""
        kept, chars = self._messages, self._chars()
        while len(kept) > messages_min and (len(kept) > messages_max or chars > chars_max or kept[0].role != "user"):
            chars -= _chars(kept.pop(0))

    def _chars(self) -> int:
        return sum(_chars(message) for message in self._messages)

    def retract_user(self) -> None:
        """The user's last turn was not over: take it back, unless tools were called for it."""
        if self._messages and self._messages[-1].role == "user":
            self._messages.pop()
        else:
            self.add_heard("")

    def add_calls(self, written: str, calls: tuple[ToolCall, ...]) -> None:
        """The model wants tools to be called, after the sentences it has `written` since its last calls."""
        if self._messages:
            self._messages.append(Message("assistant", written, calls))

    def add_result(self, call_id: str, text: str) -> None:
        """What came of a call."""
        if call_id in self._open_calls():
            fits = self._chars() + len(text) <= CHARS_PATIENCE * self._chars_max
            self._messages.append(Message("tool", text if fits else UNFIT, call_id=call_id))

    def add_heard(self, text: str) -> None:
        """What the user heard of the answer; an answer nobody heard leaves no trace, nor does one whose question was dropped.

        After tools there is always an answer, if an empty one: many chat templates insist on alternation.
        """
        self.give_up_calls()
        for place in self._places_of_calls():
            message = self._messages[place]
            said, text = _shared(message.content, text)
            self._messages[place] = dataclasses.replace(message, content=said)
        if self._messages and (text or self._messages[-1].role == "tool"):
            self._messages.append(Message("assistant", text))

    def _places_of_calls(self) -> list[int]:
        """Where the calls of the exchange in progress stand."""
        newest = max((k for k, message in enumerate(self._messages) if message.role != "tool" and not message.calls), default=0)
        return [k for k, message in enumerate(self._messages) if k > newest and message.calls]

    def _open_calls(self) -> list[str]:
        """The calls nothing has come of yet."""
        answered = {message.call_id for message in self._messages}
        places = self._places_of_calls()
        return [call.id for place in places for call in self._messages[place].calls if call.id not in answered]

    @property
    def said(self) -> tuple[Message, ...]:
        """What it holds."""
        return tuple(self._messages)

    def give_up_calls(self) -> None:
        """Nobody waits any more for the calls nothing has come of."""
        for call_id in self._open_calls():
            self.add_result(call_id, UNANSWERED)

    def messages(self) -> tuple[Message, ...]:
        """The prompt. Two turns of the user in a row become one: many chat templates insist on alternation."""
        merged: list[Message] = [self._system]
        for message in self._messages:
            if merged[-1].role == message.role == "user":
                merged[-1] = Message(message.role, f"{merged[-1].content}\n{message.content}")
            else:
                merged.append(message)
        return tuple(merged)


def _chars(message: Message) -> int:
    return len(message.content) + sum(len(call.name) + len(call.arguments) for call in message.calls)


def _shared(written: str, heard: str) -> tuple[str, str]:
    """What was heard of these words, and what was heard after them."""
    return (written, heard[len(written) :].strip()) if heard.startswith(written) else (heard, "")

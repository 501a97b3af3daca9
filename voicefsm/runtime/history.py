"""The conversation as the model sees it: append-only, so that its prefix cache stays warm; heard words only.

The one exception is a turn that turns out not to be over: `retract_user` takes its words back before anything else is added. When
a limit is reached, the oldest exchanges are dropped a quarter at a time, not one by one, for the same cache's sake. Characters have
a limit as well as messages: a model refuses a prompt beyond its context, and would then refuse every later one. What it takes is
known only when it refuses, and then `halve` makes room.
"""

from __future__ import annotations

from voicefsm.ports import Message


class History:
    """What was said to and heard from the assistant in one session."""

    def __init__(self, system_prompt: str, messages_max: int, chars_max: int) -> None:
        """The limits are those of the conversation; the system prompt is not counted."""
        self._system = Message("system", system_prompt)
        self._messages: list[Message] = []
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
            chars -= len(kept.pop(0).content)

    def _chars(self) -> int:
        return sum(len(message.content) for message in self._messages)

    def retract_user(self) -> None:
        """The user's last turn was not over: take it back."""
        if self._messages and self._messages[-1].role == "user":
            self._messages.pop()

    def add_heard(self, text: str) -> None:
        """What the user heard of the answer; an answer nobody heard leaves no trace, nor does one whose question was dropped."""
        if text and self._messages:
            self._messages.append(Message("assistant", text))

    def messages(self) -> tuple[Message, ...]:
        """The prompt. Two turns of the user in a row become one: many chat templates insist on alternation."""
        merged: list[Message] = [self._system]
        for message in self._messages:
            if merged[-1].role == message.role:
                merged[-1] = Message(message.role, f"{merged[-1].content}\n{message.content}")
            else:
                merged.append(message)
        return tuple(merged)

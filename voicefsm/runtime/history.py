"""The conversation as the model sees it: append-only, so that its prefix cache stays warm; heard words only.

The one exception is a turn that turns out not to be over: `retract` takes its words back before anything else is added. When
the limit is reached, the oldest exchanges are dropped a quarter at a time, not one by one, for the same cache's sake.
"""

from __future__ import annotations

from voicefsm.ports import Message


class History:
    """What was said to and heard from the assistant in one session."""

    def __init__(self, system_prompt: str, messages_max: int) -> None:
        self._system = Message("system", system_prompt)
        self._messages: list[Message] = []
        self._messages_max = messages_max

    def add_user(self, text: str) -> None:
        """The user's turn."""
        self._messages.append(Message("user", text))
        if len(self._messages) > self._messages_max:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        """A quarter, and whatever it takes for the rest to begin with the user: many chat templates insist on that as well."""
        del self._messages[: self._messages_max // 4]
        while self._messages[0].role != "user":
            del self._messages[0]

    def retract_user(self) -> None:
        """The user's last turn was not over: take it back."""
        if self._messages and self._messages[-1].role == "user":
            self._messages.pop()

    def add_heard(self, text: str) -> None:
        """What the user heard of the answer; an answer nobody heard leaves no trace."""
        if text:
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

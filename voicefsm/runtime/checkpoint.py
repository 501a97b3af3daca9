"""A conversation as it is kept, so that another session, here or elsewhere, can go on with it.

What is kept is what the machine has committed: a turn of the user from the order that has it answered, a reply from its sentences
and from what the ear was known to have heard. Words that nobody answers yet are not kept.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

from voicefsm.events import ToolCall
from voicefsm.ports import Message
from voicefsm.runtime.journal import COMPACT
from voicefsm.values import NO_EPOCH, Epoch

FORMAT = 1
"""Of the bytes. A gateway takes up no other: versions that differ in it cannot share a store."""


@dataclasses.dataclass(frozen=True, slots=True)
class Checkpoint:
    """One conversation at one moment."""

    session_id: str
    """The session it was held in."""
    identity: str
    """Who held it; nobody else may go on with it."""
    wishes: bytes = b""
    """The client's configuration as it came; what a later one leaves unset is as it was."""
    age_ms: int = 0
    """How long the conversation has been going on, over all its sessions."""
    last_epoch: Epoch = NO_EPOCH
    messages: tuple[Message, ...] = ()
    """The history, the turn in progress included, the system prompt not."""
    question: str = ""
    """The user's turn that is being answered; empty while none is."""
    heard: str = ""
    """What the user has heard of the answer."""
    rest: tuple[str, ...] = ()
    """Its sentences, as far as they are written, that were not heard; the first begins where the ear was."""
    is_written: bool = False
    """Whether the model has written all of it."""

    @property
    def is_answered(self) -> bool:
        """Whether nothing is left of the turn in progress, as far as we know."""
        return bool(self.question) and not self.rest and (bool(self.heard) or self.is_written)

    @property
    def has_rest(self) -> bool:
        """Whether the answer goes on with what was written; otherwise the model is asked again, since nothing of it was heard."""
        return bool(self.rest) and (bool(self.heard) or self.is_written)

    def to_bytes(self) -> bytes:
        """For a store."""
        body = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        body["wishes"] = base64.b64encode(self.wishes).decode()
        body["messages"] = [_told(message) for message in self.messages]
        return COMPACT.encode({"format": FORMAT, **body}).encode()


def _told(message: Message) -> dict[str, Any]:
    """As `dataclasses.asdict`, in a tenth of the time: this is done twice a second while somebody listens."""
    calls = [dataclasses.asdict(call) for call in message.calls]
    return {"role": message.role, "content": message.content, "calls": calls, "call_id": message.call_id}


def from_bytes(data: bytes) -> Checkpoint:
    """What a store has. Raises `ValueError` when it is of another version, or none of ours."""
    body = json.loads(data)
    if not isinstance(body, dict) or body.pop("format", None) != FORMAT:
        raise ValueError("It was kept by another version.")
    try:
        body["wishes"] = base64.b64decode(body["wishes"])
        body["messages"] = tuple(map(_message, body["messages"]))
        body["rest"] = tuple(body["rest"])
        return Checkpoint(**body)
    except (KeyError, TypeError) as bad:
        raise ValueError("It is no checkpoint.") from bad


def _message(body: dict[str, Any]) -> Message:
    return Message(**{**body, "calls": tuple(ToolCall(**call) for call in body["calls"])})

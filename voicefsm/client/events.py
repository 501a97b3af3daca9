"""What the server tells a client, as typed values. Audio is not among them: it goes straight to the `Player`.

Every event carries `received_ms`, the monotonic clock at the moment it came off the wire, so that a client that is slow to look
still knows when things happened. Numbers without a unit are counts; sample positions are explained in docs/protocol.md.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

from voicefsm.values import CancelReason, Epoch, SampleIndex


class State(enum.StrEnum):
    """The states of a conversation."""

    UNSPECIFIED = "unspecified"
    """Not known to this version of the client."""
    IDLE = "idle"
    LISTENING = "listening"
    PROCESSING = "processing"
    SPEAKING = "speaking"
    INTERRUPTING = "interrupting"
    CLOSED = "closed"


class Outcome(enum.StrEnum):
    """How an exchange ended."""

    UNSPECIFIED = "unspecified"
    COMPLETED = "completed"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    RETRACTED = "retracted"
    """Nobody heard the answer and the user went on: the words belong to the next turn."""


class Fault(enum.StrEnum):
    """Whose fault an error is."""

    UNSPECIFIED = "unspecified"
    CLIENT = "client"
    BACKEND = "backend"
    SERVER = "server"


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """Anything the server said."""

    received_ms: float
    """The event loop's clock (`loop.time()`) at receipt, in milliseconds."""


@dataclasses.dataclass(frozen=True, slots=True)
class SessionLimits:
    """What the server allows one session."""

    session_ms_max: int
    idle_ms_max: int
    audio_bytes_max: int
    text_chars_max: int
    playout_ahead_ms_max: int
    tool_output_chars_max: int


@dataclasses.dataclass(frozen=True, slots=True)
class SessionReady(Event):
    """The session exists."""

    session_id: str
    limits: SessionLimits
    resume_token: str
    echo_canceller: str
    """Name of the canceller at work, "none" when the client declared its own."""
    language_code: str
    voice_name: str
    resumed_user_text: str = ""
    """The user's turn of an earlier session that is answered in this one."""


@dataclasses.dataclass(frozen=True, slots=True)
class StateChanged(Event):
    """The conversation moved."""

    before: State
    after: State
    event: str
    """The fact that moved it."""
    session_ms: int
    """Since the session began, on the server's clock."""


@dataclasses.dataclass(frozen=True, slots=True)
class Word:
    """A recognised word and its place in the microphone's stream, in samples at the input rate."""

    text: str
    start_sample: SampleIndex
    end_sample: SampleIndex
    """One past the last."""


@dataclasses.dataclass(frozen=True, slots=True)
class Transcript(Event):
    """What the user is heard to say."""

    text: str
    is_final: bool
    stability: float
    """0 to 1, on partials."""
    words: tuple[Word, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class AssistantText(Event):
    """A sentence on its way to the voice."""

    epoch: Epoch
    index: int
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class PlayoutPaused(Event):
    """The player was told to fall silent and keep its buffer."""

    epoch: Epoch
    position: SampleIndex
    """Next far-end sample to be rendered, at receipt."""


@dataclasses.dataclass(frozen=True, slots=True)
class PlayoutDucked(Event):
    """The player was told to go on more quietly."""

    epoch: Epoch
    position: SampleIndex
    """Next far-end sample to be rendered."""
    duck_db: int
    """By how much."""


@dataclasses.dataclass(frozen=True, slots=True)
class PlayoutResumed(Event):
    """The player was told to go on."""

    epoch: Epoch
    position: SampleIndex
    """Next far-end sample to be rendered."""


@dataclasses.dataclass(frozen=True, slots=True)
class TtsCancelled(Event):
    """The player was told to throw a reply away."""

    epoch: Epoch
    last_valid_sample: SampleIndex
    """Last far-end sample that counts as heard, inclusive."""
    reason: CancelReason | None
    """None when the server's reason is not known to this version."""
    position: SampleIndex
    """Next far-end sample that would have been rendered, at receipt."""


@dataclasses.dataclass(frozen=True, slots=True)
class TurnLatencies:
    """Where the time of a turn went, in milliseconds; None where the thing did not happen."""

    endpointing_ms: int | None
    first_token_ms: int | None
    first_audio_ms: int | None
    first_heard_ms: int | None
    onset_to_pause_ms: int | None
    onset_to_cancel_ms: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class TurnCompleted(Event):
    """One exchange is over."""

    epoch: Epoch
    user_text: str
    assistant_text: str
    heard_text: str
    outcome: Outcome
    latencies: TurnLatencies


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCalled(Event):
    """The model wants a tool. One with a function is being carried out already; others wait for `Conversation.answer_tool`."""

    epoch: Epoch
    call_id: str
    name: str
    arguments: Mapping[str, Any]
    wait_ms_max: int
    """How long the server waits for the answer."""


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCallCancelled(Event):
    """Nobody waits for this call any more. A function that was carrying it out has been cancelled."""

    epoch: Epoch
    call_id: str
    is_late: bool
    """It took too long; otherwise the reply is over."""


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCallFailed(Event):
    """The function of a tool has raised. The model was told what the error says."""

    epoch: Epoch
    call_id: str
    name: str
    error: Exception


@dataclasses.dataclass(frozen=True, slots=True)
class GoAway(Event):
    """The server is going to close the session."""

    deadline_ms: int
    resume_token: str


@dataclasses.dataclass(frozen=True, slots=True)
class ServerError(Event):
    """Something failed, and the session lives on."""

    fault: Fault
    message: str
    remedy: str
    backend: str
    epoch: Epoch


@dataclasses.dataclass(frozen=True, slots=True)
class EventsLost(Event):
    """The client did not look for so long that its oldest events were dropped."""

    count: int

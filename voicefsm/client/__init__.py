"""The Python client library: hold a spoken conversation with a voicefsm server. docs/howto/client.md has a whole client.

    async with Conversation.connect("127.0.0.1:50055", SessionOptions(language_code="en-US")) as conversation:
        await conversation.send_text("Tell me a story.")
        async for event in conversation:
            ...

Everything a client needs is importable from here.
"""

from voicefsm.audio.samples import Samples
from voicefsm.client.access import Access
from voicefsm.client.alignment import Alignment
from voicefsm.client.conversation import Conversation
from voicefsm.client.errors import (
    ConversationEnded,
    ConversationFailed,
    InvalidRequest,
    NotAllowed,
    NotOffered,
    NotSupported,
    ReasonLost,
    ServerDefect,
    ServerFull,
    ServerUnavailable,
    WrongMoment,
)
from voicefsm.client.events import (
    AssistantText,
    Event,
    EventsLost,
    Fault,
    GoAway,
    Outcome,
    PlayoutDucked,
    PlayoutPaused,
    PlayoutResumed,
    ServerError,
    SessionLimits,
    SessionReady,
    State,
    StateChanged,
    ToolCallCancelled,
    ToolCalled,
    ToolCallFailed,
    Transcript,
    TtsCancelled,
    TurnCompleted,
    TurnLatencies,
    Word,
)
from voicefsm.client.options import AudioFormat, ClientSettings, Encoding, Interruption, SessionOptions
from voicefsm.client.player import Player, PlayerSettings, Span
from voicefsm.client.resume import resuming
from voicefsm.client.tools import Tool, ToolFailed, tool

__all__ = [
    "Access",
    "Alignment",
    "AssistantText",
    "AudioFormat",
    "ClientSettings",
    "Conversation",
    "ConversationEnded",
    "ConversationFailed",
    "Encoding",
    "Event",
    "EventsLost",
    "Fault",
    "GoAway",
    "Interruption",
    "InvalidRequest",
    "NotAllowed",
    "NotOffered",
    "NotSupported",
    "Outcome",
    "Player",
    "PlayerSettings",
    "PlayoutDucked",
    "PlayoutPaused",
    "PlayoutResumed",
    "ReasonLost",
    "Samples",
    "ServerDefect",
    "ServerError",
    "ServerFull",
    "ServerUnavailable",
    "SessionLimits",
    "SessionOptions",
    "SessionReady",
    "Span",
    "State",
    "StateChanged",
    "Tool",
    "ToolCallCancelled",
    "ToolCallFailed",
    "ToolCalled",
    "ToolFailed",
    "Transcript",
    "TtsCancelled",
    "TurnCompleted",
    "TurnLatencies",
    "Word",
    "WrongMoment",
    "resuming",
    "tool",
]

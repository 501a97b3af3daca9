"""What can go wrong with a conversation, as the client sees it: one class per remedy.

    ConversationFailed                 the call ended otherwise than OK; `code` and `message` are the server's
    ├── InvalidRequest                 INVALID_ARGUMENT: this client sent something malformed or out of range
    ├── WrongMoment                    FAILED_PRECONDITION: the right message at the wrong moment
    ├── NotOffered                     NOT_FOUND: no backend speaks the language or voice; or the session to be resumed is gone
    ├── NotSupported                   UNIMPLEMENTED: this server cannot do it, or is no voicefsm server
    ├── ServerFull                     RESOURCE_EXHAUSTED: the server is full, or this client sends too fast
    ├── NotAllowed                     UNAUTHENTICATED, PERMISSION_DENIED: credentials are missing or wrong
    ├── ServerUnavailable              UNAVAILABLE, DEADLINE_EXCEEDED: try again later
    ├── ReasonLost                     the call broke off, and whatever the server said was lost on the way
    └── ServerDefect                   INTERNAL, UNKNOWN and the rest, or talk this client cannot follow: report it
    ConversationEnded                  something was sent after the conversation was over

Each carries a message (what happened) and a remedy (what to do next).
"""

from __future__ import annotations

from collections.abc import Mapping

import grpc

from voicefsm.errors import VoiceFsmError


class ConversationFailed(VoiceFsmError):
    """The call ended with an error. `code` is the name of the gRPC status, `message` what the server said."""

    def __init__(self, message: str, *, code: str = "", remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


class InvalidRequest(ConversationFailed):
    """The client sent something malformed or out of range."""


class WrongMoment(ConversationFailed):
    """The client sent the right message at the wrong moment."""


class NotOffered(ConversationFailed):
    """No backend has the language or the voice; or the session to be resumed is gone."""


class NotSupported(ConversationFailed):
    """The server cannot do what was asked."""


class ServerFull(ConversationFailed):
    """The server is full, or the client sends faster than real time."""


class NotAllowed(ConversationFailed):
    """Credentials are missing or wrong."""


class ServerUnavailable(ConversationFailed):
    """The server, or a backend of it, cannot be reached now."""


class ServerDefect(ConversationFailed):
    """The server failed, or said what this client could not follow. `__cause__` is set when the defect showed in this client."""


class ReasonLost(ServerDefect):
    """The call broke off, and whatever the server said was lost: by gRPC, or by a proxy that reset the call."""


class ConversationEnded(VoiceFsmError):
    """The conversation is over; nothing more can be sent."""


_CLASSES: Mapping[grpc.StatusCode, type[ConversationFailed]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.FAILED_PRECONDITION: WrongMoment,
    grpc.StatusCode.NOT_FOUND: NotOffered,
    grpc.StatusCode.UNIMPLEMENTED: NotSupported,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ServerFull,
    grpc.StatusCode.UNAUTHENTICATED: NotAllowed,
    grpc.StatusCode.PERMISSION_DENIED: NotAllowed,
    grpc.StatusCode.UNAVAILABLE: ServerUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: ServerUnavailable,
}


_WRITE_FAILED = "Internal error from Core"
"""What grpcio says when the call ends while a write waits for flow control: it overwrites the server's status."""
_RESET = "RST_STREAM"
"""What it says when a call ends without a status: a proxy has lost the server (Envoy: NO_ERROR, nginx: INTERNAL_ERROR)."""


def failure_of(error: grpc.aio.AioRpcError) -> ConversationFailed:
    """The exception that stands for a gRPC status."""
    kind = _CLASSES.get(error.code(), ServerDefect)
    details = error.details() or f"The server ended the call with {error.code().name}."
    if details.startswith("failed to connect"):
        return ServerUnavailable(f"Nobody answers: {details}.", code=error.code().name, remedy="Is `voicefsm serve` running there?")
    if details == _WRITE_FAILED:
        details, kind = (
            "The call broke off while something was being sent, and the server's reason was lost on the way.",
            ReasonLost,
        )
    if kind is ServerDefect and (_RESET in details or error.code() is grpc.StatusCode.CANCELLED):  # no server of ours says that
        kind = ReasonLost
    return kind(details, code=error.code().name)


def defect_of(error: Exception) -> ConversationFailed:
    """The exception that stands for what went wrong in this client while it followed the server."""
    message = f"This client could not follow the server: {type(error).__name__}: {error}"
    defect = ServerDefect(message, code="UNKNOWN", remedy="Report it, with the traceback: one of the two has a defect.")
    defect.__cause__ = error
    return defect

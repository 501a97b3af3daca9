"""Every error this program raises on purpose, and whose fault each one is.

    VoiceFsmError
    ├── LocalProtocolError            ours: a defect. Ends the session with INTERNAL, spares the process.
    ├── RemoteProtocolError           the client's. Ends the session.
    │   ├── InvalidMessage            INVALID_ARGUMENT: malformed, or a value out of range
    │   ├── OutOfOrder                FAILED_PRECONDITION: right message, wrong moment
    │   ├── NotIdentified             UNAUTHENTICATED: it shows no credentials, or they are wrong or over
    │   ├── NotPermitted              PERMISSION_DENIED: we know who it is, and it may not
    │   ├── NotOffered                NOT_FOUND: a language or voice no backend has
    │   ├── NotThere                  NOT_FOUND: a session that an operator names, and that is not here
    │   ├── NothingToResume           NOT_FOUND: the session to be resumed is not known, or not any more
    │   ├── Unsupported               UNIMPLEMENTED: declared in the protocol, not offered by this server
    │   └── TooMuch                   RESOURCE_EXHAUSTED: faster, larger or more than allowed
    ├── BackendError                  a backend's. `retryable` says whether trying again can help.
    │   ├── Crowded                   nothing is known against it: the gateway has as many calls to it as it may.
    │   ├── Stalled                   it takes what it is given and answers nothing: another stream may do.
    │   └── ContextOverflow           the model's: the conversation is longer than it can read. A shorter one may do.
    ├── StoreError                    of what keeps sessions: UNAVAILABLE to who wants to resume one, nothing to the others.
    ├── Draining                      nobody's: the process stops. UNAVAILABLE, try another replica.
    └── SettingsError                 the operator's. Raised before a port opens.

Each carries a message (what happened) and a remedy (what to do next), one sentence each.
"""

from __future__ import annotations

from voicefsm.values import Backend


class VoiceFsmError(Exception):
    """The root. `message` says what happened, `remedy` what to do about it."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".strip())
        self.message = message
        self.remedy = remedy


class LocalProtocolError(VoiceFsmError):
    """A defect of this program: the core was asked for something its table rules out."""

    rule = ""
    """The promise that was found broken, in a few words; empty when it was none of those that are watched."""


class RemoteProtocolError(VoiceFsmError):
    """The client broke the protocol."""


class InvalidMessage(RemoteProtocolError):
    """A message is malformed, or a value in it is out of range."""


class OutOfOrder(RemoteProtocolError):
    """A valid message at a moment that does not allow it."""


class NotIdentified(RemoteProtocolError):
    """The caller shows no credentials, or they are wrong or over."""


class NotPermitted(RemoteProtocolError):
    """We know who the caller is, and it may not do this."""


class NotOffered(RemoteProtocolError):
    """The client asks for a language or voice that no backend has."""


class NotThere(RemoteProtocolError):
    """The session that an operator names is not here."""


class NothingToResume(RemoteProtocolError):
    """The session to be resumed is not known here, or not any more."""


class Unsupported(RemoteProtocolError):
    """Declared in the protocol, not offered by this server."""


class TooMuch(RemoteProtocolError):
    """The client sends faster, larger or more than it may."""


class BackendError(VoiceFsmError):
    """A backend refused, failed, fell silent or could not be reached."""

    def __init__(
        self, backend: Backend, message: str, *, remedy: str = "", retryable: bool = True, retry_after_ms: int = 0
    ) -> None:
        """`retry_after_ms`: how long the backend wants to be left alone; 0 when it did not say."""
        super().__init__(message, remedy=remedy)
        self.backend = backend
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms


class Crowded(BackendError):
    """The gateway's own limit of calls or connections to a backend is reached. That tells nothing about the backend."""


class Stalled(BackendError):
    """A backend takes what it is given and answers nothing, or nothing of use. It is there; another stream may fare better."""


class ContextOverflow(BackendError):
    """The prompt is longer than the model's context. The same prompt is refused again."""


class StoreError(VoiceFsmError):
    """What keeps sessions refused, failed or could not be reached."""


class Draining(VoiceFsmError):
    """The process is about to stop and takes no new sessions."""


class SettingsError(VoiceFsmError):
    """A setting is unknown, malformed or out of bounds."""

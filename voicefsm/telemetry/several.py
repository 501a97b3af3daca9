"""Several observers as one."""

from __future__ import annotations

from voicefsm.context import Context
from voicefsm.errors import VoiceFsmError
from voicefsm.ports import Kept, Observer, Opening, Silence, Step, Vitals


class Several(Observer):
    """Tells each of them, in order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def session_opened(self, session_id: str, opening: Opening) -> None:
        """See `ports.Observer`."""
        for observer in self._observers:
            observer.session_opened(session_id, opening)

    def stepped(self, step: Step, context: Context) -> None:
        """See `ports.Observer`."""
        for observer in self._observers:
            observer.stepped(step, context)

    def measured(self, session_id: str, vitals: Vitals) -> None:
        """See `ports.Observer`."""
        for observer in self._observers:
            observer.measured(session_id, vitals)

    def fell_silent(self, session_id: str, silence: Silence) -> None:
        """See `ports.Observer`."""
        for observer in self._observers:
            observer.fell_silent(session_id, silence)

    def kept(self, session_id: str, kept: Kept) -> None:
        """See `ports.Observer`."""
        for observer in self._observers:
            observer.kept(session_id, kept)

    def session_closed(self, session_id: str, reason: str, message: str) -> None:
        """See `ports.Observer`."""
        for observer in self._observers:
            observer.session_closed(session_id, reason, message)

    def refused(self, error: VoiceFsmError, identity: str = "") -> None:
        """See `ports.Observer`."""
        for observer in self._observers:
            observer.refused(error, identity)

    def crashed(self, session_id: str, error: Exception) -> None:
        """See `ports.Observer`."""
        for observer in self._observers:
            observer.crashed(session_id, error)

    def reloaded(self, what: str, problem: str) -> None:
        """See `ports.Observer`."""
        for observer in self._observers:
            observer.reloaded(what, problem)

"""CLOSED: the session is over. Whatever still comes was on its way when it ended, and changes nothing."""

from __future__ import annotations

from voicefsm.context import State
from voicefsm.events import (
    ClientCancelled,
    ClientClosed,
    DrainRequested,
    EvidenceChanged,
    FinalHeard,
    PartialHeard,
    ShutdownRequested,
    SpeechEnded,
    SpeechFinished,
    SpeechStarted,
    TextReceived,
    Timer,
)
from voicefsm.table import Row, stays

STATE = State.CLOSED
DEADLINES: tuple[Timer, ...] = ()

ROWS: tuple[Row[State], ...] = (
    *stays(SpeechStarted, EvidenceChanged, SpeechEnded, PartialHeard, FinalHeard, because="Nobody listens any more."),
    *stays(TextReceived, SpeechFinished, ClientCancelled, because="Nobody answers any more."),
    *stays(ClientClosed, DrainRequested, ShutdownRequested, because="The session is over already."),
)

"""What the terminal shows."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from voicefsm.client import Outcome, PlayoutPaused, State, StateChanged, Transcript, TtsCancelled, TurnCompleted, TurnLatencies
from voicefsm.demo.line import Utterance
from voicefsm.demo.live import Screen
from voicefsm.demo.script import Moment
from voicefsm.values import CancelReason, Epoch, SampleIndex

NONE = TurnLatencies(None, None, None, None, None, None)
EVENTS = [
    StateChanged(0, State.IDLE, State.LISTENING, "SpeechStarted", 0),
    Transcript(0, "tell me [a] story", is_final=True, stability=0, words=()),
    PlayoutPaused(0, Epoch(1), SampleIndex(320)),
    TtsCancelled(0, Epoch(1), SampleIndex(400), CancelReason.BARGE_IN, SampleIndex(401)),
    TurnCompleted(0, Epoch(1), "a", "b c", "b", Outcome.INTERRUPTED, NONE),
]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_every_event_is_a_line(is_terminal):
    """If this fails the demo is a minute of silence, or crashes on a bracket."""
    file = io.StringIO()
    with Screen(Console(file=file, force_terminal=is_terminal, width=160, color_system=None)) as screen:
        screen.note("starting …")
        screen.says(Utterance("Stop.", 16000, 32000))
        for event in EVENTS:
            screen.shows(Moment(32000, event))
    told = file.getvalue()
    for text in ("1.00  user", '"Stop."', "IDLE → LISTENING", "tell me [a] story", "PAUSE", "CANCEL_TTS", "barge_in", 'heard: "b"'):
        assert text in told

"""How the demo runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from voicefsm.demo.room import DEFAULT, PRESETS, Room
from voicefsm.values import setting


@dataclasses.dataclass(frozen=True, slots=True)
class DemoSettings:
    """One scripted conversation."""

    out: Path
    """Directory for the recordings, the journal, the picture and the report; made if missing."""
    room: Room | None = PRESETS[DEFAULT]
    """What the user's microphone hears of the assistant; None: nothing."""
    user_voice: str = setting(
        "", unit="", doc="The user's voice, as the embedded TTS server lists it; empty: one that differs from the assistant's."
    )
    assistant_voice: str = setting("", unit="", doc="The assistant's voice; empty: one that differs from the user's.")
    start_ms_max: int = setting(60_000, unit="ms", ge=1000, le=600_000, doc="How long a child process may take to be ready.")
    stop_ms_max: int = setting(
        5000, unit="ms", ge=100, le=60_000, doc="How long a child process may take to stop before it is killed."
    )
    answer_ms_max: int = setting(
        15_000, unit="ms", ge=1000, le=120_000, doc="How long the user waits for the first sound of an answer before asking again."
    )
    listen_ms_max: int = setting(90_000, unit="ms", ge=5000, le=600_000, doc="How long the user listens to one answer.")
    interrupt_after_ms: int = setting(
        6000, unit="ms", ge=500, le=30_000, doc="How much of the long answer is heard before the barge-in."
    )
    backchannel_after_ms: int = setting(
        2500, unit="ms", ge=500, le=30_000, doc="How much of the second long answer is heard before the backchannel."
    )
    pause_ms: int = setting(700, unit="ms", ge=0, le=5000, doc="How long the user thinks before speaking again.")

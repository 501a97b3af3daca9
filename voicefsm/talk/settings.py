"""How `talk` reaches the gateway and the user's ears."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from voicefsm.client.access import Access
from voicefsm.values import setting


@dataclasses.dataclass(frozen=True, slots=True)
class TalkSettings:
    """One conversation with a person."""

    target: str = setting("127.0.0.1:50055", unit="", doc="The gateway, HOST:PORT.")
    language_code: str = setting("", unit="", doc="BCP-47 tag of the language spoken; empty: the server's default.")
    voice_name: str = setting("", unit="", doc="The assistant's voice; empty: the server's default.")
    headset: bool = setting(False, unit="", doc="The microphone cannot hear the loudspeaker: the server need not cancel any echo.")
    input_device: str = setting("", unit="", doc="The microphone, by number or part of its name; empty: the system's default.")
    output_device: str = setting("", unit="", doc="The loudspeaker, by number or part of its name; empty: the system's default.")
    access: Access = Access()
    """What is shown to the gateway, and how the connection is encrypted."""
    wav_in: Path | None = None
    """A recording (16-bit mono WAV at 16 kHz) that stands for the microphone; for machines without devices."""
    wav_out: Path | None = None
    """Where to write what was heard (mono) when `wav_in` is given."""
    wav_tail_ms: int = setting(
        8000, unit="ms", ge=0, le=600_000, doc="How long to listen after the end of `wav_in` before hanging up."
    )

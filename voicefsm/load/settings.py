"""What a load run is made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from voicefsm.values import setting


@dataclasses.dataclass(frozen=True, slots=True)
class LoadSettings:
    """The conversation that every caller holds, again and again: speak, be answered, talk over the answer."""

    target: str = ""
    """HOST:PORT of a gateway that runs elsewhere; empty: one of our own, with scripted backends."""
    relay_chunk_ms: int = setting(
        0, unit="ms", ge=0, le=200, doc="Not 0: no gateway but the bare relay, which hands audio to the recogniser in such pieces."
    )
    out: Path = Path("load-out")
    """Logs of the processes."""

    utterance_ms: int = setting(1600, unit="ms", ge=400, le=10_000, doc="Length of what a caller says.")
    listen_ms: int = setting(
        1500, unit="ms", ge=200, le=10_000, doc="How long a caller listens to an answer before talking over it."
    )
    patience_ms: int = setting(
        8000, unit="ms", ge=1000, le=60_000, doc="An answer that takes longer is missing, and the caller goes on."
    )
    calls_per_connection: int = setting(
        25, unit="calls", ge=1, le=100, doc="Calls that share a connection; all of one connection are with one worker of a gateway."
    )
    ramp_per_s: float = setting(10.0, unit="sessions/s", ge=0.1, le=1000, doc="How fast callers arrive.")
    idle_ramp_per_s: float = setting(25.0, unit="sessions/s", ge=0.1, le=1000, doc="How fast those arrive who say nothing.")
    warm_s: float = setting(
        5.0, unit="s", ge=0, le=600, doc="What is seen in the first seconds after the last arrival does not count."
    )
    level_db: int = setting(-24, unit="dB", ge=-60, le=-6, doc="Level of the callers, in dB full scale.")

    echo_db: int | None = setting(
        None,
        unit="dB",
        ge=0,
        le=60,
        doc="Echo return loss of a loudspeaker beside each microphone; without it callers wear headsets.",
    )
    echo_delay_ms: int = setting(60, unit="ms", ge=0, le=500, doc="From the loudspeaker's sample to the microphone's.")

    asr_final_ms: int = setting(60, unit="ms", ge=0, le=5000, doc="Scripted recogniser: from the request to the final.")
    llm_first_token_ms: int = setting(
        200, unit="ms", ge=0, le=10_000, doc="Scripted model: delay of the first token, a whole sentence."
    )
    tts_first_chunk_ms: int = setting(70, unit="ms", ge=0, le=10_000, doc="Scripted voice: delay of the first audio of each text.")
    silence_ms: int = setting(500, unit="ms", ge=100, le=5000, doc="Silence that ends a caller's turn, as the gateway is told.")

    overhead_p95_ms_max: float = setting(100.0, unit="ms", ge=1, le=10_000, doc="Limit of the sweep.")
    barge_in_p95_ms_max: float = setting(300.0, unit="ms", ge=1, le=10_000, doc="Limit of the sweep.")

    @property
    def scripted_ms(self) -> int:
        """From the end of an utterance to the first audio, if nothing but the scripted parts took time."""
        return self.silence_ms + self.llm_first_token_ms + self.tts_first_chunk_ms

"""The settings of voice detection."""

from __future__ import annotations

import dataclasses

from voicefsm.values import setting


@dataclasses.dataclass(frozen=True, slots=True)
class VadSettings:
    """What counts as near-end speech."""

    mode: int = setting(
        2, unit="", ge=0, le=3, doc="Aggressiveness of the voice detector: 0 takes most frames for speech, 3 the fewest."
    )
    level_db_min: int = setting(-50, unit="dB", ge=-96, le=0, doc="Frames quieter than this are never voiced, dB full scale.")
    snr_db_min: int = setting(
        6, unit="dB", ge=0, le=40, doc="Frames less than this above the noise floor of the microphone are never voiced."
    )
    onset_frames: int = setting(
        3,
        unit="frames",
        ge=1,
        le=25,
        doc="So many voiced frames of 20 ms make an onset; one unvoiced frame among them is forgiven.",
    )
    onset_far_frames: int = setting(
        4, unit="frames", ge=1, le=25, doc="The same while the far end or its echo is audible: our own voice must not count."
    )
    hangover_ms: int = setting(200, unit="ms", ge=40, le=2000, doc="Unvoiced time after which a stretch of speech is over.")

"""The level below which a frame is noise, whatever the voice detector makes of it.

The noise floor is the quietest recent level: it falls at once and rises slowly, so that speech, which has pauses, does not
lift it and a fan that was switched on does within seconds.
"""

from __future__ import annotations

from voicefsm.vad.settings import VadSettings

_RISE_DB = 0.06
"""Per frame: 3 dB a second."""
_CEILING_DB = -30.0
"""No room is louder than this; a floor above it would make the microphone deaf to speech that has no pauses."""


class NoiseFloor:
    """Follows the noise of one near end."""

    def __init__(self, settings: VadSettings) -> None:
        self._level_db_min, self._snr_db_min = settings.level_db_min, settings.snr_db_min
        self._floor_db = float(settings.level_db_min - settings.snr_db_min)

    @property
    def floor_db(self) -> float:
        """The noise level, dB full scale."""
        return self._floor_db

    def exceeds(self, level_db: int) -> bool:
        """Take the level of one frame: is it loud enough to be speech?"""
        loud = level_db >= self._level_db_min and level_db >= self._floor_db + self._snr_db_min
        self._floor_db = min(float(level_db), self._floor_db + _RISE_DB, _CEILING_DB)
        return loud

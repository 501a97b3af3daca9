"""Is somebody speaking? What follows from the word of the gate, frame by frame.

Theory of operation. The canceller's network says how likely near-end speech is, and mostly that is all it takes: a threshold. Where
what is left is hardly louder than what residual echo alone could leave (`echo_db`), the network has to be sure. How loud residual
echo is follows from what was taken away, fading no faster than a room does, and from the ERLE of frames that are echo for sure.
Sessions and the simulator's subject (`aec.sim`) judge by this one rule.
"""

from __future__ import annotations

from voicefsm.aec.gate import FarEnd
from voicefsm.aec.metrics import SILENCE_DB, Erle, level_db
from voicefsm.aec.settings import AecSettings

_SURELY_ECHO = 0.2
"""Below this probability of near-end speech a frame teaches what the canceller achieves."""
_SURELY_SPEECH = 0.9
"""What it takes where residual echo alone could be as loud ..."""
_ABOVE_ECHO_DB = 3
"""... which is up to this much above the level expected of it."""
_FADE = 10 ** (-0.7 / 10)
"""How fast an echo estimate fades per frame, as a power: slower than in any room that is fit for talking (an RT60 of 1.7 s)."""


class Judgement:
    """Of one near end whose canceller has a gate."""

    near_power = 0.0
    """Mean square of the last frame without echo."""
    near_db = SILENCE_DB
    """The same as a level."""
    echo_only = False
    """It is not near-end speech."""
    may_be_onset = False
    """It is, or may be: enough to begin a stretch of speech with."""
    speech = 0.0
    """The gate's word: 0 to 1."""

    def __init__(self, settings: AecSettings) -> None:
        self._threshold, self._onset_threshold = settings.gate_pct_min / 100, settings.gate_onset_pct_min / 100
        self._far = FarEnd(settings)
        self._erle = Erle()
        self._echo_power = 0.0

    @property
    def far_active(self) -> bool:
        """The far end, or its echo, may be audible."""
        return self._far.active

    @property
    def far_db(self) -> int:
        """The loudest recent level of the reference."""
        return self._far.level_db

    @property
    def erle_db(self) -> int:
        """What the canceller achieves; 0 while unknown."""
        return self._erle.db

    @property
    def echo_db(self) -> int:
        """The level of residual echo to be expected; silence while no far end is audible."""
        return max(SILENCE_DB, level_db(self._echo_power) - self._erle.db) if self.far_active else SILENCE_DB

    def judge(self, powers: tuple[float, float, float, float], speech: float) -> None:
        """Take one frame: mean squares of near end, what is left, what was taken away and reference; and the gate's word."""
        mic_power, self.near_power, echo_power, far_power = powers
        self._far.note(level_db(far_power))
        self.near_db, self.speech = level_db(self.near_power), speech
        self._echo_power = max(echo_power, self._echo_power * _FADE)
        drowned = self.far_active and self.near_db < self.echo_db + _ABOVE_ECHO_DB
        self.echo_only = speech < (max(self._threshold, _SURELY_SPEECH) if drowned else self._threshold)
        self.may_be_onset = not self.echo_only or (self.far_active and not drowned and speech >= self._onset_threshold)
        if speech < _SURELY_ECHO and self.far_active:
            self._erle.update(mic_power, self.near_power)

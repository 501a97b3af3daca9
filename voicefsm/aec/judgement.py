"""Is somebody speaking? What follows from the word of the gate, frame by frame.

Theory of operation. The canceller's network says how likely near-end speech is, and mostly that is all it takes: a threshold. Three
things overrule it. They are about echo that is not cancelled, which a network that looks at spectra takes for a talker:

- Where what is left is hardly louder than what residual echo alone could leave (`echo_db`), the network has to be sure. How loud
  residual echo is follows from what was taken away, fading no faster than a room does, and from the ERLE of frames that are echo
  for sure.
- The echo that the filter expects must be in the microphone, whoever speaks over it. Where it is not (`_Refutation`), the delay has
  jumped, and what sounds like a talker is the echo at another place. For a while: a talker must not be ignored for long.
- Our own voice at another place than expected (`Elsewhere`) is nobody who begins to speak.

On a line on which we were never heard (`_Line`: a headset, a telephone) there is no echo to be wary of. What the network is not
sure of yet may be an onset there on the word of a detector (`is_for_detector`), unless our own voice is in it after all.

Sessions and the simulator's subject (`aec.sim`) judge by this one rule.
"""

from __future__ import annotations

import math
from collections import deque

from voicefsm.aec.elsewhere import EARLIER_MS, LATER_MS, WINDOW_MS, Elsewhere
from voicefsm.aec.gate import FarEnd
from voicefsm.aec.metrics import SILENCE_DB, Erle, level_db
from voicefsm.aec.reference import Corrigible, Reference
from voicefsm.aec.settings import AecSettings
from voicefsm.audio.samples import Samples

_SURELY_ECHO = 0.2
"""Below this probability of near-end speech a frame teaches what the canceller achieves."""
_SURELY_SPEECH = 0.9
"""What it takes where residual echo alone could be as loud ..."""
_ABOVE_ECHO_DB = 3
"""... which is up to this much above the level expected of it."""
_FADE = 10 ** (-0.7 / 10)
"""How fast an echo estimate fades per frame, as a power: slower than in any room that is fit for talking (an RT60 of 1.7 s)."""
_REFUTED_FRAMES = 3
"""The microphone is compared with the echo expected over so many frames ..."""
_INDEPENDENT = 25
"""... whose samples are worth so many independent ones, speech being what it is."""
_REFUTED_SIGMA = 1.5
_EXPECTED_POWER_MIN = 1e3
"""Mean square of an expected echo that can be missed ..."""
_PROVED_DB = 6
"""... and the ERLE of a canceller whose expectations count: in noise it expects an echo even on a line that has none."""
_REFUSALS_MAX, _REGAINED = 20, 0.2
"""So many frames of a talker are refused because of a missing echo; each frame in which none is missing earns so much of one."""
_ONSET_FRAMES = 4
"""So many frames of a talker are compared with all that may be in the air ..."""
_REFUSED_FRAMES_MAX, _REFUSED_MAX = 15, 100
"""... so many refused in a row, and in all ..."""
_STRETCH_FRAMES = 25
"""... and the next ones are when nobody talked for so long."""
_CLEAR_FRAMES = 45
"""So many frames of a loud far end (0.9 s: no echo is later), none of them audible in the microphone: no echo here ..."""
_AUDIBLE_POWER = (32768 * 10 ** (-60 / 20)) ** 2
"""... where audible is a mean square from here on ..."""
_LOUD = 0.1
"""... and loud a far end whose mean square is at least this share of the loudest frame ever."""
_ECHO_FRAMES = 5
"""... and so many audible frames in a row that the network takes for echo end that: it needs as many to see who begins to speak."""
_FOUND_MIN = 2
"""An echo that is found so often, on a line that was clear, is one. Once, a talker looks like one by chance."""
_SURELY_NOT_SPEECH = 0.03
"""What the network gives less than this (a click, a thump) is nothing for a detector either."""


class _Refutation:
    """Is the echo that the filter expects missing from the microphone?

    Whatever else is in the microphone, its product with the expected echo is that echo's power, give or take what chance makes of
    so few samples.
    """

    def __init__(self) -> None:
        self._recent = deque([(0.0, 0.0, 0.0)] * _REFUTED_FRAMES, maxlen=_REFUTED_FRAMES)
        self._credit = float(_REFUSALS_MAX)

    def take(self, near: float, expected: float, product: float) -> bool:
        """Mean squares of the microphone and of the echo expected, and the mean of their product."""
        self._recent.append((near, expected, product))
        near, expected, product = map(sum, zip(*self._recent, strict=True))
        sigma = math.sqrt(near * expected / _INDEPENDENT)
        is_missing = expected > _EXPECTED_POWER_MIN * _REFUTED_FRAMES and expected - product > _REFUTED_SIGMA * sigma
        if not is_missing:
            self._credit = min(self._credit + _REGAINED, _REFUSALS_MAX)
        return is_missing and self._credit > 0

    def spend(self) -> None:
        """A frame was refused that would have been speech."""
        self._credit -= 1


class _Line:
    """Was the far end ever heard on it?"""

    def __init__(self) -> None:
        self.is_clear = False
        """It was not, although it was loud for long enough."""
        self.has_echo = False
        """It was, since the line was last clear. What may only look like our own voice makes a line not clear, and no more."""
        self._frames = self._echo_frames = self._echoes = self._found = 0
        self._loudest = 0.0

    def take(self, mic_power: float, far_power: float, speech: float, echoes: int) -> None:
        """One frame with an active far end: mean squares, the network's word, and how often an echo was found until now."""
        if echoes != self._echoes:
            self._found, self._echoes = self._found + echoes - self._echoes, echoes
            self.has_echo = self.has_echo or self._found >= _FOUND_MIN
            self.doubt()
        if mic_power > _AUDIBLE_POWER:
            self._echo_frames = self._echo_frames + 1 if speech < _SURELY_ECHO else 0
            if self._echo_frames >= _ECHO_FRAMES:
                self.has_echo = True
                self.doubt()
        elif far_power >= self._loudest * _LOUD:
            self._loudest = max(self._loudest, far_power)
            self._echo_frames = 0
            self._frames += 1
            if self._frames >= _CLEAR_FRAMES:
                self.is_clear, self.has_echo, self._found = True, False, 0

    def doubt(self) -> None:
        """Something was heard that may be our own voice."""
        self._frames, self.is_clear = 0, False


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
    is_for_detector = False
    """It may be, if a voice detector finds a voice in it."""
    speech = 0.0
    """The gate's word: 0 to 1."""
    far_active = False
    """The far end, or its echo, may be audible."""
    far_db = SILENCE_DB
    """The loudest recent level of the reference."""
    erle_db = 0
    """What the canceller achieves; 0 while unknown."""
    echo_db = SILENCE_DB
    """The level of residual echo to be expected; silence while no far end is audible."""

    def __init__(self, settings: AecSettings) -> None:
        self._threshold, self._onset_threshold = settings.gate_pct_min / 100, settings.gate_onset_pct_min / 100
        self._far = FarEnd(settings)
        self._erle = Erle()
        self._refutation, self._elsewhere, self._line = _Refutation(), Elsewhere(), _Line()
        self._rests = False
        """The canceller, on a line that was clear and has no echo yet."""
        self._heard_frames = self._refused_frames = self._refused_in_all = self._quiet_frames = 0
        """Of this stretch that sounds like a talker, and since it last did."""
        self._echo_power = 0.0

    def judge(
        self,
        near: Samples,
        reference: Reference,
        powers: tuple[float, float, float, float],
        fit: tuple[float, float],
        speech: float,
    ) -> None:
        """Take one frame of the microphone, shape (320,), and what the canceller reports of it.

        `reference` has rendered its far end last. `powers`, `fit` and `speech` are those of `ports.GatedCanceller`.
        """
        mic_power, self.near_power, echo_power, far_power = powers
        self._far.note(level_db(far_power))
        self.far_active, self.far_db = self._far.active, self._far.level_db
        self.near_db, self.speech = level_db(self.near_power), speech
        self._echo_power = max(echo_power, self._echo_power * _FADE)
        self.echo_db = max(SILENCE_DB, level_db(self._echo_power) - self.erle_db) if self.far_active else SILENCE_DB
        drowned = self.far_active and self.near_db < self.echo_db + _ABOVE_ECHO_DB
        sounds = speech >= (max(self._threshold, _SURELY_SPEECH) if drowned else self._threshold)
        may_begin = sounds or (self.far_active and not drowned and speech >= self._onset_threshold)
        is_ours = self.is_for_detector = False
        if self.far_active:
            self._elsewhere.hear(near)
            self._line.take(mic_power, far_power, speech, reference.echoes)
            if not may_begin and self._line.is_clear and speech >= _SURELY_NOT_SPEECH:
                self.is_for_detector = may_begin = True
            is_missing = self._refutation.take(mic_power, *fit) and self.erle_db >= _PROVED_DB
            is_ours = self._is_ours(reference, may_begin=may_begin, is_missing=is_missing)
        self.echo_only, self.may_be_onset = is_ours or not sounds, may_begin and not is_ours
        if speech < _SURELY_ECHO and self.far_active:
            self._erle.update(mic_power, self.near_power)
            self.erle_db = self._erle.db

    def tell(self, canceller: Corrigible, reference: Reference) -> None:
        """Tell them, after `judge`, what became of the line: nothing to cancel or to listen for on it, or not any longer."""
        reference.is_clear = self._line.is_clear
        if self._rests is self._line.is_clear:
            return
        if self._line.is_clear:
            self._rests = True
            canceller.clear()
        elif self._line.has_echo:  # not before: what would be learnt is the user's voice, and then it would pass for an echo
            self._rests = False
            canceller.forget()  # nothing was learnt, or nothing but noise

    def _is_ours(self, reference: Reference, *, may_begin: bool, is_missing: bool) -> bool:
        """Does this frame sound like a talker, and is our own voice from another place? `is_missing`: the echo expected is."""
        self._quiet_frames = 0 if may_begin else self._quiet_frames + 1
        if not may_begin:
            self._rest()
            return False
        if is_missing:
            self._refutation.spend()
            self._heard_frames = 0
            return True
        is_enough = self._refused_frames >= _REFUSED_FRAMES_MAX or self._refused_in_all >= _REFUSED_MAX
        if self._heard_frames >= _ONSET_FRAMES or is_enough:
            return False
        sent = reference.around(LATER_MS + WINDOW_MS, EARLIER_MS)
        is_elsewhere = self._elsewhere.explains(sent, anywhere=self._line.is_clear)
        if is_elsewhere:
            self._line.doubt()
        self._heard_frames = 0 if is_elsewhere else self._heard_frames + 1
        self._refused_frames += is_elsewhere
        self._refused_in_all += is_elsewhere
        return is_elsewhere

    def _rest(self) -> None:
        """Nobody sounds like a talker in this frame. Syllables end as well, so what was refused is forgotten later."""
        if self._heard_frames < _ONSET_FRAMES or self._quiet_frames >= _STRETCH_FRAMES:
            self._heard_frames = self._refused_frames = 0
        if self._quiet_frames >= _STRETCH_FRAMES:
            self._refused_in_all = 0

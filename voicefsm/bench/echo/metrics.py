"""What is measured on one scene. Pure functions of arrays; signals at 16 kHz, beliefs once per 10 ms.

Definitions matter more than figures: change one and no two runs compare. In short,

- an *active* frame has echo in it: within 25 dB of the echo's active level;
- *ERLE* is the ratio of the energies of microphone and output over the active frames; *convergence* is how much active echo passed
  until that ratio, over 300 ms of active frames, reached 20 dB;
- *SDR* compares the output with the talker's clean speech behind the best filter of 512 taps, which forgives delay, gain and
  colour and counts echo, noise and damage; *ESTOI* is the extended short-time objective intelligibility;
- a *trigger* is so much belief without a break; the next may come a second later. Inside a turn of the far end, while the talker is
  silent, it is false;
- a barge-in is *detected* when so much unbroken belief has gathered since its onset, within 1.5 s and until 0.3 s after its end.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from voicefsm.acoustics.signals import Signal
from voicefsm.audio.samples import RATE_HZ
from voicefsm.bench.echo.scene import Stretch

TICK_MS = 10
"""Beliefs and levels are looked at once per tick."""
TICK_SAMPLES = RATE_HZ * TICK_MS // 1000
CONVERGED_DB = 20.0
REARM_MS = 1000
DETECTION_S_MAX = 1.5
DETECTION_AFTER_END_S = 0.3

Flags = NDArray[np.bool_]
"""One per tick, shape (ticks,)."""

_ACTIVE_DB = -25.0
_WINDOW_TICKS = 30
_TICKS_MIN = 20
_FILTER_TAPS = 512
_LAG_SAMPLES_MAX = 960
_NEAR_BEFORE_S, _NEAR_AFTER_S = 0.3, 1.0
_ESTOI_S_MIN = 0.6
_OUT_AFTER_SAMPLES = 320
_EPSILON = 1e-12


class Erle(NamedTuple):
    """Echo return loss enhancement, dB; not a number where there is too little echo."""

    mean: float
    worst_tenth: float
    """The tenth percentile of windows of 300 ms."""


class Quality(NamedTuple):
    """What is left of the talker, means over the utterances; not a number where there are none."""

    sdr_db: float
    mic_sdr_db: float
    """The same before cancellation."""
    estoi: float
    level_db: float
    """Gain of the talker."""


class Misfires(NamedTuple):
    """False triggers of one scene."""

    triggers: int
    seconds: float
    """Of far-end turns in which the talker is silent."""
    turns_hit: int
    turns: int


def powers(signal: Signal) -> Signal:
    """Mean square of each tick; a tick that is not whole is left out."""
    ticks = len(signal) // TICK_SAMPLES
    return np.asarray(np.mean(np.square(signal[: ticks * TICK_SAMPLES]).reshape(ticks, TICK_SAMPLES), axis=1))


def active(echo: Signal, echo_db: float) -> Flags:
    """The ticks in which echo is audible; `echo_db` is its active level."""
    return powers(echo) > 10 ** ((echo_db + _ACTIVE_DB) / 10)


def erle(is_active: Flags, mic: Signal, out: Signal, *, after_s: float = 2.0) -> Erle:
    """After the first seconds of active echo, which belong to convergence."""
    settled = is_active & (np.cumsum(is_active) * TICK_MS >= after_s * 1000)
    if settled.sum() < _TICKS_MIN:
        return Erle(math.nan, math.nan)
    before, after = powers(mic)[settled], powers(out)[settled]
    starts = range(0, len(before) - _WINDOW_TICKS, _WINDOW_TICKS)
    windows = [_ratio_db(before[at : at + _WINDOW_TICKS].sum(), after[at : at + _WINDOW_TICKS].sum()) for at in starts]
    return Erle(_ratio_db(before.sum(), after.sum()), float(np.percentile(windows, 10)) if windows else math.nan)


def convergence_s(is_active: Flags, mic: Signal, out: Signal, target_db: float = CONVERGED_DB) -> float:
    """Seconds of active echo until the ERLE of the last 300 ms of it reached the target; infinite if never."""
    before, after = (np.cumsum(powers(signal)[is_active]) for signal in (mic, out))
    moved = [sums[_WINDOW_TICKS:] - sums[:-_WINDOW_TICKS] for sums in (before, after)]
    reached = np.flatnonzero(moved[0] >= 10 ** (target_db / 10) * (moved[1] + _EPSILON))
    return float(reached[0] + _WINDOW_TICKS) * TICK_MS / 1000 if len(reached) else math.inf


def _ratio_db(before: float, after: float) -> float:
    return float(10 * np.log10(before / (after + _EPSILON)))


# --- the talker --------------------------------------------------------------------------------------------------------------


def quality(near: Signal, mic: Signal, out: Signal, speech: Sequence[Stretch]) -> Quality:
    """Compare the output with the clean speech, utterance by utterance. Needs the package pystoi."""
    lag = lag_samples(near, out) if speech else 0
    rows = [_utterance(near, mic, out, slice(int(start_s * RATE_HZ), int(end_s * RATE_HZ)), lag) for start_s, end_s in speech]
    return Quality(*(mean([row[field] for row in rows]) for field in range(len(Quality._fields))))


def mean(values: Iterable[float]) -> float:
    """Of those that are numbers; not a number when none is."""
    numbers = [value for value in values if not math.isnan(value)]
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def _utterance(near: Signal, mic: Signal, out: Signal, at: slice, lag: int) -> Quality:
    clean, aligned = near[at], out[at.start + lag : at.stop + lag]
    whole = len(aligned) == len(clean)
    # No filter makes up for a longer delay; and a delay may have changed within the scene.
    delays = {0, max(0, lag - _FILTER_TAPS // 2)}
    return Quality(
        sdr_db=max(_late_sdr_db(clean, out[at.start + delay : at.stop + delay + _OUT_AFTER_SAMPLES]) for delay in delays),
        mic_sdr_db=sdr_db(clean, mic[at]),
        estoi=estoi(clean, aligned) if whole and len(clean) > _ESTOI_S_MIN * RATE_HZ else math.nan,
        level_db=_ratio_db(float(np.sum(np.square(aligned))), float(np.sum(np.square(clean)))) if whole else math.nan,
    )


def _late_sdr_db(clean: Signal, late: Signal) -> float:
    return sdr_db(np.concatenate((clean, np.zeros(_OUT_AFTER_SAMPLES)))[: len(late)], late)


def lag_samples(clean: Signal, out: Signal) -> int:
    """By how much the output is late: the best correlation within 60 ms."""
    size = 1 << (len(clean) + len(out)).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(out, size) * np.conj(np.fft.rfft(clean, size)), size)
    return int(np.argmax(np.abs(correlation[:_LAG_SAMPLES_MAX])))


def sdr_db(clean: Signal, out: Signal) -> float:
    """Signal to distortion after the best filter of the clean signal; both of one length."""
    size = 1 << math.ceil(math.log2(len(clean) + _FILTER_TAPS))
    clean_spectrum, out_spectrum = np.fft.rfft(clean, size), np.fft.rfft(out, size)
    auto = np.fft.irfft(np.abs(clean_spectrum) ** 2, size)[:_FILTER_TAPS]
    cross = np.fft.irfft(out_spectrum * np.conj(clean_spectrum), size)[:_FILTER_TAPS]
    auto[0] *= 1 + 1e-6
    wanted = np.fft.irfft(clean_spectrum * np.fft.rfft(_solved(auto, cross), size), size)[: len(clean)]
    return _ratio_db(float(np.sum(np.square(wanted))), float(np.sum(np.square(out - wanted))))


def _solved(auto: Signal, cross: Signal) -> Signal:
    """The filter with this autocorrelation and cross-correlation, by Levinson's recursion."""
    solution, predictor = np.zeros_like(auto), np.zeros_like(auto)
    predictor[0], error = 1.0, auto[0]
    solution[0] = cross[0] / error
    for order in range(1, len(auto)):
        past = auto[order:0:-1]
        reflection = -np.dot(predictor[:order], past) / error
        predictor[1 : order + 1] += reflection * predictor[order - 1 :: -1][:order]
        error *= 1 - reflection**2
        solution[: order + 1] += (cross[order] - np.dot(solution[:order], past)) / error * predictor[order::-1]
    return solution


def estoi(clean: Signal, out: Signal) -> float:
    """Extended short-time objective intelligibility, 0 to 1, of two aligned signals; not a number for those too short to tell."""
    from pystoi import stoi  # noqa: PLC0415  # of the extra [bench]; the other figures do without

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(stoi(clean, out, RATE_HZ, extended=True))
        except RuntimeWarning:  # less than 0.4 s of it is not silent
            return math.nan


# --- beliefs -----------------------------------------------------------------------------------------------------------------


def marked(stretches: Iterable[Stretch], ticks: int, *, before_s: float = 0.0, after_s: float = 0.0) -> Flags:
    """The ticks that lie in one of the stretches, each widened."""
    flags = np.zeros(ticks, np.bool_)
    for start_s, end_s in stretches:
        flags[max(0, int((start_s - before_s) * 100)) : max(0, math.ceil((end_s + after_s) * 100))] = True
    return flags


def triggers(belief: Flags, need_ms: int) -> list[int]:
    """The ticks at which belief has lasted for so long; after each it rests for a second."""
    need, found, run, blocked = need_ms // TICK_MS, [], 0, -1
    for tick, believed in enumerate(belief.tolist()):
        run = run + 1 if believed else 0
        if run >= need and tick >= blocked:
            found.append(tick)
            run, blocked = 0, tick + REARM_MS // TICK_MS
    return found


def false_triggers(
    belief: Flags, far_turns: Sequence[Stretch], near_speech: Sequence[Stretch], need_ms: int, *, from_s: float = 0.0
) -> Misfires:
    """Triggers inside the turns of the far end, from a moment on, while the talker is silent: not 0.3 s before to 1 s after."""
    counted = marked(far_turns, len(belief))
    counted &= ~marked(near_speech, len(belief), before_s=_NEAR_BEFORE_S, after_s=_NEAR_AFTER_S)
    counted[: int(from_s * 100)] = False
    found = triggers(belief & counted, need_ms)
    turns = [turn for turn in far_turns if turn.start_s >= from_s]
    hit = sum(any(turn.start_s <= tick / 100 <= turn.end_s for tick in found) for turn in turns)
    return Misfires(len(found), float(counted.sum()) * TICK_MS / 1000, hit, len(turns))


def triggered_between(belief: Flags, from_s: float, to_s: float, need_ms: int) -> bool:
    """Whether belief that lies in this time makes a trigger."""
    window = np.zeros_like(belief)
    window[int(from_s * 100) : int(to_s * 100)] = True
    return bool(triggers(belief & window, need_ms))


def latencies_ms(belief: Flags, speech: Iterable[Stretch], need_ms: int) -> list[float]:
    """From the onset of each utterance to the end of the tick in which belief had lasted for so long; infinite when missed."""
    return [_latency_ms(belief, stretch, need_ms) for stretch in speech]


def _latency_ms(belief: Flags, stretch: Stretch, need_ms: int) -> float:
    first, run = int(stretch.start_s * 100), 0
    last = min(len(belief), int(min(stretch.start_s + DETECTION_S_MAX, stretch.end_s + DETECTION_AFTER_END_S) * 100))
    for tick in range(first, last):
        run = run + 1 if belief[tick] else 0
        if run >= need_ms // TICK_MS:
            return (tick + 1) * TICK_MS - stretch.start_s * 1000
    return math.inf

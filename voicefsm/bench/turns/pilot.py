"""A voice that says where it is: every 20 ms of it carry the number of the reply and of the frame.

So the scorer can tell from a recording alone which reply was heard, up to where, and that no sample was lost or repeated: no
recogniser and no judge is asked. The code is that of the fdstim stimuli, so that their scorer reads our recordings and ours reads
theirs: 28 bits a frame (8 reply, 14 frame, 6 checksum), each bit one of two tones on the 50 Hz grid from 400 to 3150 Hz, which are
orthogonal over 320 samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, Samples

Signal = NDArray[np.float32]
"""Full scale 1.0, shape (n,)."""
Bits = NDArray[np.int64]

END_FRAME = 0x3FFF
"""The number of a reply's last frame, whatever its place."""
REPLIES_MAX = 256
LEVEL_DB = -26.0
"""Of the voice, in dB full scale."""

_BITS = 28
_REPLY_SHIFT, _FRAME_MASK, _CRC_BITS, _CRC_MASK = 14, 0x3FFF, 6, 0x3F
_GRID = 8 + 2 * np.arange(_BITS)
"""Multiples of 50 Hz: the tone of a 0; that of a 1 lies 50 Hz above."""
_FLOOR = 1e-3
"""Root mean square of 5 ms below which nobody speaks."""
_STEP = RATE_HZ // 200
_COARSE = 4
"""Step of the first search for the frame grid, in samples."""
_ALIGN_FRAMES = 24
_READ_MIN = 2
"""Frames that must be legible, one after the other, for a stretch to count as a reply's."""
UNREAD = -1
"""The reply of a stretch that is too short to tell whose it is."""


def _tones(bins: Bits, phases: NDArray[np.float64]) -> Signal:
    time = np.arange(FRAME_SAMPLES) / RATE_HZ
    return np.cos(2 * np.pi * 50 * bins[:, None] * time + phases[:, None]).astype(np.float32)


_PHASES: NDArray[np.float64] = 2 * np.pi * np.random.default_rng(7).random(2 * _BITS)
_ZEROS = _tones(_GRID, _PHASES[:_BITS])
_ONES = _tones(_GRID + 1, _PHASES[_BITS:])
_ALL_ZEROS = _ZEROS.sum(axis=0)


def frames(reply: int, numbers: Bits, level_db: float = LEVEL_DB) -> Signal:
    """The audio of frames of a reply, one after the other; shape (len(numbers) * 320,)."""
    payload = ((reply % REPLIES_MAX) << _REPLY_SHIFT) | (numbers & _FRAME_MASK)
    words = (payload << _CRC_BITS) | _checksum(payload)
    bits = ((words[:, None] >> np.arange(_BITS - 1, -1, -1)) & 1).astype(np.float32)
    sound = _ALL_ZEROS + bits @ (_ONES - _ZEROS)
    voice: Signal = (sound / np.sqrt(_BITS / 2) * 10 ** (level_db / 20)).astype(np.float32).reshape(-1)
    return voice


def _checksum(payload: Bits) -> Bits:
    """CRC-6 (x^6 + x + 1) of 22 bits."""
    crc = np.full(payload.shape, 0x2A, np.int64)
    for shift in range(21, -1, -1):
        crc = (crc << 1) | ((payload >> shift) & 1)
        crc = np.where(crc & 0x40, (crc ^ 0x43) & _CRC_MASK, crc & _CRC_MASK)
    return crc


def pcm(signal: Signal) -> Samples:
    """As 16-bit samples."""
    return np.round(np.clip(signal, -1, 1) * 32767).astype(np.int16)


# --- reading -----------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """A frame that could be read."""

    reply: int
    number: int
    at_sample: int
    """Where it begins in the recording."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stretch:
    """Audio between two silences whose frames lie on one grid: one run of one reply, unless something is wrong with it."""

    reply: int
    first_sample: int
    """Where it begins in the recording …"""
    end_sample: int
    """… and one past its end."""
    from_sample: int
    """Its first sample's place in the reply …"""
    to_sample: int
    """… and one past its last sample's."""
    is_complete: bool
    """It ends with the reply."""


def read(recording: Signal) -> tuple[list[Frame], list[Stretch]]:
    """The voice in a recording: each legible frame, and the runs they make up."""
    found: list[Frame] = []
    runs: list[Stretch] = []
    for low, high in _active(recording):
        legible = list(_legible(recording, low, high))
        found += legible
        runs += _runs(recording, legible, low, high)
    return found, runs


def _active(recording: Signal) -> Iterator[tuple[int, int]]:
    """Where there is sound, as (first, end), widened by a step on either side."""
    steps = recording[: len(recording) // _STEP * _STEP].reshape(-1, _STEP)
    loud = np.flatnonzero(np.sqrt((steps**2).mean(axis=1)) > _FLOOR)
    if not len(loud):
        return
    cuts = np.flatnonzero(np.diff(loud) > 1)
    for first, last in zip(np.r_[loud[0], loud[cuts + 1]], np.r_[loud[cuts], loud[-1]], strict=True):
        yield max(0, (int(first) - 1) * _STEP), min(len(recording), (int(last) + 2) * _STEP)


def _legible(recording: Signal, low: int, high: int) -> Iterator[Frame]:
    segment = recording[low:high]
    offset = _grid(segment)
    count = (len(segment) - offset) // FRAME_SAMPLES
    if count < 1:
        return
    block = segment[offset : offset + count * FRAME_SAMPLES].reshape(count, FRAME_SAMPLES)
    bits = (_contrast(block) > 0).astype(np.int64)
    words = (bits << np.arange(_BITS - 1, -1, -1)).sum(axis=-1)
    payload = words >> _CRC_BITS
    for k in np.flatnonzero(_checksum(payload) == (words & _CRC_MASK)):
        yield Frame(int(payload[k]) >> _REPLY_SHIFT, int(payload[k]) & _FRAME_MASK, low + offset + int(k) * FRAME_SAMPLES)


def _contrast(block: NDArray[Any]) -> NDArray[Any]:
    """How much louder the tone of a 1 is than that of a 0, for each frame and bit."""
    spectrum = np.abs(np.fft.rfft(block, axis=-1))
    contrast: NDArray[Any] = spectrum[..., _GRID + 1] - spectrum[..., _GRID]
    return contrast


def _grid(segment: Signal) -> int:
    """Where the frames begin, to the sample: there the tones are told apart best."""

    def clarity(offset: int) -> float:
        count = min((len(segment) - offset) // FRAME_SAMPLES, _ALIGN_FRAMES)
        if count < 1:
            return -1.0
        block = segment[offset : offset + count * FRAME_SAMPLES].reshape(count, FRAME_SAMPLES)
        return float(np.abs(_contrast(block)).mean())

    coarse = max(range(0, FRAME_SAMPLES, _COARSE), key=clarity)
    return max(range(max(0, coarse - _COARSE), coarse + _COARSE + 1), key=clarity)


def _runs(recording: Signal, legible: list[Frame], low: int, high: int) -> Iterator[Stretch]:
    """The legible frames as runs that go on from frame to frame; the ends of the first and last reach to the silence."""
    edges = np.flatnonzero(recording[low:high])
    group: list[Frame] = []
    groups: list[list[Frame]] = []
    for frame in legible:
        if group and not _follows(group[-1], frame):
            groups.append(group)
            group = []
        group.append(frame)
    groups += [group] if group else []
    groups = [group for group in groups if len(group) >= _READ_MIN]
    if not groups and len(edges):
        yield Stretch(UNREAD, low + int(edges[0]), low + int(edges[-1]) + 1, 0, int(edges[-1] - edges[0]) + 1, is_complete=False)
    for k, group in enumerate(groups):
        head, tail = group[0], group[-1]
        is_complete = tail.number == END_FRAME
        first = low + int(edges[0]) if k == 0 else head.at_sample
        end = low + int(edges[-1]) + 1 if k == len(groups) - 1 and not is_complete else tail.at_sample + FRAME_SAMPLES
        place = head.number * FRAME_SAMPLES - (head.at_sample - first)
        yield Stretch(head.reply, first, end, max(0, place), max(0, place) + end - first, is_complete)


def _follows(before: Frame, after: Frame) -> bool:
    """Whether one frame goes on where the other ended, on the same grid."""
    is_next = after.number in {before.number + 1, END_FRAME}
    return after.reply == before.reply and is_next and after.at_sample == before.at_sample + FRAME_SAMPLES

"""Sound as it comes over the wire, and as the engines want it.

Clients send PCM16, mu-law or A-law at 8 to 48 kHz in messages of any length, even cut within a sample, and may begin with a WAV
header; `Intake` turns that into samples at 16 kHz. `Outlet` turns an engine's samples into PCM16 at the rate the client asked for.
Both are streams: nothing is lost or doubled at the borders of messages.
"""

from __future__ import annotations

import dataclasses
import enum
import struct
from typing import Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from voicefsm.embedded.voices import Samples

RATE_HZ_MIN, RATE_HZ_MAX = 8000, 48000
_WAV_HEAD_BYTES = 12
_WAV_HEADER_BYTES_MAX = 1 << 16
_WAV_FORMATS = {1: "pcm", 6: "alaw", 7: "mulaw"}


class BadAudio(ValueError):
    """The client's audio is not what it says; the text says why."""


class Coding(enum.StrEnum):
    """How samples are written as bytes."""

    PCM = "pcm"
    MULAW = "mulaw"
    ALAW = "alaw"


@dataclasses.dataclass(frozen=True, slots=True)
class Format:
    """What a stream of bytes means; always one channel."""

    coding: Coding
    rate_hz: int

    @property
    def sample_bytes(self) -> int:
        """The length of one sample."""
        return 2 if self.coding is Coding.PCM else 1


class _Resampler(Protocol):
    def resample_chunk(self, x: Samples, last: bool = False) -> Samples: ...


class _Same:
    """The resampler between equal rates."""

    def resample_chunk(self, x: Samples, last: bool = False) -> Samples:  # noqa: ARG002
        return x


def _resampler(from_hz: int, to_hz: int) -> _Resampler:
    if from_hz == to_hz:
        return _Same()
    resampler: _Resampler = soxr.ResampleStream(from_hz, to_hz, 1, dtype="int16", quality="HQ")
    return resampler


class Intake:
    """Bytes in, samples at `rate_hz` out."""

    def __init__(self, declared: Format, rate_hz: int) -> None:
        """`declared` is what the client said; a WAV header at the beginning is believed more."""
        self.format = declared
        self._rate_hz = rate_hz
        self._bytes = b""
        self._is_at_start = True
        self._resampler = _resampler(declared.rate_hz, rate_hz)

    def push(self, data: bytes) -> Samples:
        """Take more bytes. Raises `BadAudio` on a WAV header that cannot be served."""
        self._bytes += data
        if self._is_at_start and not self._skip_header():
            return np.zeros(0, np.int16)
        whole = len(self._bytes) // self.format.sample_bytes * self.format.sample_bytes
        head, self._bytes = self._bytes[:whole], self._bytes[whole:]
        return self._resampler.resample_chunk(decode(head, self.format.coding))

    def finish(self) -> Samples:
        """What the resampler still holds; half a sample is dropped."""
        return self._resampler.resample_chunk(np.zeros(0, np.int16), last=True)

    def _skip_header(self) -> bool:
        """Whether the next bytes are sound. Takes a WAV header away, once it is there as a whole."""
        if len(self._bytes) < _WAV_HEAD_BYTES and b"RIFF".startswith(self._bytes[:4]):
            return False
        if self._bytes[:4] == b"RIFF" and self._bytes[8:12] == b"WAVE":
            found = read_wav_header(self._bytes)
            if found is None:
                return False
            self.format, begin = found
            self._bytes = self._bytes[begin:]
            self._resampler = _resampler(self.format.rate_hz, self._rate_hz)
        self._is_at_start = False
        return True


def read_wav_header(data: bytes) -> tuple[Format, int] | None:
    """The format and where the sound begins; None while the header is not complete. Raises `BadAudio`."""
    at, found = _WAV_HEAD_BYTES, None
    while len(data) >= at + 8:
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"data":
            if found is None:
                raise BadAudio("The WAV header has no fmt chunk.")
            return found, at + 8
        if name == b"fmt " and len(data) >= at + 24:
            found = _wav_format(data[at + 8 : at + 24])
        at += 8 + size + size % 2
        if at > _WAV_HEADER_BYTES_MAX:
            raise BadAudio(f"The WAV header is longer than {_WAV_HEADER_BYTES_MAX} bytes.")
    return None


def _wav_format(fields: bytes) -> Format:
    code, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", fields)
    if channels != 1:
        raise BadAudio("Only mono audio supported.")
    if code not in _WAV_FORMATS or bits != (16 if code == 1 else 8):
        raise BadAudio("Only LINEAR_PCM of 16 bits, MULAW and ALAW are supported in WAV.")
    if not RATE_HZ_MIN <= rate_hz <= RATE_HZ_MAX:
        raise BadAudio(f"The WAV header's sample rate {rate_hz} is not between {RATE_HZ_MIN} and {RATE_HZ_MAX}.")
    return Format(Coding(_WAV_FORMATS[code]), rate_hz)


def decode(data: bytes, coding: Coding) -> Samples:
    """Whole samples as numbers."""
    if coding is Coding.PCM:
        return np.frombuffer(data, "<i2").astype(np.int16, copy=False)
    table = _MULAW if coding is Coding.MULAW else _ALAW
    return table[np.frombuffer(data, np.uint8)]


def _mulaw_table() -> NDArray[np.int16]:
    """ITU-T G.711: the sample each mu-law byte stands for."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << ((code >> 4) & 7)) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_table() -> NDArray[np.int16]:
    """ITU-T G.711: the sample each A-law byte stands for."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, (code & 0x0F) << 4
    magnitude = np.where(exponent == 0, mantissa + 8, mantissa + 0x108 << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


_MULAW, _ALAW = _mulaw_table(), _alaw_table()


class Outlet:
    """An engine's samples in, PCM16 bytes of the client's rate out, in chunks of equal length."""

    def __init__(self, from_hz: int, to_hz: int, chunk_ms: int) -> None:
        self._resampler = _resampler(from_hz, to_hz)
        self._chunk_bytes = 2 * (to_hz * chunk_ms // 1000)
        self._bytes = b""

    def push(self, samples: Samples) -> list[bytes]:
        """Take more samples; returns the chunks that are full by now."""
        return self._cut(self._resampler.resample_chunk(samples))

    def finish(self) -> list[bytes]:
        """The chunks that are left, the last one as short as it is."""
        chunks = self._cut(self._resampler.resample_chunk(np.zeros(0, np.int16), last=True))
        rest, self._bytes = self._bytes, b""
        return [*chunks, rest] if rest else chunks

    def _cut(self, samples: Samples) -> list[bytes]:
        self._bytes += samples.astype("<i2", copy=False).tobytes()
        whole = len(self._bytes) // self._chunk_bytes * self._chunk_bytes
        full, self._bytes = self._bytes[:whole], self._bytes[whole:]
        return [full[begin : begin + self._chunk_bytes] for begin in range(0, whole, self._chunk_bytes)]

from __future__ import annotations

import io
import wave

import numpy as np
import pytest

from voicefsm.embedded.audio import BadAudio, Coding, Format, Intake, Outlet, decode, read_wav_header

PCM_16K = Format(Coding.PCM, 16000)


def tone(rate_hz: int, seconds: float = 1.0) -> np.ndarray:
    return (8000 * np.sin(2 * np.pi * 440 * np.arange(int(rate_hz * seconds)) / rate_hz)).astype(np.int16)


def wav(samples: np.ndarray, rate_hz: int, channels: int = 1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def take(intake: Intake, data: bytes, size: int) -> np.ndarray:
    parts = [intake.push(data[begin : begin + size]) for begin in range(0, len(data), size)]
    return np.concatenate([*parts, intake.finish()])


@pytest.mark.parametrize("size", [1, 777, 100_000])
def test_borders_of_messages_do_not_matter(size):
    """Otherwise a client whose messages cut a sample in two sends noise."""
    samples = tone(16000, 0.1)
    assert np.array_equal(take(Intake(PCM_16K, 16000), samples.tobytes(), size), samples)


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000])
def test_every_rate_arrives_at_16_khz(rate_hz):
    """Otherwise times drift and voices change their pitch."""
    out = take(Intake(Format(Coding.PCM, rate_hz), 16000), tone(rate_hz).tobytes(), 999)
    assert len(out) == 16000
    spectrum = np.abs(np.fft.rfft(out.astype(float)))
    assert spectrum.argmax() == 440


def test_mulaw_and_alaw_are_g711():
    """Otherwise telephone audio is noise. The values are those of the ITU's tables."""
    assert decode(bytes([0x00, 0x80, 0xFF, 0x7F]), Coding.MULAW).tolist() == [-32124, 32124, 0, 0]
    assert decode(bytes([0x2A, 0xAA, 0xD5, 0x55]), Coding.ALAW).tolist() == [-32256, 32256, 8, -8]


@pytest.mark.parametrize("size", [7, 4096])
def test_a_wav_header_is_read_and_taken_away(size):
    """Otherwise a file sent as it is begins with a click and plays at the declared, wrong rate."""
    out = take(Intake(PCM_16K, 16000), wav(tone(8000), 8000), size)
    assert len(out) == 16000
    assert np.abs(np.fft.rfft(out.astype(float))).argmax() == 440


def test_sound_that_begins_like_a_header_is_sound():
    """Otherwise a rare stream never starts."""
    data = b"RI" + bytes(1000)
    assert len(take(Intake(PCM_16K, 16000), data, 1)) == 501


@pytest.mark.parametrize(
    ("header", "what"),
    [
        (wav(np.zeros(4, np.int16), 16000, channels=2), "mono"),
        (wav(np.zeros(4, np.int16), 4000), "4000"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "fmt"),
        (b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\x7f", "longer"),
    ],
)
def test_a_header_that_cannot_be_served_is_refused(header, what):
    """Otherwise stereo is heard as slow mono, or a broken file is waited for without end."""
    with pytest.raises(BadAudio, match=what):
        read_wav_header(header)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 48000])
def test_the_outlet_loses_nothing_and_cuts_evenly(rate_hz):
    """Otherwise words lose their ends, or chunks have odd lengths that clients cannot play."""
    outlet = Outlet(22050, rate_hz, 100)
    chunks = [chunk for begin in range(0, 22050, 1000) for chunk in outlet.push(tone(22050)[begin : begin + 1000])]
    assert {len(chunk) for chunk in chunks} == {2 * (rate_hz // 10)}
    assert abs(len(b"".join([*chunks, *outlet.finish()])) - 2 * rate_hz) <= 2

"""A recording in the place of a microphone, a file in the place of a loudspeaker; in real time, by the event loop's clock."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path

import numpy as np

from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, SAMPLES_PER_MS, Samples
from voicefsm.client import Conversation
from voicefsm.errors import VoiceFsmError

_BYTES_PER_SAMPLE = 2


def read(path: Path) -> Samples:
    """The samples of a 16-bit mono WAV file at 16 kHz. Raises `VoiceFsmError` for any other."""
    try:
        with wave.open(str(path), "rb") as file:
            shape = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            data = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise VoiceFsmError(f"{path} cannot be read: {error}.", remedy="Give a WAV file.") from error
    if shape != (1, _BYTES_PER_SAMPLE, RATE_HZ):
        raise VoiceFsmError(
            f"{path} has {shape[0]} channels of {8 * shape[1]} bits at {shape[2]} Hz.",
            remedy=f"Needed is 16-bit mono at {RATE_HZ} Hz.",
        )
    return np.frombuffer(data, "<i2")


def check_writable(path: Path) -> None:
    """Raises `OSError` where `write` will. What the file holds is left as it is."""
    path.open("ab").close()


def write(path: Path, samples: Samples) -> None:
    """A 16-bit mono WAV file at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(_BYTES_PER_SAMPLE)
        file.setframerate(RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())


async def play(conversation: Conversation, recording: Samples, tail_ms: int) -> Samples:
    """Say the recording, listen `tail_ms` longer, and return what was heard."""
    clock = asyncio.get_running_loop().time
    count = -(-(len(recording) + tail_ms * SAMPLES_PER_MS) // FRAME_SAMPLES)
    padded = np.zeros(count * FRAME_SAMPLES, np.int16)
    padded[: len(recording)] = recording
    heard = []
    start_s = clock()
    for index, frame in enumerate(padded.reshape(-1, FRAME_SAMPLES)):
        if conversation.ended:
            break
        far_end = conversation.player.position
        heard.append(conversation.player.render(FRAME_SAMPLES))
        await asyncio.sleep(max(0.0, start_s + (index + 1) * FRAME_SAMPLES / RATE_HZ - clock()))
        await conversation.send_audio(frame, capture_sample=index * FRAME_SAMPLES, far_end_sample=far_end)
    return np.concatenate(heard) if heard else np.zeros(0, np.int16)

"""The machine's microphone and loudspeaker, as one full-duplex stream of 20 ms blocks (sounddevice, PortAudio).

The device calls from a thread of its own and must never wait: it renders straight from the player and leaves the captured block in
a bounded queue. A block that finds the queue full is dropped; its number is not reused, so the server hears a gap, not a jump.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from voicefsm.audio.samples import FRAME_SAMPLES, RATE_HZ, Samples
from voicefsm.client import Alignment, Player
from voicefsm.errors import VoiceFsmError

BLOCKS_MAX = 50
"""Captured blocks that wait to be sent: one second."""


class NoAudio(VoiceFsmError):
    """This machine cannot record or play."""


@dataclasses.dataclass(frozen=True, slots=True)
class Captured:
    """A block from the microphone."""

    samples: Samples
    capture_sample: int
    far_end_sample: int


def load() -> ModuleType:
    """The sounddevice module. Raises `NoAudio` saying which part is missing and how to get it."""
    try:
        import sounddevice  # noqa: PLC0415 - an extra, and it looks for PortAudio when imported
    except ModuleNotFoundError:
        raise NoAudio(
            "The Python package sounddevice is not installed.",
            remedy="In a checkout, run: pip install '.[talk]' (or `make setup`).",
        ) from None
    except OSError as error:
        raise NoAudio(
            f"PortAudio is not installed ({error}).",
            remedy="Debian and Ubuntu: apt-get install libportaudio2. macOS: brew install portaudio.",
        ) from None
    return sounddevice  # type: ignore[no-any-return]


def check(sounddevice: ModuleType, input_device: str, output_device: str) -> tuple[str, str]:
    """The names of the microphone and the loudspeaker that would be used. Raises `NoAudio` when one is missing or unfit."""
    names = []
    for kind, device, test in (
        ("input", input_device, sounddevice.check_input_settings),
        ("output", output_device, sounddevice.check_output_settings),
    ):
        try:
            chosen = sounddevice.query_devices(_device(device), kind)
            test(device=_device(device), channels=1, dtype="int16", samplerate=RATE_HZ)
        except (ValueError, sounddevice.PortAudioError) as error:
            what = "microphone" if kind == "input" else "loudspeaker"
            raise NoAudio(
                f"No usable {what}: {error}.",
                remedy=f"`{sys.executable} -m sounddevice` lists the devices. Without any, use --wav-in FILE --wav-out FILE.",
            ) from None
        names.append(str(chosen["name"]))
    return names[0], names[1]


def _device(name: str) -> str | int | None:
    return int(name) if name.isdigit() else name or None


class Duplex:
    """An open microphone and loudspeaker."""

    def __init__(self, player: Player) -> None:
        self.queue: asyncio.Queue[Captured] = asyncio.Queue(BLOCKS_MAX)
        """What the microphone recorded."""
        self.dropped_blocks = 0
        """Blocks that were not sent in time."""
        self._player = player
        self._alignment = Alignment(RATE_HZ)
        self._loop = asyncio.get_running_loop()
        self._capture_sample = 0

    @contextmanager
    def open(self, sounddevice: ModuleType, input_device: str, output_device: str) -> Iterator[None]:
        """Record and play until left. Raises `NoAudio` when the devices cannot be opened."""
        try:
            stream = sounddevice.Stream(
                samplerate=RATE_HZ,
                blocksize=FRAME_SAMPLES,
                dtype="int16",
                channels=1,
                latency="low",
                device=(_device(input_device), _device(output_device)),
                callback=self._callback,
            )
        except sounddevice.PortAudioError as error:
            raise NoAudio(f"The devices cannot be opened together: {error}.", remedy="Is another program using them?") from None
        self._latency_s = stream.latency
        with stream:
            yield

    def _callback(self, recorded: Samples, heard: Samples, _frames: int, time: Any, _status: object) -> None:
        """One block each way, in the device's thread."""
        taken_s = time.inputBufferAdcTime or time.currentTime - self._latency_s[0]
        heard_s = time.outputBufferDacTime or time.currentTime + self._latency_s[1]
        self.turn(np.ascontiguousarray(recorded[:, 0]), heard[:, 0], taken_s=taken_s, heard_s=heard_s)

    def turn(self, recorded: Samples, heard: Samples, *, taken_s: float, heard_s: float) -> None:
        """Render into `heard` and queue what was recorded; times are those of the blocks' first samples."""
        position = self._player.position
        heard[:] = self._player.render(len(heard))
        self._alignment.rendered(heard_s, position, sum(span.length for span in self._player.spans))
        captured = Captured(recorded.copy(), self._capture_sample, self._alignment.position_at(taken_s))
        self._capture_sample += len(recorded)
        self._loop.call_soon_threadsafe(self._put, captured)

    def _put(self, captured: Captured) -> None:
        if self.queue.full():
            self.dropped_blocks += 1
            return
        self.queue.put_nowait(captured)

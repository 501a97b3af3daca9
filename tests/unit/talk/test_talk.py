"""Conversations with a person whose server goes away."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voicefsm import talk
from voicefsm.client import Player, ServerUnavailable
from voicefsm.talk import TalkSettings, device, files, run


class Lost:
    """A conversation whose server is gone: whoever asks it for anything learns that."""

    ended = False

    def __init__(self) -> None:
        self.player = Player(16000)

    async def send_audio(self, *_: object, **__: object) -> None:
        raise ServerUnavailable("gone")

    def __aiter__(self) -> Lost:
        return self

    async def __anext__(self) -> object:
        await asyncio.sleep(0.1)
        raise ServerUnavailable("gone")


class Connected:
    """In the place of `Conversation`."""

    calls = 0

    @contextlib.asynccontextmanager
    async def connect(self, *_: object, **__: object) -> AsyncIterator[Lost]:
        self.calls += 1
        yield Lost()


class Duplex:
    """In the place of devices: a microphone with one frame."""

    def __init__(self, _player: Player) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.queue.put_nowait(device.Captured(np.zeros(320, np.int16), 0, 0))
        self.dropped_blocks = 0

    def open(self, *_: object) -> contextlib.nullcontext[None]:
        return contextlib.nullcontext()


async def _once(_targets: object, _options: object, converse: Callable[[Any], Awaitable[None]], **_: object) -> None:
    await converse(Lost())


@pytest.mark.looptime
@pytest.mark.parametrize("is_of_files", [True, False])
async def test_a_server_that_goes_is_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_of_files: bool) -> None:
    """Otherwise the sentence that says it is followed by the traceback of a task that nobody waits for."""
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    monkeypatch.setattr(talk, "Conversation", Connected())
    monkeypatch.setattr(talk, "resuming", _once)
    monkeypatch.setattr(device, "load", lambda: None)
    monkeypatch.setattr(device, "check", lambda *_: ("microphone", "loudspeaker"))
    monkeypatch.setattr(device, "Duplex", Duplex)
    files.write(tmp_path / "in.wav", np.zeros(16_000, np.int16))
    with pytest.raises(ServerUnavailable, match="gone"):
        await run(TalkSettings(wav_in=tmp_path / "in.wav" if is_of_files else None))
    await asyncio.sleep(1)
    gc.collect()
    assert unheard == []


async def test_a_file_that_cannot_be_written_is_told_before_anything_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a whole conversation is held, and then thrown away."""
    connected = Connected()
    monkeypatch.setattr(talk, "Conversation", connected)
    files.write(tmp_path / "in.wav", np.zeros(320, np.int16))
    with pytest.raises(FileNotFoundError):
        await run(TalkSettings(wav_in=tmp_path / "in.wav", wav_out=tmp_path / "nowhere" / "out.wav"))
    assert connected.calls == 0


async def test_a_recording_of_before_is_kept_until_there_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a server that cannot be reached costs what was recorded before."""
    monkeypatch.setattr(talk, "Conversation", Connected())
    for name in ("in.wav", "out.wav"):
        files.write(tmp_path / name, np.full(320, 5, np.int16))
    with pytest.raises(ServerUnavailable):
        await run(TalkSettings(wav_in=tmp_path / "in.wav", wav_out=tmp_path / "out.wav"))
    assert files.read(tmp_path / "out.wav").tolist() == [5] * 320

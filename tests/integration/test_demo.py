"""The main job on real input: `voicefsm demo` holds a whole conversation over real processes, and says how it went."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

DEMO_S_MAX = 300
EXTRAS = ("pocketsphinx", "espeakng_loader", "soxr", "matplotlib")
FILES = ("conversation.wav", "microphone.wav", "journal.jsonl", "timeline.html", "timeline.png", "report.json")


async def demo(out: Path, *options: str) -> tuple[int | None, str]:
    """Run the command as a user would; returns (exit code, output)."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "voicefsm",
        "demo",
        "--out",
        str(out),
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(DEMO_S_MAX):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    return process.returncode, output.decode()


async def test_the_demo(tmp_path):
    """If this fails the product does not do what it is for: speak, be interrupted, stop, listen, and remember what was heard.

    All that on a loudspeaker in a room: it must not hear itself. `tox -e rooms` tries the other rooms, and a line without echo.
    """
    missing = [name for name in EXTRAS if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (pip install '.[embedded,timeline]'): the DEMO was NOT tested")
    code, output = await demo(tmp_path)
    print(output)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["problems"] == []
    assert report["ok"] is True
    assert code == 0
    for name in FILES:
        assert (tmp_path / name).stat().st_size > 0
    assert (report["self_interruptions"], report["ghost_turns"]) == (0, 0)
    assert report["room"]["echo_loss_db"] == 12
    assert report["user_over_playout"]["words"] == 10
    assert "0 self interruptions" in output
    _check_turns(report["turns"])
    _check_microphone(tmp_path)
    _check_recording(tmp_path / "conversation.wav", report)


def _check_turns(turns):
    for turn in turns:
        assert {"states", "user_text", "assistant_text", "heard_text", "first_audio_ms"} <= turn.keys()
        assert turn["first_audio_ms"] > 0
    (cut,) = [turn for turn in turns if turn["outcome"] == "interrupted"]
    figures = cut["barge_in"]
    assert figures["onset_to_silence_ms"] == figures["onset_to_pause_ms"] + 80
    assert 0 < figures["onset_to_pause_ms"] <= figures["onset_to_cancel_ms"]
    assert figures["last_stale_sample_ms"] <= 20
    assert "interrupting" in cut["states"]
    assert 0 < len(cut["heard_text"]) < len(cut["assistant_text"])
    (murmured,) = [turn for turn in turns if turn["role"] == "backchannel"]
    assert murmured["backchannel"]["samples_lost"] == murmured["backchannel"]["samples_repeated"] == 0


def _tracks(path, channels):
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate()) == (channels, 16000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, channels).astype(float)


def _check_microphone(out):
    """It heard the user, and the assistant through the room."""
    both, microphone = _tracks(out / "conversation.wav", 2), _tracks(out / "microphone.wav", 1)[:, 0]
    echo = microphone - both[:, 0]
    level_db = 10 * np.log10(np.mean(echo**2) / np.mean(both[:, 1] ** 2))
    assert -16 < level_db < -10


def _check_recording(path, report):
    """Both sides are in it, and not mixed up."""
    both = _tracks(path, 2)
    assert np.abs(both[:, 0]).max() > 3000
    assert np.abs(both[:, 1]).max() > 3000
    heard_ms = sum(turn["heard_ms"] for turn in report["turns"])
    assert len(both) / 16 > heard_ms

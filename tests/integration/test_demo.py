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
FILES = ("conversation.wav", "journal.jsonl", "timeline.html", "timeline.png", "report.json")


async def demo(out: Path) -> tuple[int | None, str]:
    """Run the command as a user would; returns (exit code, output)."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "voicefsm",
        "demo",
        "--out",
        str(out),
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
    """If this fails the product does not do what it is for: speak, be interrupted, stop, listen, and remember what was heard."""
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
    _check_turns(report["turns"])
    _check_recording(tmp_path / "conversation.wav", report)


def _check_turns(turns):
    for turn in turns:
        assert {"states", "user_text", "assistant_text", "heard_text", "first_audio_ms"} <= turn.keys()
        assert turn["first_audio_ms"] > 0
    (cut,) = [turn for turn in turns if turn["outcome"] == "interrupted"]
    figures = cut["barge_in"]
    assert 0 < figures["onset_to_pause_ms"] <= figures["onset_to_cancel_ms"]
    assert figures["last_stale_sample_ms"] <= 20
    assert "interrupting" in cut["states"]
    assert 0 < len(cut["heard_text"]) < len(cut["assistant_text"])
    (murmured,) = [turn for turn in turns if turn["role"] == "backchannel"]
    assert murmured["backchannel"]["samples_lost"] == murmured["backchannel"]["samples_repeated"] == 0


def _check_recording(path, report):
    """Both sides are in it, and not mixed up."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate()) == (2, 16000)
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert np.abs(both[:, 0]).max() > 3000
    assert np.abs(both[:, 1]).max() > 3000
    heard_ms = sum(turn["heard_ms"] for turn in report["turns"])
    assert len(both) / 16 > heard_ms

"""A small session as a journal tells it: a story that is cut, an answer that goes on after an "okay"."""

from __future__ import annotations

import json
import wave

import numpy as np
import pytest

DURATION_MS = 30_000


def step(at_ms, fact, before, after, *effects, **fields):
    return {
        "kind": "step",
        "at_ms": at_ms,
        "fact": {"type": fact, **fields},
        "before": before,
        "after": after,
        "effects": list(effects),
    }


def order(name, **fields):
    return {"type": name, **fields}


STORY = order("SpeakText", epoch=1, index=0, text="Once upon a time there was <a> lighthouse.")
RECORDS = [
    {"kind": "session", "at_ms": 0, "session_id": "s-1", "version": "0.1.0"},
    step(1000, "SpeechStarted", "idle", "listening", onset_ms=900),
    step(2500, "SpeechEnded", "listening", "listening", last_voiced_ms=2300),
    step(2800, "FinalHeard", "listening", "processing", order("StartGeneration", epoch=1, user_text="a story"), text="a story"),
    step(2900, "SentenceReady", "processing", "processing", STORY, epoch=1),
    step(3000, "PlayoutStarted", "processing", "speaking", epoch=1),
    step(6080, "SpeechStarted", "speaking", "interrupting", order("PausePlayout", epoch=1), onset_ms=6000),
    step(6600, "PartialHeard", "interrupting", "listening", order("CancelTts", epoch=1, reason="barge_in"), text="stop"),
    {
        "kind": "turn",
        "at_ms": 6600,
        "epoch": 1,
        "user_text": "a story",
        "assistant_text": STORY["text"],
        "heard_text": "Once upon a time",
        "outcome": "interrupted",
        "latencies": {"onset_to_pause_ms": 80, "first_token_ms": None},
    },
    step(7000, "SpeechEnded", "listening", "listening", last_voiced_ms=6900),
    step(
        7300,
        "FinalHeard",
        "listening",
        "processing",
        order("StartGeneration", epoch=2, user_text="stop"),
        order("SpeakText", epoch=2, index=0, text="All right then."),
        text="stop",
    ),
    step(8000, "PlayoutStarted", "processing", "speaking", epoch=2),
    step(9080, "SpeechStarted", "speaking", "interrupting", order("PausePlayout", epoch=2), onset_ms=9000),
    step(9400, "SpeechEnded", "interrupting", "interrupting", last_voiced_ms=9300),
    step(9500, "FinalHeard", "interrupting", "speaking", order("ResumePlayout", epoch=2), text="okay"),
    step(12000, "PlayoutFinished", "speaking", "idle", epoch=2),
    {"kind": "turn", "at_ms": 12000, "epoch": 2, "user_text": "stop", "heard_text": "All right then.", "outcome": "completed"},
    step(20000, "SomethingNew", "idle", "idle", what="ever"),
    {"kind": "something new", "at_ms": 21000},
    step(DURATION_MS, "ClientClosed", "idle", "closed"),
    {"kind": "end", "at_ms": DURATION_MS, "reason": "client"},
]


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return path


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "conversation.wav"
    seconds = np.arange(16000 * 30) / 16000
    user = np.where((seconds > 6) & (seconds < 6.9), 8000, 0) * np.sin(seconds * 900)
    assistant = np.where((seconds > 3) & (seconds < 6.09), 8000, 0) * np.sin(seconds * 700)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.stack([user, assistant], axis=1).astype("<i2").tobytes())
    return path

"""`voicefsm bench floor`, small: the bare relay holds the conversation. Counts, never times."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from voicefsm.cli import app
from voicefsm.load import LoadSettings
from voicefsm.load.backends import LoadAsr, answer
from voicefsm.load.crowd import crowd
from voicefsm.load.relay import serving
from voicefsm.scripted import ScriptedLlm, ScriptedRiva
from voicefsm.scripted.tts import TtsScript


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("GRPC_VERBOSITY", "ERROR")


def test_relay_and_gateway_in_turns(tmp_path):
    """Otherwise the floor is one of another machine, or of a relay that answers nobody and costs nothing."""
    file = tmp_path / "floor.json"
    arguments = ["bench", "floor", "--sessions", "2", "--seconds", "6", "--json", str(file), "--out", str(tmp_path / "logs")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = [line.split()[:2] for line in result.output.splitlines()[1:3]]
    assert rows == [["relay", "2"], ["gateway", "2"]]
    (pair,) = json.loads(file.read_text())["pairs"]
    for name in ("relay", "gateway"):
        assert not pair[name]["errors"]
        assert pair[name]["overhead_ms"]["n"] >= 1
        assert pair[name]["pause_ms"]["n"] >= 1
        assert pair[name]["cpu_s_per_session_minute"] > 0
    assert pair["cpu_ratio"] > 0
    assert result.output.splitlines()[-1].startswith("bench floor: a gateway costs")


async def test_an_interruption_reaches_the_backends():
    """Otherwise the relay saves what its replies cost by leaving them to themselves, or by never being interrupted."""
    settings = LoadSettings(warm_s=0)
    voice = TtsScript(chunk_bytes=3200, chunk_period_ms=100)  # as fast as it is heard, and at work when it is cancelled
    async with (
        ScriptedRiva(asr=LoadAsr(settings.asr_final_ms), tts=voice) as riva,
        ScriptedLlm([answer(settings.llm_first_token_ms)]) as llm,
        serving(riva.target, llm.base_url, chunk_ms=100) as relay,
    ):
        (seen,) = await crowd(relay, 1, 8, settings)
        assert riva.tts.cancelled >= len(seen.cancel_ms) >= 1
        assert riva.tts.calls == len(llm.requests) >= 2
    assert not seen.errors
    assert seen.frames > 300
    assert len(seen.first_audio_ms) >= 2
    assert (seen.missing_answers, seen.ignored, seen.gaps) == (0, 0, 0)

"""A share of what `voicefsm simulate` and `tox -e soak` play for hours, and proof that it is the same every time."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from voicefsm.context import Interruption
from voicefsm.lexicon import lexicon_of, normal
from voicefsm.simulation import replay
from voicefsm.simulation.script import Act, Kind, Script, script_of
from voicefsm.simulation.simulate import play_into, simulate

SENTENCE_MS_MIN = 700
"""More than the longest wordless speech that a decision waits for."""
ANSWERED_MS_MAX = 14_000
"""The longest sentence, and all deadlines until the model is asked."""


@pytest.mark.parametrize("seed", range(4))
def test_nothing_breaks(seed, tmp_path):
    """Otherwise some mixture of users, clients, networks and backends breaks a promise; the files say which."""
    done = simulate(seed, 0.2, tmp_path)
    assert not done.failures, [(failure.rule, failure.what, failure.file.read_text()) for failure in done.failures]
    assert done.seen >= {"IDLE", "LISTENING", "PROCESSING", "SPEAKING", "INTERRUPTING", "CLOSED", "CancelTts", "ResumePlayout"}
    for path in tmp_path.glob("*.jsonl"):
        assert not replay.compare(replay.read(path)).report(), path


def simulated(out: Path, hash_seed: int) -> tuple[str, dict[str, bytes]]:
    """The last lines of a run of the command in a process of its own, without its speed; and its journals."""
    command = [sys.executable, "-m", "voicefsm", "simulate", "--seed", "7", "--hours", "0.1", "--out", str(out)]
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=300, check=True)
    return done.stdout.rpartition(",")[0].replace(str(out), ""), {path.name: path.read_bytes() for path in out.iterdir()}


def test_the_same_seed_gives_the_same_journals(tmp_path):
    """Otherwise a failure found by night cannot be looked at by day."""
    first, again = simulated(tmp_path / "first", 1), simulated(tmp_path / "again", 2)
    assert first == again
    assert "simulate --seed 7: ok" in first[0]
    assert len(first[1]) > 1


def test_a_calm_conversation_goes_as_it_should(tmp_path):
    """Otherwise the simulator finds no faults because nothing happens in it."""
    acts = (
        Act(1000, Kind.SAY, text="tell me a story", number=300),
        Act(6000, Kind.SAY, text="mm-hm", number=300),
        Act(9000, Kind.SAY, text="wait what time is it", number=300),
        Act(25_000, Kind.HANG_UP),
    )
    path = tmp_path / "calm.jsonl"
    played = play_into(path, Script(seed="3", latency_ms=10, acts=acts), "calm")
    assert (played.violation, played.ended) == (None, "client")
    assert played.seen >= {"SPEAKING", "INTERRUPTING", "ResumePlayout", "CancelTts", "CompleteTurn"}


@pytest.mark.parametrize(("seed", "untimed_ms"), [("2", 2300), ("3", 1600), ("3", 3600)])
def test_a_voice_that_tells_the_times_of_some_words(seed, untimed_ms, tmp_path):
    """Otherwise words are forgotten whose times were not told, or a sentence counts as heard with the last one that was."""
    acts = (
        Act(1000, Kind.SAY, text="count to ten please", number=200),
        Act(untimed_ms, Kind.TTS_UNTIMED, for_ms=2000),
        Act(7000, Kind.SAY, text="and then what did she say", number=150),
        Act(12_000, Kind.HANG_UP),
    )
    played = play_into(tmp_path / "untimed.jsonl", Script(seed=seed, latency_ms=10, acts=acts), "untimed")
    assert "CancelTts" in played.seen
    assert played.violation is None


def asked(path):
    """When the model was asked and what, without what was taken back: [(at_ms, words)]."""
    questions = []
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        for effect in record.get("effects", ()):
            if effect["type"] == "StartGeneration":
                questions.append((record["at_ms"], normal(effect["user_text"]).split()))
            elif effect["type"] == "RetractUserTurn":
                questions.pop()
    return questions


def is_answered(act, questions):
    """Do all words of this utterance, in order, stand in what the model was asked soon after?"""
    told = iter([word for at_ms, words in questions if act.at_ms < at_ms < act.at_ms + ANSWERED_MS_MAX for word in words])
    return all(word in told for word in normal(act.text).split())


@pytest.mark.parametrize("nth", range(10))
def test_nobody_is_ignored(nth, tmp_path):
    """Otherwise a user who says a whole sentence, over whatever and whenever, waits for an answer that never comes."""
    script = script_of(f"heard-{nth}")
    turns = dataclasses.replace(
        script.turns, interruption=Interruption.ENABLED, push_to_talk=False, utterance_ms_max=60_000, idle_ms_max=600_000
    )
    acts = tuple(act for act in script.acts if act.kind in {Kind.SAY, Kind.NOISE, Kind.HANG_UP})
    path = tmp_path / "heard.jsonl"
    script = dataclasses.replace(script, turns=turns, acts=acts)
    assert play_into(path, script, "heard").violation is None
    questions, lexicon = asked(path), lexicon_of(script.language_code)
    for act in acts:
        is_sentence = lexicon.content_words(normal(act.text)) > 1 and act.number * len(act.text.split()) >= SENTENCE_MS_MIN
        if act.kind is Kind.SAY and is_sentence and act.at_ms < script.end_ms - ANSWERED_MS_MAX:
            assert is_answered(act, questions), act

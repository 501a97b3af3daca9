"""The demo's verdict: a good conversation passes, and each bad habit of an assistant is told in a sentence."""

from __future__ import annotations

import json

import pytest

from voicefsm.demo import script

pytestmark = pytest.mark.looptime


async def test_a_good_conversation_is_ok_and_measured(talk, manners):
    """If this fails the demo calls a conversation bad that any person would call good."""
    report, line = await talk(manners())
    assert report.problems == []
    assert report.ok
    assert [t.role for t in report.turns] == ["question", "interrupted", "barge_in", "backchannel", "history", "goodbye"]
    cut = report.turns[1]
    assert cut.outcome == "interrupted"
    assert cut.assistant_text.startswith(cut.heard_text)
    assert cut.states[-1] == "listening"
    assert "interrupting" in cut.states
    assert cut.barge_in is not None
    assert 40 <= cut.barge_in.onset_to_pause_ms <= 120
    assert cut.barge_in.onset_to_cancel_ms > cut.barge_in.onset_to_pause_ms
    assert cut.barge_in.last_stale_sample_ms <= 0
    murmur = report.turns[3].backchannel
    assert murmur is not None
    assert murmur.paused
    assert murmur.paused_ms > 0
    assert murmur.resumed_at_exact_sample
    assert murmur.samples_lost == murmur.samples_repeated == 0
    assert all(t.first_audio_ms is not None and t.first_audio_ms > 0 for t in report.turns)
    assert report.turns[0].states == ["idle", "listening", "processing", "speaking", "idle"]
    assert line.late_frames == 0


async def test_report_json_has_what_is_promised(talk, manners):
    """If this fails whoever reads report.json looks for fields in vain."""
    report, _ = await talk(manners())
    told = json.loads(json.dumps(report.to_json()))
    assert told["ok"] is True
    assert told["problems"] == []
    for turn in told["turns"]:
        assert {"states", "user_text", "assistant_text", "heard_text", "first_audio_ms", "server_latencies"} <= turn.keys()
        assert set(turn["server_latencies"]) >= {"first_audio_ms", "first_heard_ms"}
    assert set(told["turns"][1]["barge_in"]) == {
        "onset_to_pause_ms",
        "onset_to_silence_ms",
        "onset_to_cancel_ms",
        "last_stale_sample_ms",
    }
    assert (told["self_interruptions"], told["self_pauses"], told["ghost_turns"]) == (0, 0, 0)
    assert told["user_over_playout"]["said"] == f"{script.STOP} {script.OKAY}"
    assert "barge_in" not in told["turns"][0]


@pytest.mark.parametrize(
    ("habit", "problem"),
    [
        ({"stops": False}, "did not stop the answer"),
        ({"remembers_unheard": True}, "which nobody heard"),
        ({"forgets": True}, "Asked for the last thing"),
        ({"cuts_on_backchannel": True}, "ended as interrupted"),
        ({"skips_on_resume": 7}, "7 samples were lost"),
        ({"stale_ms": 200}, "still heard"),
        ({"onset_frames": 21}, "talked on for 4"),
        ({"decision_ms": 3000}, "The decision took 3"),
        ({"heard_share": 0.4}, "fit into what was played"),
        ({"heard_share": 2}, "fit into what was played"),
        ({"misses": [script.HELLO] * 2}, "was not answered"),
        ({"hears_as": {script.STORY: "bell me along starry bees"}}, "was understood as"),
        ({"whole_heard_text": True}, "not shorter"),
        ({"hangs_up_after": script.COUNT}, "broke off"),
        ({"pauses": False}, "did not stop the answer"),
        ({"hears_itself": ("pause", "pause")}, "paused 2 times although nobody had spoken"),
        ({"hears_itself": ("cut",)}, "cut its own answer once"),
        ({"hears_itself": ("answer",)}, "answered once what nobody had said"),
        ({"deaf_over_voice": True}, "What the user said over the assistant"),
    ],
)
async def test_each_bad_habit_is_a_problem(talk, manners, habit, problem):
    """If this fails the demo passes an assistant that nobody would want to talk to."""
    report, _ = await talk(manners(**habit))
    assert not report.ok
    assert any(problem in told for told in report.problems), report.problems


async def test_a_reply_that_was_dropped_unheard_is_no_problem(talk, manners):
    """If this fails the demo complains about what no person could have noticed."""
    report, _ = await talk(manners(retracts=True))
    assert report.ok, report.problems


async def test_a_question_that_was_missed_once_is_asked_again(talk, manners):
    """If this fails one misheard word ends the demo."""
    report, _ = await talk(manners(misses=[script.LAST]))
    assert report.ok, report.problems
    assert [t.asked for t in report.turns if t.role == "history"] == [2]

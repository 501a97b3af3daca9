"""The log: what an operator needs, and not a word of what was said."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from voicefsm.context import Context, State
from voicefsm.effects import CancelTts, CompleteTurn, Effect, EndSession, Outcome, ReportFailure, ResumePlayout, StartGeneration
from voicefsm.events import TextReceived
from voicefsm.ports import Step
from voicefsm.runtime.session import Session
from voicefsm.simulation.stage import Stage
from voicefsm.telemetry.log import LogObserver, configure
from voicefsm.values import Backend, CancelReason, EndReason, Epoch

ONE = Epoch(1)


def lines_of(*effects: Effect, before: State = State.IDLE, after: State = State.IDLE) -> list[dict[str, Any]]:
    """What one step is worth."""
    structlog.reset_defaults()
    with capture_logs() as lines:
        step = Step("s-1", TextReceived(5, "a secret"), before, after, effects, ONE)
        LogObserver().stepped(step, Context())
    return [dict(line) for line in lines]


def test_a_transition_is_a_line_for_the_curious() -> None:
    """Otherwise nobody can follow a session in the log; or everybody has to."""
    (line,) = lines_of(before=State.IDLE, after=State.PROCESSING)
    assert (line["log_level"], line["before"], line["after"], line["fact"]) == ("debug", "idle", "processing", "TextReceived")
    assert (line["session"], line["turn"]) == ("s-1", 1)
    assert lines_of() == []


@pytest.mark.parametrize(
    ("effect", "level", "fields"),
    [
        (CancelTts(ONE, CancelReason.BARGE_IN, "stop word"), "info", {"reason": "barge_in", "why": "stop word"}),
        (ResumePlayout(ONE, "backchannel"), "info", {"why": "backchannel"}),
        (CompleteTurn(ONE, Outcome.INTERRUPTED), "info", {"outcome": "interrupted"}),
        (
            ReportFailure(Backend.TTS, ONE, "Hoarse.", "Drink."),
            "warning",
            {"backend": "tts", "problem": "Hoarse.", "remedy": "Drink."},
        ),
        (EndSession(EndReason.IDLE, "Too long."), "debug", {"reason": "idle", "message": "Too long."}),
    ],
)
def test_decisions_and_failures_are_lines(effect: Effect, level: str, fields: dict[str, str]) -> None:
    """Otherwise the operator learns of a failing backend from the users."""
    (line,) = lines_of(effect)
    assert line["log_level"] == level
    assert fields.items() <= line.items()


@pytest.mark.looptime
async def test_what_was_said_is_not_in_the_log() -> None:
    """Otherwise every log archive is a wiretap."""
    structlog.reset_defaults()
    stage = Stage()
    with capture_logs() as lines:
        stage.witness = LogObserver()  # type: ignore[assignment]
        script = [(100, lambda session: session.type_text("my password is swordfish")), (4000, Session.hang_up)]
        await stage.play(script=script)
    assert len(lines) > 4
    everything = " ".join(str(line) for line in lines)
    assert "swordfish" not in everything
    assert "Hello there" not in everything
    assert lines_of(StartGeneration(ONE, "a secret")) == []


def test_a_crash_is_logged_with_its_traceback() -> None:
    """Otherwise a defect is a mystery."""
    structlog.reset_defaults()
    error = ZeroDivisionError("x")
    with capture_logs() as lines:
        LogObserver().crashed(error)
    assert lines[0]["exc_info"] is error


@pytest.mark.parametrize(("log_format", "sign"), [("json", '"event": "session opened"'), ("console", "session opened")])
def test_formats_and_levels(log_format: str, sign: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise machines get colours, or an operator who asked for warnings gets everything."""
    try:
        configure("info", log_format)
        LogObserver().session_opened("s-1", "en-US")
        configure("warning", log_format)
        LogObserver().session_closed("s-1", "client")
    finally:
        structlog.reset_defaults()
    captured = capsys.readouterr()
    assert sign in captured.err
    assert "session closed" not in captured.err
    assert captured.out == "", "standard output belongs to the command's summary"

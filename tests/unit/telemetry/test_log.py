"""The log: what an operator needs, and not a word of what was said."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from voicefsm.context import Context, State
from voicefsm.effects import (
    CancelTts,
    CompleteTurn,
    Effect,
    EndSession,
    OpenRecognition,
    Outcome,
    ReportFailure,
    ResumePlayout,
    SpeakText,
    StartGeneration,
)
from voicefsm.errors import Draining, TooMuch
from voicefsm.events import Fact, RecognitionFailed, SessionOpened, TextReceived, Timer, TimerFired
from voicefsm.ports import Opening, Step
from voicefsm.runtime.session import Session
from voicefsm.simulation.stage import Stage
from voicefsm.telemetry.log import REFUSALS_APART_S, LogObserver, Transcripts, configure, without_words
from voicefsm.values import Backend, CancelReason, EndReason, Epoch

ONE, TWO = Epoch(1), Epoch(2)
TYPED = TextReceived(5, "a secret")


def lines_of(
    *effects: Effect, fact: Fact = TYPED, before: State = State.IDLE, after: State = State.IDLE, epoch: Epoch = ONE
) -> list[dict[str, Any]]:
    """What one step is worth."""
    structlog.reset_defaults()
    with capture_logs() as lines:
        LogObserver().stepped(Step("s-1", fact, before, after, effects, epoch), Context(reopen_attempts=2))
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


def test_a_line_is_about_the_reply_of_its_order() -> None:
    """Otherwise a reply that is cut by the next one leaves its end in the log of the next one."""
    cut, done, goodbye = CancelTts(ONE, CancelReason.NEW_INPUT), CompleteTurn(ONE, Outcome.INTERRUPTED), EndSession(EndReason.IDLE)
    lines = lines_of(cut, done, StartGeneration(TWO, "a secret"), goodbye, epoch=TWO)
    assert [(line["event"], line["turn"]) for line in lines] == [
        ("reply cancelled", 1),
        ("turn completed", 1),
        ("session ends", 2),
    ]


def test_a_recogniser_that_comes_and_goes_is_a_warning() -> None:
    """Otherwise sessions lose words and nobody knows why."""
    (failed,) = lines_of(fact=RecognitionFailed(5, "Gone.", retryable=True))
    assert (failed["event"], failed["problem"], failed["log_level"]) == ("recognition failed", "Gone.", "warning")
    (again,) = lines_of(OpenRecognition(), fact=TimerFired(5, Timer.REOPEN))
    assert (again["event"], again["attempt"], again["log_level"]) == ("recognition reopened", 2, "warning")
    assert lines_of(OpenRecognition(), fact=SessionOpened(0)) == []


@pytest.mark.parametrize(
    ("reason", "level"),
    [(reason.value, "warning" if reason is EndReason.FAILURE else "info") for reason in EndReason]
    + [("cancelled", "info"), ("client_error", "warning"), ("failed", "warning")],
)
def test_a_session_says_why_it_ended(reason: str, level: str) -> None:
    """Otherwise an operator hears of broken clients and lost sessions from the users."""
    structlog.reset_defaults()
    with capture_logs() as lines:
        LogObserver().session_closed("s-1", reason, "What happened.")
    (line,) = lines
    assert (line["log_level"], line["reason"], line["message"]) == (level, reason, "What happened.")


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
        LogObserver().crashed("s-1", error)
    assert (lines[0]["exc_info"], lines[0]["session"]) == (error, "s-1")


@pytest.mark.parametrize(("log_format", "sign"), [("json", '"event": "session opened"'), ("console", "session opened")])
def test_formats_and_levels(log_format: str, sign: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise machines get colours, or an operator who asked for warnings gets everything."""
    try:
        configure("info", log_format)
        LogObserver().session_opened("s-1", Opening("en-US", "", ""))
        configure("warning", log_format)
        LogObserver().session_closed("s-1", "client", "")
    finally:
        structlog.reset_defaults()
    captured = capsys.readouterr()
    assert sign in captured.err
    assert "session closed" not in captured.err
    assert captured.out == "", "standard output belongs to the command's summary"


def test_a_refused_call_leaves_a_line():
    """Otherwise an operator sees nothing while every caller is turned away."""
    with capture_logs() as lines:
        LogObserver().refused(TooMuch("This server holds 1 sessions already.", remedy="Try another replica."))
    (line,) = lines
    assert (line["log_level"], line["event"], line["kind"]) == ("warning", "session refused", "TooMuch")
    assert "already" in line["problem"]


def test_a_flood_of_refused_calls_leaves_a_line_now_and_then():
    """Otherwise whoever calls a full server in a loop fills its disk, and hides everything else."""
    now = 100.0
    with capture_logs() as lines:
        observer = LogObserver(now=lambda: now)
        for _ in range(500):
            observer.refused(TooMuch("Full."), "kiosk-7")
        observer.refused(TooMuch("Full."), "kiosk-8")
        observer.refused(Draining("Leaving."), "kiosk-7")
        now += REFUSALS_APART_S
        observer.refused(TooMuch("Full."), "kiosk-7")
        observer.refused(TooMuch("Full."), "kiosk-8")
    told = [(line["kind"], line["identity"], line.get("unsaid", 0)) for line in lines]
    once = [("TooMuch", "kiosk-7", 0), ("TooMuch", "kiosk-8", 0), ("Draining", "kiosk-7", 0)]
    assert told == [*once, ("TooMuch", "kiosk-7", 499), ("TooMuch", "kiosk-8", 0)]


@pytest.mark.parametrize(
    ("transcripts", "expected"),
    [
        (Transcripts.NONE, []),
        (Transcripts.REDACTED, [("user", "xx, xx'x x xxxxxx"), ("assistant", "xxxx.")]),
        (Transcripts.FULL, [("user", "no, it's a secret"), ("assistant", "Fine.")]),
    ],
)
def test_how_much_of_what_was_said_is_logged_is_a_setting(transcripts: Transcripts, expected: list[tuple[str, str]]) -> None:
    """Otherwise somebody who may not keep transcripts has them in every log archive."""
    structlog.reset_defaults()
    orders = (StartGeneration(TWO, "no, it's a secret"), SpeakText(TWO, 0, "Fine."))
    with capture_logs() as lines:
        LogObserver(transcripts=transcripts).stepped(Step("s-1", TYPED, State.IDLE, State.IDLE, orders, ONE), Context())
    assert [(line["who"], line["text"]) for line in lines if line["event"] == "said"] == expected
    assert all((line["session"], line["turn"]) == ("s-1", 2) for line in lines)


def test_redaction_knows_every_script() -> None:
    """Otherwise what is said in Hindi is not redacted."""
    assert set(without_words("नमस्ते दुनिया, 42 Ärger!")) == set("x ,!")


@pytest.mark.looptime
async def test_every_line_has_its_session_its_turn_and_its_trace() -> None:
    """Otherwise a line cannot be put beside the trace, or the journal, that explains it."""
    structlog.reset_defaults()
    stage = Stage()
    with capture_logs() as lines:
        stage.witness = LogObserver(trace_id=lambda session_id: f"trace of {session_id}")  # type: ignore[assignment]
        await stage.play(script=[(100, lambda session: session.type_text("hello")), (4000, Session.hang_up)])
    assert {"session opened", "state", "turn completed", "session closed"} <= {line["event"] for line in lines}
    assert {(line["session"], line["trace_id"]) for line in lines} == {("s-1", "trace of s-1")}
    turns = [line["turn"] for line in lines]
    assert (turns[0], turns[-1]) == (0, 1)
    states = [line for line in lines if line["event"] == "state"]
    assert {line["log_level"] for line in states} == {"debug"}
    assert next((line["before"], line["after"]) for line in states) == ("idle", "processing")


def test_without_traces_no_line_has_an_empty_one() -> None:
    """Otherwise every line is longer for nothing."""
    structlog.reset_defaults()
    with capture_logs() as lines:
        LogObserver().session_opened("s-1", Opening("en-US", "", ""))
    assert "trace_id" not in lines[0]


def test_the_log_says_who_calls_and_what_was_reloaded() -> None:
    """Otherwise nobody can tell whose session a line is of, or that a file with a mistake was ignored."""
    structlog.reset_defaults()
    with capture_logs() as lines:
        observer = LogObserver()
        observer.session_opened("s-1", Opening("en-US", "", "", "kiosk-7"))
        observer.refused(TooMuch("Full."), "kiosk-7")
        observer.refused(TooMuch("Full."))
        observer.reloaded("identities", "")
        observer.reloaded("identities", "line 3")
    assert [line.get("identity") for line in lines] == ["kiosk-7", "kiosk-7", None, None, None]
    assert [(line["event"], line["log_level"]) for line in lines[3:]] == [("reloaded", "info"), ("not reloaded", "error")]
    assert lines[4]["problem"] == "line 3"

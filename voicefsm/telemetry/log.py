"""Structured log lines: one per session, turn, decision and failure; one per transition at debug. No audio, no prompts.

What users and assistants said stands in the journal, where there is one, and in the log only if `log.transcripts` says so. Each
line of a session has its id and its turn (0 before the first), and the turn's trace where there are traces.
"""

from __future__ import annotations

import enum
import logging
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from voicefsm.context import Context
from voicefsm.effects import (
    CancelTts,
    CompleteTurn,
    EndSession,
    OpenRecognition,
    ReportFailure,
    ResumePlayout,
    SpeakText,
    StartGeneration,
)
from voicefsm.errors import VoiceFsmError
from voicefsm.events import RecognitionFailed, TimerFired
from voicefsm.ports import Kept, Observer, Opening, Silence, Step, Vitals
from voicefsm.table import key_of, name_of
from voicefsm.values import EndReason

_NORMAL_ENDS = frozenset({*EndReason, "cancelled"}) - {EndReason.FAILURE}
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class _Threshold:
    """The least urgent lines that are written. Loggers are kept for as long as the process lives, and ask at each line."""

    level = logging.INFO


def set_level(level: str) -> None:
    """From now on."""
    _Threshold.level = _LEVELS[level]


def _is_urgent(_logger: object, method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if _LEVELS.get(method, logging.ERROR) < _Threshold.level:
        raise structlog.DropEvent
    return line


def configure(level: str, log_format: str) -> None:
    """Set the process up: `log_format` is "json", "console" or "auto" (console on a terminal). Lines go to standard error."""
    set_level(level)
    is_console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = structlog.dev.ConsoleRenderer() if is_console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            _is_urgent,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.getLogger("transitions").setLevel(logging.WARNING)


class Transcripts(enum.StrEnum):
    """What of the words said is written to the log."""

    NONE = "none"
    """Nothing."""
    REDACTED = "redacted"
    """How many words, and how long they are."""
    FULL = "full"
    """All of it."""


def without_words(text: str) -> str:
    """A text with an x for each letter, sign and digit: its length and its shape, and nothing of what it says."""
    return re.sub(r"[^\s!-/:-@\[-`{-~]", "x", text)


REFUSALS_APART_S = 10.0
"""Refusals of one kind and identity have one line in this time; those that come meanwhile are counted in the next."""
REFUSALS_KEPT = 1000
"""Kinds and identities that are told apart."""


class _Refusals:
    """Whose refusal is worth a line: callers who are turned away in a flood must not fill the disk."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._told: dict[tuple[str, str], tuple[float, int]] = {}
        """When each was told last, and how many came since."""

    def unsaid(self, kind: str, identity: str) -> int | None:
        """How many before this one have no line; None: nor has this one."""
        now = self._now()
        at, more = self._told.get((kind, identity), (-REFUSALS_APART_S, 0))
        if now - at < REFUSALS_APART_S:
            self._told[kind, identity] = at, more + 1
            return None
        if len(self._told) >= REFUSALS_KEPT:
            self._told.clear()
        self._told[kind, identity] = now, 0
        return more


class LogObserver(Observer):
    """Writes the log."""

    def __init__(
        self,
        *,
        transcripts: Transcripts = Transcripts.NONE,
        trace_id: Callable[[str], str] = lambda _session_id: "",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`trace_id` is that of a session's newest turn; `now` is in seconds."""
        self._log: Any = structlog.get_logger("voicefsm")
        self._transcripts, self._trace_id = transcripts, trace_id
        self._turns: dict[str, int] = {}
        """The newest turn of each session."""
        self._is_store_lost = False
        self._refusals = _Refusals(now)

    def _of(self, session_id: str, turn: int) -> Any:
        """A line of this session: every one says of which turn, and where its trace is. Too dear for what is not written."""
        trace = self._trace_id(session_id)
        log = self._log.bind(session=session_id, turn=int(turn))
        return log.bind(trace_id=trace) if trace else log

    def session_opened(self, session_id: str, opening: Opening) -> None:
        """See `ports.Observer`."""
        self._turns[session_id] = 0
        log = self._of(session_id, 0).bind(language=opening.language_code, identity=opening.identity)
        log.info("session opened", **({"resumes": opening.resumes} if opening.resumes else {}))

    def stepped(self, step: Step, context: Context) -> None:
        """See `ports.Observer`."""
        if not step.effects and step.before is step.after and not isinstance(step.fact, RecognitionFailed):
            return
        self._turns[step.session_id] = int(step.epoch) or self._turns.get(step.session_id, 0)
        of = partial(self._of, step.session_id)
        if step.before is not step.after:
            of(step.epoch).debug("state", before=step.before.value, after=step.after.value, fact=name_of(key_of(step.fact)))
        if isinstance(step.fact, RecognitionFailed):
            of(step.epoch).warning("recognition failed", problem=step.fact.message, retryable=step.fact.retryable)
        for effect in step.effects:
            if isinstance(effect, OpenRecognition) and isinstance(step.fact, TimerFired):
                of(step.epoch).warning("recognition reopened", attempt=context.reopen_attempts)
            # One step may end a reply and begin the next: the order knows whose it is.
            _line_of(effect, partial(of, getattr(effect, "epoch", step.epoch)))
            if self._transcripts is not Transcripts.NONE and isinstance(effect, StartGeneration | SpeakText):
                self._line_of_words(effect, of(effect.epoch))

    def _line_of_words(self, order: StartGeneration | SpeakText, log: Any) -> None:
        who, text = ("user", order.user_text) if isinstance(order, StartGeneration) else ("assistant", order.text)
        log.info("said", who=who, text=text if self._transcripts is Transcripts.FULL else without_words(text))

    def measured(self, session_id: str, vitals: Vitals) -> None:
        """See `ports.Observer`: metrics tell that better."""

    def fell_silent(self, session_id: str, silence: Silence) -> None:
        """See `ports.Observer`."""
        after_ms = silence.silent_ms - silence.written_ms
        self._of(session_id, int(silence.epoch)).debug("cut reply fell silent", after_cancel_ms=after_ms)

    def kept(self, session_id: str, kept: Kept) -> None:
        """See `ports.Observer`: who goes on is told, and a store that fails, once until it works again."""
        log = partial(self._of, session_id, self._turns.get(session_id, 0))
        if kept.outcome == "taken over":
            log().info("session taken over")
        elif kept.problem and not self._is_store_lost:
            log().warning("session not kept", problem=kept.problem, remedy="It cannot be resumed while this lasts.")
        elif not kept.problem and self._is_store_lost:
            log().info("sessions are kept again")
        self._is_store_lost = bool(kept.problem)

    def session_closed(self, session_id: str, reason: str, message: str) -> None:
        """See `ports.Observer`."""
        log = self._of(session_id, self._turns.pop(session_id, 0))
        (log.info if reason in _NORMAL_ENDS else log.warning)("session closed", reason=reason, message=message)

    def refused(self, error: VoiceFsmError, identity: str = "") -> None:
        """See `ports.Observer`."""
        kind = type(error).__name__
        unsaid = self._refusals.unsaid(kind, identity)
        if unsaid is None:
            return
        log = self._log.bind(identity=identity) if identity else self._log
        log = log.bind(unsaid=unsaid) if unsaid else log
        log.warning("session refused", kind=kind, problem=error.message, remedy=error.remedy)

    def reloaded(self, what: str, problem: str) -> None:
        """See `ports.Observer`."""
        if problem:
            self._log.error("not reloaded", what=what, problem=problem, remedy="What was said before still counts; mend the file.")
        else:
            self._log.info("reloaded", what=what)

    def crashed(self, session_id: str, error: Exception) -> None:
        """See `ports.Observer`."""
        self._of(session_id, self._turns.get(session_id, 0)).error("session crashed", exc_info=error)


def _line_of(effect: object, log: Callable[[], Any]) -> None:
    """The line an order is worth, if any."""
    match effect:
        case CancelTts():
            log().info("reply cancelled", reason=effect.reason.value, why=effect.why)
        case ResumePlayout():
            log().info("interruption rejected", why=effect.why)
        case CompleteTurn():
            log().info("turn completed", outcome=effect.outcome.value)
        case ReportFailure():
            fault = effect.backend.value if effect.backend else "client"
            log().warning("backend failed", backend=fault, problem=effect.message, remedy=effect.remedy)
        case EndSession():
            log().debug("session ends", reason=effect.reason.value, message=effect.message)

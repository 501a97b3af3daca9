"""Structured log lines: one per session, turn, decision and failure; one per transition at debug. No audio, no prompts.

What users and assistants said stands in the journal, where there is one, not in the log.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from voicefsm.context import Context
from voicefsm.effects import CancelTts, CompleteTurn, EndSession, OpenRecognition, ReportFailure, ResumePlayout
from voicefsm.errors import VoiceFsmError
from voicefsm.events import RecognitionFailed, TimerFired
from voicefsm.ports import Observer, Silence, Step, Vitals
from voicefsm.table import key_of, name_of
from voicefsm.values import EndReason

_NORMAL_ENDS = frozenset({*EndReason, "cancelled"}) - {EndReason.FAILURE}
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str, log_format: str) -> None:
    """Set the process up: `log_format` is "json", "console" or "auto" (console on a terminal). Lines go to standard error."""
    is_console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = structlog.dev.ConsoleRenderer() if is_console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.getLogger("transitions").setLevel(logging.WARNING)


class LogObserver(Observer):
    """Writes the log."""

    def __init__(self) -> None:
        self._log: Any = structlog.get_logger("voicefsm")

    def session_opened(self, session_id: str, language_code: str, model: str) -> None:  # noqa: ARG002 (the port has it)
        """See `ports.Observer`."""
        self._log.info("session opened", session=session_id, language=language_code)

    def stepped(self, step: Step, context: Context) -> None:
        """See `ports.Observer`."""
        log = self._log.bind(session=step.session_id, turn=int(step.epoch))
        if step.before is not step.after:
            log.debug("state", before=step.before.value, after=step.after.value, fact=name_of(key_of(step.fact)))
        if isinstance(step.fact, RecognitionFailed):
            log.warning("recognition failed", problem=step.fact.message, retryable=step.fact.retryable)
        for effect in step.effects:
            if isinstance(effect, OpenRecognition) and isinstance(step.fact, TimerFired):
                log.warning("recognition reopened", attempt=context.reopen_attempts)
            # One step may end a reply and begin the next: the order knows whose it is.
            _line_of(effect, log.bind(turn=int(getattr(effect, "epoch", step.epoch))))

    def measured(self, session_id: str, vitals: Vitals) -> None:
        """See `ports.Observer`: metrics tell that better."""

    def fell_silent(self, session_id: str, silence: Silence) -> None:
        """See `ports.Observer`."""
        after_ms = silence.silent_ms - silence.written_ms
        self._log.debug("cut reply fell silent", session=session_id, turn=int(silence.epoch), after_cancel_ms=after_ms)

    def session_closed(self, session_id: str, reason: str, message: str) -> None:
        """See `ports.Observer`."""
        log = self._log.info if reason in _NORMAL_ENDS else self._log.warning
        log("session closed", session=session_id, reason=reason, message=message)

    def refused(self, error: VoiceFsmError) -> None:
        """See `ports.Observer`."""
        self._log.warning("session refused", kind=type(error).__name__, problem=error.message, remedy=error.remedy)

    def crashed(self, session_id: str, error: Exception) -> None:
        """See `ports.Observer`."""
        self._log.error("session crashed", session=session_id, exc_info=error)


def _line_of(effect: object, log: Any) -> None:
    """The line an order is worth, if any."""
    match effect:
        case CancelTts():
            log.info("reply cancelled", reason=effect.reason.value, why=effect.why)
        case ResumePlayout():
            log.info("interruption rejected", why=effect.why)
        case CompleteTurn():
            log.info("turn completed", outcome=effect.outcome.value)
        case ReportFailure():
            fault = effect.backend.value if effect.backend else "client"
            log.warning("backend failed", backend=fault, problem=effect.message, remedy=effect.remedy)
        case EndSession():
            log.debug("session ends", reason=effect.reason.value, message=effect.message)

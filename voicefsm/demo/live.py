"""The conversation as it happens, on the terminal: plain lines, and on a real terminal a status line below them."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from voicefsm.audio.samples import RATE_HZ
from voicefsm.client import (
    AssistantText,
    Event,
    PlayoutDucked,
    PlayoutPaused,
    PlayoutResumed,
    ServerError,
    SessionReady,
    State,
    StateChanged,
    Transcript,
    TtsCancelled,
    TurnCompleted,
)
from voicefsm.demo.line import Line, Utterance
from voicefsm.demo.script import Moment

STYLES = {
    State.IDLE: "black on grey82",
    State.LISTENING: "black on sky_blue2",
    State.PROCESSING: "black on khaki1",
    State.SPEAKING: "black on pale_green1",
    State.INTERRUPTING: "black on light_coral",
    State.CLOSED: "white on grey42",
}
REFRESH_PER_S = 10


class Screen:
    """Where the demo tells what goes on. Use it as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._line: Line | None = None
        self._speaking: Utterance | None = None
        self._state = State.IDLE
        self._partial = ""
        self._live = Live(console=self.console, get_renderable=self._status, refresh_per_second=REFRESH_PER_S, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def watch(self, line: Line) -> None:
        """From now on times are the line's."""
        self._line = line

    def note(self, text: str) -> None:
        """Something about the demo itself."""
        self.console.print(f"[dim]{escape(text)}[/dim]")

    def says(self, utterance: Utterance) -> None:
        """The user begins to speak."""
        self._speaking = utterance
        self._print(utterance.first_sample, "user", f'"{utterance.text}"', "bold blue")

    def shows(self, moment: Moment) -> None:
        """The server said something."""
        event, at = moment.event, moment.at_sample
        match event:
            case StateChanged():
                self._state = event.after
            case Transcript():
                self._partial = "" if event.is_final else event.text
        told = _told(moment.event)
        if told:
            self._print(at, *told)

    def _print(self, at_sample: int, label: str, text: str, style: str) -> None:
        seconds = max(0.0, at_sample / RATE_HZ)
        self.console.print(Text.assemble((f"{seconds:7.2f}  ", "dim"), (f"{label:<11}", style), f" {text}"))

    def _status(self) -> Text:
        """The status line."""
        if self._line is None:
            return Text("")
        now = self._line.now_sample
        heard = self._line.heard[-1] if self._line.heard else None
        user = self._speaking is not None and self._speaking.first_sample <= now < self._speaking.end_sample
        assistant = heard is not None and heard.at_sample + heard.length >= now - RATE_HZ // 10
        return Text.assemble(
            (f"{now / RATE_HZ:7.2f}  ", "bold"),
            (f" {self._state.upper():<12} ", STYLES.get(self._state, "")),
            ("  ● user " if user else "  ○ user ", "bold blue" if user else "dim"),
            ("  ● assistant " if assistant else "  ○ assistant ", "bold green" if assistant else "dim"),
            (f"  {self._partial}", "italic blue"),
        )


def _told(event: Event) -> tuple[str, str, str] | None:  # noqa: C901, PLR0911 - one return for each kind
    """Label, text and style of an event's line; None when it gets none."""
    match event:
        case SessionReady():
            return "session", f"{event.session_id}, canceller {event.echo_canceller}, voice {event.voice_name}", "dim"
        case StateChanged():
            return "state", f"{event.before.upper()} → {event.after.upper()}  ({event.event})", STYLES.get(event.after, "")
        case Transcript(is_final=True):
            return "heard", event.text or "(nothing)", "blue"
        case AssistantText():
            return "assistant", event.text, "green"
        case PlayoutPaused():
            return "PAUSE", f"reply {event.epoch} at far-end sample {event.position}", "bold dark_orange"
        case PlayoutDucked():
            return "DUCK", f"reply {event.epoch} by {event.duck_db} dB at far-end sample {event.position}", "bold dark_orange"
        case PlayoutResumed():
            return "RESUME", f"reply {event.epoch} at far-end sample {event.position}", "bold green"
        case TtsCancelled():
            text = f"reply {event.epoch}, heard up to far-end sample {event.last_valid_sample} ({event.reason})"
            return "CANCEL_TTS", text, "bold red"
        case TurnCompleted():
            return "turn", f'{event.outcome}; heard: "{event.heard_text}"', "dim"
        case ServerError():
            return "ERROR", f"{event.message} {event.remedy}", "bold magenta"
    return None

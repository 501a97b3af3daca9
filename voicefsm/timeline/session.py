"""What a journal tells about one session, in the terms of a picture: who spoke when, in which state, and what happened.

A journal is a file of JSON lines, each with `kind`, `at_ms` and a body (voicefsm/runtime/journal.py). Times here are milliseconds
since the session began. Kinds and fields this version does not know are passed over, so that old pictures can be drawn of new
journals.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from voicefsm.errors import VoiceFsmError


class Speaker(enum.Enum):
    """Who."""

    USER = "user"
    ASSISTANT = "assistant"


class NoteKind(enum.Enum):
    """The moments of a conversation that are worth a mark."""

    ONSET = "onset"
    """Near-end speech began over the assistant's voice."""
    PAUSE = "pause"
    """The client was told to fall silent."""
    RESUME = "resume"
    """It was no barge-in: the client was told to go on."""
    CANCEL = "cancel"
    """The client was told to throw the reply away."""
    FAILURE = "failure"
    """A backend failed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Band:
    """A stretch of time in one state."""

    start_ms: int
    end_ms: int
    state: str


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """Something that happened at one moment."""

    at_ms: int
    kind: NoteKind
    text: str
    """What a reader wants to know about it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Speech:
    """A stretch of time in which somebody was heard."""

    start_ms: int
    end_ms: int
    speaker: Speaker
    epoch: int = 0
    """The reply, for the assistant."""


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """Words, and where in time they belong."""

    start_ms: int
    end_ms: int
    speaker: Speaker
    text: str


@dataclasses.dataclass(slots=True)
class Turn:
    """One exchange."""

    epoch: int
    at_ms: int
    user_text: str = ""
    sentences: list[str] = dataclasses.field(default_factory=list)
    heard_text: str | None = None
    """None: not over when the journal ended."""
    outcome: str = ""
    latencies: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def assistant_text(self) -> str:
        """What was written for the voice."""
        return " ".join(self.sentences)


@dataclasses.dataclass(slots=True)
class Session:
    """Everything the picture shows."""

    session_id: str = ""
    duration_ms: int = 0
    bands: list[Band] = dataclasses.field(default_factory=list)
    notes: list[Note] = dataclasses.field(default_factory=list)
    speech: list[Speech] = dataclasses.field(default_factory=list)
    lines: list[Line] = dataclasses.field(default_factory=list)
    turns: list[Turn] = dataclasses.field(default_factory=list)


def read(journal: Path) -> Session:
    """Read a journal. Raises `VoiceFsmError` when it is no journal; a cut last line is left out."""
    reader = _Reader()
    for record in _records(journal):
        reader.take(record)
    return reader.finish(journal)


def _records(journal: Path) -> Iterator[Mapping[str, Any]]:
    lines = journal.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines):
                return
            raise _no_journal(journal, number) from error
        if not isinstance(record, dict) or "kind" not in record or "at_ms" not in record:
            raise _no_journal(journal, number)
        yield record


def _no_journal(journal: Path, number: int) -> VoiceFsmError:
    return VoiceFsmError(
        f"Line {number} of {journal} is not a record of a voicefsm journal.",
        remedy="Give the path of a journal.jsonl as `voicefsm serve --journal-dir` writes them.",
    )


class _Reader:
    """Turns records into a `Session`, one by one."""

    def __init__(self) -> None:
        self.session = Session()
        self._is_empty = True
        self._state = "idle"
        self._state_ms = 0
        self._now_ms = 0
        self._onset_ms: int | None = None
        self._utterance_ms: int | None = None
        self._audible_ms: int | None = None
        self._turns: dict[int, Turn] = {}
        self._epoch = 0

    def take(self, record: Mapping[str, Any]) -> None:
        """One record more."""
        self._is_empty = False
        self._now_ms = int(record["at_ms"])
        kind = record["kind"]
        if kind == "session":
            self.session.session_id = str(record.get("session_id", ""))
        elif kind == "step":
            self._step(record)
        elif kind == "turn":
            self._turn_over(record)

    def _step(self, record: Mapping[str, Any]) -> None:
        """A fact, and what it led to."""
        for item in (record["fact"], *record.get("effects", ())):
            handle = _HANDLERS.get(item["type"])
            if handle:
                handle(self, item)
        if record["after"] != self._state:
            self._move(str(record["after"]))

    def _turn_over(self, record: Mapping[str, Any]) -> None:
        """What the exchange came to."""
        turn = self._turn(record)
        turn.outcome = str(record.get("outcome", ""))
        turn.heard_text = str(record.get("heard_text", ""))
        turn.latencies = {name: int(value) for name, value in record.get("latencies", {}).items() if value is not None}

    def finish(self, journal: Path) -> Session:
        """Close what is open."""
        if self._is_empty:
            raise VoiceFsmError(f"{journal} is empty.", remedy="Was the session's server stopped before it wrote anything?")
        self._move("")
        self._fall_silent()
        self.speech_ended({})
        self.session.duration_ms = self._now_ms
        self.session.turns = list(self._turns.values())
        self.session.lines += [line for turn in self._turns.values() for line in _spread(turn, self.session.speech)]
        self.session.lines.sort(key=lambda line: line.start_ms)
        return self.session

    def _move(self, state: str) -> None:
        if self._now_ms > self._state_ms:
            self.session.bands.append(Band(self._state_ms, self._now_ms, self._state))
        self._state, self._state_ms = state, self._now_ms

    def _turn(self, body: Mapping[str, Any]) -> Turn:
        epoch = int(body.get("epoch", 0))
        return self._turns.setdefault(epoch, Turn(epoch, self._now_ms))

    def _note(self, kind: NoteKind, text: str, at_ms: int | None = None) -> None:
        self.session.notes.append(Note(self._now_ms if at_ms is None else at_ms, kind, text))

    def _time(self, body: Mapping[str, Any], name: str) -> int:
        """A time in the body; now, where there is none."""
        return int(body.get(name, self._now_ms))

    # --- facts ---------------------------------------------------------------------------------------------------------------

    def speech_started(self, body: Mapping[str, Any]) -> None:
        """The user began to speak."""
        self._onset_ms = self._time(body, "onset_ms")
        if self._utterance_ms is None:
            self._utterance_ms = self._onset_ms
        if self._audible_ms is not None:
            self._note(NoteKind.ONSET, "user speaks", self._onset_ms)

    def speech_ended(self, body: Mapping[str, Any]) -> None:
        """The user fell silent."""
        if self._onset_ms is not None:
            end_ms = max(self._time(body, "last_voiced_ms"), self._onset_ms + 1)
            self.session.speech.append(Speech(self._onset_ms, end_ms, Speaker.USER))
            self._onset_ms = None

    def final_heard(self, body: Mapping[str, Any]) -> None:
        """The user's words."""
        start_ms, self._utterance_ms = self._utterance_ms, None
        text = str(body.get("text", "")).strip()
        if text:
            spoken = [s.end_ms for s in self.session.speech if s.speaker is Speaker.USER]
            end_ms = self._now_ms if self._onset_ms is not None or not spoken else spoken[-1]
            self.session.lines.append(Line(min(self._now_ms if start_ms is None else start_ms, end_ms), end_ms, Speaker.USER, text))

    def playout_started(self, body: Mapping[str, Any]) -> None:
        """The client hears a reply."""
        self._epoch = int(body.get("epoch", 0))
        self._audible_ms = self._now_ms

    def playout_finished(self, _: Mapping[str, Any]) -> None:
        """The client heard it to its end."""
        self._fall_silent()

    def _fall_silent(self) -> None:
        if self._audible_ms is not None:
            self.session.speech.append(Speech(self._audible_ms, self._now_ms, Speaker.ASSISTANT, self._epoch))
            self._audible_ms = None

    # --- orders --------------------------------------------------------------------------------------------------------------

    def start_generation(self, body: Mapping[str, Any]) -> None:
        """The user's turn is over."""
        self._turn(body).user_text = str(body.get("user_text", ""))

    def speak_text(self, body: Mapping[str, Any]) -> None:
        """A sentence goes to the voice."""
        self._turn(body).sentences.append(str(body.get("text", "")))

    def pause_playout(self, _: Mapping[str, Any]) -> None:
        """The client falls silent for a while."""
        self._fall_silent()
        self._note(NoteKind.PAUSE, "pause")

    def duck_playout(self, body: Mapping[str, Any]) -> None:
        """The client goes on more quietly for a while."""
        self._note(NoteKind.PAUSE, f"duck by {body.get('duck_db', '?')} dB")

    def resume_playout(self, body: Mapping[str, Any]) -> None:
        """The client goes on."""
        self._fall_silent()  # it was ducked
        self.playout_started(body)
        self._note(NoteKind.RESUME, "resume")

    def cancel_tts(self, body: Mapping[str, Any]) -> None:
        """The client falls silent for good."""
        self._fall_silent()
        self._note(NoteKind.CANCEL, f"CANCEL_TTS ({body.get('reason', '?')})".replace("_in", "-in"))

    def report_failure(self, body: Mapping[str, Any]) -> None:
        """A backend failed."""
        self._note(NoteKind.FAILURE, f"{body.get('backend', 'backend')} failed: {body.get('message', '')}")


_HANDLERS: Mapping[str, Callable[[_Reader, Mapping[str, Any]], None]] = {
    "SpeechStarted": _Reader.speech_started,
    "SpeechEnded": _Reader.speech_ended,
    "FinalHeard": _Reader.final_heard,
    "PlayoutStarted": _Reader.playout_started,
    "PlayoutFinished": _Reader.playout_finished,
    "StartGeneration": _Reader.start_generation,
    "SpeakText": _Reader.speak_text,
    "PausePlayout": _Reader.pause_playout,
    "DuckPlayout": _Reader.duck_playout,
    "ResumePlayout": _Reader.resume_playout,
    "CancelTts": _Reader.cancel_tts,
    "ReportFailure": _Reader.report_failure,
}


def _spread(turn: Turn, speech: list[Speech]) -> Iterator[Line]:
    """The heard words of a reply, over the time in which they were heard: evenly by letters, which is near enough to read along."""
    spans = [s for s in speech if s.speaker is Speaker.ASSISTANT and s.epoch == turn.epoch]
    words = (turn.assistant_text if turn.heard_text is None else turn.heard_text).split()
    letters = sum(len(word) + 1 for word in words)
    heard_ms = sum(s.end_ms - s.start_ms for s in spans)
    at, done_ms = 0, 0
    for span in spans:
        length_ms = span.end_ms - span.start_ms
        done_ms += length_ms
        taken: list[str] = []
        start = at
        while words and (at + len(words[0]) / 2) * heard_ms <= done_ms * letters:
            at += len(words[0]) + 1
            taken.append(words.pop(0))
        if taken and at > start:
            yield Line(span.start_ms, span.end_ms, Speaker.ASSISTANT, " ".join(taken))

"""The picture of a session, drawn with matplotlib: a score of rows, read like music, and a close-up of every interruption.

A row shows, top to bottom: what happened (flags), the user's words and voice, the state of the conversation, the assistant's voice
and words. Without a recording the voices are plain bars. Nothing here knows files or formats: `figure` returns a figure, and says
where its rows are so that a page can move a playhead over them.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from voicefsm.timeline.recording import Recording, envelope
from voicefsm.timeline.session import Line, Note, NoteKind, Session, Speaker, Speech

INK, FAINT, PAPER = "#1f2933", "#9aa5b1", "#ffffff"
VOICE_COLOURS = {Speaker.USER: "#2563a8", Speaker.ASSISTANT: "#0f7a5a"}
ECHO_COLOUR = "#d8a24a"
"""What the microphone heard besides the user."""
STATE_COLOURS = {
    "idle": "#e4e7eb",
    "listening": "#a9cdf2",
    "processing": "#fbdd8c",
    "speaking": "#a5e0c3",
    "interrupting": "#f6a5a0",
    "closed": "#7b8794",
}
NOTE_COLOURS = {
    NoteKind.ONSET: "#2563a8",
    NoteKind.PAUSE: "#c26a00",
    NoteKind.RESUME: "#0f7a5a",
    NoteKind.CANCEL: "#c81e1e",
    NoteKind.FAILURE: "#7b1fa2",
}

ROW_MS = 20_000
"""A row shows about so much."""
ROWS_MAX = 16
"""More time makes longer rows, not a longer picture."""
CLOSE_UPS_MAX = 4
"""Interruptions drawn large; the first ones …"""
ROOMY_CLOSE_UPS_MAX, TICK_MS = 2, 250
"""… and up to so many have room for a label this often; more of them for half as many."""
ONSET_MS_MAX = 1500
"""A pause belongs to an onset at most so long before it."""
WIDTH_IN, ROW_IN, CLOSE_UP_IN, HEAD_IN = 17.0, 2.3, 2.8, 0.9
LEFT_IN, RIGHT_IN = 1.0, 0.25
BINS_PER_ROW = 1600
CHAR_IN = 0.062
"""Width of a letter of the words, on average."""
PHRASE_MS = 2600
"""Words are set in phrases of about this length, each under its moment."""

# Heights inside a row, from 0 at the bottom to 10.
FLAG_Y, USER_TEXT_Y, USER_Y, STATE_Y, ASSISTANT_Y, ASSISTANT_TEXT_Y = 9.5, 9.1, 6.75, 4.95, 3.15, 1.75
VOICE_HALF, STATE_HALF = 1.2, 0.45


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """Where a stretch of time is in the picture; fractions of its width and height, from the top left."""

    start_ms: int
    end_ms: int
    left: float
    right: float
    top: float
    bottom: float


def figure(session: Session, recording: Recording | None, title: str) -> tuple[Figure, list[Row]]:
    """Draw a session. Returns the figure and its rows of time."""
    duration_ms = max(session.duration_ms, recording.duration_ms if recording else 0, 1000)
    row_ms = math.ceil(duration_ms / max(1, min(ROWS_MAX, round(duration_ms / ROW_MS))) / 1000) * 1000
    starts = range(0, duration_ms, row_ms)
    close_ups = _close_ups(session)
    height_in = HEAD_IN + ROW_IN * len(starts) + (CLOSE_UP_IN + 0.45 if close_ups else 0) + 0.3
    drawing = Figure(figsize=(WIDTH_IN, height_in), facecolor=PAPER)
    FigureCanvasAgg(drawing)
    _head(drawing, session, title, duration_ms, height_in)
    rows: list[Row] = []
    for index, start_ms in enumerate(starts):
        top_in = HEAD_IN + ROW_IN * index
        box = (LEFT_IN, height_in - top_in - ROW_IN + 0.22, WIDTH_IN - LEFT_IN - RIGHT_IN, ROW_IN - 0.22)
        axes = _axes(drawing, box, height_in)
        _row(axes, session, recording, start_ms, start_ms + row_ms)
        rows.append(_place(start_ms, start_ms + row_ms, box, height_in))
    if close_ups:
        _draw_close_ups(drawing, session, recording, close_ups, height_in)
    return drawing, rows


def _axes(drawing: Figure, box_in: tuple[float, float, float, float], height_in: float) -> Axes:
    left, bottom, width, height = box_in
    axes = drawing.add_axes((left / WIDTH_IN, bottom / height_in, width / WIDTH_IN, height / height_in))
    axes.set_ylim(0, 10)
    axes.set_yticks([])
    axes.patch.set_alpha(0)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(axis="x", colors=FAINT, labelsize=7, length=3, pad=1)
    return axes


def _place(start_ms: int, end_ms: int, box_in: tuple[float, float, float, float], height_in: float) -> Row:
    left, bottom, width, height = box_in
    return Row(
        start_ms,
        end_ms,
        left / WIDTH_IN,
        (left + width) / WIDTH_IN,
        1 - (bottom + height) / height_in,
        1 - bottom / height_in,
    )


def _head(drawing: Figure, session: Session, title: str, duration_ms: int, height_in: float) -> None:
    """Title and legend."""
    x, y = LEFT_IN / WIDTH_IN, 1 - 0.3 / height_in
    drawing.text(x, y, title, fontsize=15, weight="bold", color=INK, va="center")
    cuts = sum(note.kind is NoteKind.CANCEL for note in session.notes)
    resumes = sum(note.kind is NoteKind.RESUME for note in session.notes)
    facts = f"{duration_ms / 1000:.1f} s · {len(session.turns)} turns · {cuts} cut · {resumes} resumed"
    drawing.text(x, 1 - 0.62 / height_in, facts, fontsize=9.5, color=INK, va="center")
    at = 0.42
    for state, colour in STATE_COLOURS.items():
        box = FancyBboxPatch(
            (at, y - 0.085 / height_in),
            0.075,
            0.17 / height_in,
            boxstyle="square,pad=0",
            color=colour,
            transform=drawing.transFigure,
        )
        drawing.add_artist(box)
        dark = state == "closed"
        drawing.text(at + 0.0375, y, state.upper(), fontsize=7.5, ha="center", va="center", color=PAPER if dark else INK)
        at += 0.0795
    at = 0.42
    for kind, label in ((NoteKind.ONSET, "user speaks over it"), (NoteKind.PAUSE, "playout paused"), (NoteKind.RESUME, "resumed"),
                        (NoteKind.CANCEL, "CANCEL_TTS"), (NoteKind.FAILURE, "failure")):  # fmt: skip
        drawing.text(at, 1 - 0.62 / height_in, f"▼ {label}", fontsize=8.5, color=NOTE_COLOURS[kind], va="center")
        at += 0.027 + 0.0043 * len(label)


def _row(axes: Axes, session: Session, recording: Recording | None, start_ms: int, end_ms: int) -> None:
    axes.set_xlim(start_ms / 1000, end_ms / 1000)
    seconds = range(start_ms // 1000, end_ms // 1000 + 1, max(1, (end_ms - start_ms) // 20_000))
    axes.set_xticks(list(seconds), [f"{s // 60}:{s % 60:02d}" for s in seconds])
    _voices(axes, session, recording, start_ms, end_ms, bins=BINS_PER_ROW)
    _states(axes, session, start_ms, end_ms)
    per_in = (end_ms - start_ms) / (WIDTH_IN - LEFT_IN - RIGHT_IN)
    for speaker, y, above in ((Speaker.USER, USER_TEXT_Y, True), (Speaker.ASSISTANT, ASSISTANT_TEXT_Y, False)):
        lines = [line for line in session.lines if line.speaker is speaker]
        _words(axes, _phrases(lines), start_ms, end_ms, y=y, above=above, per_in=per_in)
    _flags(axes, session.notes, start_ms, end_ms, per_in)
    for label, y, speaker in (("user", USER_Y, Speaker.USER), ("assistant", ASSISTANT_Y, Speaker.ASSISTANT)):
        colour = VOICE_COLOURS[speaker]
        axes.text(-0.008, y / 10, label, transform=axes.transAxes, fontsize=9, weight="bold", color=colour, ha="right", va="center")
    if recording and recording.microphone is not None:
        y = (USER_Y - 1.1) / 10
        axes.text(-0.008, y, "echo heard", transform=axes.transAxes, fontsize=8, color=ECHO_COLOUR, ha="right", va="center")
    axes.text(-0.008, STATE_Y / 10, "state", transform=axes.transAxes, fontsize=9, color=INK, ha="right", va="center")


def _voices(axes: Axes, session: Session, recording: Recording | None, start_ms: float, end_ms: float, *, bins: int) -> None:
    for speaker, y in ((Speaker.USER, USER_Y), (Speaker.ASSISTANT, ASSISTANT_Y)):
        colour = VOICE_COLOURS[speaker]
        axes.axhline(y, color=colour, linewidth=0.4, alpha=0.5)
        if recording is None:
            _bars(axes, [s for s in session.speech if s.speaker is speaker], y, colour)
            continue
        samples = recording.user if speaker is Speaker.USER else recording.assistant
        peak = max(int(abs(samples.astype("int32")).max(initial=0)), 3000) / 32768
        step_s = (end_ms - start_ms) / bins / 1000
        xs = [start_ms / 1000 + (index + 0.5) * step_s for index in range(bins)]
        tracks = [(samples, colour)]
        if speaker is Speaker.USER and recording.microphone is not None:
            tracks.insert(0, (recording.microphone, ECHO_COLOUR))
        for track, ink in tracks:
            low, high = envelope(track, recording.rate_hz, start_ms, end_ms, bins) / peak * VOICE_HALF
            axes.fill_between(xs, y + low.clip(-VOICE_HALF), y + high.clip(max=VOICE_HALF), color=ink, linewidth=0.3, step="mid")


def _bars(axes: Axes, speech: Sequence[Speech], y: float, colour: str) -> None:
    spans = [(s.start_ms / 1000, (s.end_ms - s.start_ms) / 1000) for s in speech]
    axes.broken_barh(spans, (y - VOICE_HALF * 0.6, VOICE_HALF * 1.2), facecolors=colour, alpha=0.75)


def _states(axes: Axes, session: Session, start_ms: float, end_ms: float, *, fontsize: float = 7.5) -> None:
    """The ribbon; a state is named where its name fits."""
    fits_ms = (end_ms - start_ms) * 0.0066 * fontsize / 7.5
    for band in session.bands:
        left, right = max(band.start_ms, start_ms), min(band.end_ms, end_ms)
        if left >= right:
            continue
        colour = STATE_COLOURS.get(band.state, "#d1c4e9")
        axes.broken_barh([(left / 1000, (right - left) / 1000)], (STATE_Y - STATE_HALF, 2 * STATE_HALF), facecolors=colour)
        if right - left > fits_ms * (len(band.state) + 1):
            ink = PAPER if band.state == "closed" else INK
            axes.text((left + right) / 2000, STATE_Y, band.state.upper(), fontsize=fontsize, ha="center", va="center", color=ink)


def _phrases(lines: Sequence[Line]) -> list[Line]:
    """Long lines in pieces of a few seconds, each at its own time."""
    pieces: list[Line] = []
    for line in lines:
        count = max(1, round((line.end_ms - line.start_ms) / PHRASE_MS))
        words, length_ms = line.text.split(), line.end_ms - line.start_ms
        letters, done, taken = sum(len(w) + 1 for w in words), 0, 0
        for index in range(count):
            chosen: list[str] = []
            start = done
            while taken < len(words) and (done < letters * (index + 1) / count - len(words[taken]) / 2 or index == count - 1):
                chosen.append(words[taken])
                done += len(words[taken]) + 1
                taken += 1
            begin, end = (line.start_ms + length_ms * at // max(1, letters) for at in (start, done))
            if chosen:
                pieces.append(Line(begin, end, line.speaker, " ".join(chosen)))
    return pieces


def _words(axes: Axes, phrases: Sequence[Line], start_ms: int, end_ms: int, *, y: float, above: bool, per_in: float) -> None:
    """Set phrases at their times; each has the room up to the next one, and at most three lines."""
    shown = [p for p in phrases if p.end_ms > start_ms and p.start_ms < end_ms]
    for index, phrase in enumerate(shown):
        if phrase.start_ms < start_ms and phrase.end_ms - start_ms < start_ms - phrase.start_ms:
            continue  # most of it is in the row before
        if phrase.end_ms > end_ms and phrase.end_ms - end_ms >= end_ms - phrase.start_ms:
            continue  # most of it is in the row after
        left = max(phrase.start_ms, start_ms)
        right = shown[index + 1].start_ms if index + 1 < len(shown) else end_ms + 500
        room = max(8, int((min(right, left + 6000) - left) / per_in / CHAR_IN))
        wrapped = textwrap.wrap(phrase.text, max(room - 1, 8), max_lines=2 if above else 3, placeholder=" …")
        axes.text(
            left / 1000,
            y,
            "\n".join(wrapped),
            fontsize=7.6,
            color=VOICE_COLOURS[phrase.speaker],
            va="top",
            linespacing=1.05,
            clip_on=False,
        )


def _flags(axes: Axes, notes: Sequence[Note], start_ms: int, end_ms: int, per_in: float) -> None:
    """A line through the row for each note, and its name on top; a crowd of names moves left as far as it must to fit."""
    shown = sorted((n for n in notes if start_ms <= n.at_ms < end_ms), key=lambda n: n.at_ms)
    names = [f"▼ {textwrap.shorten(n.text, 60, placeholder=' …')}" for n in shown]
    lengths = [(len(name) + 1) * 0.07 * per_in for name in names]
    lefts: list[float] = []
    free_ms = float(start_ms)
    for note, length in zip(shown, lengths, strict=True):
        lefts.append(max(note.at_ms, free_ms))
        free_ms = lefts[-1] + length
    limit = end_ms + 0.1 * per_in
    for index in reversed(range(len(shown))):
        lefts[index] = min(lefts[index], limit - lengths[index])
        limit = lefts[index]
    for note, name, left in zip(shown, names, lefts, strict=True):
        colour = NOTE_COLOURS[note.kind]
        axes.plot([note.at_ms / 1000] * 2, [ASSISTANT_Y - VOICE_HALF, FLAG_Y - 0.1], color=colour, linewidth=1.1)
        axes.text(left / 1000, FLAG_Y, name, fontsize=7.6, weight="bold", color=colour, va="bottom", clip_on=False)


# --- close-ups ---------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class _CloseUp:
    """One interruption, large."""

    start_ms: int
    end_ms: int
    onset_ms: int
    notes: tuple[Note, ...]
    """From the onset to the decision."""


def _close_ups(session: Session) -> list[_CloseUp]:
    found: list[_CloseUp] = []
    notes = sorted(session.notes, key=lambda n: n.at_ms)
    for pause in (n for n in notes if n.kind is NoteKind.PAUSE):
        onsets = [n for n in notes if n.kind is NoteKind.ONSET and 0 <= pause.at_ms - n.at_ms < ONSET_MS_MAX]
        ends = [n for n in notes if n.kind in {NoteKind.RESUME, NoteKind.CANCEL} and n.at_ms >= pause.at_ms]
        if onsets and ends:
            onset_ms, end_ms = onsets[-1].at_ms, ends[0].at_ms
            found.append(_CloseUp(onset_ms - 500, max(end_ms + 700, onset_ms + 1500), onset_ms, (onsets[-1], pause, ends[0])))
    return found[:CLOSE_UPS_MAX]


def _draw_close_ups(
    drawing: Figure, session: Session, recording: Recording | None, close_ups: Sequence[_CloseUp], height_in: float
) -> None:
    gap_in = 0.35
    room_in = WIDTH_IN - LEFT_IN - RIGHT_IN
    width_in = min((room_in - gap_in * (len(close_ups) - 1)) / len(close_ups), room_in / 2)
    for index, close_up in enumerate(close_ups):
        left_in = LEFT_IN + index * (width_in + gap_in)
        axes = _axes(drawing, (left_in, 0.35, width_in, CLOSE_UP_IN - 0.1), height_in)
        cut = close_up.notes[-1].kind is NoteKind.CANCEL
        name = "Barge-in" if cut else "No barge-in: the answer goes on"
        at = f"{close_up.onset_ms // 60_000}:{close_up.onset_ms / 1000 % 60:04.1f}"
        axes.set_title(f"{name}, at {at}", fontsize=10, weight="bold", color=INK, loc="left", pad=2)
        _close_up(axes, session, recording, close_up, tick_ms=TICK_MS if len(close_ups) <= ROOMY_CLOSE_UPS_MAX else 2 * TICK_MS)


def _close_up(axes: Axes, session: Session, recording: Recording | None, close_up: _CloseUp, tick_ms: int) -> None:
    axes.set_xlim(close_up.start_ms / 1000, close_up.end_ms / 1000)
    first = math.ceil((close_up.start_ms - close_up.onset_ms + 100) / tick_ms) * tick_ms
    ticks = range(first, close_up.end_ms - close_up.onset_ms - 100, tick_ms)
    axes.set_xticks([(close_up.onset_ms + t) / 1000 for t in ticks], [f"{t:+d} ms" if t else "onset" for t in ticks])
    _voices(axes, session, recording, close_up.start_ms, close_up.end_ms, bins=BINS_PER_ROW // 2)
    _states(axes, session, close_up.start_ms, close_up.end_ms, fontsize=8)
    for place, note in enumerate(close_up.notes):
        colour = NOTE_COLOURS[note.kind]
        axes.plot([note.at_ms / 1000] * 2, [ASSISTANT_Y - VOICE_HALF, 9.3], color=colour, linewidth=1.4)
        late_ms = note.at_ms - close_up.onset_ms
        text = f"{note.text.split(' (')[0]}  +{late_ms} ms" if place else note.text
        right = place == 0
        axes.text(
            note.at_ms / 1000,
            9.35 if place != 1 else 8.35,
            f"{text} " if right else f" {text}",
            fontsize=8.5,
            weight="bold",
            color=colour,
            ha="right" if right else "left",
            va="center",
        )
        if place:
            arrow = {"arrowstyle": "->", "color": colour, "linewidth": 1.2}
            y = ASSISTANT_Y - VOICE_HALF - 0.5 * place
            axes.annotate("", (note.at_ms / 1000, y), (close_up.onset_ms / 1000, y), arrowprops=arrow)

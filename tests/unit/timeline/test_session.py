"""What a journal tells."""

from __future__ import annotations

import itertools

import pytest

from voicefsm.errors import VoiceFsmError
from voicefsm.timeline.session import Band, NoteKind, Speaker, read


def test_states_are_bands_without_gaps(journal):
    """If this fails the picture shows a state that was not."""
    session = read(journal)
    assert session.session_id == "s-1"
    assert session.duration_ms == 30_000
    assert session.bands[:3] == [Band(0, 1000, "idle"), Band(1000, 2800, "listening"), Band(2800, 3000, "processing")]
    assert all(a.end_ms == b.start_ms for a, b in itertools.pairwise(session.bands))
    assert session.bands[-1].end_ms == 30_000


def test_an_interruption_is_told_moment_by_moment(journal):
    """If this fails nobody sees how fast the assistant gave way."""
    notes = [(n.at_ms, n.kind) for n in read(journal).notes]
    assert notes == [
        (6000, NoteKind.ONSET),
        (6080, NoteKind.PAUSE),
        (6600, NoteKind.CANCEL),
        (9000, NoteKind.ONSET),
        (9080, NoteKind.PAUSE),
        (9500, NoteKind.RESUME),
    ]


def test_speech_of_both_sides(journal):
    """If this fails a picture without a recording shows nothing."""
    speech = [(s.start_ms, s.end_ms) for s in read(journal).speech if s.speaker is Speaker.ASSISTANT]
    assert speech == [(3000, 6080), (8000, 9080), (9500, 12000)]
    speech = [(s.start_ms, s.end_ms) for s in read(journal).speech if s.speaker is Speaker.USER]
    assert speech == [(900, 2300), (6000, 6900), (9000, 9300)]


def test_words_stand_where_they_were_heard(journal):
    """If this fails words are shown that nobody heard."""
    lines = read(journal).lines
    heard = [(line.start_ms, line.text) for line in lines if line.speaker is Speaker.ASSISTANT]
    assert heard == [(3000, "Once upon a time"), (8000, "All"), (9500, "right then.")]
    assert [line.text for line in lines if line.speaker is Speaker.USER] == ["a story", "stop", "okay"]


def test_turns(journal):
    """If this fails the table of turns lies."""
    first, second = read(journal).turns
    assert (first.user_text, first.heard_text, first.outcome) == ("a story", "Once upon a time", "interrupted")
    assert first.latencies == {"onset_to_pause_ms": 80}
    assert second.outcome == "completed"


def test_a_journal_that_was_cut_is_read_to_its_end(journal):
    """If this fails a crash hides what led to it."""
    text = journal.read_text()
    journal.write_text(text[: text.index('"PlayoutFinished"')])
    session = read(journal)
    assert session.duration_ms == 9500
    assert session.speech[-1].speaker is Speaker.ASSISTANT


@pytest.mark.parametrize("text", ["hello\nthere\n", '{"a": 1}\n{"b": 2}\n', "[1]\n[2]\n"])
def test_other_files_are_refused(tmp_path, text):
    """If this fails the wrong path draws an empty picture."""
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(VoiceFsmError, match=r"Line 1 of .* is not a record"):
        read(path)


def test_an_empty_journal_is_told(tmp_path):
    """If this fails a session that never began draws an empty picture."""
    path = tmp_path / "x.jsonl"
    path.write_text("")
    with pytest.raises(VoiceFsmError, match="empty"):
        read(path)

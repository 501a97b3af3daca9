"""The pictures themselves."""

from __future__ import annotations

import itertools
import re
import shutil
import wave

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the extra [timeline] is not installed: no picture was tested")

from voicefsm.errors import VoiceFsmError
from voicefsm.timeline import draw
from voicefsm.timeline.page import split_heard
from voicefsm.timeline.picture import figure
from voicefsm.timeline.recording import envelope
from voicefsm.timeline.session import Session, Turn, read


def test_png(journal, recording, tmp_path):
    """If this fails there is no picture."""
    out = tmp_path / "t.png"
    draw(journal, out, recording)
    assert out.read_bytes().startswith(b"\x89PNG")
    assert out.stat().st_size > 20_000


def test_page_needs_no_network_and_plays_the_recording(journal, recording, tmp_path):
    """If this fails the page is empty for whoever gets it by mail."""
    out = tmp_path / "t.html"
    draw(journal, out, recording)
    page = out.read_text()
    assert "<svg" in page
    assert 'src="conversation.wav"' in page
    fetched = re.findall(r"(?:src|href)=[\"'](https?:[^\"']+)", page)
    assert fetched == []
    assert "Once upon a time" in page
    assert '<span class="unheard">there was &lt;a&gt; lighthouse.</span>' in page


def test_a_recording_elsewhere_is_put_into_the_page(journal, recording, tmp_path):
    """If this fails a page in another directory is silent."""
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copy(recording, tmp_path / "elsewhere")
    out = tmp_path / "t.html"
    draw(journal, out, tmp_path / "elsewhere" / "conversation.wav")
    assert moved
    assert 'src="data:audio/wav;base64,' in out.read_text()


def test_without_a_recording(journal, tmp_path):
    """If this fails only the demo's sessions can be drawn."""
    draw(journal, tmp_path / "t.html")
    assert "<audio" not in (tmp_path / "t.html").read_text()


def test_rows_cover_the_session_once(journal):
    """If this fails the playhead points at another moment than the one that is heard."""
    _, rows = figure(read(journal), None, "x")
    assert rows[0].start_ms == 0
    assert rows[-1].end_ms >= 30_000
    assert all(a.end_ms == b.start_ms and a.bottom <= b.top for a, b in itertools.pairwise(rows))


@pytest.mark.parametrize("hours", [1, 3])
def test_long_sessions_have_longer_rows_not_more(hours):
    """If this fails the picture of a long call fills the disk."""
    drawing, rows = figure(Session(duration_ms=hours * 3_600_000), None, "x")
    assert len(rows) <= 16
    assert drawing.get_size_inches()[1] < 45


def test_an_empty_session_is_drawn(journal):
    """If this fails a session in which nobody spoke cannot be looked at."""
    _, rows = figure(Session(), None, "x")
    assert len(rows) == 1


def test_envelope_shows_what_is_there_and_nothing_else():
    """If this fails a click of one sample is not seen, or silence is."""
    samples = np.zeros(16000, np.int16)
    samples[8000] = 16384
    low, high = envelope(samples, 16000, 0, 2000, 100)
    assert high[25] == 0.5
    assert np.count_nonzero(high) == 1
    assert not low.any()
    assert not envelope(samples, 16000, 5000, 6000, 10).any()


def test_other_recordings_are_refused(journal, tmp_path):
    """If this fails a mono file is drawn as two speakers."""
    path = tmp_path / "mono.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
    with pytest.raises(VoiceFsmError, match="1 channels of 16 bits"):
        draw(journal, tmp_path / "t.png", path)
    path.write_text("no")
    with pytest.raises(VoiceFsmError, match="is not a WAV file"):
        draw(journal, tmp_path / "t.png", path)


def test_what_was_heard_and_what_was_not():
    """If this fails the table strikes out words that were heard."""
    assert split_heard(Turn(1, 0, sentences=["a b", "c d"], heard_text="a b c")) == ("a b c", "d")
    assert split_heard(Turn(1, 0, sentences=["a b"])) == ("a b", "")

"""The sets: which words are said when, and what is no set."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from voicefsm.bench.turns import stimuli


def entry(**more: object) -> dict[str, object]:
    return {"id": "made/000", "category": "made", "duration_s": 20.0, "events": [], **more}


def test_words_fill_their_event_in_order():
    """Otherwise the recogniser hears words before they are said, or after everybody was silent."""
    item = stimuli.item_of(entry(events=[{"type": "context", "start": 1.0, "end": 3.0, "text": "tell me everything"}]))
    words = item.words()
    assert [word.text for word in words] == ["tell", "me", "everything"]
    assert words[0].start_ms == pytest.approx(1000, abs=5)
    assert words[-1].end_ms == pytest.approx(3000, abs=5)
    assert all(a.end_ms <= b.start_ms + 2 for a, b in itertools.pairwise(words))
    assert words[2].end_ms - words[2].start_ms > 2 * (words[1].end_ms - words[1].start_ms)


def test_a_turn_pauses_after_a_clause():
    """Otherwise the first word after a pause is heard before it, and no recogniser does that."""
    said = "On Sunday I walked along the river, and it was very cold."
    pause = {"type": "pause", "start": 3.0, "end": 4.5}
    item = stimuli.item_of(entry(text=said, events=[pause], speech_spans=[[0.5, 1.4], [1.6, 3.0], [4.5, 5.5]]))
    before = [word.text for word in item.words() if word.end_ms <= 3000]
    after = [word.text for word in item.words() if word.start_ms >= 4500]
    assert (before[-1], after[0]) == ("river,", "and")
    assert len(before) + len(after) == len(said.split())


def test_a_deaf_ear_hears_questions_only():
    """Otherwise nothing is asked, and there is no answer to talk over."""
    events = [
        {"type": "context", "start": 1.0, "end": 2.0, "text": "why"},
        {"type": "interruption", "start": 8.0, "end": 9.0, "text": "stop"},
    ]
    item = stimuli.item_of(entry(events=events))
    assert [word.text for word in item.words("context")] == ["why"]
    assert [word.text for word in item.words()] == ["why", "stop"]


def test_what_is_no_set_is_told(tmp_path):
    """Otherwise a mistyped directory ends in a traceback."""
    with pytest.raises(stimuli.NoStimuli, match="no stimuli"):
        stimuli.load(tmp_path)
    stimuli.write_wav(tmp_path / "a.wav", np.arange(100, dtype=np.int16))
    assert (stimuli.read_wav(tmp_path / "a.wav") == np.arange(100)).all()
    with pytest.raises(stimuli.NoStimuli, match="cannot be read"):
        stimuli.read_wav(tmp_path / "b.wav")

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voicefsm.vad.segmenter import Edge, EdgeKind, Segmenter
from voicefsm.vad.settings import VadSettings

SETTINGS = VadSettings(onset_frames=3, onset_far_frames=4, hangover_ms=200)


def edges(frames: str, *, far_active: bool = False, segmenter: Segmenter | None = None) -> list[tuple[int, Edge]]:
    """Edges and the frames they came with. `x` is voiced, `e` is voiced but explained by echo, `.` is not voiced."""
    segmenter = segmenter or Segmenter(SETTINGS)
    found = []
    for k, frame in enumerate(frames):
        edge = segmenter.feed(k * 320, voiced=frame in "xe", echo_only=frame == "e", far_active=far_active)
        if edge is not None:
            found.append((k, edge))
    return found


def test_three_voiced_frames_are_an_onset():
    """Otherwise the pause comes later than 60 ms after the user begins, or never."""
    assert edges("...xxx") == [(5, Edge(EdgeKind.STARTED, 3 * 320, 6 * 320, 60))]


def test_one_missed_frame_is_forgiven():
    """Otherwise a stop consonant delays every onset."""
    assert edges("..xx.x") == [(5, Edge(EdgeKind.STARTED, 2 * 320, 6 * 320, 60))]


def test_clicks_are_no_speech():
    """Otherwise a keyboard pauses the assistant."""
    assert edges("x...xx...x..x..xx..") == []


def test_the_far_end_asks_for_more():
    """Otherwise what is left of our own voice pauses us."""
    assert edges("xxx.....", far_active=True) == []
    assert [k for k, _ in edges("xxxx", far_active=True)] == [3]


def test_echo_does_not_count():
    """Otherwise the assistant interrupts itself."""
    assert edges("eeeeeeeeeeee") == []


def test_it_ends_when_the_hangover_runs_out():
    """Otherwise LISTENING ends between two words, or never."""
    found = edges("xxx" + "." * 9)
    assert len(found) == 1
    found = edges("xxxx..x" + "." * 10)
    assert found[1] == (16, Edge(EdgeKind.ENDED, 0, 7 * 320, 100))


def test_after_the_end_it_starts_anew():
    """Otherwise the second utterance of a session is not heard."""
    assert [e.kind.value for _, e in edges("xxx" + "." * 10 + "..xxx" + "." * 10)] == ["started", "ended"] * 2


def test_the_stretch_before_does_not_count():
    """Otherwise the first click after an utterance is the next one."""
    assert len(edges("xxx" + "." * 10 + "x...")) == 2


def test_a_jump_of_the_clock_ends_the_stretch():
    """Otherwise a client that was muted for a minute is still speaking."""
    segmenter = Segmenter(SETTINGS)
    edges("xxx", segmenter=segmenter)
    edge = segmenter.feed(16000 * 60, voiced=False)
    assert edge is not None
    assert edge.last_voiced_sample == 3 * 320


def test_voiced_ms_counts_only_while_it_lasts():
    """Otherwise evidence of the last stretch confirms the next."""
    segmenter = Segmenter(SETTINGS)
    edges("xxxx.x", segmenter=segmenter)
    assert segmenter.voiced_ms == 100
    edges("." * 40, segmenter=segmenter)
    assert segmenter.voiced_ms == 0


@given(st.text(alphabet="xe.", max_size=200), st.booleans())
def test_edges_alternate_and_lie_in_the_past(frames, far_active):
    """Otherwise the core is told of an end without a beginning."""
    found = edges(frames, far_active=far_active)
    for number, (k, edge) in enumerate(found):
        assert edge.kind is (EdgeKind.ENDED if number % 2 else EdgeKind.STARTED)
        assert 0 <= edge.onset_sample < edge.last_voiced_sample <= (k + 1) * 320
        assert frames[edge.onset_sample // 320] == "x"
        assert frames[edge.last_voiced_sample // 320 - 1] == "x"
        assert edge.voiced_ms == 20 * frames[edge.onset_sample // 320 : edge.last_voiced_sample // 320].count("x")

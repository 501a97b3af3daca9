from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicefsm.embedded.endpointing import Edge, Endpointer, Windows

WINDOWS = Windows(start_frames=4, start_share=0.5, stop_frames=10, stop_share=1.0, first_pass_frames=5, first_pass_share=1.0)


def edges(frames: str, windows: Windows = WINDOWS) -> list[tuple[int, Edge]]:
    """The edges in a row of frames, "#" voiced and "." not, with the frame they came with, counted from 1."""
    endpointer = Endpointer(windows)
    found = ((number, endpointer.push(is_voiced=frame == "#")) for number, frame in enumerate(frames, 1))
    return [(number, edge) for number, edge in found if edge]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ("." * 50, []),
        ("...#...#...#...", []),
        ("..##", [(4, Edge.STARTED)]),
        ("####" + "." * 10, [(2, Edge.STARTED), (9, Edge.PAUSED), (14, Edge.STOPPED)]),
        ("####" + "." * 7 + "##", [(2, Edge.STARTED), (9, Edge.PAUSED), (13, Edge.RESUMED)]),
        ("####" + "." * 7 + "#......", [(2, Edge.STARTED), (9, Edge.PAUSED)]),
        ("####....####", [(2, Edge.STARTED)]),
    ],
)
def test_edges_come_where_the_windows_say(frames, expected):
    """Otherwise utterances begin late, end early, or a click is an utterance."""
    assert edges(frames) == expected


@pytest.mark.parametrize("first_pass_frames", [0, 10, 12])
def test_a_first_pass_that_is_not_before_the_end_is_left_out(first_pass_frames):
    """Otherwise a client that wants none gets one, or the end is announced after it was there."""
    windows = dataclasses.replace(WINDOWS, first_pass_frames=first_pass_frames)
    assert edges("####" + "." * 10, windows) == [(2, Edge.STARTED), (14, Edge.STOPPED)]


def test_a_share_under_one_forgives_a_click():
    """Otherwise noise keeps an utterance open."""
    windows = dataclasses.replace(WINDOWS, stop_share=0.8)
    assert edges("####" + ".....#....", windows)[-1] == (13, Edge.STOPPED)
    assert Edge.STOPPED not in dict(edges("####" + ".....#....")).values()


def test_after_a_reset_it_begins_anew():
    """Otherwise the silence before a forced end counts for the next utterance."""
    endpointer = Endpointer(WINDOWS)
    for _ in range(4):
        endpointer.push(is_voiced=True)
    endpointer.reset()
    assert not endpointer.in_utterance
    assert [endpointer.push(is_voiced=True) for _ in range(2)] == [None, Edge.STARTED]


@given(st.lists(st.booleans(), max_size=300), st.integers(0, 12))
def test_edges_alternate_as_the_drawing_says(frames, first_pass_frames):
    """Otherwise a decoder is started twice, or finished without having been started."""
    windows = dataclasses.replace(WINDOWS, first_pass_frames=first_pass_frames)
    allowed = {
        None: {Edge.STARTED},
        Edge.STARTED: {Edge.PAUSED, Edge.STOPPED},
        Edge.PAUSED: {Edge.RESUMED, Edge.STOPPED},
        Edge.RESUMED: {Edge.PAUSED, Edge.STOPPED},
        Edge.STOPPED: {Edge.STARTED},
    }
    last = None
    for _, edge in edges("".join(".#"[voiced] for voiced in frames), windows):
        assert edge in allowed[last]
        last = edge

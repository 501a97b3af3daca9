"""The player renders every far-end sample once, in order, and only when it may."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicefsm.client import Player, PlayerSettings, Samples, Span
from voicefsm.values import Epoch, SampleIndex

RATE_HZ = 16000
FRAME = 320
ONE, TWO = Epoch(1), Epoch(2)


def ramp(first: int, count: int) -> Samples:
    """Samples that say where they belong."""
    return np.arange(first, first + count).astype(np.int16)


def player(*, fade_ms: int = 5) -> Player:
    return Player(RATE_HZ, PlayerSettings(fade_ms=fade_ms))


def positions(spans: tuple[Span, ...]) -> list[int]:
    return [s.first_sample + i for s in spans for i in range(s.length)]


def test_renders_what_came_in_order():
    """If this fails the user hears the assistant's words cut up."""
    p = player()
    p.push(ONE, 0, ramp(0, 500))
    p.push(ONE, 500, ramp(500, 500), last=True)
    heard = np.concatenate([p.render(FRAME) for _ in range(4)])
    assert heard[:1000].tolist() == list(range(1000))
    assert not heard[1000:].any()
    assert p.position == 1000
    assert p.underruns == 0


def test_nothing_to_hear_is_silence_and_stands_still():
    """If this fails the server believes a silent loudspeaker played something."""
    p = player()
    assert not p.render(FRAME).any()
    assert p.position == 0
    assert p.spans == ()


def test_position_is_the_next_sample_also_before_a_reply_begins():
    """If this fails the server pairs the first frames of a reply with the wrong reference."""
    p = player()
    p.push(ONE, 7000, ramp(0, 10))
    assert p.position == 7000


def test_an_underrun_is_counted_once_and_loses_nothing():
    """If this fails a network hiccup shifts everything the server knows about the ear."""
    p = player(fade_ms=0)
    p.push(ONE, 0, ramp(0, 100))
    p.render(FRAME)
    p.render(FRAME)
    assert p.position == 100
    p.push(ONE, 100, ramp(100, 100), last=True)
    p.render(FRAME)
    assert positions(p.spans) == list(range(100, 200))
    assert p.underruns == 1


def test_the_end_of_a_reply_is_no_underrun():
    """If this fails every reply counts as a fault of the network."""
    p = player()
    p.push(ONE, 0, ramp(0, 100))
    p.render(FRAME)
    p.push(ONE, 100, ramp(0, 0), last=True)
    p.render(FRAME)
    p.push(TWO, 100, ramp(0, 100), last=True)
    p.render(FRAME)
    assert p.underruns == 0


def test_pause_fades_within_a_frame_and_keeps_the_buffer():
    """If this fails the assistant talks on over the user, or loses words."""
    p = player(fade_ms=5)
    p.push(ONE, 0, np.full(2000, 1000, np.int16), last=True)
    p.render(FRAME)
    p.pause(ONE)
    block = p.render(FRAME)
    assert p.spans == (Span(0, ONE, SampleIndex(FRAME), 80),)
    assert (np.diff(block[:80].astype(int)) <= 0).all()
    assert block[79] == 0
    assert not block[80:].any()
    assert p.paused
    p.render(FRAME)
    assert p.position == FRAME + 80
    assert p.buffered_samples == 2000 - FRAME - 80


def test_resume_goes_on_at_the_very_next_sample():
    """If this fails a false barge-in repeats or swallows a syllable."""
    p = player(fade_ms=5)
    p.push(ONE, 0, np.full(2000, 1000, np.int16), last=True)
    seen: list[int] = []
    p.render(FRAME)
    seen += positions(p.spans)
    p.pause(ONE)
    for _ in range(3):
        p.render(FRAME)
        seen += positions(p.spans)
    p.resume(ONE)
    block = p.render(FRAME)
    assert (np.diff(block[:80].astype(int)) >= 0).all()
    assert block[80] == 1000
    seen += positions(p.spans)
    while p.buffered_samples:
        p.render(FRAME)
        seen += positions(p.spans)
    assert seen == list(range(2000))
    assert not p.paused


@pytest.mark.parametrize("fade_ms", [0, 5])
def test_duck_goes_on_quietly_until_resume(fade_ms):
    """If this fails a duck is no quieter, or loses a sample, or the answer stays quiet for ever."""
    p = player(fade_ms=fade_ms)
    p.push(ONE, 0, np.full(1600, 10_000, np.int16), last=True)
    blocks = [p.render(FRAME)]
    p.duck(ONE, 12)
    assert (p.duck_db, p.paused) == (12, False)
    blocks += [p.render(FRAME), p.render(FRAME)]
    p.resume(ONE)
    assert p.duck_db == 0
    blocks += [p.render(FRAME), p.render(FRAME)]
    heard = np.concatenate(blocks).astype(int)
    assert (heard[:320] == 10_000).all()
    assert (np.abs(heard[400:960] - 10_000 / 10 ** (12 / 20)) < 10).all()
    assert (heard[1040:1600] == 10_000).all()
    assert np.abs(np.diff(heard)).max() <= (10_000 if fade_ms == 0 else 10_000 / 80 + 1), "a click"
    assert p.position == 1600
    assert p.underruns == 0


def test_a_ducked_reply_can_be_paused_and_cancelled():
    """If this fails a stop that follows a duck is not obeyed, or the next reply is born quiet."""
    p = player()
    p.push(ONE, 0, np.full(2000, 10_000, np.int16))
    p.duck(ONE, 20)
    p.render(FRAME)
    p.pause(ONE)
    assert (p.duck_db, p.paused) == (0, True)
    p.render(FRAME)
    assert p.position <= 320 + 80
    assert not p.render(FRAME).any()
    p.duck(ONE, 20)
    p.cancel(ONE)
    assert p.duck_db == 0
    p.push(TWO, 2000, np.full(2000, 10_000, np.int16))
    assert (p.render(FRAME) == 10_000).all()
    p.duck(ONE, 20)
    assert p.duck_db == 0, "of a reply that is cancelled"


def test_a_later_reply_ends_one_that_is_still_ducked():
    """If this fails the rest of a reply that is over delays the next one."""
    p = player()
    p.push(ONE, 0, np.full(2000, 10_000, np.int16), last=True)
    p.duck(ONE, 20)
    p.render(FRAME)
    p.push(TWO, 2000, np.full(2000, 9000, np.int16))
    assert (p.render(FRAME) == 9000).all()


def test_what_arrives_while_paused_is_kept():
    """If this fails the words that were under way at the pause are lost."""
    p = player()
    p.push(ONE, 0, ramp(0, 400))
    p.pause(ONE)
    p.render(FRAME)
    p.push(ONE, 400, ramp(400, 400), last=True)
    p.resume(ONE)
    for _ in range(3):
        p.render(FRAME)
    assert p.position == 800


def test_resume_of_another_reply_changes_nothing():
    """If this fails a late resume lets a paused reply speak over the user."""
    p = player()
    p.push(TWO, 0, ramp(0, 1000))
    p.pause(TWO)
    p.resume(ONE)
    p.render(FRAME)
    p.render(FRAME)
    assert p.paused
    assert p.position == 80


def test_cancel_falls_silent_at_once_and_drops_what_is_late():
    """If this fails the user hears a reply that is already over."""
    p = player()
    p.push(ONE, 0, np.full(2000, 1000, np.int16))
    p.render(FRAME)
    p.cancel(ONE)
    assert not p.render(FRAME).any()
    assert p.position == FRAME
    p.push(ONE, 2000, np.full(500, 1000, np.int16))
    assert not p.render(FRAME).any()
    assert p.late_samples == 500
    assert p.buffered_samples == 0


def test_cancel_ends_a_pause():
    """If this fails the next reply is never heard."""
    p = player()
    p.push(ONE, 0, ramp(0, 1000))
    p.render(FRAME)
    p.pause(ONE)
    p.render(FRAME)
    p.cancel(ONE)
    assert not p.paused
    p.push(TWO, 3200, np.full(FRAME, 1000, np.int16), last=True)
    block = p.render(FRAME)
    assert (block == 1000).all()
    assert p.spans == (Span(0, TWO, SampleIndex(3200), FRAME),)
    assert p.underruns == 0


def test_cancel_spares_the_next_reply():
    """If this fails an answer that was already under way is thrown away with the old one."""
    p = player()
    p.push(ONE, 0, ramp(0, 1000))
    p.push(TWO, 1000, ramp(0, FRAME), last=True)
    p.cancel(ONE)
    p.render(FRAME)
    assert p.spans == (Span(0, TWO, SampleIndex(1000), FRAME),)


def test_a_pause_that_comes_after_the_cancel_is_ignored():
    """If this fails a stale order mutes the assistant for good."""
    p = player()
    p.push(ONE, 0, ramp(0, 100))
    p.cancel(ONE)
    p.pause(ONE)
    assert not p.paused


def test_a_piece_that_comes_twice_is_heard_once():
    """If this fails a repeated message stutters."""
    p = player()
    p.push(ONE, 0, ramp(0, 100))
    p.push(ONE, 50, ramp(50, 100), last=True)
    p.render(FRAME)
    assert positions(p.spans) == list(range(150))
    assert p.late_samples == 50


def test_a_skip_inside_a_reply_is_counted():
    """If this fails a server that drops audio goes unnoticed."""
    p = player()
    p.push(ONE, 0, ramp(0, 100))
    p.push(ONE, 200, ramp(200, 100), last=True)
    p.render(FRAME)
    assert p.gaps == 1
    assert p.position == 300


def test_the_buffer_is_bounded_and_says_what_it_dropped():
    """If this fails a server that does not pace fills the client's memory."""
    p = Player(RATE_HZ, PlayerSettings(buffer_ms_max=500))
    p.push(ONE, 0, ramp(0, 8000))
    p.push(ONE, 8000, ramp(0, 1600))
    assert p.buffered_samples == 8000
    assert p.overflow_samples == 1600


@given(
    sizes=st.lists(st.integers(0, 700), min_size=1, max_size=12),
    blocks=st.lists(st.integers(1, 700), min_size=1, max_size=12),
    orders=st.lists(st.sampled_from(["", "", "pause", "resume"]), min_size=1, max_size=12),
)
def test_whatever_the_pauses_every_sample_is_rendered_once_in_order(sizes, blocks, orders):
    """If this fails some interleaving of network, loudspeaker and barge-in loses or repeats a sample."""
    p = player(fade_ms=3)
    seen: list[int] = []
    first = 0
    for step in range(max(len(sizes), len(blocks), len(orders))):
        if step < len(sizes):
            p.push(ONE, first, ramp(first, sizes[step]))
            first += sizes[step]
        order = orders[step] if step < len(orders) else ""
        if order:
            getattr(p, order)(ONE)
        count = blocks[step % len(blocks)]
        assert p.render(count).shape == (count,)
        seen += positions(p.spans)
        assert p.position == len(seen)
    p.resume(ONE)
    for _ in range(40):
        p.render(FRAME)
        seen += positions(p.spans)
    assert seen == list(range(first))


def test_a_later_reply_ends_one_that_is_still_paused():
    """Otherwise a reply that was at its end when it was paused would stand in the way of every later one."""
    player = Player(16000)
    player.push(Epoch(1), 0, np.full(640, 7, np.int16), last=True)
    player.render(320)
    player.pause(Epoch(1))
    player.render(320)
    player.push(Epoch(2), 640, np.full(640, 9, np.int16), last=True)
    assert not player.paused
    block = player.render(320)
    assert np.array_equal(block, np.full(320, 9, np.int16))
    assert player.spans[0].epoch == 2

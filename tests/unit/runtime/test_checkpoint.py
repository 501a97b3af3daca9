"""A conversation as bytes."""

from __future__ import annotations

import json

import pytest

from voicefsm.events import ToolCall
from voicefsm.ports import Message
from voicefsm.runtime.checkpoint import Checkpoint, from_bytes
from voicefsm.values import Epoch

FULL = Checkpoint(
    session_id="s-1",
    identity="kiosk",
    wishes=b"\x00\xff\x0a",
    age_ms=12_345,
    last_epoch=Epoch(7),
    messages=(
        Message("user", "नमस्ते \N{GRINNING FACE}"),
        Message("assistant", "Wait.", (ToolCall("7-0", "look", '{"a": 1}', "a problem"),)),
        Message("tool", "found", call_id="7-0"),
    ),
    question="And now?",
    heard="It is",
    rest=("noon.", "Or later."),
    is_written=True,
)


def test_it_comes_back_as_it_was() -> None:
    """Otherwise a conversation goes on as another one."""
    assert from_bytes(FULL.to_bytes()) == FULL
    assert from_bytes(Checkpoint("s", "i").to_bytes()) == Checkpoint("s", "i")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"format": 1}',
        json.dumps({**json.loads(FULL.to_bytes()), "format": 2}).encode(),
        json.dumps({**json.loads(FULL.to_bytes()), "more": 2}).encode(),
        json.dumps({**json.loads(FULL.to_bytes()), "messages": [{"role": "user"}]}).encode(),
        json.dumps({**json.loads(FULL.to_bytes()), "messages": 3}).encode(),
    ],
)
def test_what_is_none_of_ours_is_refused(data: bytes) -> None:
    """Otherwise a gateway of another version makes nonsense of it, or crashes."""
    with pytest.raises(ValueError):
        from_bytes(data)


@pytest.mark.parametrize(
    ("question", "heard", "rest", "is_written", "is_answered", "has_rest"),
    [
        ("", "", (), False, False, False),
        ("q", "", (), False, False, False),  # nothing is known of the answer: the model is asked again
        ("q", "", ("a",), False, False, False),  # nothing of it was heard, and it is not complete: asked again
        ("q", "", ("a",), True, False, True),
        ("q", "h", ("a",), False, False, True),
        ("q", "h", (), False, True, False),
        ("q", "h", (), True, True, False),
        ("q", "", (), True, True, False),
    ],
)
def test_what_is_left_of_an_answer(question, heard, rest, is_written, is_answered, has_rest) -> None:  # noqa: PLR0917
    """Otherwise an answer is given twice, or its end never."""
    made = Checkpoint("s", "i", question=question, heard=heard, rest=rest, is_written=is_written)
    assert (made.is_answered, made.has_rest) == (is_answered, has_rest)

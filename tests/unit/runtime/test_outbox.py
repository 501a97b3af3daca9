"""The queue to the client."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from voicefsm.errors import TooMuch
from voicefsm.runtime.messages import AssistantText, AudioOutput, Outbound, PausePlayout
from voicefsm.runtime.outbox import Outbox
from voicefsm.values import Epoch, SampleIndex


def audio(epoch: int, first: int = 0) -> AudioOutput:
    return AudioOutput(Epoch(epoch), SampleIndex(first), np.zeros(320, np.int16), last=False)


async def rest_of(outbox: Outbox) -> list[Outbound]:
    outbox.close()
    got = []
    while (message := await outbox.get()) is not None:
        got.append(message)
    return got


async def test_messages_come_out_in_order_and_then_the_end() -> None:
    """Otherwise the client reads a conversation that was not held, or waits for ever after it."""
    outbox = Outbox(10)
    waiting = asyncio.create_task(outbox.get())
    await asyncio.sleep(0)
    sent = [PausePlayout(Epoch(k)) for k in range(5)]
    for message in sent:
        outbox.put(message)
    assert [await waiting, *await rest_of(outbox)] == sent
    assert await outbox.get() is None


async def test_close_wakes_a_reader_that_waits() -> None:
    """Otherwise the call of a session that ended hangs."""
    outbox = Outbox(10)
    waiting = asyncio.create_task(outbox.get())
    await asyncio.sleep(0)
    outbox.close()
    assert await waiting is None


async def test_cut_takes_back_the_audio_of_one_reply_and_nothing_else() -> None:
    """Otherwise a cancelled reply is heard on, or something else is lost with it."""
    outbox = Outbox(10)
    text = AssistantText(Epoch(1), 0, "Hi.")
    queued: list[Outbound] = [audio(1), text, audio(1, 320), PausePlayout(Epoch(1)), audio(2)]
    for message in queued:
        outbox.put(message)
    outbox.cut_audio(Epoch(1))
    got = await rest_of(outbox)
    assert [id(message) for message in got] == [id(queued[k]) for k in (1, 3, 4)]


async def test_a_full_outbox_blames_the_client() -> None:
    """Otherwise a client that does not read costs memory without end."""
    outbox = Outbox(3)
    for k in range(3):
        outbox.put(audio(k))
    with pytest.raises(TooMuch, match="has not read 3 messages"):
        outbox.put(audio(4))
    await outbox.get()
    outbox.put(audio(5))


async def test_a_client_that_leaves_messages_lying_is_told() -> None:
    """Otherwise model and voice work for minutes for somebody who reads nothing."""
    now_ms = 0
    outbox = Outbox(10, ms_max=500, now=lambda: now_ms)
    outbox.put(PausePlayout(Epoch(1)))
    now_ms = 500
    outbox.put(PausePlayout(Epoch(2)))
    now_ms = 501
    with pytest.raises(TooMuch, match="has not read for 500 ms"):
        outbox.put(PausePlayout(Epoch(3)))
    await outbox.get()  # one that is slow, and reads
    outbox.put(PausePlayout(Epoch(4)))
    await outbox.get()
    await outbox.get()
    now_ms = 10_000
    outbox.put(PausePlayout(Epoch(5)))  # nothing waited


def test_what_must_not_leave_does_not():
    """Otherwise the invariants would be a comment."""

    def refuse(message):
        raise ValueError(message)

    outbox = Outbox(10, check=refuse)
    with pytest.raises(ValueError, match="AudioOutput"):
        outbox.put(audio(1))
    outbox.close()

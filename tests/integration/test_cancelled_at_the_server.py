"""CANCEL_TTS as the servers see it: counted there."""

from __future__ import annotations

import asyncio

import pytest

from voicefsm.client import TtsCancelled, TurnCompleted
from voicefsm.scripted import TtsScript

STORY = "Once there was a king. " + "He had a very long story to tell, and it went on and on. " * 20


@pytest.mark.parametrize("is_old", [False, True])
async def test_nothing_of_a_cancelled_reply_reaches_the_servers_afterwards(world, is_old):
    """Otherwise a barge-in leaves the servers at work for nobody, and the next answer waits for them."""
    script = TtsScript(is_old=is_old, chunk_bytes=2048, chunk_period_ms=20)
    async with world(tts=script, replies=[STORY]) as w, w.connect() as conversation:
        for turn in range(1, 4):  # the third time, an old server is known as one
            await conversation.send_text("Tell me a story.")
            while not conversation.player.buffered_samples:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            await conversation.cancel()
            await w.listen(conversation, until=lambda event: isinstance(event, TtsCancelled))
            texts = len(w.riva.tts.asked)
            await w.listen(conversation, until=lambda event: isinstance(event, TurnCompleted))
            await asyncio.sleep(0.2)
            assert len(w.riva.tts.asked) == texts
            assert w.riva.tts.open_calls == 0
            assert w.riva.tts.cancelled >= turn
            assert w.llm.aborted + w.llm.completed == turn

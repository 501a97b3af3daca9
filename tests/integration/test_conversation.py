"""A conversation through everything there is: client library, gRPC, gateway, adapters, and servers on the backends' protocols."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from voicefsm.client import (
    AudioFormat,
    Encoding,
    Outcome,
    SessionOptions,
    State,
    StateChanged,
    TtsCancelled,
    TurnCompleted,
)
from voicefsm.scripted import AsrScript, TtsScript

WorldOf: TypeAlias = Callable[..., contextlib.AbstractAsyncContextManager[Any]]

STORY = "Once upon a time there was a king. He had a very long story to tell. It went on and on and on."


def is_turn(event: object) -> bool:
    return isinstance(event, TurnCompleted)


def enters(state: State) -> Callable[[object], bool]:
    return lambda event: isinstance(event, StateChanged) and event.after is state


async def eventually(holds: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for what another task is about to do."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 (the other end is a server)
            await asyncio.sleep(0.01)


async def test_a_typed_question_is_answered_aloud_and_recorded(world: WorldOf, tmp_path: Path) -> None:
    """Otherwise the parts work and the whole does not."""
    async with world(journal_dir=tmp_path, replies=("It is noon.", "Still noon.")) as w:
        async with w.connect() as conversation:
            session_id = conversation.session.session_id
            for question, answer in (("what time is it", "It is noon."), ("and now", "Still noon.")):
                await conversation.send_text(question)
                turn = (await w.listen(conversation, until=is_turn))[-1]
                assert (turn.user_text, turn.heard_text, turn.outcome) == (question, answer, Outcome.COMPLETED)
        asked = [(message["role"], message["content"]) for message in w.llm.requests[-1].messages[1:]]
        assert asked == [("user", "what time is it"), ("assistant", "It is noon."), ("user", "and now")]
        assert [asked.text for asked in w.riva.tts.asked] == ["It is noon.", "Still noon."]
        await eventually(lambda: w.riva.asr.open_streams == 0)
    records = [json.loads(line) for line in (tmp_path / f"{session_id}.jsonl").read_text().splitlines()]
    assert [record["kind"] for record in (records[0], records[-1])] == ["session", "end"]
    assert [record["heard_text"] for record in records if record["kind"] == "turn"] == ["It is noon.", "Still noon."]


async def test_stop_in_mid_reply_stops_all_backends_and_history_holds_what_was_heard(world: WorldOf) -> None:
    """Otherwise a user who presses stop pays for the rest of the answer, and the model believes that it was heard."""
    async with world(replies=(STORY, "It is noon."), tts=TtsScript(char_ms=100, chunk_period_ms=20)) as w:
        async with w.connect() as conversation:
            await conversation.send_text("tell me a story")
            await w.listen(conversation, until=enters(State.SPEAKING))
            await asyncio.sleep(1.2)  # some words long
            await conversation.cancel()
            seen = await w.listen(conversation, until=is_turn)
            assert any(isinstance(event, TtsCancelled) for event in seen)
            assert seen[-1].outcome is Outcome.INTERRUPTED
            assert len(seen[-1].heard_text) < len(STORY)
            assert STORY.startswith(seen[-1].heard_text)
            await eventually(lambda: w.riva.tts.open_calls == 0)
            await conversation.send_text("what time is it")
            await w.listen(conversation, until=is_turn)
        said = [message["content"] for message in w.llm.requests[-1].messages if message["role"] == "assistant"]
        assert "".join(said) == seen[-1].heard_text


async def test_mu_law_at_8_khz(world: WorldOf) -> None:
    """Otherwise telephones hear noise."""
    fmt = AudioFormat(Encoding.MULAW, 8000)
    async with world() as w, w.connect(SessionOptions(input_format=fmt)) as conversation:
        await conversation.send_audio(np.zeros(160, np.int16))
        await conversation.send_text("what time is it")
        turn = (await w.listen(conversation, until=is_turn))[-1]
        assert turn.heard_text == "It is noon."
        assert conversation.player.position == len("It is noon.") * 60 * 8
        assert w.riva.tts.asked[0].sample_rate_hz == 8000


async def test_a_client_that_vanishes_leaves_no_call_at_any_backend(world: WorldOf) -> None:
    """Otherwise every lost connection occupies an ASR stream and a GPU until somebody restarts the gateway."""
    async with world(replies=(STORY,), tts=TtsScript(char_ms=100, chunk_period_ms=50)) as w:
        with contextlib.suppress(Exception):
            async with w.connect() as conversation:
                await conversation.send_text("tell me a story")
                await w.listen(conversation, until=enters(State.SPEAKING))
                conversation._call.cancel()
        await eventually(lambda: w.riva.tts.open_calls == 0 and w.riva.asr.open_streams == 0)


async def test_two_conversations_at_once_do_not_mix(world: WorldOf) -> None:
    """Otherwise one user hears another's answer."""

    def reply(messages: Any) -> str:
        return f"You said {messages[-1]['content']}."

    async def converse(w: Any, words: str) -> str:
        async with w.connect() as conversation:
            await conversation.send_text(words)
            return str((await w.listen(conversation, until=is_turn))[-1].heard_text)

    async with world(replies=(reply,), asr=AsrScript()) as w:
        heard = await asyncio.gather(*(converse(w, f"number {k}") for k in range(4)))
    assert heard == [f"You said number {k}." for k in range(4)]

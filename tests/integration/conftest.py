"""The whole gateway over real ports: scripted backends on the real protocols, the composition root, the client library."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from voicefsm.app import running
from voicefsm.client import ClientSettings, Conversation, Event, SessionOptions, TurnCompleted
from voicefsm.config import Settings
from voicefsm.scripted import AsrScript, ScriptedLlm, ScriptedRiva, TtsScript
from voicefsm.server.admission import ServerSettings


class World:
    """A gateway and its backends."""

    def __init__(self, riva: ScriptedRiva, llm: ScriptedLlm, settings: Settings) -> None:
        self.riva, self.llm, self.settings = riva, llm, settings
        self.target = ""

    def connect(self, options: SessionOptions | None = None) -> contextlib.AbstractAsyncContextManager[Conversation]:
        """A conversation."""
        return Conversation.connect(self.target, options, settings=ClientSettings(connect_ms_max=20_000))

    async def turn(self, conversation: Conversation, text: str) -> list[Event]:
        """Type `text` and listen to the answer; every event up to the end of the turn."""
        await conversation.send_text(text)
        return await self.listen(conversation, until=lambda event: isinstance(event, TurnCompleted))

    async def listen(self, conversation: Conversation, *, until: Callable[[Event], bool]) -> list[Event]:
        """Let the loudspeaker play at its pace; every event up to the first that `until` accepts."""
        seen = []
        playing = asyncio.create_task(_play(conversation))
        try:
            async with asyncio.timeout(20):
                async for event in conversation:
                    seen.append(event)
                    if until(event):
                        return seen
        finally:
            playing.cancel()
        raise AssertionError(f"the conversation ended after {seen}")


async def _play(conversation: Conversation) -> None:
    while True:
        conversation.player.render(conversation.options.playout_format.sample_rate_hz // 50)
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def gateway(
    *,
    asr: AsrScript | None = None,
    tts: TtsScript | None = None,
    replies: Sequence[Any] = ("It is noon.",),
    journal_dir: Path | None = None,
    **sections: dict[str, Any],
) -> AsyncIterator[World]:
    """Everything up; yields the world. `sections` are changes to the settings."""
    async with ScriptedRiva(asr=asr, tts=tts) as riva, ScriptedLlm(replies) as llm:
        settings = Settings(server=ServerSettings(port=0, drain_ms_max=0))
        changes: dict[str, dict[str, Any]] = {
            "riva": {"target": riva.target, "open_ms_max": 1000},
            "llm": {"base_url": llm.base_url, "warm_up": False},
            "journal": {"dir": str(journal_dir or "")},
            **sections,
        }
        for section, fields in changes.items():
            settings = dataclasses.replace(settings, **{section: dataclasses.replace(getattr(settings, section), **fields)})
        world = World(riva, llm, settings)
        async with running(settings) as port:
            world.target = f"127.0.0.1:{port}"
            yield world


@pytest.fixture
def world() -> Callable[..., contextlib.AbstractAsyncContextManager[World]]:
    """`async with world(...) as w`."""
    return gateway

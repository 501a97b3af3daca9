"""`voicefsm serve --embedded`: one settings file for the gateway and for the backends it brings along."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path

import pytest

from voicefsm.client import Conversation, TurnCompleted

EXTRAS = ("pocketsphinx", "espeakng_loader", "soxr")
FILE = """
[server]
port = 0
[embedded]
riva_port = 0
"""


async def test_one_file_for_both(tmp_path: Path) -> None:
    """Otherwise a gateway comes up whose backends listen elsewhere, and no call is answered."""
    missing = [name for name in EXTRAS if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (pip install '.[embedded]'): SERVE --EMBEDDED was NOT tested")
    file = tmp_path / "voicefsm.toml"
    file.write_text(FILE, encoding="utf-8")
    command = (sys.executable, "-m", "voicefsm", "serve", "--embedded", "--config", str(file), "--set", "embedded.llm_port=0")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(90):
            turn = await answer(await address(process), "What time is it?")
        assert turn.heard_text
    finally:
        process.terminate()
        code = await process.wait()
    assert code == 0


async def address(process: asyncio.subprocess.Process) -> str:
    """Where the gateway listens, once it is ready."""
    assert process.stdout is not None
    target = ""
    async for raw in process.stdout:
        line = raw.decode().rstrip()
        if line.startswith("voicefsm gateway: listening on "):
            target = line.rpartition(" ")[2]
        if line == "voicefsm gateway: ready":
            return target
    raise AssertionError("the gateway ended")


async def answer(target: str, text: str) -> TurnCompleted:
    """Type a question and hear the answer out."""
    async with Conversation.connect(target) as conversation:
        listening = asyncio.create_task(play(conversation))
        await conversation.send_text(text)
        try:
            async for event in conversation:
                if isinstance(event, TurnCompleted):
                    return event
        finally:
            listening.cancel()
    raise AssertionError("the conversation ended without an answer")


async def play(conversation: Conversation) -> None:
    while True:
        conversation.player.render(conversation.options.playout_format.sample_rate_hz // 50)
        await asyncio.sleep(0.02)

"""`python -m voicefsm.scripted` serves at the addresses it prints."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing

import httpx

from voicefsm.adapters.channels import RivaChannelSettings
from voicefsm.adapters.riva_asr import RivaAsrSettings, RivaRecognizer


async def test_it_serves_where_it_says() -> None:
    """Otherwise the command is of no use to whoever tries a client by hand."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "voicefsm.scripted", stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        lines = [(await process.stdout.readline()).decode() for _ in range(3)]
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{lines[1].split()[-1]}/models")).status_code == 200
        channel = RivaChannelSettings(target=lines[0].split()[-1])
        async with aclosing(RivaRecognizer(RivaAsrSettings(), channel)) as recognizer:
            assert await recognizer.languages() == {"en-US"}
        assert lines[2] == "voicefsm scripted: ready\n"
    finally:
        process.terminate()
        await process.communicate()

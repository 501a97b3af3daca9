"""`voicefsm talk`: a conversation with the machine's own microphone and loudspeaker."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from voicefsm.cli.common import component


def talk(
    target: Annotated[str, typer.Option(help="The gateway to talk to, HOST:PORT.")] = "127.0.0.1:7860",
) -> None:
    """Talk to a running gateway through this machine's microphone and loudspeaker."""
    tool = component("talk", "voicefsm.talk", extra="talk")
    summary = asyncio.run(tool.run(tool.TalkSettings(target=target)))
    print(summary)

"""`voicefsm embedded`: local CPU engines behind the real protocols, in a process of their own."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from voicefsm.cli.common import ConfigFile, Overrides, chosen, needs


def embedded(
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default=False)] = None,
    riva_port: Annotated[
        int | None, typer.Option(help="Port of Riva ASR and TTS; 0 takes any free one.", show_default=False)
    ] = None,
    llm_port: Annotated[
        int | None, typer.Option(help="Port of the language model; 0 takes any free one.", show_default=False)
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Run local speech recognition, voices and a rule-based responder, speaking the Riva and OpenAI protocols."""
    from voicefsm.config import load_sections  # noqa: PLC0415  # a quick --help

    with needs("embedded", "embedded"):
        from voicefsm.embedded import EmbeddedSettings, serve  # noqa: PLC0415  # a quick --help, and an extra

    options = {"embedded.host": host, "embedded.riva_port": riva_port, "embedded.llm_port": llm_port}
    settings = load_sections({"embedded": EmbeddedSettings}, file=config, overrides=chosen(options, overrides))["embedded"]
    asyncio.run(serve(settings))
    print("voicefsm embedded: stopped")

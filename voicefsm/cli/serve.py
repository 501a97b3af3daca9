"""`voicefsm serve`: the gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from voicefsm.cli.common import ConfigFile, Overrides, chosen


def serve(  # noqa: PLR0917  # options, given by name
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any free one.", show_default=False)] = None,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Bring the local backends up too, in a process of their own.")
    ] = False,
    journal_dir: Annotated[
        Path | None, typer.Option(help="Write a journal per session into this directory.", show_default=False)
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.", show_default=False)] = None,
    overrides: Overrides = None,
) -> None:
    """Run the gateway until it is told to stop (SIGTERM, Ctrl-C)."""
    from voicefsm.config import load  # noqa: PLC0415  # a quick --help

    options = {"server.host": host, "server.port": port, "journal.dir": journal_dir, "log.level": log_level}
    settings = load(file=config, overrides=chosen(options, overrides))
    from voicefsm import app  # noqa: PLC0415  # wrong settings are told before anything heavy is loaded

    asyncio.run(app.serve(settings, embedded=embedded))
    print("voicefsm gateway: stopped")

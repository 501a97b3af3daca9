"""`voicefsm serve`: the gateway.

With `--embedded`, the settings file and what is `--set` in the section [embedded] are for the child process, which checks them.
"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated

import typer

from voicefsm.cli.common import ConfigFile, Overrides, chosen
from voicefsm.errors import SettingsError

if TYPE_CHECKING:
    from voicefsm.config import Settings

STOP_MARGIN_MS = 10_000
"""How much longer than its sessions a worker may take to stop."""


def serve(  # noqa: PLR0917  # options, given by name
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any free one.", show_default=False)] = None,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Bring the local backends up too, in a process of their own, and use them.")
    ] = False,
    journal_dir: Annotated[
        Path | None, typer.Option(help="Write a journal per session into this directory.", show_default=False)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes on the port, one for each core to fill.", show_default=False)
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.", show_default=False)] = None,
    overrides: Overrides = None,
) -> None:
    """Run the gateway until it is told to stop (SIGTERM, Ctrl-C)."""
    from voicefsm.config import load, rereading  # noqa: PLC0415  # a quick --help

    options = {"server.host": host, "server.port": port, "journal.dir": journal_dir, "log.level": log_level}
    options["server.workers"] = workers
    ours, childs = _shared_out(overrides or []) if embedded else (overrides, [])
    load_ours = partial(load, file=config, overrides=chosen(options, ours))
    settings = load_ours()
    _check_writable(settings.journal.dir)
    from voicefsm import app, loop  # noqa: PLC0415  # wrong settings are told before anything heavy is loaded

    if settings.server.workers > 1:
        _serve_together(settings, embedded=embedded)
    elif embedded:
        loop.run(app.serve_embedded(settings, _arguments(config, childs), lambda found: load_ours(fallback=found)))
    else:
        loop.run(app.serve(settings, rereading(load_ours, config)))
    print("voicefsm gateway: stopped")


def _serve_together(settings: Settings, *, embedded: bool) -> None:
    """Several processes. Raises `SettingsError`."""
    from voicefsm import workers  # noqa: PLC0415  # a quick --help
    from voicefsm.telemetry import exposition, log  # noqa: PLC0415

    if embedded:
        raise SettingsError(
            "--embedded brings one set of backends up for one worker.", remedy="Start `voicefsm embedded` by itself."
        )
    server = settings.server
    log.configure(settings.log.level, settings.log.format)
    with exposition.together(settings.metrics) as directory:
        stop_ms_max = server.drain_ms_max + STOP_MARGIN_MS
        crew = workers.Crew(server.workers, server.host, server.port, server.sessions_max, stop_ms_max, directory)
        asyncio.run(workers.serve(crew, sys.argv[1:]))


def _check_writable(journal_dir: str) -> None:
    """Raises `SettingsError` when journals are wanted where none can be written."""
    if not journal_dir:
        return
    try:
        Path(journal_dir).mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=journal_dir):
            pass
    except OSError as refused:
        problem = f"No journal can be written into {journal_dir}: {refused.strerror}."
        raise SettingsError(problem, remedy="Choose another directory: --journal-dir, or journal.dir.") from refused


def _shared_out(overrides: list[str]) -> tuple[list[str], list[str]]:
    """The overrides for the gateway, and those for the embedded backends."""
    childs = [override for override in overrides if override.lstrip().startswith("embedded.")]
    return [override for override in overrides if override not in childs], childs


def _arguments(config: Path | None, overrides: list[str]) -> list[str]:
    """The command line of `voicefsm embedded`, the command apart."""
    file = [] if config is None else ["--config", str(config)]
    return [*file, *(argument for override in overrides for argument in ("--set", override))]

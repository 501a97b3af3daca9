"""`voicefsm load`: how many conversations a gateway holds, and what each costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voicefsm.cli.common import Overrides, needs
from voicefsm.errors import SettingsError

if TYPE_CHECKING:
    from voicefsm.load.figures import Level


def load(  # noqa: PLR0917  # options, given by name
    sessions: Annotated[str, typer.Option(help="How many at a time; several numbers, with commas between, are a sweep.")] = "10",
    idle: Annotated[int, typer.Option(help="Beside so many muted ones, that send no audio; then --sessions may be 0.", min=0)] = 0,
    seconds: Annotated[float, typer.Option(help="How long each level counts, once all have arrived.", min=1)] = 30.0,
    workers: Annotated[int, typer.Option(help="Workers of our own gateway; with several, all cores are theirs too.", min=1)] = 1,
    calls_per_connection: Annotated[
        int, typer.Option(help="Callers that share a connection, and with it a worker.", min=1, max=100)
    ] = 25,
    echo_db: Annotated[
        int | None,
        typer.Option(
            help="Callers have loudspeakers, whose echo is so many dB below what they play; else headsets.",
            min=0,
            max=60,
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str, typer.Option(help="HOST:PORT of a gateway; without it, one of our own with scripted backends.", show_default=False)
    ] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every figure here.", show_default=False)] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the curve here (.png, .svg).", show_default=False)] = None,
    out: Annotated[Path, typer.Option(help="Logs of the processes.")] = Path("load-out"),
    overrides: Overrides = None,
) -> None:
    """Hold conversations with barge-ins in real time, and measure at the client.

    Exit code 1: a single level is not within its limits. A sweep says which is the largest that is.
    """
    with needs("load", "timeline"):
        from voicefsm import loop  # noqa: PLC0415
        from voicefsm.load import LoadSettings, report, run  # noqa: PLC0415  # a quick --help

        if picture is not None:
            from voicefsm.load.picture import draw  # noqa: PLC0415
    counts = counts_of(sessions, least=0 if idle else 1)
    settings = LoadSettings(target=target, out=out, calls_per_connection=calls_per_connection, echo_db=echo_db)
    print(report.HEAD, flush=True)

    def show(level: Level) -> None:
        print(report.lines(level), flush=True)

    levels = loop.run(run(counts, seconds, settings, idle=idle, workers=workers, overrides=overrides or (), on_level=show))
    if json_file is not None:
        report.write(json_file, report.document(levels, settings))
    if picture is not None:
        draw(picture, levels, settings)
    for error in sorted({error for level in levels for error in (*level.errors, *(level.idle.errors if level.idle else ()))})[:10]:
        print(f"  error: {error}")
    print(report.summary(levels, settings))
    if not levels[-1].is_within(settings) and len(levels) == 1:
        raise typer.Exit(1)


def counts_of(text: str, *, least: int) -> list[int]:
    """The numbers of `--sessions`. Raises `SettingsError`."""
    try:
        counts = [int(word) for word in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < least:
        raise SettingsError(f"--sessions {text!r} is no number of sessions.", remedy="Give one number, or several: 10,20,40.")
    return counts

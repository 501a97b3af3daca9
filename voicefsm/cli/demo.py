"""`voicefsm demo`: a whole spoken conversation on this machine, and a report of how it went."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from voicefsm.cli.common import needs

ROOM = "office"


class DemoCommand(TyperCommand):
    """Lets `--room` stand alone, for the room that is the default."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # typer's own base
        """Give a lonely `--room` its value."""
        followed = itertools.pairwise([*args, "--"])
        given = [f"--room={ROOM}" if arg == "--room" and after.startswith("-") else arg for arg, after in followed]
        return super().parse_args(ctx, given)


def demo(
    out: Annotated[Path, typer.Option(help="Directory for the recordings, the journal, the picture and the report.")] = Path(
        "demo-out"
    ),
    room: Annotated[
        str,
        typer.Option(
            help="The room in which the microphone hears the loudspeaker: office, living, near, or values as "
            "erl=10,delay=120,drift=50 (dB, ms, ppm); none: a line without echo."
        ),
    ] = ROOM,
) -> None:
    """Hold a scripted conversation with barge-in over real processes, and check that it went as a person would expect."""
    with needs("demo", "embedded,timeline"):
        from voicefsm.demo import DemoSettings, run  # noqa: PLC0415  # a quick --help, and an extra
        from voicefsm.demo.room import parse  # noqa: PLC0415

    chosen = parse(room)
    report = asyncio.run(run(DemoSettings(out=out, room=chosen)))
    for problem in report.problems:
        print(f"problem: {problem}")
    where = chosen.told() if chosen else "a line without echo"
    print(f"demo {'ok' if report.ok else 'FAILED'} in {where}: {report.figures()}; files in {out}")
    if not report.ok:
        raise typer.Exit(1)

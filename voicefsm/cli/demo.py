"""`voicefsm demo`: a whole spoken conversation on this machine, and a report of how it went."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from voicefsm.cli.common import needs


def demo(
    out: Annotated[Path, typer.Option(help="Directory for the recording, the journal, the picture and the report.")] = Path(
        "demo-out"
    ),
) -> None:
    """Hold a scripted conversation with barge-in over real processes, and check that it went as a person would expect."""
    with needs("demo", "embedded,timeline"):
        from voicefsm.demo import DemoSettings, run  # noqa: PLC0415  # a quick --help, and an extra

    report = asyncio.run(run(DemoSettings(out=out)))
    for problem in report.problems:
        print(f"problem: {problem}")
    print(f"demo {'ok' if report.ok else 'FAILED'}: {len(report.turns)} turns, files in {out}")
    if not report.ok:
        raise typer.Exit(1)

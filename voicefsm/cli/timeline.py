"""`voicefsm timeline`: the picture of one session."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voicefsm.cli.common import component


def timeline(
    journal: Annotated[Path, typer.Argument(help="A session's journal (JSON lines).", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="The picture to write: .html or .png.")] = Path("timeline.html"),
    wav: Annotated[
        Path | None, typer.Option(help="The session's recording (stereo WAV), for the waveforms.", show_default=False)
    ] = None,
) -> None:
    """Draw one session: waveforms, states, transcripts and events."""
    if out.suffix not in {".html", ".png"}:
        raise typer.BadParameter("must end in .html or .png", param_hint="--out")
    component("timeline", "voicefsm.timeline", extra="timeline").draw(journal, out, wav)
    print(f"timeline written to {out}")

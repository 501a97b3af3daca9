"""`voicefsm timeline`: the picture of one session."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voicefsm.cli.common import needs


def timeline(
    journal: Annotated[Path, typer.Argument(help="A session's journal (JSON lines).", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="The picture to write: .html or .png.")] = Path("timeline.html"),
    wav: Annotated[
        Path | None, typer.Option(help="The session's recording (stereo WAV), for the waveforms.", show_default=False)
    ] = None,
    microphone: Annotated[
        Path | None, typer.Option(help="What the microphone heard (mono WAV), to see the echo; with --wav.", show_default=False)
    ] = None,
) -> None:
    """Draw one session: waveforms, states, transcripts and events."""
    if out.suffix not in {".html", ".png"}:
        raise typer.BadParameter("must end in .html or .png", param_hint="--out")
    with needs("timeline", "timeline"):
        from voicefsm.timeline import draw  # noqa: PLC0415  # a quick --help, and an extra

    draw(journal, out, wav, microphone)
    print(f"timeline written to {out}")

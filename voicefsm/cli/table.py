"""`voicefsm table`: the whole behaviour on one page."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Format(StrEnum):
    """How the table is shown."""

    MD = "md"
    MERMAID = "mermaid"
    JSON = "json"


def table(
    form: Annotated[
        Format, typer.Option("--format", help="md: docs/state-machine.md; mermaid: the diagram; json: for programs.")
    ] = (Format.MD),
) -> None:
    """Print every cell of the state machine."""
    from voicefsm.page import render  # noqa: PLC0415  # a quick --help

    print(render(form.value))

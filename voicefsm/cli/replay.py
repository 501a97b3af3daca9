"""`voicefsm replay`: a recorded session, step by step on today's machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def replay(
    journal: Annotated[Path, typer.Argument(help="A session's journal (JSON lines).")],
    scenario: Annotated[
        bool, typer.Option("--scenario", help="Print the session as a scenario transcript instead: today's orders to its facts.")
    ] = False,
) -> None:
    """Feed a recorded session to the state machine, and compare every order it gives with what was recorded.

    Exit code 0: identical; 1: something differs, which is shown; 2: the journal cannot be read, or not to its end.
    """
    from voicefsm import __version__  # noqa: PLC0415  # a quick --help
    from voicefsm.simulation.replay import JournalError, compare, read, scenario_of  # noqa: PLC0415

    try:
        recording = read(journal)
    except JournalError as error:
        print(f"voicefsm: {error.message}\n{error.remedy}".rstrip(), file=sys.stderr)
        print(f"replay {journal}: not replayed")
        raise typer.Exit(2) from error
    if scenario:
        print(scenario_of(recording, f"Replayed from {journal.name}, recorded by voicefsm {recording.version}."), end="")
        return
    comparison = compare(recording)
    steps = f"{len(recording.steps)} steps"
    if comparison.differences:
        print(comparison.report())
        by = f"recorded by voicefsm {recording.version}, replayed by {__version__}; - recorded, + today"
        print(f"replay {journal}: DIFFERENT, {len(comparison.differences)} of {steps} ({by})")
        raise typer.Exit(1)
    if recording.missing:
        print(f"replay {journal}: identical for {steps}, but incomplete: {recording.missing}")
        raise typer.Exit(2)
    print(f"replay {journal}: identical, {steps}{' (redacted: all but the texts)' if recording.is_redacted else ''}")

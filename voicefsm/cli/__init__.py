"""The command line: one file per command.

Every command prints a summary as its last line on standard output. Exit codes: 0 all is well; 1 what the command checks does not
hold, or what it leans on failed; 2 the command line or the settings are wrong, a file or directory cannot be used, or an extra is
not installed.

A command imports what it needs when it runs, so that `--help` is quick and a missing extra spoils only the commands that need it.
"""

from __future__ import annotations

import sys

import typer

from voicefsm.cli import (
    admin,
    bench,
    conformance,
    demo,
    doctor,
    embedded,
    key,
    load,
    metrics,
    replay,
    serve,
    settings,
    simulate,
    table,
    talk,
    timeline,
)
from voicefsm.errors import SettingsError, VoiceFsmError

app = typer.Typer(
    name="voicefsm",
    help="A full-duplex voice conversation engine: an explicit state machine between gRPC clients, Riva and NIM, with barge-in.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

for command in (
    serve.serve,
    embedded.embedded,
    demo.demo,
    talk.talk,
    doctor.doctor,
    conformance.conformance,
    table.table,
    replay.replay,
    simulate.simulate,
    load.load,
    timeline.timeline,
    settings.settings,
    key.key,
    metrics.metrics,
):
    app.command(cls=demo.DemoCommand if command is demo.demo else None)(command)
app.add_typer(bench.bench, name="bench")
app.add_typer(admin.admin, name="admin")


def run() -> None:
    """Run the command line and leave the process with its exit code."""
    try:
        app()
    except SettingsError as wrong:
        _complain(wrong)
        sys.exit(2)
    except OSError as refused:
        if refused.filename is None:
            raise  # about no file of the user's: a defect, which needs its traceback
        print(f"voicefsm: {refused.filename}: {refused.strerror}", file=sys.stderr)
        sys.exit(2)
    except VoiceFsmError as failed:
        _complain(failed)
        sys.exit(1)


def _complain(error: VoiceFsmError) -> None:
    print(f"voicefsm: {error.message.rstrip()}", file=sys.stderr)
    if error.remedy:
        print(error.remedy, file=sys.stderr)

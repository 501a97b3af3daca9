"""`voicefsm doctor`: what is wrong here, and what to do about it."""

from __future__ import annotations

import asyncio

import typer

from voicefsm.cli.common import ConfigFile, Overrides


def doctor(config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Check the settings, the backends and this machine, and say what to do about every problem."""
    from voicefsm import config as configuration  # noqa: PLC0415  # a quick --help
    from voicefsm import doctor as tool  # noqa: PLC0415  # a quick --help

    settings = configuration.load(file=config, overrides=overrides or [])
    findings = asyncio.run(tool.examine(tool.Patient.of(settings)))
    tool.show(findings)
    print(tool.summary(findings))
    if any(finding.is_fatal for finding in findings):
        raise typer.Exit(1)

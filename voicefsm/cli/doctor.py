"""`voicefsm doctor`: what is wrong here, and what to do about it."""

from __future__ import annotations

import asyncio

import typer

from voicefsm.cli.common import ConfigFile, Overrides


def doctor(config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Check the settings, the backends and this machine, and say what to do about every problem."""
    from voicefsm import doctor as tool  # noqa: PLC0415  # a quick --help
    from voicefsm.config import load, places_of  # noqa: PLC0415  # a quick --help

    settings = load(file=config, overrides=overrides or [])
    places = places_of(settings)
    patient = tool.Patient(
        host=settings.server.host,
        port=settings.server.port,
        language_code=settings.session.language_code,
        voice_name=settings.session.voice_name,
        recognizers=places.asr,
        synthesizers=places.tts,
        models=places.llm,
        asr=settings.asr,
        tts=settings.tts,
        aec=settings.aec,
    )
    findings = asyncio.run(tool.examine(patient))
    tool.show(findings)
    print(tool.summary(findings))
    if any(finding.is_fatal for finding in findings):
        raise typer.Exit(1)

"""The whole examination, and how it is shown."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from voicefsm.adapters.channels import RivaChannelSettings
from voicefsm.adapters.echo import choose_canceller
from voicefsm.adapters.nim import LlmSettings, NimLanguageModel
from voicefsm.adapters.riva_asr import RivaAsrSettings, RivaRecognizer
from voicefsm.adapters.riva_tts import RivaSynthesizer, RivaTtsSettings
from voicefsm.aec.settings import AecSettings
from voicefsm.doctor import backends, machine
from voicefsm.doctor.finding import Finding, Verdict, broken, note, ok
from voicefsm.errors import SettingsError


@dataclasses.dataclass(frozen=True, slots=True)
class Patient:
    """What is examined: the settings of the gateway that reach outside of it."""

    host: str
    port: int
    language_code: str
    voice_name: str
    riva: RivaChannelSettings
    asr: RivaAsrSettings
    tts: RivaTtsSettings
    llm: LlmSettings
    aec: AecSettings


async def examine(patient: Patient) -> list[Finding]:
    """Look at everything; the servers at the same time."""
    riva, model = await asyncio.gather(_examine_riva(patient), _examine_model(patient))
    return [
        machine.examine_python(),
        *machine.examine_packages(),
        *riva,
        model,
        examine_canceller(patient.aec),
        machine.examine_port(patient.host, patient.port),
        machine.examine_audio(),
    ]


async def _examine_riva(patient: Patient) -> list[Finding]:
    """The server first; what it offers only when it is there."""
    server = await backends.examine_riva(patient.riva)
    if server.is_fatal:
        return [server]
    recognizer, synthesizer = RivaRecognizer(patient.asr, patient.riva), RivaSynthesizer(patient.tts, patient.riva)
    try:
        offers = await asyncio.gather(
            backends.examine_recognizer(recognizer.models, patient.language_code, patient.asr.model),
            backends.examine_synthesizer(synthesizer.voices, patient.language_code, patient.voice_name),
        )
    finally:
        await recognizer.aclose()
        await synthesizer.aclose()
    return [server, *offers]


async def _examine_model(patient: Patient) -> Finding:
    model = NimLanguageModel(patient.llm)
    try:
        return await backends.examine_model(model.models, patient.llm.base_url, patient.llm.model)
    finally:
        await model.aclose()


def examine_canceller(settings: AecSettings) -> Finding:
    """Which echo canceller would be used, and why?"""
    name = "echo canceller"
    try:
        choice = choose_canceller(settings)
    except SettingsError as missing:
        return broken(name, missing.message, missing.remedy)
    seen = f"{choice.name}: {choice.reason}"
    if choice.name == "aec3" and settings.canceller == "auto":
        return note(name, seen, "")  # the reason says what to install
    return ok(name, seen)


# --- the report --------------------------------------------------------------------------------------------------------------

_PIPED_COLUMNS = 1000
"""Who reads a pipe finds each remedy in one line."""

_STYLES = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.BROKEN: "bold red"}


def show(findings: Sequence[Finding]) -> None:
    """Print the findings as a table, each with what to do about it."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "seen, and what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        todo = f"\n[bold]→ {_plain(finding.remedy)}[/bold]" if finding.remedy else ""
        table.add_row(f"[{_STYLES[finding.verdict]}]{finding.verdict}[/]", finding.name, _plain(finding.detail) + todo)
    Console(width=None if sys.stdout.isatty() else _PIPED_COLUMNS).print(table)


def _plain(text: str) -> str:
    """`text` with nothing in it that rich would take for markup."""
    return text.replace("[", "\\[")


def summary(findings: Sequence[Finding]) -> str:
    """The last line."""
    wrong = [finding.name for finding in findings if finding.is_fatal]
    count = sum(finding.verdict is Verdict.NOTE for finding in findings)
    notes = "1 note" if count == 1 else f"{count} notes"
    if wrong:
        return f"doctor: {len(wrong)} of {len(findings)} checks failed ({', '.join(wrong)}), {notes}"
    return f"doctor: ready to serve, {notes}"

"""The whole examination, and how it is shown."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TypeVar

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

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Patient:
    """What is examined: the settings of the gateway that reach outside of it."""

    host: str
    port: int
    language_code: str
    voice_name: str
    recognizers: Mapping[str, RivaChannelSettings]
    """By where they are, in order of preference; so are the others."""
    synthesizers: Mapping[str, RivaChannelSettings]
    models: Mapping[str, LlmSettings]
    asr: RivaAsrSettings
    tts: RivaTtsSettings
    aec: AecSettings


async def examine(patient: Patient) -> list[Finding]:
    """Look at everything; the servers at the same time."""
    riva, models = await asyncio.gather(_examine_riva(patient), _examine_models(patient))
    return [
        machine.examine_python(),
        *machine.examine_packages(),
        *riva,
        *models,
        examine_canceller(patient.aec),
        machine.examine_port(patient.host, patient.port),
        machine.examine_audio(),
    ]


async def _examine_riva(patient: Patient) -> list[Finding]:
    """Each server first; what it offers only when it is there."""
    channels = {**patient.recognizers, **patient.synthesizers}
    servers = await _each(backends.examine_riva, channels)
    there = {at for at, server in servers.items() if not server.is_fatal}
    hear = await _each(partial(_examine_recognizer, patient), _only(patient.recognizers, there))
    speak = await _each(partial(_examine_synthesizer, patient), _only(patient.synthesizers, there))
    ears = one_is_enough({at: hear.get(at, servers[at]) for at in patient.recognizers})
    voices = one_is_enough({at: speak.get(at, servers[at]) for at in patient.synthesizers})
    told: list[Finding] = []
    for at in servers:
        found = [kind[at] for kind in (ears, voices) if at in kind]
        told += [servers[at], *found] if at in there else [min(found, key=lambda finding: not finding.is_fatal)]
    return told


async def _each(examine_one: Callable[[T], Awaitable[Finding]], servers: Mapping[str, T]) -> dict[str, Finding]:
    """All of them, at the same time."""
    return dict(zip(servers, await asyncio.gather(*map(examine_one, servers.values())), strict=True))


def _only(servers: Mapping[str, T], there: Collection[str]) -> dict[str, T]:
    return {at: server for at, server in servers.items() if at in there}


def one_is_enough(findings: Mapping[str, Finding]) -> dict[str, Finding]:
    """Of several servers of a kind: each is named, and what one lacks is worth a note while another works."""
    if len(findings) == 1:
        return dict(findings)
    named = {at: dataclasses.replace(finding, name=f"{finding.name} {at}") for at, finding in findings.items()}
    if all(finding.is_fatal for finding in findings.values()):
        return named
    return {at: note(found.name, found.detail, found.remedy) if found.is_fatal else found for at, found in named.items()}


async def _examine_recognizer(patient: Patient, channel: RivaChannelSettings) -> Finding:
    recognizer = RivaRecognizer(patient.asr, channel)
    try:
        return await backends.examine_recognizer(recognizer.models, patient.language_code, patient.asr.model)
    finally:
        await recognizer.aclose()


async def _examine_synthesizer(patient: Patient, channel: RivaChannelSettings) -> Finding:
    synthesizer = RivaSynthesizer(patient.tts, channel)
    try:
        return await backends.examine_synthesizer(synthesizer.voices, patient.language_code, patient.voice_name)
    finally:
        await synthesizer.aclose()


async def _examine_models(patient: Patient) -> list[Finding]:
    return [*one_is_enough(await _each(_examine_model, patient.models)).values()]


async def _examine_model(settings: LlmSettings) -> Finding:
    model = NimLanguageModel(settings)
    try:
        return await backends.examine_model(model.models, settings.base_url, settings.model)
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

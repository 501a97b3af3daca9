"""The whole examination."""

from __future__ import annotations

import dataclasses
from typing import Any

from voicefsm.adapters.channels import RivaChannelSettings
from voicefsm.adapters.nim import LlmSettings
from voicefsm.adapters.riva_asr import RivaAsrSettings
from voicefsm.adapters.riva_tts import RivaTtsSettings
from voicefsm.aec.settings import AecSettings, Canceller
from voicefsm.doctor import Patient, examine, show, summary
from voicefsm.doctor.examine import examine_canceller
from voicefsm.doctor.finding import Verdict, broken, note, ok
from voicefsm.scripted import ScriptedLlm, ScriptedRiva

NOWHERE = "127.0.0.1:1"
NOBODY = Patient(
    host="127.0.0.1",
    port=0,
    language_code="en-US",
    voice_name="",
    recognizers={NOWHERE: RivaChannelSettings(target=NOWHERE)},
    synthesizers={NOWHERE: RivaChannelSettings(target=NOWHERE)},
    models={NOWHERE: LlmSettings(base_url=f"http://{NOWHERE}/v1")},
    asr=RivaAsrSettings(),
    tts=RivaTtsSettings(),
    aec=AecSettings(),
)


def at(*servers: ScriptedRiva) -> dict[str, Any]:
    """Servers for both, in order; one without an address is down."""
    channels = {server.target: RivaChannelSettings(target=server.target) for server in servers}
    return {"recognizers": channels, "synthesizers": channels}


async def test_where_nothing_runs_every_server_is_one_broken_line():
    """Otherwise a missing Riva would be told three times, or a missing model not at all."""
    findings = await examine(NOBODY)
    assert [finding.name for finding in findings if finding.is_fatal] == ["riva", "llm"]
    assert all(finding.remedy for finding in findings if finding.is_fatal)


async def test_where_riva_runs_it_is_asked_what_it_offers():
    """Otherwise a wrong language would be found by the first caller."""
    async with ScriptedRiva() as riva:
        findings = await examine(dataclasses.replace(NOBODY, **at(riva)))
    assert {"riva", "asr", "tts", "llm"} <= {finding.name for finding in findings}
    assert [finding.name for finding in findings if finding.is_fatal] == ["llm"]


async def test_where_everything_runs_nothing_is_broken():
    """Otherwise `voicefsm doctor && voicefsm serve` would never serve."""
    async with ScriptedRiva() as riva, ScriptedLlm() as llm:
        findings = await examine(dataclasses.replace(NOBODY, **at(riva), models={"one": LlmSettings(base_url=llm.base_url)}))
    assert [finding.name for finding in findings if finding.is_fatal] == []
    assert next(finding.detail for finding in findings if finding.name == "llm").endswith("scripted will answer")


async def test_every_server_of_a_failover_list_is_examined_and_one_is_enough():
    """Otherwise a second server is found to be missing on the day the first one fails, or a gateway that works is called broken."""
    dead = RivaChannelSettings(target=NOWHERE)
    async with ScriptedRiva() as riva, ScriptedLlm() as llm:
        live = RivaChannelSettings(target=riva.target)
        patient = dataclasses.replace(
            NOBODY,
            recognizers={NOWHERE: dead, riva.target: live},
            synthesizers={riva.target: live},
            models={"a": NOBODY.models[NOWHERE], "b": LlmSettings(base_url=llm.base_url)},
        )
        servers = [finding for finding in await examine(patient) if finding.name.split()[0] in {"riva", "asr", "tts", "llm"}]
        assert [(finding.name, str(finding.verdict)) for finding in servers] == [
            (f"riva {NOWHERE}", "note"),
            ("riva", "ok"),
            (f"asr {riva.target}", "ok"),
            ("tts", "ok"),
            ("llm a", "note"),
            ("llm b", "ok"),
        ]
        assert all(finding.remedy for finding in servers if finding.verdict is Verdict.NOTE)
        alone = dataclasses.replace(patient, synthesizers={NOWHERE: dead})
        broken_ones = [finding.name for finding in await examine(alone) if finding.is_fatal]
        assert broken_ones == ["riva"], "nobody else speaks"


def test_the_canceller_is_named_with_its_reason():
    """Otherwise nobody would know why echo is heard."""
    assert examine_canceller(AecSettings(canceller=Canceller.AEC3)).detail.startswith("aec3: ")
    assert examine_canceller(AecSettings()).detail.split(":")[0] in {"kalman", "speex", "aec3"}


def test_the_report_shows_everything_and_its_last_line_counts(capsys):
    """Otherwise what to do would be lost between the check and the reader."""
    findings = [ok("one", "fine"), note("two", "so so", "try [this]"), broken("three", "bad", "mend it")]
    show(findings)
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("fine", "so so", "try [this]", "bad", "mend it"))
    assert summary(findings) == "doctor: 1 of 3 checks failed (three), 1 note"
    assert summary(findings[:2]) == "doctor: ready to serve, 1 note"

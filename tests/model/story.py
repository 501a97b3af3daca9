"""A path as a scenario transcript: what a person reads, and `voicefsm.simulation.scenario` runs."""

from __future__ import annotations

from collections.abc import Sequence

from tests.model.abstraction import Speech, stimuli
from tests.model.checker import Report, Step
from voicefsm.context import Context, TurnSettings
from voicefsm.events import Fact, SessionOpened
from voicefsm.simulation import scenario

_ALL = Speech()
_STEP_MS = 20
_OPENED = SessionOpened(0)


def facts_of(path: Sequence[Step], settings: TurnSettings, opening: SessionOpened) -> list[str | Fact]:
    """A path on a real clock, with real numbers: facts, and what happened between them as comments."""
    context, now_ms = Context(settings=settings), 0
    lines: list[str | Fact] = [opening]
    scenario.take(context, opening)
    for step in path:
        if step.what:
            lines.append(f"# {step.what}")
        if step.name:
            fact = stimuli(context, now_ms + _STEP_MS, _ALL)[step.name]
            now_ms = fact.at_ms
            lines.append(fact)
            scenario.take(context, fact)
    return lines


def tell(report: Report, settings: TurnSettings, opening: SessionOpened = _OPENED) -> str:
    """The counter-example of a report, of a session that began so."""
    head = scenario.transcript((), settings, title=f"{report.name}: {report.violation}").rstrip("\n")
    body = scenario.write(scenario.Scenario(settings, "en-US", tuple(facts_of(report.path, settings, opening))))
    return f"{head}\n{body}"

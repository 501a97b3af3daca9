"""Session after session from one seed, until so many virtual hours are over; and what to do with one that breaks a rule.

Theory of operation. Session n of seed s is `script_of("s-n")`, on a loop of its own: no session knows of another, and each can be
played again alone. A script that breaks a rule is shrunk: whatever can be taken away while the same rule still breaks is taken
away, first acts, in halves, quarters and so on (delta debugging), then everything about the client and the settings that is
unusual. What is left is written down, with the transcript of what the machine went through.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from voicefsm.runtime.journal import FileJournal
from voicefsm.simulation import replay
from voicefsm.simulation import script as scripts
from voicefsm.simulation.play import Played, play
from voicefsm.simulation.script import Act, Script

JOURNAL_BYTES_MAX = 100_000_000
SHRINK_RUNS_MAX = 300
"""How often a script is played to make it shorter."""
FAILURES_MAX = 5
"""After so many, one knows."""
_HOUR_MS = 3_600_000

Predicate = Callable[[Script], bool]


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """A session that broke a rule."""

    session_id: str
    rule: str
    what: str
    script: Script
    """Shrunk."""
    file: Path


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """What a simulation came to."""

    sessions: int
    virtual_ms: int
    steps: int
    cpu_s: float
    """Of playing; shrinking apart."""
    seen: frozenset[str]
    """States, orders and ends that were lived through."""
    digest: str
    """SHA-256 over all journals."""
    failures: tuple[Failure, ...]

    @property
    def speed(self) -> float:
        """Virtual hours per CPU hour."""
        return self.virtual_ms / 1000 / max(self.cpu_s, 1e-9)


def simulate(seed: int, hours: float, out: Path, *, tell: Callable[[str], object] = lambda _: None) -> Summary:
    """Play sessions for so many virtual hours; journals and failures go to `out`, which is made. `tell` hears of each failure."""
    out.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    failures: list[Failure] = []
    seen: set[str] = set()
    nth = virtual_ms = steps = 0
    spent_s = 0.0
    while virtual_ms < hours * _HOUR_MS and len(failures) < FAILURES_MAX:
        session_id, file = f"{seed}-{nth}", out / f"{nth:05d}.jsonl"
        script = scripts.script_of(session_id)
        begin_s = time.process_time()  # for telling how fast it was, and for nothing in it
        played = play_into(file, script, session_id)
        spent_s += time.process_time() - begin_s
        digest.update(file.read_bytes())
        nth, virtual_ms, steps = nth + 1, virtual_ms + played.virtual_ms, steps + played.steps
        seen |= {*played.seen, played.ended}
        if played.violation is not None:
            failures.append(explain(session_id, script, played, out))
            tell(f"session {session_id}: {failures[-1].rule}: {failures[-1].what}\n  shrunk to {failures[-1].file}")
    return Summary(nth, virtual_ms, steps, spent_s, frozenset(seen), digest.hexdigest(), tuple(failures))


def play_into(file: Path, script: Script, session_id: str) -> Played:
    """Play a script with its journal in this file."""
    with contextlib.closing(FileJournal(file, bytes_max=JOURNAL_BYTES_MAX)) as journal:
        return play(script, session_id=session_id, journal=journal)


def explain(session_id: str, script: Script, played: Played, out: Path) -> Failure:
    """Shrink a script that broke a rule, and write down what is left of it."""
    assert played.violation is not None
    rule = played.violation.rule
    small = shrink(script, lambda one: _breaks(one, rule), played.violation.at_ms)
    file = out / f"failure-{session_id}.script"
    again = play_into(file.with_suffix(".jsonl"), small, session_id).violation or played.violation
    said = f"Session {session_id} broke a rule at {again.at_ms} ms. {again.rule}: {again.what}"
    file.write_text(scripts.write(small, said, f"Again: voicefsm simulate --script {file.name}"), encoding="utf-8")
    transcript = replay.scenario_of(replay.read(file.with_suffix(".jsonl")), said)
    file.with_suffix(".txt").write_text(transcript, encoding="utf-8")
    return Failure(session_id, again.rule, again.what, small, file)


def _breaks(script: Script, rule: str) -> bool:
    violation = play(script).violation
    return violation is not None and violation.rule == rule


# --- shrinking ---------------------------------------------------------------------------------------------------------------


def shrink(script: Script, fails: Predicate, until_ms: int) -> Script:
    """A script that still fails and has less in it; `script` itself when nothing can go. What comes after `until_ms` goes first."""
    fails = _at_most(SHRINK_RUNS_MAX, fails)
    cut = _with(script, [act for act in script.acts if act.at_ms <= until_ms])
    script = cut if fails(cut) else script
    script = _with(script, _minimal(script.acts, lambda acts: fails(_with(script, acts))))
    for simpler in _simpler(script):
        changed = dataclasses.replace(script, **simpler)
        if changed != script and fails(changed):
            script = changed
    return script


def _with(script: Script, acts: Sequence[Act]) -> Script:
    return dataclasses.replace(script, acts=tuple(acts))


def _at_most(runs: int, fails: Predicate) -> Predicate:
    """Out of patience, nothing fails any more."""
    left = iter(range(runs))
    return lambda script: next(left, None) is not None and fails(script)


def _minimal(acts: tuple[Act, ...], fails: Callable[[Sequence[Act]], bool]) -> tuple[Act, ...]:
    """Take away ever smaller pieces for as long as it fails without them."""
    size = len(acts) // 2
    while size:
        at = 0
        while at < len(acts):
            without = acts[:at] + acts[at + size :]
            if fails(without):
                acts = without
            else:
                at += size
        size //= 2
    return acts


def _simpler(script: Script) -> Iterator[dict[str, Any]]:
    """One unusual thing after the other, made usual; then everything earlier."""
    plain = Script()
    for field in dataclasses.fields(Script):
        if field.name not in {"acts", "turns", "seed"}:
            yield {field.name: getattr(plain, field.name)}
    yield {"turns": plain.turns}
    early_ms = min((act.at_ms for act in script.acts), default=0) - 1000
    yield {"acts": tuple(dataclasses.replace(act, at_ms=act.at_ms - early_ms) for act in script.acts)}

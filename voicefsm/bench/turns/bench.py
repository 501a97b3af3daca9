"""`voicefsm bench turns` from what was wished for to the verdict."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from voicefsm.bench.turns import report, room, score
from voicefsm.bench.turns.run import CALL, Manner, OpenGateway, run
from voicefsm.bench.turns.stimuli import Item, Stimuli, load

FAILURES = "failures.txt"


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """What to measure, and what to leave behind."""

    data: Path | None
    out: Path
    runs: Path | None = None
    """Recordings that are there already."""
    only: tuple[str, ...] = ()
    per_category_max: int | None = None
    jobs: int = 1
    calls: int = 12
    manner: Manner = Manner()
    limits: Path | None = None
    json_file: Path | None = None
    picture: Path | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What came of it."""

    text: str
    """A table; its last line is a summary."""
    is_good: bool


def measure(wish: Wish, gateway: OpenGateway) -> Verdict:
    """Play, score, write, tell. Raises `NoStimuli` or `BadLimits`."""
    limits = {} if wish.limits is None else report.read_limits(wish.limits)
    stimuli = load(wish.data) if wish.data else _made(wish.out / "stimuli", wish.per_category_max)
    items = chosen(stimuli, wish)
    runs = wish.runs or wish.out
    problems = {} if wish.runs else run(stimuli, items, runs, gateway, wish.manner, jobs=wish.jobs, calls=wish.calls)
    results = score.results_of(items, runs)
    figures, categories, faults = score.figures(results), score.by_category(results), score.failures(results)
    figures |= room.figures(room.alone(items, room.calls_of(items, runs, CALL)))
    wish.out.mkdir(parents=True, exist_ok=True)
    (wish.out / FAILURES).write_text("\n".join(report.explain(faults, runs)) + "\n")
    if wish.json_file:
        manner = {"asr": wish.manner.ear.value, "in_room": wish.manner.in_room}
        about = {"stimuli": stimuli.name, "items": len(items), **manner, "problems": problems}
        wish.json_file.write_text(json.dumps(report.as_json(about, figures, categories, results, faults), indent=1))
    if wish.picture:
        from voicefsm.bench.turns.picture import draw  # noqa: PLC0415  # matplotlib is an extra

        draw(wish.picture, results, figures, limits)
    missed = report.missed(figures, limits)
    lines = [report.table(figures, categories, limits), *(f"{id_}: {problem}" for id_, problem in sorted(problems.items()))]
    is_good = not missed and not problems and not results.missing
    return Verdict("\n".join([*lines, _summary(figures, len(items), faults, missed, is_good=is_good)]), is_good)


def chosen(stimuli: Stimuli, wish: Wish) -> list[Item]:
    """The items wished for, in the order of the set."""
    counts: Counter[str] = Counter()
    found = []
    for item in stimuli.items:
        if wish.only and not item.id.startswith(wish.only):
            continue
        counts[item.category] += 1
        if wish.per_category_max is None or counts[item.category] <= wish.per_category_max:
            found.append(item)
    return found


def _made(root: Path, items: int | None) -> Stimuli:
    from voicefsm.bench.turns.make import ITEMS, make  # noqa: PLC0415  # only where no set is given

    return make(root, items=items or ITEMS)


def _summary(
    figures: dict[str, score.Figure], count: int, faults: Sequence[score.Failure], missed: Sequence[str], *, is_good: bool
) -> str:
    def told(name: str, scale: float, unit: str) -> str:
        value = figures[name].value
        return "-" if value is None else f"{value * scale:.0f}{unit}"

    limits = f"; limits not met: {', '.join(missed)}" if missed else ""
    return (
        f"bench turns: {'ok' if is_good else 'NOT GOOD ENOUGH'}, {count} items, {len(faults)} failures, "
        f"stop p50 {told('stop_p50_ms', 1, ' ms')} p95 {told('stop_p95_ms', 1, ' ms')}, yields {told('yields', 100, ' %')}, "
        f"ignores short {told('ignores_short', 100, ' %')} others {told('ignores_others', 100, ' %')}{limits}"
    )

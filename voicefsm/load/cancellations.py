"""How soon CANCEL reaches the voice's server once a barge-in is confirmed, and whether a text of that reply follows it.

Theory of operation: two records are joined when the run is over, so that nothing is asked of the gateway while it is measured. Its
journals say when the machine ordered `CancelTts`, and what it had spoken of that reply; the scripted voice has kept when each text
came, and how each call ended. Every text of a reply holds the reply's mark (backends.py), which says whose calls are whose. Both
clocks are the host's monotonic one.

A decision is timed by the record of its step, which is written when the machine has decided and before any order is carried out.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from voicefsm.load.percentiles import Percentiles
from voicefsm.values import CancelReason

MARK = re.compile(r"\b[0-9A-Z]{4}\b")
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
NS_PER_MS, NS_PER_US = 1_000_000, 1000


def mark(number: int) -> str:
    """Of this reply: as long as that of any other. After 1.7 million they come again."""
    digits = ""
    for _ in range(4):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


# --- what the voice has seen -------------------------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class VoiceCall:
    """A call, as the server saw it. Times on the host's monotonic clock."""

    texts: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    """When each came (ns), and what it was."""
    ended_ns: int | None = None
    is_cancelled: bool = False

    @property
    def marks(self) -> set[str]:
        """Of the replies whose texts came in it: one, if all is well."""
        return {found for _, text in self.texts for found in MARK.findall(text)}

    def is_open_at(self, at_ns: int) -> bool:
        """Whether it had begun then, and was not over."""
        return self.texts[0][0] <= at_ns and (self.ended_ns is None or self.ended_ns > at_ns)


def write(path: Path, calls: Iterable[VoiceCall]) -> None:
    """A call a line."""
    path.write_text("".join(f"{json.dumps(dataclasses.asdict(call))}\n" for call in calls), encoding="utf-8")


def _read_calls(path: Path) -> list[VoiceCall]:
    calls = [VoiceCall(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    for call in calls:
        call.texts = [(at_ns, text) for at_ns, text in call.texts]
    return calls


# --- what the gateway has decided --------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """Of one session."""

    marks: frozenset[str]
    """In its texts; none where they are not known, as in a redacted journal."""
    cancelled_ns: int | None = None
    """When a barge-in over it was confirmed, on the host's monotonic clock."""


def replies(journal: Iterable[str]) -> Iterator[Reply]:
    """Those of one session, from the lines of its journal."""
    marks: dict[int, set[str]] = {}
    cancelled_ns: dict[int, int] = {}
    for line in journal:
        if '"SpeakText"' not in line and '"CancelTts"' not in line:
            continue
        record = json.loads(line)
        for order in record.get("effects", ()):
            epoch = order.get("epoch")
            if order["type"] == "SpeakText":
                marks.setdefault(epoch, set()).update(MARK.findall(order["text"]))
            elif _is_barge_in(order):
                cancelled_ns[epoch] = record["written_us"] * NS_PER_US
    for epoch in marks.keys() | cancelled_ns.keys():
        yield Reply(frozenset(marks.get(epoch, ())), cancelled_ns.get(epoch))


def _is_barge_in(order: Mapping[str, Any]) -> bool:
    return (order["type"], order.get("reason")) == ("CancelTts", CancelReason.BARGE_IN)


# --- both --------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Cancellations:
    """What became of the confirmed barge-ins of a level."""

    decisions: int
    reached_ms: Percentiles
    """From the decision until the voice's server saw its call cancelled."""
    nothing_left: int
    """Decisions over replies of which the server had made everything: no call was open."""
    not_cancelled: int
    """Decisions after which an open call went on to its end."""
    unknown: int
    """Decisions over replies of which the server's calls cannot be told."""
    late_texts: int
    """Texts of these replies that reached the server after the cancellation; where there was none, after the decision."""


COUNTED = ("decisions", "nothing_left", "not_cancelled", "unknown", "late_texts")


def join(spoken: Sequence[Reply], calls: Sequence[VoiceCall], counts_from_ns: int) -> Cancellations:
    """The decisions from then on, and what the voice saw of each."""
    owners = Counter(found for reply in spoken for found in reply.marks)
    calls_of = _by_mark(calls)
    reached_ms: list[float] = []
    counts: Counter[str] = Counter()
    for reply in spoken:
        if reply.cancelled_ns is None or reply.cancelled_ns < counts_from_ns:
            continue
        counts["decisions"] += 1
        if not reply.marks or any(owners[found] > 1 for found in reply.marks):
            counts["unknown"] += 1
            continue
        own = [calls[nth] for nth in set[int]().union(*(calls_of.get(found, ()) for found in reply.marks))]
        live = [call for call in own if call.is_open_at(reply.cancelled_ns)]
        silenced_ns = reply.cancelled_ns
        if not live:
            counts["nothing_left"] += 1
        elif not all(call.is_cancelled for call in live):
            counts["not_cancelled"] += 1
        else:
            silenced_ns = max(call.ended_ns or 0 for call in live)
            reached_ms.append((silenced_ns - reply.cancelled_ns) / NS_PER_MS)
        counts["late_texts"] += sum(at_ns > silenced_ns for call in own for at_ns, _ in call.texts)
    return Cancellations(reached_ms=Percentiles.of(reached_ms), **{name: counts[name] for name in COUNTED})


def _by_mark(calls: Sequence[VoiceCall]) -> dict[str, list[int]]:
    """Numbers of the calls in which each mark came."""
    found: dict[str, list[int]] = {}
    for nth, call in enumerate(calls):
        for one in call.marks:
            found.setdefault(one, []).append(nth)
    return found


class Records:
    """Where gateway and backends of one level leave what they saw; to be read when both have ended."""

    def __init__(self, out: Path) -> None:
        self.journals, self.calls = out / "journals", out / "voice.jsonl"
        self.counts_from_ns: int | None = None
        """Decisions before are not counted; None: none is."""
        self.calls.unlink(missing_ok=True)
        self._earlier = set(self.journals.glob("*.jsonl"))
        """Journals of other runs."""

    def cancellations(self) -> Cancellations | None:
        """What became of the barge-ins; None where no journal says which there were: a bare relay, `journal.dir` elsewhere."""
        ours = sorted(set(self.journals.glob("*.jsonl")) - self._earlier)
        if self.counts_from_ns is None or not ours or not self.calls.exists():
            return None
        spoken = [reply for path in ours for reply in replies(path.read_text(encoding="utf-8").splitlines())]
        return join(spoken, _read_calls(self.calls), self.counts_from_ns)

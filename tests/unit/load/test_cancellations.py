"""From journals and what the voice saw to how soon CANCEL reached it. Times in ms of the host's clock, whatever it began at."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from voicefsm.adapters.riva_tts import RivaTtsSettings, pieces
from voicefsm.load.backends import answer
from voicefsm.load.cancellations import MARK, Cancellations, Records, Reply, VoiceCall, join, mark, replies, write
from voicefsm.load.percentiles import Percentiles

CLOCK_MS = 1_000_000
OTHER = "Some words of the gateway's own."


def ns(ms: float) -> int:
    return round((CLOCK_MS + ms) * 1e6)


def call(number: int, *texts_ms: float, cancelled: float | None = None, ended: float | None = None) -> VoiceCall:
    """One call with texts of one reply, that came at these times."""
    over = cancelled if cancelled is not None else ended
    texts = [(ns(ms), f"Words of {mark(number)}.") for ms in texts_ms]
    return VoiceCall(texts, None if over is None else ns(over), cancelled is not None)


def reply(number: int, cancelled: float | None = None) -> Reply:
    return Reply(frozenset([mark(number)]), None if cancelled is None else ns(cancelled))


def joined(spoken: list[Reply], calls: list[VoiceCall], counts_from: float = 0) -> Cancellations:
    return join(spoken, calls, ns(counts_from))


def came_to(cancellations: Cancellations) -> dict[str, int]:
    """The counts that are not 0."""
    counts = {name: getattr(cancellations, name) for name in ("nothing_left", "not_cancelled", "unknown", "late_texts")}
    return {name: count for name, count in {"reached": cancellations.reached_ms.n, **counts}.items() if count}


def test_from_the_decision_to_the_server() -> None:
    """Otherwise the figure is of something else: of another reply, another session, or what was over before."""
    seen = joined(
        [reply(1, 5000), reply(2, 5001), reply(3)],
        [call(2, 4001, 4500, cancelled=5009), call(1, 4000, cancelled=5002), call(3, 4000, cancelled=9000)],
    )
    assert seen == Cancellations(2, Percentiles(2, 5.0, 7.7, 8.0), 0, 0, 0, 0)


def test_a_cancel_that_never_comes() -> None:
    """Otherwise a gateway that lets the voice go on has no latency, and looks as if there were nothing left to cancel."""
    calls = [call(1, 4000, ended=9000), call(2, 4000)]
    assert came_to(joined([reply(1, 5000), reply(2, 5000)], calls)) == {"not_cancelled": 2}


def test_one_of_two_calls_goes_on() -> None:
    """Otherwise a reply that is spoken in calls of one text each is taken for cancelled as soon as one of them is."""
    calls = [call(1, 4000, cancelled=5001), call(1, 4100, ended=9000)]
    assert came_to(joined([reply(1, 5000)], calls)) == {"not_cancelled": 1}


def test_nothing_left_to_cancel() -> None:
    """Otherwise what is no failure of anybody counts as one, or as a latency."""
    assert came_to(joined([reply(1, 5000), reply(2, 5000)], [call(1, 4000, ended=4999)])) == {"nothing_left": 2}


@pytest.mark.parametrize(
    ("calls", "outcome"),
    [
        pytest.param([call(1, 4000, 5005, cancelled=5003)], {"reached": 1, "late_texts": 1}, id="in the call"),
        pytest.param(
            [call(1, 4000, cancelled=5003), call(1, 5100, 5200, ended=5400)], {"reached": 1, "late_texts": 2}, id="in a new one"
        ),
        pytest.param(
            [call(1, 4000, ended=4900), call(1, 5001, ended=5400)], {"nothing_left": 1, "late_texts": 1}, id="after all was made"
        ),
        pytest.param([call(1, 4000, 5002, cancelled=5003)], {"reached": 1}, id="not late: it was on its way"),
        pytest.param([call(1, 4000, cancelled=5003), call(2, 5100)], {"reached": 1}, id="not late: of the next reply"),
    ],
)
def test_a_late_text(calls: list[VoiceCall], outcome: dict[str, int]) -> None:
    """Otherwise a gateway that cancels, and asks for the rest in a new call, passes."""
    assert came_to(joined([reply(1, 5000)], calls)) == outcome


def test_two_sessions_with_equal_texts() -> None:
    """Otherwise one session's CANCEL is counted for the other's decision."""
    seen = joined([reply(1, 5000), reply(1, 5000), reply(2, 5000)], [call(1, 4000, cancelled=5001), call(2, 4000, cancelled=5001)])
    assert (seen.decisions, came_to(seen)) == (3, {"unknown": 2, "reached": 1})


def test_texts_that_are_not_known() -> None:
    """Otherwise a redacted journal says that there never was anything to cancel."""
    assert came_to(joined([Reply(frozenset(), ns(5000))], [call(1, 4000, cancelled=5001)])) == {"unknown": 1}


def test_what_was_before_it_counts_is_left_out() -> None:
    """Otherwise the start of a gateway is in its figures."""
    calls = [call(1, 1000, cancelled=1900), call(2, 2000, cancelled=3001)]
    seen = joined([reply(1, 1000), reply(2, 3000)], calls, counts_from=2000)
    assert (seen.decisions, seen.reached_ms) == (1, Percentiles(1, 1.0, 1.0, 1.0))


HEAD = json.dumps({"kind": "session", "at_ms": 0, "written_us": CLOCK_MS * 1000})


def step(at_ms: int, *orders: dict[str, Any]) -> str:
    """Taken 10 ms after its fact."""
    written_us = ns(at_ms) // 1000
    return json.dumps({"kind": "step", "at_ms": at_ms - 10, "written_us": written_us, "fact": {}, "effects": orders})


def speak(epoch: int, text: str) -> dict[str, Any]:
    return {"type": "SpeakText", "epoch": epoch, "index": 0, "text": text}


def cancel(epoch: int, reason: str) -> dict[str, Any]:
    return {"type": "CancelTts", "epoch": epoch, "reason": reason}


def test_what_a_journal_says() -> None:
    """Otherwise a hang-up counts as a barge-in, or a reply that was asked for again has lost its first texts."""
    journal = [
        HEAD,
        step(1000, speak(1, f"One {mark(7)}."), speak(1, f"Two {mark(7)}.")),
        step(2000, speak(1, f"Again {mark(8)}.")),
        step(3000, {"type": "SendTranscript", "text": "CancelTts"}, cancel(1, "barge_in")),
        step(4000, speak(2, OTHER)),
        step(5000, cancel(2, "session_end")),
    ]
    told = sorted(replies(journal), key=lambda one: len(one.marks))
    assert told == [Reply(frozenset(), None), Reply(frozenset([mark(7), mark(8)]), ns(3000))]


def test_the_records_of_one_level(tmp_path: Path) -> None:
    """Otherwise journals of an earlier run, whose replies had the same marks, are joined with what this voice saw."""
    journals = tmp_path / "journals"
    journals.mkdir()
    journal = [HEAD, step(1000, speak(1, f"One {mark(0)}.")), step(3000, cancel(1, "barge_in"))]
    (journals / "earlier.jsonl").write_text("\n".join(journal))
    records = Records(tmp_path)
    records.counts_from_ns = ns(0)
    assert records.cancellations() is None
    (journals / "now.jsonl").write_text("\n".join(journal))
    assert records.cancellations() is None  # the voice has left nothing
    write(records.calls, [call(0, 1001, cancelled=3002)])
    assert records.cancellations() == Cancellations(1, Percentiles(1, 2.0, 2.0, 2.0), 0, 0, 0, 0)
    assert Records(tmp_path).cancellations() is None  # the next level has nothing yet


def test_every_text_of_a_reply_has_its_mark() -> None:
    """Otherwise a text that comes late is not known for one. A reply is as long as any other, or its latencies would be its own."""
    lengths = set()
    for number in (0, 1, 35, 36, 36**4 - 1):
        said = "".join(step for step in answer(0, number) if isinstance(step, str))
        asked = [
            piece for sentence in re.split(r"(?<=\.) ", said) for piece in pieces(sentence, RivaTtsSettings().segment_chars_max)
        ]
        assert [MARK.findall(text) for text in asked] == [[mark(number)]] * 8
        lengths.add(tuple(map(len, asked)))
    assert len(lengths) == 1
    assert len({mark(number) for number in range(2000)}) == 2000

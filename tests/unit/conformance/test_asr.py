"""The items of speech recognition: a healthy server passes them, and each behaviour broken on purpose fails its own item alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from voicefsm.conformance import Outcome, asr
from voicefsm.conformance.asr import CHECKS
from voicefsm.scripted import AsrScript, Flaw, ScriptedRiva, SpellingAsr, TtsScript, spell

UNSEEN = {"A16", "A17", "A19", "A20", "A21", "A25", "A27"}
"""What no client can provoke, or not within a minute."""
IDS = {check.id for check in CHECKS}
LIVE = {"A26"}
"""Takes as long as its audio."""
SETTLE_S = 0.2
"""A server of this process that says nothing for so long has said what it has to say."""
HASTE_S = 3.0
"""How long to wait for finals of a server that gives none."""

BROKEN: dict[str, dict[str, Any]] = {
    "A1": {"flaw": Flaw.TAKES_AUDIO_FIRST},
    "A2": {"flaw": Flaw.TAKES_NOTHING},
    "A3": {"flaw": Flaw.TAKES_A_SECOND_CONFIGURATION},
    "A4": {"flaw": Flaw.TAKES_ANY_LANGUAGE},
    "A5": {"flaw": Flaw.TAKES_ANY_FORMAT},
    "A6": {"flaw": Flaw.ANSWERS_WORDS_ONLY},
    "A7": {"flaw": Flaw.CLIENT_CHUNKS},
    "A8": {"flaw": Flaw.WRONG_CLOCK},
    "A9": {"flaw": Flaw.ALWAYS_INTERIM},
    "A10": {"flaw": Flaw.ALWAYS_STABLE},
    "A11": {"flaw": Flaw.NO_BLANK},
    "A12": {"flaw": Flaw.WORDS_IN_SECONDS},
    "A13": {"flaw": Flaw.ONE_FINAL},
    "A14": {"flaw": Flaw.FORCE_ENDS_STREAM},
    "A15": {"flaw": Flaw.NO_FLUSH},
    "A18": {"never_final": True},
    "A22": {"phantoms": True},
    "A23": {"flaw": Flaw.NO_ECHO},
    "A24": {"vad_probability": 2.0},
    "A26": {"flaw": Flaw.SLOW_REPLAY},
}


def riva(**script: Any) -> ScriptedRiva:
    return ScriptedRiva(asr=SpellingAsr(AsrScript(**{"vad_probability": 0.9} | script)), tts=TtsScript(voice=spell))


async def test_healthy_server_passes_and_one_that_loses_what_comes_fast_does_not(outcomes: Any) -> None:
    """Otherwise a report about a good server frightens its owner. Both are examined at once: A26 takes as long as its audio."""
    async with riva() as healthy, riva(**BROKEN["A26"]) as slow:
        seen, lost = await asyncio.gather(*(outcomes(CHECKS, riva=server.target) for server in (healthy, slow)))
    assert seen[Outcome.PASS] == IDS - UNSEEN
    assert seen[Outcome.NOT_SUPPORTED] == UNSEEN
    assert lost[Outcome.FAIL] == {"A26"}


def test_every_item_that_can_be_seen_can_fail() -> None:
    """Otherwise an item says nothing."""
    assert set(BROKEN) == IDS - UNSEEN


@pytest.mark.parametrize("broken", [id_ for id_ in BROKEN if id_ not in LIVE])
async def test_broken_behaviour_fails_its_item(outcomes: Any, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """Otherwise the item cannot fail, or a report blames the wrong thing."""
    monkeypatch.setattr(asr, "SETTLE_S", SETTLE_S)
    if broken == "A18":
        monkeypatch.setattr(asr, "ANSWER_S_MAX", HASTE_S)
    checks = [check for check in CHECKS if check.id not in LIVE | UNSEEN]
    async with riva(**BROKEN[broken]) as server:
        assert (await outcomes(checks, riva=server.target))[Outcome.FAIL] == {broken}


@pytest.mark.parametrize(
    ("lacks", "script"),
    [
        ("A10", {"first_pass": False}),
        ("A14", {"finalizes": False}),
        ("A24", {"vad_probability": None}),
    ],
)
async def test_what_an_old_server_lacks_is_no_fault(
    outcomes: Any, monkeypatch: pytest.MonkeyPatch, lacks: str, script: dict[str, Any]
) -> None:
    """Otherwise the owner of a Riva of last year is told that it is broken."""
    monkeypatch.setattr(asr, "ANSWER_S_MAX", HASTE_S)
    async with riva(**script) as server:
        seen = await outcomes([check for check in CHECKS if check.id == lacks], riva=server.target)
    assert seen[Outcome.NOT_SUPPORTED] == {lacks}


async def test_idle_limits(outcomes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise nobody knows whether a muted user's stream dies; in small, a minute is a second here."""
    monkeypatch.setattr(asr, "IDLE_S_MIN", 1.0)
    monkeypatch.setattr(asr, "MUTED_S", 0.5)

    async def outcome(id_: str, idle_ms_max: int) -> Outcome:
        async with riva(idle_ms_max=idle_ms_max) as server:
            seen: dict[Outcome, set[str]] = await outcomes(
                [check for check in CHECKS if check.id == id_], riva=server.target, idle_s=1.0
            )
        return next(outcome for outcome, ids in seen.items() if ids)

    limits = (("A16", 500), ("A16", 0), ("A17", 5000), ("A17", 100))
    seen = await asyncio.gather(*(outcome(id_, idle_ms_max) for id_, idle_ms_max in limits))
    assert seen == [Outcome.PASS, Outcome.NOT_SUPPORTED, Outcome.PASS, Outcome.FAIL]


async def test_words_of_partials_fail_the_times(outcomes: Any) -> None:
    """Otherwise half of A12 cannot fail."""
    async with riva(flaw=Flaw.WORDS_ON_PARTIALS) as server:
        seen = await outcomes([check for check in CHECKS if check.id == "A12"], riva=server.target)
    assert seen[Outcome.FAIL] == {"A12"}


async def test_a_server_with_long_chunks_passes(outcomes: Any) -> None:
    """Otherwise a throughput model is told that it is broken."""
    async with riva(chunk_ms=960) as server:
        seen = await outcomes([check for check in CHECKS if check.id not in LIVE], riva=server.target)
    assert seen[Outcome.FAIL] == set()

"""Who may hold a conversation here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from voicefsm.errors import BackendError, NotOffered, TooMuch
from voicefsm.server.admission import Admission, Remembered
from voicefsm.server.pace import of_sessions
from voicefsm.values import Backend


class StillClock:
    """Time moves when the test says so."""

    def __init__(self) -> None:
        self.ms = 0

    def now_ms(self) -> int:
        return self.ms


class Riva:
    """What the backends offer, and how often they were asked."""

    def __init__(
        self, languages: frozenset[str] = frozenset({"en-US", "hi-IN"}), voices: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        self.asked = 0
        self.error: BackendError | None = None
        self.answers = asyncio.Event()
        self.answers.set()
        self._languages = languages
        self._voices = {"en-US": ("Jane", "Jason"), "fr-FR": ("Colette",)} if voices is None else voices

    async def languages(self) -> frozenset[str]:
        self.asked += 1
        await self.answers.wait()
        if self.error:
            raise self.error
        return self._languages

    async def voices(self) -> Mapping[str, tuple[str, ...]]:
        return self._voices


def admission(riva: Riva, sessions_max: int = 2) -> Admission:
    clock = StillClock()
    return Admission(sessions_max, Remembered(riva.languages, clock, 1000), Remembered(riva.voices, clock, 1000))


def test_a_full_server_says_so_until_somebody_leaves() -> None:
    """Otherwise the hundred and first caller spoils the calls of the others; or a place is lost for ever."""
    door = admission(Riva())
    door.enter()
    door.enter()
    with pytest.raises(TooMuch, match=r"holds 2 sessions already.*another replica"):
        door.enter()
    door.leave()
    door.enter()
    assert door.sessions == 2


@pytest.mark.parametrize(
    ("language", "voice", "pattern"),
    [
        ("de-DE", "", "ASR server does not recognise 'de-DE'; it offers en-US, hi-IN"),
        ("hi-IN", "", "TTS server does not speak 'hi-IN'; it offers en-US, fr-FR"),
        ("en-US", "Colette", "no voice 'Colette' for 'en-US'; it has Jane, Jason"),
        ("en-US", "jane", "no voice 'jane'"),
    ],
)
async def test_what_no_backend_has_is_named_with_what_it_has(language: str, voice: str, pattern: str) -> None:
    """Otherwise the client hears silence, or the wrong language, and nobody says why."""
    with pytest.raises(NotOffered, match=pattern) as caught:
        await admission(Riva()).check(language, voice)
    assert caught.value.remedy


@pytest.mark.parametrize(("language", "voice"), [("en-US", ""), ("EN-us", "Jane"), ("en-US", "Jason")])
async def test_what_the_backends_have_is_welcome(language: str, voice: str) -> None:
    """Otherwise nobody gets in."""
    await admission(Riva()).check(language, voice)


async def test_backends_that_do_not_say_are_believed_capable() -> None:
    """Otherwise a server that lists nothing serves nobody."""
    await admission(Riva(frozenset(), {})).check("xx-XX", "Anybody")
    await admission(Riva(frozenset({"multi"}), {"multi": ("Jane",)})).check("xx-XX", "Jane")


async def test_backends_are_asked_again_when_the_answer_is_old() -> None:
    """Otherwise every call waits for two round trips; or a model added an hour ago is refused."""
    riva, clock = Riva(), StillClock()
    remembered = Remembered(riva.languages, clock, 1000)
    await remembered.get()
    clock.ms = 1000
    await remembered.get()
    assert riva.asked == 1
    clock.ms = 1001
    await remembered.get()
    assert riva.asked == 2


async def test_an_outage_is_told_and_not_remembered() -> None:
    """Otherwise clients are refused long after the backend is back."""
    riva = Riva()
    riva.error = BackendError(Backend.ASR, "Away.")
    door = admission(riva)
    with pytest.raises(BackendError, match="Away"):
        await door.check("en-US", "")
    riva.error = None
    await door.check("en-US", "")


async def test_many_callers_ask_one_question() -> None:
    """Otherwise a rush of clients rushes the backend's listing; or, when it hangs, waits for one time-out after the other."""
    riva = Riva()
    riva.answers.clear()
    riva.error = BackendError(Backend.ASR, "Away.")
    remembered = Remembered(riva.languages, StillClock(), 1000)
    callers = [asyncio.create_task(remembered.get()) for _ in range(20)]
    await asyncio.sleep(0)
    riva.answers.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [str(result) for result in results] == ["Away."] * 20
    assert riva.asked == 1
    riva.error = None
    assert await remembered.get()


async def test_a_caller_who_gives_up_does_not_take_the_answer_with_him() -> None:
    """Otherwise one client that hangs up while it waits fails all the others."""
    riva = Riva()
    riva.answers.clear()
    remembered = Remembered(riva.languages, StillClock(), 1000)
    first, second = (asyncio.create_task(remembered.get()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    riva.answers.set()
    assert await second


async def test_sessions_begin_only_so_fast() -> None:
    """Otherwise a flood of short sessions, each of which costs more to begin than to hold, starves those that live."""
    clock = Steps()
    admission = Admission(1000, NOBODY, NOBODY, pace=of_sessions(clock, 2))
    for _ in range(8):
        await admission.begin()
    with pytest.raises(TooMuch, match="More than 2 sessions a second"):
        await admission.begin()
    clock.at_ms += 500
    await admission.begin()
    for _ in range(100):  # whoever is refused for want of a backend begins nothing
        admission.enter()
        admission.leave()


NOBODY: Any = None
"""Is not asked."""


class Steps:
    at_ms = 0

    def now_ms(self) -> int:
        return self.at_ms

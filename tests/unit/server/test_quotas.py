"""How much each identity may use."""

from __future__ import annotations

import pytest

from voicefsm.errors import TooMuch
from voicefsm.ports import Allowance, Identity
from voicefsm.server import quotas
from voicefsm.server.quotas import Quotas


class Clock:
    at_ms = 0

    def now_ms(self) -> int:
        return self.at_ms


def identity(name: str = "a", sessions_max: int = 2, per_minute: int = 60) -> Identity:
    return Identity(name, Allowance(sessions_max, per_minute, 1000))


def test_sessions_at_once() -> None:
    """Otherwise one customer takes the places of all."""
    count = Quotas(Clock())
    count.enter(identity())
    count.enter(identity())
    with pytest.raises(TooMuch, match=r"a holds 2 sessions already\. End one"):
        count.enter(identity())
    count.enter(identity("b"))
    count.leave(identity())
    count.enter(identity())


def test_sessions_in_a_minute_come_back_one_by_one() -> None:
    """Otherwise a client that reconnects in a loop is never slowed down; or one that was is shut out for long."""
    clock = Clock()
    count = Quotas(clock)

    def begin() -> None:
        count.enter(identity(per_minute=3))
        count.leave(identity(per_minute=3))

    for _ in range(3):
        begin()
    with pytest.raises(TooMuch, match=r"a may begin 3 sessions in a minute\. Try again in 20\.0 s"):
        begin()
    clock.at_ms = 20_000
    begin()
    with pytest.raises(TooMuch):
        begin()
    clock.at_ms = 1_000_000
    for _ in range(3):
        begin()
    with pytest.raises(TooMuch):
        begin()


def test_who_is_refused_for_holding_too_many_has_begun_none() -> None:
    """Otherwise a refused client pays with its rate as well."""
    count = Quotas(Clock())
    one = identity(sessions_max=1, per_minute=2)
    count.enter(one)
    for _ in range(5):
        with pytest.raises(TooMuch, match="holds 1"):
            count.enter(one)
    count.leave(one)
    count.enter(one)


def test_identities_that_are_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise each name in a token costs memory for ever."""
    monkeypatch.setattr(quotas, "IDENTITIES_MAX", 2)
    clock = Clock()
    count = Quotas(clock)
    count.enter(identity("stays"))
    for name in ("b", "c", "d"):
        count.enter(identity(name))
        count.leave(identity(name))
    clock.at_ms = 60_000
    count.enter(identity("e"))
    assert sorted(count._uses) == ["e", "stays"]

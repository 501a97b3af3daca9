"""How fast one client may send."""

from __future__ import annotations

import pytest

from voicefsm.errors import TooMuch
from voicefsm.server.pace import BURST_S, of_messages, of_sessions


class Clock:
    at_ms = 0

    def now_ms(self) -> int:
        return self.at_ms


def test_a_steady_client_may_go_on_for_ever() -> None:
    """Otherwise an honest client is thrown out after a while."""
    clock = Clock()
    pace = of_messages(clock, 50)
    for _ in range(10_000):
        clock.at_ms += 20
        pace.note()


def test_a_burst_is_forgiven_and_a_flood_is_not() -> None:
    """Otherwise a network that stood still costs a conversation; or one client has the loop to itself."""
    clock = Clock()
    pace = of_messages(clock, 50)
    for _ in range(50 * BURST_S):
        pace.note()
    with pytest.raises(TooMuch, match=r"More than 50 messages a second.*pieces of 20 ms"):
        pace.note()
    clock.at_ms += 1000
    for _ in range(50):
        pace.note()
    with pytest.raises(TooMuch):
        pace.note()
    clock.at_ms += 10**9
    for _ in range(50 * BURST_S):
        pace.note()
    with pytest.raises(TooMuch):
        pace.note()


def test_what_is_refused_costs_nothing_more() -> None:
    """Otherwise who knocks again and again is kept out for ever, and everybody with them."""
    clock = Clock()
    pace = of_sessions(clock, 1)
    for _ in range(BURST_S):
        pace.note()
    for _ in range(1000):
        with pytest.raises(TooMuch, match=r"More than 1 sessions a second.*another replica"):
            pace.note()
    clock.at_ms += 1000
    pace.note()

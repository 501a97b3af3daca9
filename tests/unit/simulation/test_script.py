"""Scripts: every die is thrown by the seed, every line can be read back, and each act stands by itself."""

from __future__ import annotations

import collections

import pytest

from voicefsm.simulation import script as scripts
from voicefsm.simulation.script import Act, Kind, Script


def test_scripts_survive_being_written_down() -> None:
    """Otherwise the file of a failure plays another session than the one that failed."""
    for nth in range(50):
        script = scripts.script_of(f"1-{nth}")
        assert scripts.read(scripts.write(script, "A comment\nof two lines")) == script


def test_a_seed_is_a_session() -> None:
    """Otherwise a failure cannot be played again."""
    assert scripts.script_of("1-1") == scripts.script_of("1-1")
    assert scripts.script_of("1-1").acts != scripts.script_of("1-2").acts


def test_everything_happens_to_somebody() -> None:
    """Otherwise a fault stands in the list and never in a session."""
    kinds = collections.Counter(act.kind for nth in range(600) for act in scripts.script_of(f"1-{nth}").acts)
    assert set(kinds) == set(Kind)
    assert all(script.end_ms > 0 for script in (scripts.script_of(f"1-{nth}") for nth in range(20)))


def test_some_sessions_are_calm() -> None:
    """Otherwise nobody notices that the engine works only when something is wrong."""
    faults = set(Kind) - {*scripts.USER, Kind.VANISH, Kind.SHUT_DOWN, Kind.UP_STALL}
    calm = [nth for nth in range(100) if not scripts.script_of(f"1-{nth}").has(*faults)]
    assert 10 < len(calm) < 50


def test_windows_are_open_from_their_beginning_to_before_their_end() -> None:
    """Otherwise two faults in a row are one, or a fault never begins."""
    act = Act(1000, Kind.FREEZE, for_ms=500)
    script = Script(acts=(act,))
    assert [script.on(Kind.FREEZE, ms) for ms in (999, 1000, 1499, 1500)] == [None, act, act, None]
    assert script.on(Kind.MUTE, 1000) is None


@pytest.mark.parametrize("text", ["1000 dance", "1000 say loudness=3", "frame_ms=", "speed=3", "x say", "1000"])
def test_nonsense_is_refused(text: str) -> None:
    """Otherwise a mistyped line is silently another session."""
    with pytest.raises((ValueError, KeyError, TypeError)):
        scripts.read(text)

"""Orders."""

from __future__ import annotations

import pytest

from voicefsm import effects
from voicefsm.effects import EFFECTS, Effect

CONCRETE = {kind for kind in vars(effects).values() if isinstance(kind, type) and issubclass(kind, Effect)} - {Effect}


def test_no_order_is_missing():
    """Otherwise the interpreter, the journal and the tests would not know of it."""
    assert set(EFFECTS) == CONCRETE
    assert len(EFFECTS) == len(CONCRETE)


@pytest.mark.parametrize("kind", EFFECTS)
def test_an_order_cannot_change(kind):
    """Otherwise an observer could change what the runtime is told to do."""
    assert kind.__dataclass_params__.frozen


def test_the_machine_gives_every_order():
    """Otherwise the runtime would carry dead code for an order that nobody gives."""
    from voicefsm.states import common, interrupting, processing
    from voicefsm.streams import generation, playout, recognition

    givers = {name for module in (common, interrupting, processing, generation, playout, recognition) for name in vars(module)}
    assert {kind.__name__ for kind in EFFECTS} <= givers

"""Facts."""

from __future__ import annotations

import dataclasses

import pytest

from voicefsm import events
from voicefsm.events import FACTS, Fact, ReplyFact, Timer

CONCRETE = {kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Fact)} - {Fact, ReplyFact}


def test_no_fact_is_missing():
    """Otherwise a fact would have no column in the table, and nobody would notice until it happened."""
    assert set(FACTS) == CONCRETE
    assert len(FACTS) == len(CONCRETE)


@pytest.mark.parametrize("kind", FACTS)
def test_a_fact_cannot_change_and_says_when(kind):
    """Otherwise what happened could be changed by who hears of it, and the core would need a clock."""
    assert kind.__dataclass_params__.frozen
    assert not hasattr(kind, "__dict__") or "__slots__" in vars(kind)
    assert dataclasses.fields(kind)[0].name == "at_ms"


@pytest.mark.parametrize("kind", FACTS)
def test_a_fact_is_named_in_the_past_tense(kind):
    """Otherwise facts and orders could be mixed up: `PausePlayout` is an order, `SpeechStarted` a fact."""
    assert kind.__name__.endswith(("ed", "Heard", "Ready", "Lost", "FirstAudio"))


def test_timers_index_the_deadlines():
    """Otherwise `Context.deadlines` would have holes."""
    assert [int(timer) for timer in Timer] == list(range(len(Timer)))

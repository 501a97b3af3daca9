"""Rows and how they are run."""

from __future__ import annotations

import enum

import pytest

from voicefsm.context import Context
from voicefsm.events import ClientClosed, SessionOpened, Timer, TimerFired
from voicefsm.table import Row, cells, fire, key_of, name_of, stays


class Door(enum.Enum):
    OPEN = 1
    SHUT = 2


def never(_context, _fact):
    return False


def always(_context, _fact):
    return True


def count(context, _fact):
    context.stale_dropped += 1


ROWS = {
    Door.OPEN: (
        Row(SessionOpened, to=Door.SHUT, when=(always, never), do=(count,)),
        Row(SessionOpened, to=Door.SHUT, when=(always,), do=(count, count)),
        Row(SessionOpened, do=(count,)),
    ),
    Door.SHUT: (Row(Timer.IDLE, when=(never,), to=Door.OPEN), *stays(ClientClosed, because="Shut.")),
}


def test_the_first_row_that_holds_is_run():
    """Otherwise a guard would be decoration, or two rows would act on one fact."""
    context = Context()
    assert fire(cells(ROWS), Door.OPEN, context, SessionOpened, SessionOpened(0)) is Door.SHUT
    assert context.stale_dropped == 2


@pytest.mark.parametrize(
    ("key", "fact"), [(Timer.IDLE, TimerFired(0, Timer.IDLE)), (ClientClosed, ClientClosed(0)), (SessionOpened, SessionOpened(0))]
)
def test_no_row_holds_or_none_is_there(key, fact):
    """Otherwise a small machine would fall over facts that are not its own."""
    assert fire(cells(ROWS), Door.SHUT, Context(), key, fact) is Door.SHUT


def test_cells_keep_the_order_of_rows():
    """Otherwise rows would be tried in another order than the page prints."""
    assert cells(ROWS)[Door.OPEN, SessionOpened] == ROWS[Door.OPEN]


def test_a_timer_is_a_column_of_its_own():
    """Otherwise every deadline would share one cell."""
    assert key_of(TimerFired(0, Timer.AGE)) is Timer.AGE
    assert key_of(SessionOpened(0)) is SessionOpened
    assert (name_of(Timer.AGE), name_of(SessionOpened)) == ("Timer AGE", "SessionOpened")

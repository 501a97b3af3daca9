"""Planted bugs: deliberate faults in the core, the gateway's hands and the client's ear, each of which the checker must find."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from tests.model import world
from voicefsm import machine
from voicefsm.client.player import Player
from voicefsm.context import Context
from voicefsm.effects import CancelGeneration, CancelTts, PausePlayout
from voicefsm.events import Fact, Timer, TimerFired
from voicefsm.runtime.interpreter import _METHODS
from voicefsm.runtime.playout import Playout
from voicefsm.states import common, interrupting, processing
from voicefsm.table import Action, Guard, Row, cells

Plant = Callable[[pytest.MonkeyPatch], None]


def rewrite(patch: pytest.MonkeyPatch, change: Callable[[Row[Any]], Row[Any]]) -> None:
    """Run the turn machine on changed rows."""
    rows = {state: tuple(change(row) for row in listed) for state, listed in machine.ROWS.items()}
    patch.setattr(machine, "ROWS", rows)
    patch.setattr(machine, "CELLS", cells(rows))
    patch.setattr(machine, "_TRIGGERS", machine.triggers(machine.build()))


def instead(old: Action, *new: Action) -> Plant:
    """Every row does something else instead of `old`."""

    def change(row: Row[Any]) -> Row[Any]:
        return dataclasses.replace(row, do=tuple(act for one in row.do for act in (new if one is old else (one,))))

    return lambda patch: rewrite(patch, change)


def never(guard: Guard) -> Plant:
    """Rows that ask `guard` never fire."""

    def no(_context: Context, _fact: Fact) -> bool:
        return False

    return lambda patch: rewrite(patch, lambda row: dataclasses.replace(row, when=(no,)) if guard in row.when else row)


def no_stale_guard(patch: pytest.MonkeyPatch) -> None:
    """Facts of replies that are over are taken for news."""
    patch.setattr(machine, "is_stale", lambda context, fact: isinstance(fact, TimerFired) and not context.is_armed(fact.timer))


def pause_without_deadline(context: Context, event: Fact) -> None:
    """The decision may take for ever."""
    common.await_decision(context, event)
    context.disarm(Timer.DECISION)


def silent_silence(patch: pytest.MonkeyPatch) -> None:
    """The model is stopped, the voice is not."""
    patch.setattr(common, "silence", lambda context, *_: context.order(CancelGeneration(context.epoch)))


def model_runs_on(patch: pytest.MonkeyPatch) -> None:
    """The voice is stopped, the model is not: soon there are two."""
    patch.setattr(common, "silence", lambda context, reason, why="": context.order(CancelTts(context.epoch, reason, why)))


def cancel_that_is_not_carried_out(patch: pytest.MonkeyPatch) -> None:
    """The interpreter forgets to stop the model."""
    patch.setitem(_METHODS, CancelGeneration, lambda _hands, _order: None)


def cancel_keeps_the_buffer(patch: pytest.MonkeyPatch) -> None:
    """The client goes on with what it has of a cancelled reply."""
    patch.setattr(Player, "cancel", lambda self, epoch: setattr(self, "_cancelled", max(self._cancelled, epoch)))


def client_plays_late_audio(patch: pytest.MonkeyPatch) -> None:
    """The client forgets what was cancelled, and plays what still arrives."""
    cancel = Player.cancel

    def forgetful(self: Player, epoch: Any) -> None:
        before = self._cancelled
        cancel(self, epoch)
        self._cancelled = before

    patch.setattr(Player, "cancel", forgetful)


def gateway_sends_after_cancel(patch: pytest.MonkeyPatch) -> None:
    """Cancelled audio stays in the queue and is sent."""
    patch.setattr(Playout, "cancel", lambda *_: None)


def resume_twice(context: Context, event: Any) -> None:
    """The reply goes on, and on."""
    interrupting.resume(context, event)
    interrupting.resume(context, event)


def no_pause(context: Context, event: Fact) -> None:
    """The decision is awaited, and nobody told the client to pause."""
    common.await_decision(context, event)
    context.effects = [effect for effect in context.effects if not isinstance(effect, PausePlayout)]


CORE: Mapping[str, tuple[Plant, str]] = {
    "the stale guard is dropped": (no_stale_guard, "stale|cannot happen|refused"),
    "the decision has no deadline": (instead(common.await_decision, pause_without_deadline), "without a deadline"),
    "playout has no deadline": (instead(common.begin_to_be_heard), "without a deadline"),
    "resume comes twice": (instead(interrupting.resume, resume_twice), "ResumePlayout"),
    "resume without pause": (instead(common.await_decision, no_pause), "PausePlayout and INTERRUPTING disagree"),
    "CancelTts is omitted": (silent_silence, "dropped without CancelTts"),
    "the model is not cancelled": (model_runs_on, "voice was cancelled without the model"),
    "the exchange is not completed": (instead(common.complete, common.close_reply), "without being completed or retracted"),
    "it speaks into speech": (never(common.user_is_speaking), "speak into speech"),
    "it resumes over confirmed speech": (never(common.is_confirmed), "confirms the user's speech"),
    "a voice without a sound is forgotten": (instead(processing.blame_silent_voice), "live reply"),
}
"""Found by the search of the core: what is planted, and what the violation says."""

AROUND: Mapping[str, tuple[Plant, str]] = {
    "two live generations": (cancel_that_is_not_carried_out, "two live generations"),
    "the client keeps its buffer": (cancel_keeps_the_buffer, "heard a reply after it was cancelled"),
    "the gateway sends after CancelTts": (gateway_sends_after_cancel, "left after CancelTts"),
}
"""Found by the search of the product."""

ON_A_FAULTY_WIRE: Mapping[str, tuple[Plant, str]] = {
    "the client plays late audio": (client_plays_late_audio, "heard a reply after it was cancelled"),
}
"""Found only where messages overtake each other."""


@contextlib.contextmanager
def planted(plant: Plant) -> Iterator[None]:
    """With the bug."""
    with pytest.MonkeyPatch.context() as patch:
        world.forget()
        plant(patch)
        yield
    world.forget()

"""Every deliberate fault there is, and which layer of the tests catches it: what docs/planted-bugs.md says.

A layer is only as good as what it can find. So each has faults of its own, planted into the engine while its tests run: the model
checker (tests/model/faults.py), the simulator (tests/simulation/test_planted.py), and here the properties, the regressions, the
checks at run time, the cancellation suite and the account of garbage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.cancellation import test_runtime
from tests.cancellation.awaits import Watch
from tests.cancellation.conversation import LAST_MS, SPEECH
from tests.model import faults
from tests.properties.test_experience import Conversation
from tests.regressions import test_transcripts as complaints
from tests.simulation import test_planted as simulated
from voicefsm import machine
from voicefsm.bench.step import litter
from voicefsm.cli.bench import _converse
from voicefsm.context import Context, Generation
from voicefsm.effects import CancelTts
from voicefsm.errors import LocalProtocolError
from voicefsm.runtime import interpreter
from voicefsm.runtime.messages import AudioOutput
from voicefsm.runtime.session import Session
from voicefsm.simulation import virtual
from voicefsm.simulation.stage import Stage
from voicefsm.states import common, interrupting
from voicefsm.streams import generation
from voicefsm.table import cells
from voicefsm.values import SampleIndex

Plant = Callable[[pytest.MonkeyPatch], None]
CALLING = Generation.CALLING
EXAMPLES = 300
"""Conversations in which a property has to see its fault."""


@dataclasses.dataclass(frozen=True)
class Bug:
    """One planted fault, and the layer that finds it."""

    layer: str
    name: str
    plant: Plant
    is_found: Callable[[Bug], bool]
    """Runs the layer, with the fault planted."""


# --- the layers --------------------------------------------------------------------------------------------------------------


def by_properties(_bug: Bug) -> bool:
    """Does the user complain?"""
    how = settings(
        max_examples=EXAMPLES, stateful_step_count=40, deadline=None, derandomize=True, database=None, phases=[Phase.generate]
    )
    with pytest.raises((AssertionError, LocalProtocolError, ExceptionGroup)):
        run_state_machine_as_test(Conversation, settings=how)
    return True


def by_regressions(_bug: Bug) -> bool:
    """Is one of the complaints about other engines true of ours?"""
    return any(is_complained_of(path) for path in complaints.FILES)


def is_complained_of(path: Path) -> bool:
    try:
        complaints.SYMPTOMS[path.stem](complaints.Lived(path.read_text(encoding="utf-8")))
    except (AssertionError, ValueError):  # ValueError: there are more or fewer orders than a symptom unpacks
        return True
    return False


def at_run_time(_bug: Bug) -> bool:
    """Does the session end with INTERNAL by its own checks?"""
    stage = test_runtime.stage()
    with pytest.raises(LocalProtocolError):
        virtual.run(play(stage))
    return [reason for _, reason in stage.witness.closed] == ["failed"]


async def play(stage: Stage) -> None:
    await stage.play(speech=SPEECH, script=[(LAST_MS, Session.hang_up)])


def by_cancellation(_bug: Bug) -> bool:
    """Is something left after a cancellation, or does it never end?"""
    return any(leaves_something(place) for place in test_runtime.places("vanishes"))


def leaves_something(place: Any) -> bool:
    scene = test_runtime.stage()
    try:
        virtual.run(test_runtime.converse(Watch(place), scene, "vanishes", cancels_session=True))
    except AssertionError:  # it never ended
        return True
    return scene.remains() != [] or len(scene.witness.closed) != 1


def by_garbage(_bug: Bug) -> bool:
    """Does a closed session leave something to the collector?"""
    return litter(_converse, sessions=1).objects > 0


# --- faults of the layers that have no list of their own ---------------------------------------------------------------------


def never_pause(patch: pytest.MonkeyPatch) -> None:
    """A barge-in is decided while the assistant goes on speaking."""
    faults.instead(common.await_decision, faults.no_pause)(patch)


def backchannels_are_words(patch: pytest.MonkeyPatch) -> None:
    """ "Mm-hm" costs the answer."""
    patch.setattr("voicefsm.lexicon.Lexicon.content_words", lambda _self, text, **_: len(text.split()))


def drop_late_words(patch: pytest.MonkeyPatch) -> None:
    """What the user said is forgotten when a reply that nobody heard is taken back."""

    def forgetful(context: Context, event: Any) -> None:
        common.retract(context, event)
        context.user_text = ""

    faults.instead(common.retract, forgetful)(patch)


def leave_tools_at_work(patch: pytest.MonkeyPatch) -> None:
    """The client is not told that a reply is over for which it carries out a call."""
    rows = tuple(dataclasses.replace(row, do=()) if row.do == (generation.drop_calls,) else row for row in generation.ROWS[CALLING])
    table = cells({**generation.ROWS, CALLING: rows})
    listeners = {
        key: tuple((field, table if field == "generation" else other) for field, other in listening)
        for key, listening in machine._LISTENERS.items()
    }
    patch.setattr(machine, "_LISTENERS", listeners)


def keep_the_pause(patch: pytest.MonkeyPatch) -> None:
    """What was paused for a cough stays paused."""
    faults.instead(interrupting.resume)(patch)


def send_a_last_piece_after_the_cut(patch: pytest.MonkeyPatch) -> None:
    """One piece of a cancelled reply leaves after its CancelTts."""
    true = interpreter._METHODS[CancelTts]

    def cancel(hands: Any, order: CancelTts) -> None:
        true(hands, order)
        hands._outbox.put(AudioOutput(order.epoch, SampleIndex(0), np.ones(160, np.int16), last=False))

    patch.setitem(interpreter._METHODS, CancelTts, cancel)


def skip_the_close(patch: pytest.MonkeyPatch) -> None:
    """A session that is cancelled keeps its canceller and its journal."""
    true = Session._close
    patch.setattr(Session, "_close", lambda self, reason, message: reason == "cancelled" or true(self, reason, message))


def tie_a_knot(patch: pytest.MonkeyPatch) -> None:
    """A part of the session holds the session."""
    true = Session._open

    def opened(self: Session) -> None:
        true(self)
        self.outbox.owner = self  # type: ignore[attr-defined]

    patch.setattr(Session, "_open", opened)


OTHERS = (
    Bug("properties", "the epoch guard is dropped", faults.no_stale_guard, by_properties),
    Bug("properties", "a barge-in does not pause", never_pause, by_properties),
    Bug("properties", "backchannels count as words", backchannels_are_words, by_properties),
    Bug("properties", "words of a reply that is taken back are lost", drop_late_words, by_properties),
    Bug("properties", "tools work for a reply that is over", leave_tools_at_work, by_properties),
    Bug("regressions", "what was paused for a cough stays paused", keep_the_pause, by_regressions),
    Bug("run time", "a piece of audio leaves after CancelTts", send_a_last_piece_after_the_cut, at_run_time),
    Bug("run time", "the decision has no deadline", simulated.forget_the_decision_deadline, at_run_time),
    Bug("cancellation", "a cancelled session is not closed", skip_the_close, by_cancellation),
    Bug("garbage", "a part of a session holds the session", tie_a_knot, by_garbage),
)
"""Planted and found by tests/planted/test_planted.py itself."""


def listed() -> list[tuple[str, str]]:
    """(layer, fault) of every planted fault, as the page lists them."""
    model = [("model", name) for faulty in (faults.CORE, faults.AROUND, faults.ON_A_FAULTY_WIRE) for name in faulty]
    simulation = [("simulation", plant.__name__.replace("_", " ")) for plant in simulated.PLANTED]
    return [*model, *simulation, *((bug.layer, bug.name) for bug in OTHERS)]

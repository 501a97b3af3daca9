"""Deliberate faults, planted in the engine: the simulator finds each within a few sessions, or it proves nothing about those it
does not find. What it reports is a script, short enough to be read."""

from __future__ import annotations

import asyncio

import pytest

from voicefsm import effects as fx
from voicefsm import machine
from voicefsm.context import Context
from voicefsm.events import ReplyFact, Timer
from voicefsm.runtime import interpreter
from voicefsm.runtime.history import History
from voicefsm.runtime.outbox import Outbox
from voicefsm.runtime.playout import HeardText, Playout
from voicefsm.runtime.session import Session
from voicefsm.simulation import script as scripts
from voicefsm.simulation.play import play
from voicefsm.simulation.simulate import explain

SESSIONS_MAX = 40


def ignored(*_: object) -> None:
    """Do nothing."""


def drop_the_epoch_guard(patch):
    """Facts of replies that are over are taken for news."""
    true = machine.is_stale
    patch.setattr(machine, "is_stale", lambda context, fact: not isinstance(fact, ReplyFact) and true(context, fact))


def leave_audio_in_the_outbox(patch):
    patch.setattr(Outbox, "cut_audio", ignored)


_DECISIONS = (Timer.VERDICT, Timer.DECISION)
"""Either is enough to end a pause."""


def forget_the_decision_deadline(patch):
    true = Context.arm
    patch.setattr(Context, "arm", lambda self, timer, at_ms: None if timer in _DECISIONS else true(self, timer, at_ms))


def give_the_decision_a_minute(patch):
    """The deadline is there, and far too late."""
    true = Context.arm
    patch.setattr(Context, "arm", lambda self, timer, at_ms: true(self, timer, at_ms + 60_000 * (timer in _DECISIONS)))


def commit_unheard_text(patch):
    patch.setattr(Playout, "heard_text", lambda self, _: HeardText(self.text(), "all"))


def forget_what_was_heard(patch):
    patch.setattr(Playout, "heard_text", lambda *_: HeardText("", "all"))


def leave_retracted_words(patch):
    patch.setattr(History, "retract_user", ignored)


def let_the_model_write_on(patch):
    patch.setitem(interpreter._METHODS, fx.CancelGeneration, ignored)


def speak_into_speech(patch):
    patch.setattr(Playout, "hold", ignored)


def resume_at_the_wrong_sample(patch):
    true = Playout.resume

    def resume(self, now_ms):
        true(self, now_ms)
        self._sent += 160

    patch.setattr(Playout, "resume", resume)


def send_all_at_once(patch):
    patch.setattr(Playout, "_ahead", lambda *_: 0)


def believe_that_sent_is_heard(patch):
    patch.setattr(Playout, "is_started", lambda self, _: self._sent > self._first)


def leak_a_task(patch):
    true = Session._open

    def opened(self):
        true(self)
        self.leak = asyncio.create_task(asyncio.Event().wait(), name="forgotten")

    patch.setattr(Session, "_open", opened)


def never_stop_listening(patch):
    patch.setattr(interpreter.Interpreter, "stop", ignored)
    patch.setitem(interpreter._METHODS, fx.CloseRecognition, ignored)


def crash_on_a_failure(patch):
    def crash(*_: object) -> None:
        raise ZeroDivisionError

    patch.setitem(interpreter._METHODS, fx.ReportFailure, crash)


PLANTED = {
    drop_the_epoch_guard: {"late facts change nothing"},
    leave_audio_in_the_outbox: {"silence after cancel"},
    forget_the_decision_deadline: {"bounded states"},
    give_the_decision_a_minute: {"bounded states"},
    commit_unheard_text: {"history is what was heard"},
    forget_what_was_heard: {"history is what was heard"},
    leave_retracted_words: {"history is what was heard"},
    let_the_model_write_on: {"one live generation", "nothing is made for nobody"},
    speak_into_speech: {"never into speech"},
    resume_at_the_wrong_sample: {"no sample lost"},
    send_all_at_once: {"bounded playout"},
    believe_that_sent_is_heard: {"SPEAKING follows the ear"},
    leak_a_task: {"nothing outlives its session"},
    never_stop_listening: {"a session ends"},
    crash_on_a_failure: {"no crash"},
}


def first_to_break(name):
    """The first session that breaks a rule."""
    for nth in range(SESSIONS_MAX):
        script = scripts.script_of(f"planted-{nth}")
        played = play(script)
        if played.violation is not None:
            return script, played
    pytest.fail(f"{SESSIONS_MAX} sessions went well although {name}")


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_planted_faults_are_found(plant, monkeypatch):
    """Otherwise this fault, and whatever is like it, may be in the engine today."""
    plant(monkeypatch)
    _, played = first_to_break(plant.__name__)
    assert played.violation.rule in PLANTED[plant], played.violation


def test_without_a_fault_these_sessions_go_well():
    """Otherwise the planted faults above may have been found for another reason."""
    for nth in range(6):
        assert play(scripts.script_of(f"planted-{nth}")).violation is None


def test_a_failure_is_a_short_script_that_fails_again(monkeypatch, tmp_path):
    """Otherwise whoever finds a failure has minutes of conversation to read before they understand it."""
    commit_unheard_text(monkeypatch)
    script, played = first_to_break("commit_unheard_text")
    failure = explain("planted", script, played, tmp_path)
    assert failure.rule == "history is what was heard"
    text = failure.file.read_text(encoding="utf-8")
    assert len(scripts.read(text).acts) <= 3 < len(script.acts)
    again = play(scripts.read(text))
    assert again.violation is not None
    assert (again.violation.rule, again.violation.what) == (failure.rule, failure.what)
    assert "CompleteTurn" in failure.file.with_suffix(".txt").read_text(encoding="utf-8")
    monkeypatch.undo()
    assert play(scripts.read(text)).violation is None, "the fault is in the engine, not in the script"

"""What must hold, in words and in code. Each function raises `Violation` and names what is broken.

`check_context` and `check_move` look at the core alone and see every entry of the table. `check_pair` looks at the core and the
world together and sees every state of the product. What the wires, the gateway and the ear must keep is checked where it happens
(`world.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.model.abstraction import LAST, PLACE, Core, Frozen, Move
from tests.model.world import Violation, World, is_quiet_wire
from voicefsm import effects as fx
from voicefsm.bargein import Verdict, judge
from voicefsm.context import Generation, Interruption, NearEnd, Playout, Recognition, State
from voicefsm.events import (
    ClientClosed,
    DrainRequested,
    EvidenceChanged,
    Fact,
    FinalHeard,
    PartialHeard,
    PlayoutFinished,
    PlayoutStarted,
    ReplyFact,
    SpeechEnded,
    SpeechStarted,
    Timer,
    TimerFired,
)

OWN_DEADLINES = {
    State.IDLE: {Timer.IDLE},
    State.LISTENING: {Timer.UTTERANCE},
    State.PROCESSING: {Timer.FIRST_SENTENCE, Timer.FIRST_HEARD},
    State.SPEAKING: {Timer.PLAYOUT},
    State.INTERRUPTING: {Timer.DECISION},
}
"""One of these must be set: what bounds the state. Written here a second time on purpose."""
_REPLYING = (State.PROCESSING, State.SPEAKING, State.INTERRUPTING)
_ENDINGS = (fx.CompleteTurn, fx.RetractUserTurn)


def _get(frozen: Frozen, field: str) -> Any:
    return frozen[PLACE[field]]


def _hold(condition: object, broken: str) -> None:
    if not condition:
        raise Violation(broken)


def armed(frozen: Frozen) -> set[Timer]:
    """The deadlines that are set."""
    return {timer for timer, is_armed in zip(Timer, _get(frozen, "armed"), strict=True) if is_armed}


def check_context(frozen: Frozen) -> None:
    """What holds in every context between two steps."""
    state, timers, live = _get(frozen, "state"), armed(frozen), _get(frozen, "live")
    _hold(live == (state in _REPLYING), f"{state.name} with{'' if live else 'out'} a live reply")
    _hold(live == (_get(frozen, "generation") is not Generation.NONE), "the generation machine disagrees on whether a reply lives")
    _hold(live == (_get(frozen, "playout") is not Playout.NONE), "the playout machine disagrees on whether a reply lives")
    if state is State.CLOSED:
        _hold(not timers, "a deadline is set in CLOSED")
        _hold(_get(frozen, "recognition") is Recognition.CLOSED, "the session is over and the recogniser is not")
        return
    is_calling = _get(frozen, "generation") is Generation.CALLING
    _hold(is_calling == (Timer.TOOLS in timers) == (_get(frozen, "calls") > 0), "TOOLS, the open calls and CALLING disagree")
    _hold(is_calling or Timer.FILLER not in timers, "the user will be told to wait for nothing")
    _hold(Timer.AGE in timers, "a live session without its longest duration")
    _hold(timers & OWN_DEADLINES[state], f"{state.name} without a deadline of its own")
    _hold((Timer.REOPEN in timers) == (_get(frozen, "recognition") is Recognition.WAITING), "REOPEN and WAITING disagree")
    if state in (State.SPEAKING, State.INTERRUPTING):
        _hold(_get(frozen, "playout") is Playout.AUDIBLE, f"{state.name} although the client has heard nothing")


def check_move(core: Core, number: int, fact: Fact, move: Move) -> None:
    """What holds in every step of the core."""
    before, after = core.contexts[number], core.contexts[move.after]
    _hold(not move.refusal, f"refused: {move.refusal}")
    if isinstance(fact, ReplyFact) and not (_get(before, "live") and fact.epoch == LAST):
        _hold(after == before and not move.effects, f"a stale {type(fact).__name__} was obeyed")
    if move.after not in core.checked:
        core.checked.add(move.after)
        check_context(after)
    if move.after != number or move.effects:  # what changes nothing ends and pauses nothing
        _check_ending(before, fact, move.effects, after)
        _check_pause(before, move.effects, after)
    _check_floor(core, before, fact, move.after)
    if isinstance(fact, ClientClosed) or fact == TimerFired(fact.at_ms, Timer.AGE):
        _hold(_get(after, "state") is State.CLOSED, "the session cannot be ended")
    if isinstance(fact, DrainRequested) and _get(before, "state") is not State.IDLE:
        _hold(after == before and not move.effects, "a drain cuts a live turn")
    ends = _get(after, "state") is State.CLOSED and _get(before, "state") is not State.CLOSED
    _hold(sum(isinstance(effect, fx.EndSession) for effect in move.effects) == ends, "EndSession and CLOSED disagree")


def _check_ending(before: Frozen, fact: Fact, effects: Sequence[fx.Effect], after: Frozen) -> None:
    """A reply ends once, and silently or loudly, but completely."""
    started = sum(isinstance(effect, fx.StartGeneration) for effect in effects)
    endings = [effect for effect in effects if isinstance(effect, _ENDINGS)]
    lived, lives = _get(before, "live"), _get(after, "live")
    _hold(started == (lives and (not lived or bool(endings))), "a reply lives that was not started, or is started twice")
    _hold(len(endings) == (lived and (not lives or bool(started))), "a reply ended without being completed or retracted once")
    _hold(all(effect.epoch == LAST for effect in endings), "the wrong exchange was completed")
    if endings:
        kinds = [type(effect) for effect in effects]
        is_cut = fx.CancelTts in kinds
        _hold(is_cut or isinstance(fact, PlayoutFinished), "a reply was dropped without CancelTts")
        _hold(is_cut == (fx.CancelGeneration in kinds), "the voice was cancelled without the model")
        _hold(not is_cut or kinds.index(fx.CancelTts) < kinds.index(fx.CancelGeneration), "the model was stopped before the voice")


def _check_pause(before: Frozen, effects: Sequence[fx.Effect], after: Frozen) -> None:
    """Paused exactly while a decision is pending."""
    was, now = (_get(frozen, "state") is State.INTERRUPTING for frozen in (before, after))
    pauses = [effect.epoch for effect in effects if isinstance(effect, fx.PausePlayout)]
    resumes = [effect.epoch for effect in effects if isinstance(effect, fx.ResumePlayout)]
    _hold(pauses == [LAST] * (now and not was), "PausePlayout and INTERRUPTING disagree")
    resumed = was and _get(after, "state") is State.SPEAKING
    _hold(
        resumes == [LAST] * resumed, "ResumePlayout without PausePlayout" if resumes else "playout stays paused after a rejection"
    )


def _check_floor(core: Core, before: Frozen, fact: Fact, after: int) -> None:
    """Nobody is talked over."""
    frozen = core.contexts[after]
    may_be_cut = core.settings.interruption is Interruption.ENABLED and _get(frozen, "heard") >= core.settings.uninterruptible_ms
    if not may_be_cut or _get(frozen, "state") is not State.SPEAKING:
        return
    if isinstance(fact, PlayoutStarted) and _get(before, "state") is not State.SPEAKING:
        _hold(_get(frozen, "near_end") is NearEnd.QUIET, "the assistant began to speak into speech")
    is_repeated = isinstance(fact, SpeechStarted) and _get(before, "near_end") is NearEnd.SPEECH
    if isinstance(fact, SpeechStarted | EvidenceChanged | SpeechEnded | PartialHeard | FinalHeard) and not is_repeated:
        verdict = judge(core.context(after), fact).verdict
        _hold(verdict is not Verdict.CONFIRM, "the assistant speaks on although this confirms the user's speech")


def check_pair(frozen: Frozen, world: World, *, is_faulty: bool) -> None:
    """What holds between the core and the world around it."""
    if world.is_over:
        _hold(_get(frozen, "state") is State.CLOSED, "the call is over and the session is not")
        return
    state = _get(frozen, "state")
    *_, is_held, is_paused = world.gate.playout
    _hold(world.gate.is_open == _get(frozen, "live"), "the gateway and the core disagree on whether a reply lives")
    _hold(not world.gate.is_open or is_paused == (state is State.INTERRUPTING), "the gateway's playout and INTERRUPTING disagree")
    if _get(frozen, "playout") is Playout.HELD:
        _hold(is_held, "a reply is held that the gateway sends")
    if not is_faulty and is_quiet_wire(world):
        _check_ear(state, world)


def _check_ear(state: State, world: World) -> None:
    """On a wire that loses nothing: once everything has arrived, the ear is where the core believes it is."""
    chunks, *_, paused, _unfinished = world.ear.player
    if state is State.INTERRUPTING:
        _hold(paused == LAST, "a decision is pending and the client is not paused")
    else:
        is_live = paused == LAST and world.gate.is_open
        _hold(not is_live, f"the client is still paused in {state.name}")
        _hold(
            paused is None or all(epoch > paused for epoch, *_ in chunks),
            f"a reply that is over holds up the client in {state.name}",
        )
    if state not in _REPLYING:
        _hold(not chunks, f"the client still has a reply to play in {state.name}")


CLASS = ("state", "playout", "live")
"""The fields of a context that `check_pair` reads."""


def class_of(frozen: Frozen) -> Frozen:
    """A context as far as `check_pair` reads it."""
    return tuple(_get(frozen, field) if field in CLASS else None for field in PLACE)

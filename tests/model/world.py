"""Everything around the core: the gateway's playout, the model, the voice, two directions of a network, and the client's player.

The gateway's hands are the real `runtime.interpreter.Interpreter`, `runtime.playout.Playout`, `runtime.outbox.Outbox`,
`runtime.reply.Voice` and `Session._tell_playout`; the client's ear is the real `client.player.Player`. Like the core they are
compiled: thawed from a tuple, asked once, frozen again. Written here are only the wires between them, and who may be late.

A reply has one sample. Time stands still, so the ear is where the client said. Replies are numbered from the last one: `LAST`,
the one before, and older ones. Three bounds: at most three messages are in flight, both directions together; two replies do not
begin while one message is under way; and no reply begins while two wait unheard at the client, whose pause and cancel must have
been lost again and again. Facts that wait in the inbox when the next reply begins are left out: the core's own search has them in
every context, and shows that they do nothing.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast
from unittest import mock

import numpy as np

from tests.model.abstraction import LAST
from voicefsm import effects as fx
from voicefsm.client.player import Player, PlayerSettings, _Chunk
from voicefsm.events import Fact
from voicefsm.ports import SpokenAudio
from voicefsm.runtime import interpreter, messages
from voicefsm.runtime.history import History
from voicefsm.runtime.interpreter import Interpreter
from voicefsm.runtime.outbox import Outbox
from voicefsm.runtime.playout import Playout, PlayoutSettings
from voicefsm.runtime.session import Session
from voicefsm.values import NO_EPOCH, Epoch, SampleIndex

RATE_HZ = 1000
REPLY_SAMPLES = 1
IN_FLIGHT_MAX = 3
WITH_TOOLS = False
"""Whether the model asks for tools, and the client answers at any time after."""
_PLAYOUT = PlayoutSettings(piece_ms=1, playout_ahead_ms_max=1)
_PLAYER = PlayerSettings(fade_ms=0)
_SAMPLE = np.ones(1, np.int16)
_CARRIED = (
    fx.StartGeneration, fx.RetryGeneration, fx.CancelGeneration, fx.RetractUserTurn, fx.SpeakText, fx.FinishSpeech, fx.RetrySpeech,
    fx.SoundEarcon, fx.HoldPlayout, fx.ReleasePlayout, fx.PausePlayout, fx.ResumePlayout, fx.CancelTts, fx.CompleteTurn,
    fx.ContinueGeneration, fx.EndSession,
)  # fmt: skip
Message = tuple[Any, ...]
"""Down: ("audio", epoch, sample, length, last), (pause, resume or cancel, epoch). Up: ("report", sample), ("stop", epoch)."""


class Violation(Exception):
    """An invariant does not hold; the message says which, and in what way."""


class Gate(NamedTuple):
    """The gateway's side of the last reply, frozen."""

    playout: tuple[Any, ...]
    told: tuple[bool, int, bool] = (False, 0, False)
    """What `_tell_playout` has told of the reply: started, how much was heard, finished."""
    is_writing: bool = False
    """The model's task runs."""
    is_speaking: bool = False
    """The voice's task runs."""
    has_text: bool = False
    is_text_over: bool = False
    is_dumb: bool = False
    """The voice was given up."""
    is_open: bool = False
    """An exchange has begun and is neither completed nor retracted."""
    is_cut: bool = False
    """CANCEL_TTS was ordered."""


class Ear(NamedTuple):
    """The client, frozen."""

    player: tuple[Any, ...]
    silenced: int = 0
    """The newest reply that the client was told to cancel, or cancelled itself."""


class World(NamedTuple):
    """All but the core, frozen. Two are equal when nothing can tell them apart."""

    gate: Gate
    ear: Ear
    down: tuple[Message, ...] = ()
    up: tuple[Message, ...] = ()
    inbox: tuple[str, ...] = ()
    """Facts about the last reply that the core has not taken yet."""
    is_over: bool = False


class Happening(NamedTuple):
    """Something that the world does by itself."""

    what: str
    world: World
    fact: str = ""
    """The fact that the core is told then, by the name it has in `abstraction.stimuli`."""


def initial() -> World:
    """A call has begun."""
    playout = Playout(RATE_HZ, _PLAYOUT)
    playout.report(0, 0)
    return World(Gate(_freeze_playout(playout)), Ear(_freeze_player(Player(RATE_HZ, _PLAYER))))


def carried(effects: Sequence[fx.Effect]) -> tuple[fx.Effect, ...]:
    """The orders that the world notices."""
    return tuple(_anonymous(effect) for effect in effects if isinstance(effect, _CARRIED))


def _anonymous(effect: fx.Effect) -> fx.Effect:  # noqa: PLR0911 (one line per order)
    match effect:
        case fx.StartGeneration():
            return fx.StartGeneration(effect.epoch, "")
        case fx.SpeakText():
            return fx.SpeakText(effect.epoch, 0, "So it is.")
        case fx.CancelTts():
            return fx.CancelTts(effect.epoch, effect.reason)
        case fx.ResumePlayout():
            return fx.ResumePlayout(effect.epoch, "")
        case fx.CompleteTurn():
            return fx.CompleteTurn(effect.epoch, fx.Outcome.COMPLETED)
        case fx.ContinueGeneration():
            return fx.ContinueGeneration(effect.epoch, may_call=True)
        case fx.EndSession():
            return fx.EndSession(effect.reason)
    return effect


class Done(NamedTuple):
    """What came of something at the gateway."""

    gate: Gate
    sent: tuple[Message, ...] = ()
    facts: tuple[str, ...] = ()


# --- thawed ------------------------------------------------------------------------------------------------------------------


class _Tasks:
    """A TaskGroup whose tasks run when the checker says so."""

    def create_task(self, work: Any, *, name: str) -> Any:
        work.close()
        return _Task()


class _Task:
    is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Gateway:
    """The server's side, thawed: real parts on a stage."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.playout = _thaw_playout(gate.playout)
        self.outbox = Outbox(64)
        self.hands = self._make_hands()
        self.hands._voice._texts = [(0, "So it is.")] if gate.has_text else []
        self.hands._voice.is_finished = gate.is_text_over
        self.hands._voice.is_dumb = gate.is_dumb
        self.hands._writing = cast(Any, _Task()) if gate.is_writing else None
        self.hands._speaking = cast(Any, _Task()) if gate.is_speaking else None
        self.told = gate.told

    def _make_hands(self) -> Interpreter:
        stub = mock.MagicMock()  # what the core orders of the recogniser and the backends ends here
        stub.turns.tool_rounds_max = 1
        hands = Interpreter(
            plan=stub,
            senses=stub,
            playout=self.playout,
            ears=stub,
            history=History("", 8, 1000),
            outbox=self.outbox,
            turn_clock=stub,
            now=lambda: 0,
            tell=lambda _: None,
            wake=lambda: None,
            room=cast(Any, None),
        )
        hands.tasks = cast(Any, _Tasks())
        return hands

    def frozen(self, *, is_open: bool, is_cut: bool) -> Gate:
        """As it is now."""
        hands = self.hands
        is_speaking = _runs(hands._speaking)
        has_text, is_text_over = bool(hands._voice._texts), hands._voice.is_finished
        voice = (has_text, is_text_over, hands._voice.is_dumb) if is_open and not is_cut else (False, False, False)
        playout = _freeze_playout(self.playout)
        return Gate(playout, self.told, _runs(hands._writing), is_speaking, *voice, is_open, is_cut)

    def after_news(self) -> Done:
        """Something happened to the playout: the session looks at it."""
        facts = self.tell_playout(is_open=self.gate.is_open)
        return Done(self.gate._replace(playout=_freeze_playout(self.playout), told=self.told), tuple(self.sent()), facts)

    def sent(self) -> Iterator[Message]:
        """What left for the client."""
        for message in self.outbox:
            match message:
                case messages.AudioOutput():
                    yield ("audio", int(message.epoch), int(message.first_sample), len(message.samples), message.last)
                case messages.PausePlayout():
                    yield ("pause", int(message.epoch))
                case messages.ResumePlayout():
                    yield ("resume", int(message.epoch))
                case messages.CancelTts():
                    yield ("cancel", int(message.epoch))

    def tell_playout(self, *, is_open: bool) -> tuple[str, ...]:
        """The session's own code on what the ear's position means."""
        facts: list[Fact] = []
        started, heard_ms, finished = self.told
        session = types.SimpleNamespace(
            _context=types.SimpleNamespace(epoch=LAST if is_open else NO_EPOCH),
            _playout=self.playout,
            _told_started=LAST if started else NO_EPOCH,
            _told_heard_ms=heard_ms,
            _told_finished=LAST if finished else NO_EPOCH,
            plan=types.SimpleNamespace(session=types.SimpleNamespace(playout_step_ms=1)),
            _tell=facts.append,
        )
        Session._tell_playout(cast(Session, session), 0)
        self.told = (session._told_started == LAST, session._told_heard_ms, session._told_finished == LAST)
        return tuple(type(fact).__name__ for fact in facts)


def _freeze_playout(playout: Playout) -> tuple[Any, ...]:
    first = playout._first
    return (
        playout.epoch != NO_EPOCH,
        playout._sent - first,
        max(0, playout._base - first),
        max(0, (playout._reported or 0) - first),
        len(playout._pieces),
        playout._made,
        playout._is_live,
        playout._is_made,
        playout._is_cut,
        playout._last_sent,
        playout._is_held,
        playout._is_paused,
    )


def _thaw_playout(frozen: tuple[Any, ...]) -> Playout:
    playout = Playout(RATE_HZ, _PLAYOUT)
    (begun, playout._sent, playout._base, playout._reported, pieces, playout._made, playout._is_live, playout._is_made,
     playout._is_cut, playout._last_sent, playout._is_held, playout._is_paused) = frozen  # fmt: skip
    playout.epoch = LAST if begun else NO_EPOCH
    playout._pieces.extend([_SAMPLE] * pieces)
    return playout


def _freeze_player(player: Player, older: int = 0, shift: int = 0) -> tuple[Any, ...]:
    """`older` and `shift`: how many replies, and samples, the numbering moves on."""

    def place(sample: int) -> int:
        return max(-REPLY_SAMPLES, sample - shift)

    return (
        tuple((max(1, chunk.epoch - older), place(chunk.first_sample), len(chunk.samples)) for chunk in player._chunks),
        place(player._position),
        place(player._end),
        player._gain,
        max(0, player._epoch - older),
        max(0, player._cancelled - older),
        None if player._lowered is None else max(0, player._lowered - older),
        player._unfinished,
    )


def _thaw_player(frozen: tuple[Any, ...]) -> Player:
    player = Player(RATE_HZ, _PLAYER)
    chunks, player._position, player._end, player._gain, epoch, cancelled, paused, player._unfinished = frozen
    for number, first, count in chunks:
        player._chunks.append(_Chunk(Epoch(number), first, np.ones(count, np.int16)))
        player._buffered += count
    player._epoch, player._cancelled, player._lowered = Epoch(epoch), Epoch(cancelled), paused
    return player


# --- orders ------------------------------------------------------------------------------------------------------------------


def obey(world: World, effects: tuple[fx.Effect, ...]) -> World | None:
    """Carry orders out. None when that goes beyond the bounds of the model.

    Raises:
        Violation: an order makes no sense here.

    """
    if isinstance(effects[-1], fx.EndSession):
        _obey(world.gate, effects[:-1])
        return initial()._replace(is_over=True)
    gate, sent, _ = _obey(world.gate, effects)
    is_new = any(isinstance(effect, fx.StartGeneration) for effect in effects)
    after = world._replace(gate=gate, down=world.down + sent)
    if _is_full(after, beyond=1) or (is_new and _is_overtaken(world)):
        return None
    return _renumbered(after, shift=world.gate.playout[1]) if is_new else after


def _is_full(world: World, beyond: int = 0) -> bool:
    return len(world.down) + len(world.up) >= IN_FLIGHT_MAX + beyond


def _is_overtaken(world: World) -> bool:
    """Would two replies overtake something on the wire, or a third one wait at the client?"""
    on_wire = any(message[0] != "report" and message[1] < LAST for message in (*world.down, *world.up))
    return on_wire or len(world.ear.player[0]) > 1


@functools.cache
def _obey(gate: Gate, effects: tuple[fx.Effect, ...]) -> Done:
    gateway, is_open, is_cut = Gateway(gate), gate.is_open, gate.is_cut
    for effect in effects:
        _check_order(effect, gateway, is_open=is_open, is_cut=is_cut)
        if isinstance(effect, fx.CompleteTurn):
            is_open = False
            continue  # the history and the words heard are not modelled
        with mock.patch.object(interpreter, "earcon", return_value=_SAMPLE):
            gateway.hands.carry_out(effect)
        is_open = isinstance(effect, fx.StartGeneration) or (is_open and not isinstance(effect, fx.RetractUserTurn))
        is_cut = isinstance(effect, fx.CancelTts) or (is_cut and not isinstance(effect, fx.StartGeneration))
        if isinstance(effect, fx.StartGeneration):
            gateway.told = (False, 0, False)
    return Done(gateway.frozen(is_open=is_open, is_cut=is_cut), tuple(gateway.sent()))


def _runs(task: Any) -> bool:
    return task is not None and not task.is_cancelled


def _check_order(effect: fx.Effect, gateway: Gateway, *, is_open: bool, is_cut: bool) -> None:
    """Each order against what was ordered before."""
    match effect:
        case fx.StartGeneration() | fx.RetryGeneration() | fx.ContinueGeneration() if _runs(gateway.hands._writing):
            raise Violation("two live generations")
        case fx.RetrySpeech() if _runs(gateway.hands._speaking):
            raise Violation("two live voices")
        case fx.SoundEarcon() if gateway.gate.is_dumb:
            raise Violation("two tones in one reply")
        case fx.StartGeneration() if is_open:
            raise Violation("a reply began before the exchange before it was completed or retracted")
        case fx.CompleteTurn() | fx.RetractUserTurn() if not is_open:
            raise Violation("an exchange was completed twice")
        case fx.ResumePlayout() if not gateway.playout._is_paused or is_cut:
            raise Violation("ResumePlayout without PausePlayout")
        case fx.PausePlayout() if gateway.playout._is_paused:
            raise Violation("PausePlayout twice")
        case (
            fx.PausePlayout()
            | fx.SpeakText()
            | fx.HoldPlayout()
            | fx.ReleasePlayout()
            | fx.RetryGeneration()
            | fx.RetrySpeech()
            | fx.ContinueGeneration()
        ) if is_cut:
            raise Violation(f"{type(effect).__name__} for a reply after its CancelTts")
        case fx.CancelTts() if is_cut:
            raise Violation("CancelTts twice")


def _renumbered(world: World, shift: int) -> World:
    """The reply that was the last is the one before now; sample 0 is the first of the new one."""
    return World(
        world.gate,
        _older_ear(world.ear, shift),
        tuple(_older(message, shift) for message in world.down),
        tuple(_older(message, shift) for message in world.up),
    )


@functools.cache
def _older_ear(ear: Ear, shift: int) -> Ear:
    return Ear(_freeze_player(_thaw_player(ear.player), older=1, shift=shift), max(0, ear.silenced - 1))


def _older(message: Message, shift: int) -> Message:
    match message:
        case ("audio", epoch, first, count, last):
            return ("audio", epoch - 1, first - shift, count, last)
        case ("report", sample):
            return ("report", max(-REPLY_SAMPLES, sample - shift))
        case (kind, epoch):
            return (kind, epoch - 1)
    raise AssertionError(message)


# --- what happens by itself --------------------------------------------------------------------------------------------------


def happenings(world: World, *, is_faulty: bool) -> Iterator[Happening]:
    """All that can happen next outside the core.

    `is_faulty`: messages between client and gateway are lost, doubled and overtaken; in return the backends do not fail, and
    the core takes what waits in its inbox before the gateway goes on.
    """
    if world.is_over:
        return
    yield from _inbox(world)
    if not (is_faulty and world.inbox):
        yield from _model(world, may_fail=not is_faulty)
        yield from _voice(world, may_fail=not is_faulty)
        yield from _pump(world)
        yield from _deliveries(world, is_faulty=is_faulty)
    yield from _client(world)


def _model(world: World, *, may_fail: bool) -> Iterator[Happening]:
    if not world.gate.is_writing:
        if WITH_TOOLS and world.gate.is_open:
            yield Happening("", world, "ToolAnswered")
        return
    yield Happening("", world, "TokenArrived")
    yield Happening("", world, "SentenceReady")
    done = world._replace(gate=world.gate._replace(is_writing=False))
    yield Happening("", done, "GenerationFinished")
    if WITH_TOOLS:
        yield Happening("", done, "ToolsCalled")
    if may_fail:
        yield Happening("", done, "BackendFailed llm")


def _voice(world: World, *, may_fail: bool) -> Iterator[Happening]:
    gate = world.gate
    if not gate.is_speaking:
        return
    made = gate.playout[5]
    if gate.has_text and made < REPLY_SAMPLES:
        yield Happening("the voice makes a sample", _and(world, _add(gate)), "" if made else "FirstAudio")
    if gate.is_text_over and made >= gate.has_text:
        yield Happening("the voice has finished", _and(world, _finish(gate)))
    if not may_fail:
        return
    broken = world._replace(gate=gate._replace(is_speaking=False), inbox=(*world.inbox, "BackendFailed tts"))
    yield Happening("the voice breaks", broken)


def _and(world: World, done: Done) -> World:
    return world._replace(gate=done.gate, down=world.down + done.sent, inbox=world.inbox + done.facts)


@functools.cache
def _add(gate: Gate) -> Done:
    gateway = Gateway(gate)
    gateway.playout.add(SpokenAudio(0, _SAMPLE))
    return gateway.after_news()


@functools.cache
def _finish(gate: Gate) -> Done:
    gateway = Gateway(gate)
    gateway.playout.finish()
    done = gateway.after_news()
    return done._replace(gate=done.gate._replace(is_speaking=False))


def _pump(world: World) -> Iterator[Happening]:
    done = None if _is_full(world) else _take(world.gate)
    if done is not None:
        yield Happening("the gateway sends a piece", _and(world, done))


@functools.cache
def _take(gate: Gate) -> Done | None:
    gateway = Gateway(gate)
    piece = gateway.playout.take(0)
    if piece is None:
        return None
    if gate.is_cut or (len(piece.samples) and not gate.is_open):
        raise Violation("a piece left after CancelTts, or a sample after the end of its exchange")
    gateway.outbox.put(piece)
    return gateway.after_news()


@functools.cache
def _report(gate: Gate, sample: int) -> Done:
    gateway = Gateway(gate)
    gateway.playout.report(sample, 0)
    return gateway.after_news()


def _inbox(world: World) -> Iterator[Happening]:
    if world.inbox:
        name, *rest = world.inbox
        yield Happening("", world._replace(inbox=tuple(rest)), name)


def _client(world: World) -> Iterator[Happening]:
    ear, what = _render(world.ear)
    if ear != world.ear:
        yield Happening(f"the client {what}", world._replace(ear=ear))
    if _is_full(world):
        return
    position, stopped, silent = _stop(world.ear)
    if position > world.gate.playout[3] and ("report", position) not in world.up:
        yield Happening(f"the client reports sample {position}", world._replace(up=(*world.up, ("report", position))))
    if stopped > max(1, world.ear.silenced):
        yield Happening("the user presses stop", world._replace(ear=silent, up=(*world.up, ("stop", stopped))))


@functools.cache
def _render(ear: Ear) -> tuple[Ear, str]:
    player = _thaw_player(ear.player)
    player.render(1)
    for span in player.spans:
        if span.epoch <= ear.silenced:
            raise Violation("the client heard a reply after it was cancelled there")
    return ear._replace(
        player=_freeze_player(player)
    ), f"hears sample {player.spans[0].first_sample}" if player.spans else "hears silence"


@functools.cache
def _stop(ear: Ear) -> tuple[int, int, Ear]:
    """The ear's position, the reply that `Conversation.cancel` stops, and the ear after it."""
    player = _thaw_player(ear.player)
    position, stopped = int(player.position), player.epoch
    player.cancel(stopped)
    return position, int(stopped), Ear(_freeze_player(player), max(ear.silenced, stopped))


def _deliveries(world: World, *, is_faulty: bool) -> Iterator[Happening]:
    for place, message in enumerate(world.down if is_faulty else world.down[:1]):
        gone = world._replace(down=world.down[:place] + world.down[place + 1 :])
        yield from _arrival(world, gone, message, is_faulty=is_faulty)
    for place, message in enumerate(world.up if is_faulty else world.up[:1]):
        gone = world._replace(up=world.up[:place] + world.up[place + 1 :])
        yield from _arrival(world, gone, message, is_faulty=is_faulty)


def _arrival(world: World, gone: World, message: Message, *, is_faulty: bool) -> Iterator[Happening]:
    name = " ".join(map(str, message))
    yield _delivered(gone, message, f"{name} arrives")
    if is_faulty:
        yield Happening(f"{name} is lost", gone)
        yield _delivered(world, message, f"{name} arrives, and a copy of it is still under way")


def _delivered(world: World, message: Message, what: str) -> Happening:
    match message:
        case ("report", sample):
            return Happening(what, _and(world, _report(world.gate, sample)))
        case ("stop", epoch):
            return Happening(what, world, "ClientCancelled" if epoch == LAST else "ClientCancelled late")
    return Happening(what, world._replace(ear=_hear(world.ear, message)))


@functools.cache
def _hear(ear: Ear, message: Message) -> Ear:
    player, silenced = _thaw_player(ear.player), ear.silenced
    match message:
        case ("audio", epoch, first, count, last):
            player.push(Epoch(epoch), SampleIndex(first), np.ones(count, np.int16), last=last)
        case ("pause", epoch):
            player.pause(Epoch(epoch))
        case ("resume", epoch):
            player.resume(Epoch(epoch))
        case ("cancel", epoch):
            player.cancel(Epoch(epoch))
            silenced = max(silenced, epoch)
    return Ear(_freeze_player(player), silenced)


def forget() -> None:
    """Compile everything anew: some of it has been changed."""
    for compiled in (_obey, _older_ear, _add, _finish, _take, _report, _render, _stop, _hear):
        compiled.cache_clear()


def is_quiet_wire(world: World) -> bool:
    """Everything that was sent has arrived and was taken."""
    return not (world.down or world.up or world.inbox)

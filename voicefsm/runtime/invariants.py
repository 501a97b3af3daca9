"""What must never happen, checked in production: a violation ends that session with INTERNAL, and no other.

A session that breaks one of these would talk over its user, talk after it was cut off, or hang. Ending it is the lesser harm,
and its journal says what led there. The checks read a few integers per message and per step; `Broken` names the rule that did
not hold.

1. A reply is heard once: far-end samples leave in order, and no position twice.
2. One epoch is audible: audio belongs to the live reply, and never to one that is older than audio that has left.
3. After the `CancelTts` of an epoch nothing of it leaves.
4. What was sent and not heard is bounded: at most `playout_ahead_ms_max` and one piece.
5. Every live state is left within its deadline: one is armed, and none is overdue by more than `OVERDUE_MS_MAX`.
"""

from __future__ import annotations

from voicefsm.context import Context, State
from voicefsm.errors import LocalProtocolError
from voicefsm.events import Timer
from voicefsm.machine import DEADLINES
from voicefsm.runtime.messages import AudioOutput, CancelTts, Outbound
from voicefsm.values import NO_EPOCH, Epoch

OVERDUE_MS_MAX = 10_000
"""How late a deadline may be served: an event loop that is this far behind is no longer a voice engine."""
_REMEDY = "This is a defect of the server; its journal shows how it came about. Please report it."


class Broken(LocalProtocolError):
    """An invariant does not hold."""

    def __init__(self, rule: str, what: str) -> None:
        super().__init__(f"Invariant broken, {rule}: {what}.", remedy=_REMEDY)
        self.rule = rule


class Invariants:
    """The watch over one session."""

    def __init__(self, ahead_samples_max: int) -> None:
        """`ahead_samples_max` bounds what was sent and not heard, one piece included."""
        self._ahead_max = ahead_samples_max
        self._next_sample = self._first_sample = 0
        self._audible = NO_EPOCH
        self._cancelled = NO_EPOCH

    def leaving(self, message: Outbound, *, live: Epoch, heard_sample: int) -> None:
        """A message is about to be put into the outbox. `heard_sample` is where the ear is. Raises `Broken`."""
        if isinstance(message, AudioOutput):
            self._audio(message, live, heard_sample)
        elif isinstance(message, CancelTts):
            self._cancelled = max(self._cancelled, message.epoch)

    def stepped(self, context: Context, now_ms: int, due: tuple[int, Timer] | None) -> None:
        """The machine took a step; `due` is its next deadline. Raises `Broken`."""
        if context.state is State.CLOSED:
            return
        own = [timer for timer in DEADLINES[context.state] if context.is_armed(timer)]
        if not own:
            raise Broken("bounded states", f"{context.state.name} has no deadline")
        if due is not None and now_ms - due[0] > OVERDUE_MS_MAX:
            raise Broken("bounded states", f"{due[1].name} is overdue by {now_ms - due[0]} ms in {context.state.name}")

    def _audio(self, message: AudioOutput, live: Epoch, heard_sample: int) -> None:
        epoch = message.epoch
        if epoch <= self._cancelled:
            raise Broken("silence after cancel", f"audio of reply {epoch} after its CancelTts")
        if not len(message.samples):
            return  # the end of a reply that was heard before its end was known: nothing to hear
        if epoch != live or epoch < self._audible:
            raise Broken("one audible reply", f"audio of reply {epoch} while {live} is live")
        if message.first_sample < self._next_sample:
            raise Broken("samples in order", f"sample {message.first_sample} after {self._next_sample}")
        if epoch > self._audible:
            self._audible, self._first_sample = epoch, message.first_sample
        self._next_sample = message.first_sample + len(message.samples)
        ahead = self._next_sample - max(heard_sample, self._first_sample)
        if ahead > self._ahead_max:
            raise Broken("bounded playout", f"{ahead} samples are ahead of the ear")

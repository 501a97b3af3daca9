"""Where the time of one turn went: stamps taken from the steps of the machine, turned into latencies at the end."""

from __future__ import annotations

import dataclasses

from voicefsm.context import Context, State
from voicefsm.effects import CancelTts, Effect, PausePlayout, StartGeneration
from voicefsm.events import Fact, FirstAudio, PlayoutStarted, ReplyFact, TextReceived, TokenArrived
from voicefsm.runtime.messages import Latencies
from voicefsm.values import CancelReason


@dataclasses.dataclass(slots=True)
class TurnClock:
    """The stamps of the live or last reply."""

    over_ms: int = 0
    latencies: Latencies = Latencies()

    def note(self, context: Context, fact: Fact, effects: tuple[Effect, ...], onset_ms: int) -> None:
        """Take what one step says about time. `onset_ms` is that of the newest near-end speech."""
        for effect in effects:
            if isinstance(effect, StartGeneration):
                self._begin(context, fact)
            elif isinstance(effect, PausePlayout):
                self._set(onset_to_pause_ms=fact.at_ms - onset_ms)
            elif isinstance(effect, CancelTts) and effect.reason is CancelReason.BARGE_IN:
                self._set(onset_to_cancel_ms=fact.at_ms - onset_ms)
        if isinstance(fact, ReplyFact) and fact.epoch == context.epoch:
            self._note_reply(context, fact)

    def _note_reply(self, context: Context, fact: ReplyFact) -> None:
        """Something of the live reply: the first of its kind is a stamp."""
        after_ms = fact.at_ms - self.over_ms
        if isinstance(fact, TokenArrived) and self.latencies.first_token_ms is None:
            self._set(first_token_ms=after_ms)
        elif isinstance(fact, FirstAudio):
            self._set(first_audio_ms=after_ms)
        elif isinstance(fact, PlayoutStarted) and context.state is not State.PROCESSING:
            self._set(first_heard_ms=after_ms)

    def _begin(self, context: Context, fact: Fact) -> None:
        self.over_ms = fact.at_ms
        spoken = context.last_voiced_ms > 0 and not isinstance(fact, TextReceived)
        self.latencies = Latencies(endpointing_ms=fact.at_ms - context.last_voiced_ms if spoken else None)

    def _set(self, **stamps: int) -> None:
        self.latencies = dataclasses.replace(self.latencies, **stamps)

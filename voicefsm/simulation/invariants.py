"""What must hold in every simulated session, whatever goes wrong around it.

Theory of operation. The `Checker` knows what nobody inside knows: what the client really rendered, which streams are really open.
It compares that with what the machine says (as an observer), with what the session writes down (as its journal), and with what it
sends. It takes deadlines from the settings and not from the context, the history from the turns and not from the
`History`, and the heard words from the loudspeaker's position, so that no mistake of ours vouches for itself. The first thing
that does not hold is kept, with its rule.

Clients that do not tell the truth about their playout, or nothing, cannot be held to what depends on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from voicefsm.client.player import Span
from voicefsm.context import Context, Interruption, NearEnd, State
from voicefsm.effects import CancelTts, Effect, ReportFailure, RetractUserTurn, StartGeneration
from voicefsm.events import Fact, PlayoutAdvanced, PlayoutFinished, ReplyFact, SpeechStarted
from voicefsm.ports import GenerationRequest, Journal, Kept, Message, Opening, Silence, Step, Vitals
from voicefsm.runtime import messages
from voicefsm.runtime.plan import SessionPlan
from voicefsm.simulation.caller import Caller
from voicefsm.simulation.faulty import Backends, SaidWord
from voicefsm.simulation.script import NETWORK, Kind, Script
from voicefsm.values import NO_EPOCH, Epoch

SLACK_MS = 60
"""What rounding and one frame may add to any limit."""
UNTOLD_MS_MAX = 1000
"""For so long a voice that has told the times of its words is believed to have finished none since."""
UNSETTLED_MS = 3000
"""How long after a fault of the network nobody is sure where the ear is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """Something did not hold."""

    rule: str
    at_ms: int
    what: str


class Checker:
    """Looks on: the observer, the journal and the watch of one session."""

    def __init__(self, script: Script, plan: SessionPlan, backends: Backends, journal: Journal) -> None:
        self.violation: Violation | None = None
        """The first."""
        self.caller: Caller
        """Set before anything happens."""
        self.steps = 0
        self.seen: set[str] = set()
        """States and orders this session went through."""
        self._script, self._plan, self._backends, self._journal = script, plan, backends, journal
        self._limits_ms = _limits_ms(plan)
        self._state, self._entered_ms, self._moved_ms = State.IDLE, 0, 0
        self._epoch, self._ended_ms = NO_EPOCH, 0
        self._stale = 0
        self._near_end, self._speech_ms = NearEnd.QUIET, 0
        self._silenced = self._cancelled = self._audible = NO_EPOCH
        self._first: dict[Epoch, int] = {}
        """Far-end position of each reply's first sample."""
        self._last: dict[Epoch, int] = {}
        """One past the last one sent."""
        self._streams_before: dict[Epoch, int] = {}
        self._history: list[Message] = []
        self._due: list[tuple[str, str]] = []
        """What the model has to be told of the newest reply's past."""
        backends.model.asked = self.asked
        self._is_honest = script.reports and not script.has(Kind.LIE)

    def now_ms(self) -> int:
        """Since the session began."""
        return int(self.caller.now_ms())

    def broken(self, rule: str, what: str) -> None:
        """Keep the first."""
        if self.violation is None:
            self.violation = Violation(rule, self.now_ms(), what)

    def tick(self) -> None:
        """Nothing need happen for these to be broken."""
        now_ms = self.now_ms()
        stayed_ms = now_ms - self._entered_ms
        if self._state is not State.CLOSED and stayed_ms > self._limits_ms[self._state] + SLACK_MS:
            self.broken("bounded states", f"{self._state.name} for {stayed_ms} ms")
        if self._state is State.SPEAKING and now_ms - self._moved_ms > self._plan.turns.playout_stall_ms_max + SLACK_MS:
            self.broken("bounded states", f"SPEAKING without progress for {now_ms - self._moved_ms} ms")
        if self._backends.model.live > 1 or self._backends.synthesizer.live > 1:
            self.broken("one live generation", ", ".join(self._backends.open_streams()))
        if self._epoch == NO_EPOCH and now_ms > self._ended_ms + 1 and self._backends.model.live + self._backends.synthesizer.live:
            self.broken("nothing is made for nobody", f"{', '.join(self._backends.open_streams())} with no reply alive")

    # --- the observer --------------------------------------------------------------------------------------------------------

    def session_opened(self, session_id: str, opening: Opening) -> None:
        """See `ports.Observer`."""

    def measured(self, session_id: str, vitals: Vitals) -> None:
        """See `ports.Observer`."""

    def fell_silent(self, session_id: str, silence: Silence) -> None:
        """See `ports.Observer`."""

    def kept(self, session_id: str, kept: Kept) -> None:
        """See `ports.Observer`."""

    def session_closed(self, session_id: str, reason: str, message: str) -> None:  # noqa: ARG002 (the port has it)
        """See `ports.Observer`."""
        self._state = State.CLOSED

    def refused(self, error: Exception, identity: str = "") -> None:
        """See `ports.Observer`: the simulator has no server."""

    def reloaded(self, what: str, problem: str) -> None:
        """See `ports.Observer`: nor any files."""

    def crashed(self, session_id: str, error: Exception) -> None:
        """See `ports.Observer`."""

    def stepped(self, step: Step, context: Context) -> None:
        """See `ports.Observer`."""
        self.steps += 1
        self.seen |= {step.after.name, *(type(effect).__name__ for effect in step.effects)}
        if isinstance(step.fact, ReplyFact) and step.fact.epoch != self._epoch and context.stale_dropped == self._stale:
            self.broken("late facts change nothing", f"{step.fact} while reply {self._epoch} is alive")
        self._stale = context.stale_dropped
        self._note_state(step, context)
        for effect in step.effects:
            self._note_order(effect)
        self._check_ear(step.fact)
        self.tick()

    def _note_state(self, step: Step, context: Context) -> None:
        at_ms = self.now_ms()
        if step.after is not step.before or context.epoch != self._epoch:
            self._entered_ms = self._moved_ms = at_ms
        if isinstance(step.fact, PlayoutAdvanced) or any(isinstance(effect, ReportFailure) for effect in step.effects):
            self._moved_ms = at_ms  # what is said of a failure has its own time to be heard
        if self._epoch not in (NO_EPOCH, context.epoch):
            self._ended_ms = at_ms
        self._state, self._epoch = context.state, context.epoch
        if isinstance(step.fact, SpeechStarted) and self._near_end is NearEnd.QUIET:
            self._speech_ms = at_ms
        self._near_end = context.near_end

    def _note_order(self, effect: Effect) -> None:
        if isinstance(effect, CancelTts):
            self._silenced = max(self._silenced, effect.epoch)
        elif isinstance(effect, StartGeneration):
            self._history.append(Message("user", effect.user_text))
            self._due = _merged(self._history)
            self._streams_before[effect.epoch] = len(self._backends.synthesizer.streams)
        elif isinstance(effect, RetractUserTurn):
            self._history.pop()

    def _check_ear(self, fact: Fact) -> None:
        """SPEAKING begins and a reply is complete when the loudspeaker says so."""
        if not self._is_honest:
            return
        position = self.caller.player.position
        if self._state is State.SPEAKING and self._epoch in self._first and position <= self._first[self._epoch]:
            self.broken("SPEAKING follows the ear", f"reply {self._epoch} counts as heard, and nothing of it was rendered")
        if isinstance(fact, PlayoutFinished) and self._epoch == NO_EPOCH and position < self._last.get(fact.epoch, 0):
            self.broken("SPEAKING follows the ear", f"reply {fact.epoch} counts as over at {position} of {self._last[fact.epoch]}")

    # --- the journal ---------------------------------------------------------------------------------------------------------

    def write(self, kind: str, at_ms: int, body: Mapping[str, Any]) -> None:
        """See `ports.Journal`."""
        self._journal.write(kind, at_ms, body)
        if kind == "turn":
            self._check_turn(body)

    def close(self) -> None:
        """See `ports.Journal`."""
        self._journal.close()

    def _check_turn(self, turn: Mapping[str, Any]) -> None:
        """What was heard is part of what was said, and as long as what was rendered."""
        heard, said = turn["heard_text"].split(), turn["assistant_text"].split()
        if not _is_subsequence(heard, said):
            self.broken("heard within generated", f"{turn['heard_text']!r} of {turn['assistant_text']!r}")
        if heard:
            self._history.append(Message("assistant", turn["heard_text"]))
        if turn["heard_source"] != "proportional" and self._is_honest and not self._is_unsettled():
            self._check_heard(Epoch(turn["epoch"]), len(heard))

    def _check_heard(self, epoch: Epoch, count: int) -> None:
        """The number of heard words, by the loudspeaker."""
        words = self._words(epoch)
        rate = self._plan.output_format.rate_hz
        end = self.caller.player.position
        rendered = max(0, end - self._first[epoch]) if epoch in self._first and end > self._first[epoch] else 0
        slack = (2 * self._script.latency_ms + 2 * self._script.frame_ms + SLACK_MS) * rate // 1000
        gap = self._plan.playout.report_gap_ms_max * rate // 1000
        if count > sum(word.end <= rendered + slack + gap for word in words):
            self.broken("history is what was heard", f"{count} words of reply {epoch} count as heard; {rendered} samples were")
        untold = UNTOLD_MS_MAX * rate // 1000
        if count < sum(word.end <= rendered - slack - (0 if word.is_told else untold) for word in words):
            self.broken("history is what was heard", f"only {count} words of reply {epoch} count as heard of {rendered} samples")

    def _words(self, epoch: Epoch) -> list[SaidWord]:
        """What the voice of this reply said."""
        streams, first = self._backends.synthesizer.streams, self._streams_before.get(epoch, 0)
        last = self._streams_before.get(Epoch(epoch + 1), len(streams))
        return [word for stream in streams[first:last] for word in stream.words]  # an attempt that failed has said nothing

    def _is_unsettled(self) -> bool:
        now_ms = self.now_ms()
        acts = (act for kind in (*NETWORK, Kind.STOP_READING, Kind.MUTE) for act in self._script.by_kind[kind])
        return any(act.at_ms <= now_ms <= act.at_ms + act.for_ms + UNSETTLED_MS for act in acts)

    # --- the model -----------------------------------------------------------------------------------------------------------

    def asked(self, request: GenerationRequest) -> None:
        """The model is told what was said and heard, and nothing else."""
        told = [(message.role, message.content) for message in request.messages[1:]]
        if told != self._due:
            self.broken("history is what was heard", f"the model is told {told[-3:]}, and due is {self._due[-3:]}")

    # --- the watch -----------------------------------------------------------------------------------------------------------

    def left(self, message: messages.Outbound) -> None:
        """A message left the outbox."""
        if not isinstance(message, messages.AudioOutput) or not len(message.samples):
            return
        epoch, rate = message.epoch, self._plan.output_format.rate_hz
        if epoch <= self._silenced:
            self.broken("silence after cancel", f"audio of reply {epoch} left after its CancelTts")
        if epoch not in self._first:
            self._first[epoch] = message.first_sample
            self._check_floor(epoch)
        elif message.first_sample != self._last[epoch]:
            self.broken("no sample lost", f"reply {epoch} goes on at {message.first_sample} instead of {self._last[epoch]}")
        self._last[epoch] = message.first_sample + len(message.samples)
        playout = self._plan.playout
        limit_ms = playout.playout_ahead_ms_max + playout.piece_ms + playout.report_gap_ms_max + self._script.frame_ms
        ahead_ms = (self._last[epoch] - max(self.caller.player.position, self._first[epoch])) * 1000 // rate
        if self._is_honest and ahead_ms > limit_ms + SLACK_MS:
            self.broken("bounded playout", f"{ahead_ms} ms of reply {epoch} are not rendered")

    def _check_floor(self, epoch: Epoch) -> None:
        """The first sample of a reply does not leave while the user is known to speak."""
        speaks = self._near_end is NearEnd.SPEECH and self._speech_ms < self.now_ms()
        is_prompt = self.now_ms() > self.caller.caught_up_ms + 1
        if speaks and is_prompt and self._plan.turns.interruption is Interruption.ENABLED:
            self.broken("never into speech", f"reply {epoch} begins while the user has been speaking since {self._speech_ms} ms")

    def arrived(self, message: messages.Outbound) -> None:
        """The client obeyed a message."""
        if isinstance(message, messages.CancelTts):
            self._cancelled = max(self._cancelled, message.epoch)

    def rendered(self, spans: tuple[Span, ...]) -> None:
        """A block left the loudspeaker."""
        for span in spans:
            if span.epoch <= self._cancelled:
                self.broken("silence after cancel", f"reply {span.epoch} is rendered after its CancelTts arrived")
            if span.epoch < self._audible:
                self.broken("one audible reply", f"reply {span.epoch} is rendered after reply {self._audible}")
            self._audible = max(self._audible, span.epoch)
        if self._is_honest and len({span.epoch for span in spans}) > 1:
            self.broken("one audible reply", f"replies {', '.join(str(span.epoch) for span in spans)} in one block")
        if spans and self._is_honest:
            self._check_lifetime(spans[-1].epoch)
        self.tick()

    def _check_lifetime(self, epoch: Epoch) -> None:
        """A reply is heard while it lives, and as long as the news of its end travels."""
        since_ms = self.now_ms() - self._ended_ms
        if epoch != self._epoch and since_ms > self._script.latency_ms + SLACK_MS and not self._is_unsettled():
            self.broken("SPEAKING follows the ear", f"reply {epoch} is heard {since_ms} ms after its end")


def _limits_ms(plan: SessionPlan) -> Mapping[State, int]:
    """The longest stay in each state, from the settings alone."""
    turns = plan.turns
    return {
        State.IDLE: turns.idle_ms_max,
        State.LISTENING: turns.utterance_ms_max,
        State.PROCESSING: turns.first_sentence_ms_max + 2 * turns.first_heard_ms_max,  # of the answer, and of the tone
        State.SPEAKING: plan.playout.reply_ms_max + turns.playout_stall_ms_max,
        State.INTERRUPTING: turns.decision_ms_max,
    }


def _is_subsequence(part: list[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(word in rest for word in part)


def _merged(history: list[Message]) -> list[tuple[str, str]]:
    """Two of the same role in a row are one."""
    merged: list[tuple[str, str]] = []
    for message in history:
        if merged and merged[-1][0] == message.role:
            merged[-1] = (message.role, f"{merged[-1][1]}\n{message.content}")
        else:
            merged.append((message.role, message.content))
    return merged

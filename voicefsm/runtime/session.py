"""One conversation: the machine's hands and senses.

Theory of operation
-------------------
Everything that happens becomes a fact in one bounded inbox. One task takes facts out, asks `machine.step` what to do, and
carries the orders out, all of them, before it takes the next. It is the only caller of `step`, so there are no locks.

    run()        inbox -> step -> interpreter; arms the one timer            (control plane)
    hear()       microphone audio -> Hearing -> Ears, edges -> inbox           (data plane, synchronous, called by the reader)
    _pump()      playout -> outbox, paced                                    (data plane, one task)
    Ears.run     the ASR stream                                               (one task, while the stream lives)
    write, Voice.run  a reply                                                     (two tasks, while the reply is being made)

All tasks belong to one TaskGroup: whatever ends the session ends them. An error that nobody expected ends this session and no
other.

A session holds its parts and none of them holds the session: what they call back are functions of what they need. So a closed
session is gone with its last reference, and leaves nothing to the cyclic garbage collector.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import voicefsm
from voicefsm.aec.reference import Reference
from voicefsm.audio.samples import SAMPLES_PER_MS
from voicefsm.context import Context, Generation, Interruption, NearEnd, State
from voicefsm.effects import (
    CallTools,
    CancelTts,
    CompleteTurn,
    Effect,
    EndSession,
    FinishSpeech,
    KeepToolResult,
    PausePlayout,
    ResumePlayout,
    RetractUserTurn,
    SpeakText,
    StartGeneration,
)
from voicefsm.errors import LocalProtocolError, RemoteProtocolError, TooMuch, VoiceFsmError
from voicefsm.events import (
    ClientCancelled,
    ClientClosed,
    DrainRequested,
    EvidenceChanged,
    Fact,
    PlayoutAdvanced,
    PlayoutFinished,
    PlayoutStarted,
    RecognitionFailed,
    SessionOpened,
    ShutdownRequested,
    SpeechEnded,
    SpeechFinished,
    SpeechStarted,
    TextReceived,
    ToolAnswered,
)
from voicefsm.machine import next_deadline, step
from voicefsm.ports import (
    Clock,
    Journal,
    Observer,
    Opening,
    RecognitionRequest,
    Samples,
    Silence,
    Step,
    Traceparent,
    Vitals,
    untraced,
)
from voicefsm.runtime import messages
from voicefsm.runtime.checkpoint import Checkpoint
from voicefsm.runtime.ears import Ears
from voicefsm.runtime.groups import first_error, raised
from voicefsm.runtime.hearing import Heard, HeardEdge, Hearing
from voicefsm.runtime.history import History
from voicefsm.runtime.inbox import Inbox
from voicefsm.runtime.interpreter import Interpreter
from voicefsm.runtime.invariants import Invariants
from voicefsm.runtime.journal import FORMAT, plain, record_of, until, utc_now
from voicefsm.runtime.keeper import Keeper, Keeping
from voicefsm.runtime.outbox import Outbox
from voicefsm.runtime.plan import Senses, SessionPlan
from voicefsm.runtime.playout import Playout
from voicefsm.runtime.timers import Deadline, DeadlineTimer
from voicefsm.runtime.turnclock import TurnClock
from voicefsm.table import key_of, name_of
from voicefsm.vad.segmenter import EdgeKind
from voicefsm.values import NO_EPOCH, Backend, EndReason, Epoch

COMMIT_PCT = 80
"""Of the time a final may take: then the ears take the last partial for it, just before the machine would."""
_DRIFT_PPM_MAX = 1000
"""The fastest microphone clock that counts as honest; sound cards stay within a few hundred."""


_PACES: Mapping[type[Effect], Callable[[Reference], None]] = {
    PausePlayout: Reference.pause,
    ResumePlayout: Reference.resume,
    CancelTts: Reference.drop,
    StartGeneration: Reference.resume,
}
"""What a client that never reports is taken to do at once. A reply that ended in a pause is followed by one that is not paused."""


_ENDS_EXCHANGE = frozenset({CompleteTurn, RetractUserTurn})
_COMMITS = _ENDS_EXCHANGE | {StartGeneration, SpeakText, FinishSpeech, CallTools, KeepToolResult}
"""Orders by which the machine commits something: a turn, a part of its answer, or what became of both."""
_MAY_BE_LAST = frozenset({ClientClosed, DrainRequested, ShutdownRequested, RecognitionFailed})
"""Facts that may end a session from which a client can go on elsewhere."""


class SessionClock:
    """Milliseconds since the session began."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start_ms = clock.now_ms()

    def now_ms(self) -> int:
        """Monotonic milliseconds since the session began."""
        return self._clock.now_ms() - self._start_ms


class Session:
    """One conversation. `run` it, feed it, and write what its `outbox` holds."""

    def __init__(
        self,
        session_id: str,
        plan: SessionPlan,
        senses: Senses,
        *,
        clock: Clock,
        journal: Journal,
        observer: Observer,
        wall_clock: Callable[[], str] = utc_now,
        traceparent: Traceparent = untraced,
        keeping: Keeping | None = None,
    ) -> None:
        """`wall_clock` goes into the journal and nowhere else. Without `keeping` the session cannot be resumed."""
        self.session_id = session_id
        self.plan = plan
        self._clock = SessionClock(clock)
        self._journal, self._observer = journal, observer
        self._wall_clock = wall_clock
        self._traceparent = partial(_traceparent, traceparent, session_id, self._clock)
        self._context = Context(settings=plan.turns, language_code=plan.language_code)
        self._inbox = Inbox(plan.session.inbox_facts_max, plan.session.inbox_bytes_max)
        self._tell = self._inbox.put
        self._timer = DeadlineTimer(self._clock, self._tell)
        self._wake_pump, self._has_room = asyncio.Event(), asyncio.Event()
        self._turn_clock = TurnClock()
        self._playout = Playout(plan.output_format.rate_hz, plan.playout)
        self._invariants = Invariants(self._playout.unheard_samples_max)
        limits = plan.session
        self.outbox = Outbox(
            limits.outbox_messages_max,
            bytes_max=limits.outbox_bytes_max,
            ms_max=limits.outbox_ms_max,
            now=self._clock.now_ms,
            check=self._gate(),
        )
        self._reference = Reference(plan.output_format.rate_hz, plan.hearing.aec)
        self._hearing, self.echo_canceller = self._open_hearing(senses)
        self._ears = self._open_ears(senses)
        self._before = keeping.before if keeping is not None else None
        self._history = _history(plan, self._before)
        self._interpreter = Interpreter(
            plan=plan,
            senses=senses,
            playout=self._playout,
            ears=self._ears,
            history=self._history,
            outbox=self.outbox,
            turn_clock=self._turn_clock,
            now=self._clock.now_ms,
            tell=self._tell,
            wake=self._wake_pump.set,
            room=partial(_wait_for_room, self._playout, self._has_room),
            traceparent=self._traceparent,
            before=self._before,
        )
        self._keeping, self._keeper = keeping, self._open_keeper(keeping) if keeping is not None else None
        self._kept_heard_ms, self._cursor_ms = 0, keeping.settings.cursor_ms if keeping is not None else 0
        self._is_farewell = self._is_leaving = False
        self._leaving: asyncio.TimerHandle | None = None
        self._audio_origin_ms, self._paced_ms = 0.0, 0
        self._told_heard_ms = 0
        self._told_started = self._told_finished = NO_EPOCH
        self._told_voiced_ms = 0
        self._cut: tuple[Epoch, int] | None = None
        """The reply that was cut, and when the client was told, until it has fallen silent."""
        self.fault: Exception | None = None
        """What went wrong. Whoever feeds the session and fails leaves it here: the session itself is only cancelled then."""

    def _open_hearing(self, senses: Senses) -> tuple[Hearing, str]:
        canceller = senses.make_canceller()
        hearing = Hearing(
            self.plan.hearing,
            canceller=canceller,
            detector=senses.make_detector(self.plan.hearing.vad),
            reference=self._reference,
            input_rate_hz=self.plan.input_format.rate_hz,
            client_echo_cancellation=self.plan.client_echo_cancellation,
            ear_at=partial(_ear_at, self._playout, self._clock),
        )
        return hearing, "none" if self.plan.client_echo_cancellation else canceller.name

    def _open_keeper(self, keeping: Keeping) -> Keeper:
        before = keeping.before
        base = Checkpoint(self.session_id, self.plan.identity, self.plan.wishes, before.age_ms if before else 0)
        return Keeper(
            keeping,
            partial(_checkpoint, base, self._context, self._history, self._interpreter, self._clock),
            told=partial(self._observer.kept, self.session_id),
            lost=partial(_hang_up, self._tell, self._clock),
        )

    def _gate(self) -> Callable[[messages.Outbound], None]:
        """Nothing leaves that must not: see invariants.py."""
        invariants, context, playout, clock = self._invariants, self._context, self._playout, self._clock

        def check(message: messages.Outbound) -> None:
            invariants.leaving(message, live=context.epoch, heard_sample=playout.far_end_sample(clock.now_ms()))

        return check

    def _open_ears(self, senses: Senses) -> Ears:
        return Ears(
            senses.recognizer,
            RecognitionRequest(self.plan.language_code, self.plan.turns.silence_ms),
            settings=self.plan.session,
            commit_ms=self.plan.turns.final_ms_max * COMMIT_PCT // 100,
            now=self._clock.now_ms,
            tell=self._tell,
            traceparent=partial(self._traceparent, NO_EPOCH, Backend.ASR),
        )

    # --- the life of a session -----------------------------------------------------------------------------------------------

    async def run(self) -> EndSession:
        """Hold the conversation. Returns why it ended.

        Raises:
            TooMuch: the client flooded the session, or did not read.
            LocalProtocolError: a defect of ours.

        """
        self._open()
        ended: EndSession | None = None
        try:
            ended = await self._converse()
        except ExceptionGroup as group:
            self.fault = first_error(group)
        except asyncio.CancelledError as error:
            raise error.with_traceback(None)  # noqa: B904 (the same one, without the frames that keep it)
        finally:
            faults = [] if self.fault is None else [self.fault]
            self._close(*self._end_of(ended))
            if self._keeper is not None:
                await self._keeper.close()
            self._let_go()
        return ended if ended is not None else raised(faults)

    async def _converse(self) -> EndSession:
        async with asyncio.TaskGroup() as tasks:
            self._interpreter.tasks = tasks
            beside = [tasks.create_task(self._pump(), name=f"pump {self.session_id}")]
            if self._keeper is not None:
                beside.append(tasks.create_task(self._keeper.run(), name=f"keeper {self.session_id}"))
            ended = await self._serve_inbox()
            for task in beside:
                task.cancel()
            self._interpreter.stop()
        return ended

    def _open(self) -> None:
        plan = self.plan
        self._journal.write("session", 0, self._journal_head())
        self._observer.session_opened(self.session_id, _opening(plan, self._before))
        token = self._keeping.token if self._keeping is not None else ""
        opened = _opened(self._clock.now_ms(), self._before)
        spoken = (self.echo_canceller, plan.language_code, plan.voice_name)
        self.outbox.put(messages.SessionReady(self.session_id, *spoken, token, opened.question))
        self._tell(opened)
        if self._keeper is not None and self._before is None:
            self._keeper.note()  # a token is good from the moment the client has it

    def _journal_head(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "version": voicefsm.__version__,
            "format": FORMAT,
            "session_id": self.session_id,
            "wall_clock": self._wall_clock(),
            "language_code": plan.language_code,
            "input": plain(plan.input_format),
            "output": plain(plan.output_format),
            "echo_canceller": self.echo_canceller,
            "turns": plain(plan.turns),
        }

    def _end_of(self, ended: EndSession | None) -> tuple[str, str]:
        """Why the session is over, in a word and in a sentence: see `ports.Observer`."""
        if ended is not None:
            return ended.reason.value, ended.message
        if self.fault is None:
            return "cancelled", ""
        said = str(self.fault) if isinstance(self.fault, VoiceFsmError) else type(self.fault).__name__
        return "client_error" if isinstance(self.fault, RemoteProtocolError) else "failed", said

    def _close(self, reason: str, message: str) -> None:
        self._timer.close()
        if self._leaving is not None:
            self._leaving.cancel()
        self._ears.close()
        self._hearing.close()
        self._journal.write(
            "end", self._clock.now_ms(), {"reason": reason, **self._losses(), "alignment": plain(self._reference.alignment)}
        )
        self._journal.close()
        self._observer.measured(self.session_id, self.vitals())
        self._observer.session_closed(self.session_id, reason, message)
        self.outbox.close()

    def _let_go(self) -> None:
        """Errors and tasks hold the frames they passed, and those hold the session: it must not hold them. See groups.py."""
        self.fault = None
        del self._interpreter.tasks

    @property
    def age_ms(self) -> int:
        """Since it began."""
        return self._clock.now_ms()

    def vitals(self) -> Vitals:
        """How the session is."""
        return Vitals(
            state=self._context.state,
            inbox_facts=len(self._inbox),
            outbox_messages=len(self.outbox),
            ears_backlog_ms=self._ears.backlog_ms,
            ears_lost_ms=self._ears.lost_samples // SAMPLES_PER_MS,
            stale_dropped=self._context.stale_dropped,
            underruns=self._playout.underruns,
            pieces=self._interpreter.tally.pieces,
            erle_db=self._hearing.erle_db,
            echo_ms=self._reference.alignment.echo_ms,
        )

    def _losses(self) -> dict[str, int]:
        """What was dropped, and is worth a line."""
        return {
            "stale_dropped": self._context.stale_dropped,
            "ears_lost_samples": self._ears.lost_samples,
            "ears_rotations": self._ears.rotations,
            "playout_truncated_samples": self._playout.truncated_samples,
        }

    async def _serve_inbox(self) -> EndSession:
        """Fact by fact, until an order ends the session."""
        while True:
            ended = self._take(await self._inbox.get())
            if ended is not None:
                return ended

    def _take(self, fact: Fact) -> EndSession | None:
        """One step, all its orders, and everybody told."""
        context = self._context
        before, epoch = context.state, context.epoch
        last = self._keeper.look() if self._keeper is not None and type(fact) in _MAY_BE_LAST else None
        effects = self._step(fact)
        due = next_deadline(context)
        self._turn_clock.note(context, fact, effects, context.onset_ms)
        taken = Step(self.session_id, fact, before, context.state, effects, context.epoch or epoch)
        self._record(taken, due)
        if before is not context.state:
            self.outbox.put(messages.StateChanged(before, context.state, name_of(key_of(fact)), fact.at_ms))
        for effect in effects:
            if type(effect) in _PACES:
                _PACES[type(effect)](self._reference)
            done = self._interpreter.carry_out(effect)
            if done is not None:
                self._journal.write("turn", fact.at_ms, plain(done))
        self._invariants.stepped(context, self._clock.now_ms(), due)
        self._timer.arm(due)
        self._observer.stepped(taken, context)
        if any(type(effect) in _ENDS_EXCHANGE for effect in effects):
            self._observer.measured(self.session_id, self.vitals())
        ended = next((effect for effect in effects if isinstance(effect, EndSession)), None)
        if self._is_leaving and context.state is State.IDLE is not before:
            _leave(self._tell, self._clock)  # who goes on at once would never leave
        if self._keeper is not None:
            self._keep(self._keeper, taken, ended, last)
        return ended

    def _keep(self, keeper: Keeper, taken: Step, ended: EndSession | None, last: Checkpoint | None) -> None:
        """What this step has committed is kept; of a session that ends what can be resumed of it, as it was before the end."""
        fact = taken.fact
        if ended is not None:
            is_over = self._is_farewell or ended.reason in (EndReason.IDLE, EndReason.AGE)
            keeper.finish(None if is_over else last)
        elif type(fact) is PlayoutAdvanced and abs(fact.heard_ms - self._kept_heard_ms) >= self._cursor_ms:
            self._kept_heard_ms = fact.heard_ms
            keeper.note()
        elif type(fact) is SessionOpened or any(type(effect) in _COMMITS for effect in taken.effects):
            keeper.note()

    def _step(self, fact: Fact) -> tuple[Effect, ...]:
        """The machine's orders. A fact it takes for a defect of ours is the last one the journal has."""
        try:
            return step(self._context, fact)
        except LocalProtocolError:
            self._journal.write("refused", fact.at_ms, {"fact": record_of(fact), "before": self._context.state.value})
            raise

    def _record(self, taken: Step, due: Deadline | None) -> None:
        self._journal.write(
            "step",
            taken.fact.at_ms,
            {
                "fact": record_of(taken.fact),
                "before": taken.before.value,
                "after": taken.after.value,
                "effects": [record_of(effect) for effect in taken.effects],
                "until": until(due),
            },
        )

    # --- what the client says ------------------------------------------------------------------------------------------------

    def hear(self, samples: Samples, capture_sample: int, far_end_sample: int | None) -> None:
        """Take microphone audio at the input rate.

        Raises:
            InvalidMessage: `capture_sample` steps back.
            TooMuch: the audio runs too far ahead of real time.

        """
        now_ms = self._clock.now_ms()
        self._check_pace(capture_sample + len(samples), now_ms)
        if far_end_sample is not None:
            self._hear_from_ear(far_end_sample, now_ms)
        else:
            self._playout.miss_report(now_ms)
            if self._playout.has_reported:  # of who never has, the reference knows more than our clock: it listens
                far_end_sample = self._playout.far_end_sample(now_ms)
        heard = self._hearing.hear(samples, capture_sample, far_end_sample, deaf=self._is_deaf())
        self._ears.skip(heard.skipped_ms)
        self._ears.hear(heard.samples, is_voiced=heard.is_voiced, is_urgent=self._is_urgent())
        self._tell_playout(now_ms, is_near_end_news=bool(heard.edges))
        self._tell_speech(heard, now_ms)

    def report_playout(self, far_end_sample: int, duck_db: int | None = None) -> None:
        """Take a playout report without audio: from this sample on the far end is rendered `duck_db` quieter than it was sent."""
        now_ms = self._clock.now_ms()
        self._hear_from_ear(far_end_sample, now_ms)
        if duck_db is not None:
            self._reference.duck(far_end_sample, duck_db)
        self._tell_playout(now_ms)

    def _hear_from_ear(self, far_end_sample: int, now_ms: int) -> None:
        """The client says where its loudspeaker is; one that does not move on any more after `CancelTts` has fallen silent."""
        self._playout.report(far_end_sample, now_ms)
        if self._cut is not None and self._playout.moved_ms < now_ms:
            (epoch, written_ms), self._cut = self._cut, None
            self._observer.fell_silent(self.session_id, Silence(epoch, written_ms, self._playout.moved_ms))

    def wrote_cancel(self, epoch: Epoch) -> None:
        """`CancelTts` was handed to gRPC."""
        self._cut = (epoch, self._clock.now_ms())

    def cancel_tts(self, epoch: Epoch, far_end_sample: int | None = None) -> None:
        """The user pressed stop. The client has fallen silent already, if it is a good one, and says where."""
        if far_end_sample is not None:
            self.report_playout(far_end_sample)
        self._tell(ClientCancelled(self._clock.now_ms(), epoch))

    def type_text(self, text: str) -> None:
        """The user typed something; stripped, not empty."""
        self._tell(TextReceived(self._clock.now_ms(), text))

    def answer_tool(self, epoch: Epoch, call_id: str, *, output: str = "", error: str = "") -> None:
        """A tool has been called, with this outcome; `error` is not empty when it failed."""
        chars_max = self.plan.session.tool_output_chars_max
        if len(output) > chars_max:
            output, error = "", f"The output has {len(output)} characters; {chars_max} are allowed."
        self._tell(ToolAnswered(self._clock.now_ms(), epoch, call_id, output, error[:chars_max]))

    def finish_speech(self) -> None:
        """The talk button was released."""
        self._tell(SpeechFinished(self._clock.now_ms()))

    def hang_up(self, *, is_farewell: bool = False) -> None:
        """The client is gone. `is_farewell`: it has said that the conversation is over; otherwise it may come back."""
        self._is_farewell = self._is_farewell or is_farewell
        _hang_up(self._tell, self._clock)

    def drain(self, wait_ms: int) -> None:
        """The process is going to stop in so much time: tell the client, and end when no turn is live."""
        self._is_leaving = True
        token = self._keeping.token if self._keeping is not None else ""
        with suppress(TooMuch):  # of a client that reads nothing
            self.outbox.put(messages.GoAway(wait_ms, token))
        # The user may just begin to speak, and the client has a moment to read that it should go.
        leave = partial(_leave, self._tell, self._clock)
        self._leaving = asyncio.get_running_loop().call_later(self.plan.session.leave_ms / 1000, leave)

    async def kept(self) -> None:
        """Wait until what is committed outlives this process, for as long as the settings allow."""
        if self._keeper is not None:
            await self._keeper.settled()

    def shut_down(self) -> None:
        """The process stops."""
        self._tell(ShutdownRequested(self._clock.now_ms()))

    def _check_pace(self, end_sample: int, now_ms: int) -> None:
        """Audio cannot come from the future: a client that floods us is stopped before its audio costs anything."""
        media_ms = end_sample * 1000 // self.plan.input_format.rate_hz
        # A client that was late has no right to be early later: it starts anew. One whose clock is a little fast is forgiven.
        forgiven_ms = (now_ms - self._paced_ms) * _DRIFT_PPM_MAX / 1e6
        self._paced_ms = now_ms
        self._audio_origin_ms = max(self._audio_origin_ms - forgiven_ms, now_ms - media_ms)
        ahead_ms = round(media_ms - (now_ms - self._audio_origin_ms))
        if ahead_ms > self.plan.session.audio_ahead_ms_max:
            raise TooMuch(
                f"The audio is {ahead_ms} ms ahead of real time; {self.plan.session.audio_ahead_ms_max} ms are allowed.",
                remedy="Send audio as it is captured.",
            )

    def _is_urgent(self) -> bool:
        """Somebody speaks over a reply: words decide."""
        return self._context.epoch != NO_EPOCH and self._context.near_end is NearEnd.SPEECH

    def _is_deaf(self) -> bool:
        """The last resort: nothing is heard while we can be."""
        return self.plan.turns.interruption is Interruption.DISABLED and self._context.state is State.SPEAKING

    def _tell_speech(self, heard: Heard, now_ms: int) -> None:
        """Edges always; in between, evidence while a decision may depend on it."""
        for edge in heard.edges:
            self._tell(_fact_of(edge, now_ms))
            self._told_voiced_ms = edge.evidence.voiced_ms
        if self._context.near_end is not NearEnd.SPEECH or self._context.epoch == NO_EPOCH:
            return
        if heard.voiced_ms - self._told_voiced_ms >= self.plan.session.evidence_ms:
            self._told_voiced_ms = heard.voiced_ms
            self._tell(EvidenceChanged(now_ms, self._hearing.evidence))

    # --- playout -------------------------------------------------------------------------------------------------------------

    def _tell_playout(self, now_ms: int, *, is_near_end_news: bool = False) -> None:
        """What the ear's position means to the machine: first sample, progress in coarse steps, end."""
        epoch = self._context.epoch
        if epoch == NO_EPOCH or epoch != self._playout.epoch:
            return
        heard_ms, left_ms = self._playout.position(now_ms)
        if self._told_started != epoch and self._playout.is_started(now_ms):
            self._told_started, self._told_heard_ms = epoch, 0
            self._tell(PlayoutStarted(now_ms, epoch))
        moved_ms = heard_ms - self._told_heard_ms
        if moved_ms >= self.plan.session.playout_step_ms or (is_near_end_news and moved_ms > 0):
            self._told_heard_ms = heard_ms
            self._tell(PlayoutAdvanced(now_ms, epoch, heard_ms, left_ms, self._playout.is_made))
        if self._told_finished != epoch and self._playout.is_finished(now_ms):
            self._told_finished = epoch
            self._tell(PlayoutFinished(now_ms, epoch))

    async def _pump(self) -> None:
        """Send the far end, paced by the client's ear, and notice what no report tells."""
        while True:
            now_ms = self._clock.now_ms()
            self._wake_pump.clear()
            while (piece := self._playout.take(now_ms)) is not None:
                self._reference.append(piece.first_sample, piece.samples)
                self.outbox.put(piece)
            self._has_room.set()
            self._tell_playout(now_ms)
            await self._wait_for_pump(now_ms)

    async def _wait_for_pump(self, now_ms: int) -> None:
        """Until something new comes, or the pacing allows more, or the end may have been reached."""
        times = (self._playout.next_take_ms(now_ms), self._playout.next_check_ms(now_ms))
        due_ms = min((at_ms for at_ms in times if at_ms is not None), default=None)
        if due_ms is None:
            await self._wake_pump.wait()
            return
        # A timer that wakes the pump as anything new does: a `timeout` around the wait costs several times as much.
        timer = asyncio.get_running_loop().call_later((due_ms - now_ms) / 1000, self._wake_pump.set)
        try:
            await self._wake_pump.wait()
        finally:
            timer.cancel()


def _ear_at(playout: Playout, clock: SessionClock, ago_ms: int) -> int:
    return playout.far_end_sample(clock.now_ms() - ago_ms)


def _opening(plan: SessionPlan, before: Checkpoint | None) -> Opening:
    resumes = before.session_id if before is not None else ""
    return Opening(plan.language_code, plan.model, plan.traceparent, plan.identity, plan.is_known, resumes)


def _history(plan: SessionPlan, before: Checkpoint | None) -> History:
    """What the model is told was said, here and before."""
    said = before.messages if before is not None else ()
    history = History(plan.system_prompt, plan.session.history_messages_max, plan.session.history_chars_max, said)
    if before is not None and before.is_answered:
        history.add_heard(before.heard)
    elif before is not None:
        history.give_up_calls()
    return history


def _opened(now_ms: int, before: Checkpoint | None) -> SessionOpened:
    if before is None:
        return SessionOpened(now_ms)
    question = "" if before.is_answered else before.question
    return SessionOpened(now_ms, before.last_epoch, question, is_begun=bool(question and before.heard))


def _checkpoint(base: Checkpoint, context: Context, history: History, interpreter: Interpreter, clock: SessionClock) -> Checkpoint:
    """The conversation at this moment. Only while a reply is alive is there anything in progress."""
    question, heard, rest = interpreter.in_progress() if context.epoch != NO_EPOCH else ("", "", ())
    return dataclasses.replace(
        base,
        age_ms=base.age_ms + clock.now_ms(),
        last_epoch=context.last_epoch,
        messages=history.said,
        question=question,
        heard=heard,
        rest=rest,
        is_written=context.generation is Generation.DONE,
    )


def _hang_up(tell: Callable[[Fact], None], clock: SessionClock) -> None:
    tell(ClientClosed(clock.now_ms()))


def _leave(tell: Callable[[Fact], None], clock: SessionClock) -> None:
    tell(DrainRequested(clock.now_ms()))


def _traceparent(ask: Traceparent, session_id: str, clock: SessionClock, epoch: Epoch, backend: Backend) -> str:
    return ask(session_id, epoch, backend, clock.now_ms())


async def _wait_for_room(playout: Playout, has_room: asyncio.Event) -> None:
    """Until the playout takes more of the voice: what waits here is memory, and lost when the user barges in."""
    while not playout.has_room():
        has_room.clear()
        await has_room.wait()


def _fact_of(edge: HeardEdge, now_ms: int) -> SpeechStarted | SpeechEnded:
    """An edge, on the clock of the machine."""
    if edge.kind is EdgeKind.STARTED:
        return SpeechStarted(now_ms, max(0, now_ms - edge.onset_ago_ms), edge.evidence)
    return SpeechEnded(now_ms, max(0, now_ms - edge.last_voiced_ago_ms), edge.evidence)

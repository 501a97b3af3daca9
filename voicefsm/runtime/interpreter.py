"""Orders carried out. One method per order; none blocks, none awaits: what takes time is a task of the session's TaskGroup."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from voicefsm import effects as fx
from voicefsm.effects import Outcome
from voicefsm.events import Fact
from voicefsm.ports import GenerationRequest, SynthesisRequest
from voicefsm.runtime import messages
from voicefsm.runtime.checkpoint import Checkpoint
from voicefsm.runtime.earcon import earcon
from voicefsm.runtime.ears import Ears
from voicefsm.runtime.history import History
from voicefsm.runtime.outbox import Outbox
from voicefsm.runtime.plan import Senses, SessionPlan
from voicefsm.runtime.playout import HeardText, Playout
from voicefsm.runtime.reply import Voice, retell, write
from voicefsm.runtime.turnclock import TurnClock
from voicefsm.values import Backend, Epoch, SampleIndex


class Tally:
    """Counts what the model writes in a session."""

    pieces = 0

    def add(self) -> None:
        """One more."""
        self.pieces += 1


class Interpreter:
    """The hands of one session."""

    tasks: asyncio.TaskGroup
    """Owns whatever is started here; set before the first order."""

    def __init__(
        self,
        *,
        plan: SessionPlan,
        senses: Senses,
        playout: Playout,
        ears: Ears,
        history: History,
        outbox: Outbox,
        turn_clock: TurnClock,
        now: Callable[[], int],
        tell: Callable[[Fact], None],
        wake: Callable[[], None],
        room: Callable[[], Awaitable[None]],
        traceparent: Callable[[Epoch, Backend], str] = lambda _epoch, _backend: "",
        before: Checkpoint | None = None,
    ) -> None:
        """`now` is the session's clock, `tell` its inbox, `wake` wakes its pump, `room` waits until the playout takes more.

        `before` is the conversation that goes on here; the history has it already.
        """
        self._plan, self._senses = plan, senses
        self._playout, self._ears, self._history, self._outbox = playout, ears, history, outbox
        self._turn_clock = turn_clock
        self._now, self._tell, self._wake, self._room = now, tell, wake, room
        self._traceparent = traceparent
        self._listening: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._speaking: asyncio.Task[None] | None = None
        self._voice = Voice()
        self._user_text = ""
        self.tally = Tally()
        self._calls = 0
        """Of tools, in the live reply."""
        self._may_call = True
        """Whether the model was allowed to ask for them, the last time it was asked."""
        self._written: list[str] = []
        """Its sentences since the last of them."""
        self._chars_left = 0
        """Of the text that the live reply may have."""
        self._before = before if before is not None and before.question and not before.is_answered else None
        """The answer that goes on here, until it does."""
        self._heard_before = ""
        """What of the answer in progress was heard in another session."""

    def carry_out(self, effect: fx.Effect) -> messages.TurnCompleted | None:
        """Carry one order out. Returns what an exchange came to, when the order completes one."""
        return _METHODS[type(effect)](self, effect)

    def stop(self) -> None:
        """Cancel whatever still runs."""
        for task in (self._listening, self._writing, self._speaking):
            if task is not None:
                task.cancel()

    # --- ears ----------------------------------------------------------------------------------------------------------------

    def _open_recognition(self, _: fx.OpenRecognition) -> None:
        self._listening = self.tasks.create_task(self._ears.run(), name="ears")

    def _close_recognition(self, _: fx.CloseRecognition) -> None:
        if self._listening is not None:
            self._listening.cancel()

    def _finalize_utterance(self, _: fx.FinalizeUtterance) -> None:
        self._ears.finalize()

    def _send_transcript(self, order: fx.SendTranscript) -> None:
        self._outbox.put(messages.Transcript(order.text, order.is_final, order.stability, order.words))

    # --- a turn --------------------------------------------------------------------------------------------------------------

    def _start_generation(self, order: fx.StartGeneration) -> None:
        before, self._before = self._before, None
        self._user_text, self._heard_before = order.user_text, before.heard if before else ""
        if before is None:
            self._history.add_user(order.user_text)
        self._playout.begin(order.epoch)
        self._calls, self._written, self._chars_left = 0, [], self._plan.session.reply_chars_max
        if before is not None and before.has_rest:
            writing = retell(before.rest, order.epoch, now=self._now, tell=self._tell)
            self._writing = self.tasks.create_task(writing, name=f"generation {order.epoch}")
        else:
            self._write(order.epoch, may_call=bool(self._plan.turns.tool_rounds_max))
        self._voice = Voice()
        self._speak(order.epoch)

    def _retry_generation(self, order: fx.RetryGeneration) -> None:
        self._write(order.epoch, may_call=self._may_call)

    def _speak(self, epoch: Epoch) -> None:
        """Let the voice speak, from the beginning."""
        plan = self._plan
        traceparent = self._traceparent(epoch, Backend.TTS)
        wanted = SynthesisRequest(plan.language_code, plan.voice_name, plan.output_format.rate_hz, traceparent)
        speaking = self._voice.run(
            self._senses.synthesizer, wanted, self._playout, now=self._now, tell=self._tell, wake=self._wake, room=self._room
        )
        self._speaking = self.tasks.create_task(speaking, name=f"synthesis {epoch}")

    def _write(self, epoch: Epoch, *, may_call: bool) -> None:
        """Let the model answer what the history ends with."""
        self._may_call = may_call
        writing = write(
            self._senses.model,
            partial(_request, self._plan, self._history, self._traceparent(epoch, Backend.LLM), may_call=may_call),
            epoch,
            now=self._now,
            tell=self._tell,
            shorten=self._history.halve,
            count=self.tally.add,
            first_call=self._calls,
            chars_max=self._chars_left,
        )
        self._writing = self.tasks.create_task(writing, name=f"generation {epoch}")

    def _call_tools(self, order: fx.CallTools) -> None:
        self._history.add_calls(" ".join(self._written), order.calls)
        self._written = []
        self._calls += len(order.calls)
        wait_ms = self._plan.turns.tool_ms_max
        for call in order.calls:
            if not call.problem:
                self._outbox.put(messages.ToolCalled(order.epoch, call.id, call.name, call.arguments, wait_ms))

    def _keep_tool_result(self, order: fx.KeepToolResult) -> None:
        self._history.add_result(order.call_id, order.text)

    def _cancel_tools(self, order: fx.CancelTools) -> None:
        for call_id in order.call_ids:
            self._outbox.put(messages.ToolCallCancelled(order.epoch, call_id, order.is_late))

    def _continue_generation(self, order: fx.ContinueGeneration) -> None:
        self._write(order.epoch, may_call=order.may_call)

    def _cancel_generation(self, _: fx.CancelGeneration) -> None:
        if self._writing is not None:
            self._writing.cancel()

    def _retract_user_turn(self, order: fx.RetractUserTurn) -> messages.TurnCompleted:
        if self._heard_before:  # in another session: it stays heard
            self._history.add_heard(self._heard_before)
            return self._complete(order.epoch, Outcome.INTERRUPTED, HeardText(self._heard_before, "all"))
        self._history.retract_user()
        return self._complete(order.epoch, Outcome.RETRACTED, HeardText("", "all"))

    def _speak_text(self, order: fx.SpeakText) -> None:
        self._playout.expect(order.index, order.text)
        self._voice.speak(order.index, order.text)
        self._written.append(order.text)
        self._chars_left -= len(order.text)
        self._outbox.put(messages.AssistantText(order.epoch, order.index, order.text))

    def _finish_speech(self, _: fx.FinishSpeech) -> None:
        self._voice.finish()
        self._finish_dumb()

    def _retry_speech(self, order: fx.RetrySpeech) -> None:
        self._speak(order.epoch)

    def _sound_earcon(self, _: fx.SoundEarcon) -> None:
        """A reply without a voice ends with its text, and not before. When the voice has just finished, nothing is missing."""
        if self._playout.is_made:
            return
        if self._speaking is not None:
            self._speaking.cancel()
        self._voice.is_dumb = True
        self._playout.add_earcon(earcon(self._plan.output_format.rate_hz))
        self._finish_dumb()
        self._wake()

    def _finish_dumb(self) -> None:
        if self._voice.is_dumb and self._voice.is_finished:
            self._playout.finish(is_cut=True)
            self._wake()

    def _hold_playout(self, _: fx.HoldPlayout) -> None:
        self._playout.hold()

    def _release_playout(self, _: fx.ReleasePlayout) -> None:
        self._playout.release()
        self._wake()

    def _pause_playout(self, order: fx.PausePlayout) -> None:
        self._playout.pause(self._now())
        self._outbox.put(messages.PausePlayout(order.epoch))

    def _duck_playout(self, order: fx.DuckPlayout) -> None:
        self._outbox.put(messages.DuckPlayout(order.epoch, order.duck_db))

    def _resume_playout(self, order: fx.ResumePlayout) -> None:
        self._playout.resume(self._now())
        self._outbox.put(messages.ResumePlayout(order.epoch))
        self._wake()

    def _cancel_tts(self, order: fx.CancelTts) -> None:
        """The ear first: what has not left stays, what has is called back. Then the server."""
        self._outbox.cut_audio(order.epoch)
        last_valid = self._playout.cancel(self._now())
        if last_valid is not None:
            self._outbox.put(messages.CancelTts(order.epoch, SampleIndex(last_valid), order.reason))
        self._voice.leave()
        if self._speaking is not None:
            self._speaking.cancel()

    def _complete_turn(self, order: fx.CompleteTurn) -> messages.TurnCompleted:
        heard = self._heard()
        self._history.add_heard(heard.text)
        return self._complete(order.epoch, order.outcome, heard)

    def _heard(self) -> HeardText:
        """What the user has heard of the answer, here and before."""
        heard = self._playout.heard_text(self._now())
        return dataclasses.replace(heard, text=f"{self._heard_before} {heard.text}".strip())

    def in_progress(self) -> tuple[str, str, tuple[str, ...]]:
        """The exchange in progress: the user's turn, what was heard of its answer, and the rest of that as far as it is written."""
        return self._user_text, self._heard().text, self._playout.rest(self._now())

    def _complete(self, epoch: Epoch, outcome: Outcome, heard: HeardText) -> messages.TurnCompleted:
        done = messages.TurnCompleted(
            epoch=epoch,
            user_text=self._user_text,
            assistant_text=f"{self._heard_before} {self._playout.text()}".strip(),
            heard_text=heard.text,
            heard_source=heard.source,
            outcome=outcome,
            latencies=self._turn_clock.latencies,
        )
        self._outbox.put(done)
        return done

    # --- the session ---------------------------------------------------------------------------------------------------------

    def _report_failure(self, order: fx.ReportFailure) -> None:
        self._outbox.put(messages.Failure(order.backend.value if order.backend else "", order.message, order.remedy, order.epoch))

    def _end_session(self, _: fx.EndSession) -> None:
        """The session's loop sees this order itself."""


def _request(plan: SessionPlan, history: History, traceparent: str, *, may_call: bool) -> GenerationRequest:
    return GenerationRequest(
        history.messages(), plan.temperature, plan.tokens_max, plan.model, traceparent, tools=plan.tools, may_call=may_call
    )


# ruff: noqa: SLF001 (the table names the methods of the class above; one table per process, not per session)
_METHODS: Mapping[type[fx.Effect], Callable[..., messages.TurnCompleted | None]] = {
    fx.OpenRecognition: Interpreter._open_recognition,
    fx.CloseRecognition: Interpreter._close_recognition,
    fx.FinalizeUtterance: Interpreter._finalize_utterance,
    fx.SendTranscript: Interpreter._send_transcript,
    fx.StartGeneration: Interpreter._start_generation,
    fx.RetryGeneration: Interpreter._retry_generation,
    fx.CancelGeneration: Interpreter._cancel_generation,
    fx.CallTools: Interpreter._call_tools,
    fx.KeepToolResult: Interpreter._keep_tool_result,
    fx.CancelTools: Interpreter._cancel_tools,
    fx.ContinueGeneration: Interpreter._continue_generation,
    fx.RetractUserTurn: Interpreter._retract_user_turn,
    fx.SpeakText: Interpreter._speak_text,
    fx.FinishSpeech: Interpreter._finish_speech,
    fx.RetrySpeech: Interpreter._retry_speech,
    fx.SoundEarcon: Interpreter._sound_earcon,
    fx.HoldPlayout: Interpreter._hold_playout,
    fx.ReleasePlayout: Interpreter._release_playout,
    fx.PausePlayout: Interpreter._pause_playout,
    fx.DuckPlayout: Interpreter._duck_playout,
    fx.ResumePlayout: Interpreter._resume_playout,
    fx.CancelTts: Interpreter._cancel_tts,
    fx.CompleteTurn: Interpreter._complete_turn,
    fx.ReportFailure: Interpreter._report_failure,
    fx.EndSession: Interpreter._end_session,
}

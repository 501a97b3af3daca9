"""Orders, carried out: each has a hand, and the ear comes first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from voicefsm import effects as fx
from voicefsm.errors import BackendError, ContextOverflow
from voicefsm.events import BackendFailed
from voicefsm.ports import Message, RecognitionRequest, SpokenAudio
from voicefsm.runtime import interpreter, messages
from voicefsm.runtime.earcon import earcon
from voicefsm.runtime.ears import Ears
from voicefsm.runtime.history import History
from voicefsm.runtime.interpreter import Interpreter
from voicefsm.runtime.outbox import Outbox
from voicefsm.runtime.playout import Playout
from voicefsm.runtime.turnclock import TurnClock
from voicefsm.simulation.fakes import FakeLanguageModel, FakeSynthesizer, ramp
from voicefsm.simulation.stage import PLAN, Stage
from voicefsm.values import Backend, CancelReason, EndReason, Epoch

pytestmark = pytest.mark.looptime

ONE, TWO = Epoch(1), Epoch(2)


class Hands:
    """An interpreter with everything it holds."""

    def __init__(self, stage: Stage) -> None:
        senses = stage.senses()
        self.stage = stage
        self.outbox = Outbox(1000)
        self.playout = Playout(16000, PLAN.playout)
        self.history = History("S", 100, 10_000)
        self.told: list[Any] = []
        request = RecognitionRequest("en-US", 500)
        self.interpreter = Interpreter(
            plan=PLAN,
            senses=senses,
            playout=self.playout,
            ears=Ears(senses.recognizer, request, settings=PLAN.session, commit_ms=800, now=self.now, tell=self.told.append),
            history=self.history,
            outbox=self.outbox,
            turn_clock=TurnClock(),
            now=self.now,
            tell=self.told.append,
            wake=lambda: None,
            room=_room,
        )

    def now(self) -> int:
        return round(asyncio.get_running_loop().time() * 1000)

    def do(self, *orders: fx.Effect) -> None:
        for order in orders:
            self.interpreter.carry_out(order)

    def send_all(self) -> None:
        """What the session's pump would do now."""
        while (piece := self.playout.take(self.now())) is not None:
            self.outbox.put(piece)

    async def said(self) -> list[messages.Outbound]:
        """What is in the outbox; the session is over."""
        self.outbox.close()
        return [message async for message in _all(self.outbox)]


async def _room() -> None:
    """There always is."""


async def _all(outbox: Outbox) -> AsyncGenerator[messages.Outbound]:
    while (message := await outbox.get()) is not None:
        yield message


@asynccontextmanager
async def hands(stage: Stage | None = None) -> AsyncGenerator[Hands]:
    made = Hands(stage or Stage(model=FakeLanguageModel(["Hello there. " * 30])))
    async with asyncio.TaskGroup() as tasks:
        made.interpreter.tasks = tasks
        yield made
        made.interpreter.stop()


def test_every_order_has_a_hand() -> None:
    """Otherwise a rare order is a crash in a live conversation."""
    assert set(interpreter._METHODS) == set(fx.EFFECTS)


async def test_a_cut_reaches_the_client_before_anything_else_of_that_step() -> None:
    """Otherwise the loudspeaker goes on while the server tidies up."""
    async with hands() as hand:
        hand.do(fx.StartGeneration(ONE, "hi"), fx.SpeakText(ONE, 0, "Hello there."))
        await asyncio.sleep(0.5)
        hand.send_all()
        hand.do(fx.CancelTts(ONE, CancelReason.BARGE_IN), fx.CancelGeneration(ONE), fx.CompleteTurn(ONE, fx.Outcome.INTERRUPTED))
        await asyncio.sleep(1)
        hand.send_all()
        kinds = [type(message) for message in await hand.said()]
        assert kinds == [messages.AssistantText, messages.CancelTts, messages.TurnCompleted], "unwritten audio was taken back"
        assert (hand.stage.model.aborted, hand.stage.synthesizer.aborted) == (1, 1)


async def test_a_cut_stops_the_server_before_anything_else_has_its_turn() -> None:
    """Otherwise the server learns of it when the loop comes round to the voice's task: on a busy core several ms later."""
    async with hands() as hand:
        hand.do(fx.StartGeneration(ONE, "hi"), fx.SpeakText(ONE, 0, "Hello there."))
        await asyncio.sleep(0.2)
        (stream,) = hand.stage.synthesizer.streams
        assert stream.is_open
        hand.do(fx.CancelTts(ONE, CancelReason.BARGE_IN))
        assert not stream.is_open
        hand.do(fx.CancelTts(ONE, CancelReason.BARGE_IN))  # harmless twice


async def test_audio_that_arrives_after_the_cut_does_not_leave() -> None:
    """Otherwise one more syllable is heard of a reply that was cut."""
    async with hands() as hand:
        hand.do(fx.StartGeneration(ONE, "hi"), fx.SpeakText(ONE, 0, "Hello there."))
        await asyncio.sleep(0.2)
        hand.send_all()
        hand.do(fx.CancelTts(ONE, CancelReason.CLIENT))
        hand.playout.add(SpokenAudio(0, ramp(0, 1600)))
        hand.send_all()
        assert not any(isinstance(message, messages.AudioOutput) for message in await hand.said())


async def test_a_reply_that_never_left_is_cut_without_a_word() -> None:
    """Otherwise clients are told to silence what they never had."""
    async with hands() as hand:
        hand.do(fx.StartGeneration(ONE, "hi"), fx.CancelTts(ONE, CancelReason.NEW_INPUT), fx.CancelGeneration(ONE))
        assert await hand.said() == []


async def test_pause_and_resume_speak_to_client_and_playout() -> None:
    """Otherwise only one of both ends stands still."""
    async with hands() as hand:
        hand.do(fx.StartGeneration(ONE, "hi"), fx.SpeakText(ONE, 0, "Hello there. " * 10), fx.PausePlayout(ONE))
        await asyncio.sleep(0.5)
        hand.send_all()
        assert hand.playout.position(hand.now())[1] > 0
        hand.do(fx.ResumePlayout(ONE, "backchannel"))
        hand.send_all()
        kinds = [type(message) for message in await hand.said()]
        assert kinds[:3] == [messages.AssistantText, messages.PausePlayout, messages.ResumePlayout]
        assert kinds[3:] == [messages.AudioOutput] * len(kinds[3:])
        assert len(kinds) > 3


async def test_a_duck_speaks_to_the_client_and_playout_goes_on() -> None:
    """Otherwise a ducked reply dries up."""
    async with hands() as hand:
        hand.do(fx.StartGeneration(ONE, "hi"), fx.SpeakText(ONE, 0, "Hello there. " * 10), fx.DuckPlayout(ONE, 12))
        await asyncio.sleep(0.5)
        hand.send_all()
        said = await hand.said()
        assert said[1] == messages.DuckPlayout(ONE, 12)
        assert {type(message) for message in said[2:]} == {messages.AudioOutput}


async def test_hold_and_release_are_between_us() -> None:
    """Otherwise a client is told of a reply it has not heard of."""
    async with hands() as hand:
        hand.do(fx.StartGeneration(ONE, "hi"), fx.HoldPlayout(ONE), fx.SpeakText(ONE, 0, "Hello there."))
        await asyncio.sleep(0.5)
        hand.send_all()
        hand.do(fx.ReleasePlayout(ONE))
        hand.send_all()
        kinds = [type(message) for message in await hand.said()]
        assert kinds[0] is messages.AssistantText
        assert set(kinds[1:]) == {messages.AudioOutput}


async def test_the_model_sees_the_turn_and_a_retracted_turn_leaves() -> None:
    """Otherwise the second attempt at a question contains the first."""
    async with hands() as hand:
        hand.do(fx.StartGeneration(ONE, "book a"))
        await asyncio.sleep(0)
        hand.do(fx.CancelTts(ONE, CancelReason.NEW_INPUT), fx.CancelGeneration(ONE), fx.RetractUserTurn(ONE))
        hand.do(fx.StartGeneration(TWO, "book a table"))
        await asyncio.sleep(0.01)
        asked = hand.stage.model.requests
        assert [request.messages[1:] for request in asked] == [(Message("user", "book a"),), (Message("user", "book a table"),)]
        assert (asked[0].temperature, asked[0].tokens_max) == (PLAN.temperature, PLAN.tokens_max)
        assert hand.playout.epoch == TWO


async def test_a_prompt_that_is_too_long_is_shortened_and_asked_again() -> None:
    """Otherwise a long conversation fails at every turn until the client hangs up; but no other failure costs it its history."""
    too_long, other = ContextOverflow(Backend.LLM, "Too long."), BackendError(Backend.LLM, "Gone.")
    async with hands(Stage(model=FakeLanguageModel([[other], [too_long], "Hello."]))) as hand:
        for k in range(4):
            hand.history.add_user(f"q{k}")
            hand.history.add_heard(f"a{k}")
        for epoch in (1, 2, 3):
            hand.do(fx.StartGeneration(Epoch(epoch), f"Q{epoch}"))
            await asyncio.sleep(1)
            hand.do(fx.CancelTts(Epoch(epoch), CancelReason.CLIENT))
        asked = hand.stage.model.requests
        assert [len(request.messages) for request in asked] == [10, 10, 4, 4]
        assert asked[2].messages[1:3] == (Message("user", "q3"), Message("assistant", "a3"))
        assert (asked[1].messages[0], asked[1].messages[-1]) == (asked[2].messages[0], asked[2].messages[-1])
        assert [fact.message for fact in hand.told if isinstance(fact, BackendFailed)] == ["Gone."]


async def test_a_failed_model_is_asked_the_same_again() -> None:
    """Otherwise the second attempt asks something else, or asks it twice over."""
    async with hands(Stage(model=FakeLanguageModel([[BackendError(Backend.LLM, "Gone.")], "Hello."]))) as hand:
        hand.do(fx.StartGeneration(ONE, "hi"))
        await asyncio.sleep(1)
        hand.do(fx.RetryGeneration(ONE))
        await asyncio.sleep(1)
        first, second = hand.stage.model.requests
        assert first == second
        assert [type(fact).__name__ for fact in hand.told][-1] == "GenerationFinished"


async def test_a_failed_voice_is_asked_again_for_all_of_it() -> None:
    """Otherwise a voice that comes back begins in the middle."""
    async with hands(Stage(synthesizer=FakeSynthesizer(errors={0: BackendError(Backend.TTS, "Hoarse.")}))) as hand:
        hand.do(fx.StartGeneration(ONE, "hi"), fx.SpeakText(ONE, 0, "Hello there."))
        await asyncio.sleep(0.5)
        hand.stage.synthesizer.errors.clear()
        hand.do(fx.SpeakText(ONE, 1, "Who are you?"), fx.FinishSpeech(ONE), fx.RetrySpeech(ONE))
        await asyncio.sleep(0.5)
        assert hand.stage.synthesizer.stream.spoken == [(0, "Hello there."), (1, "Who are you?")]
        assert len(hand.stage.synthesizer.streams) == 2


async def test_a_tone_ends_a_reply_without_a_voice_and_its_text_goes_on() -> None:
    """Otherwise the user waits in silence, cannot read the rest, or is told that it was said."""
    async with hands() as hand:
        hand.do(fx.StartGeneration(ONE, "hi"))
        await asyncio.sleep(0.1)
        hand.do(fx.SoundEarcon(ONE), fx.SpeakText(ONE, 0, "Hello there."))
        await asyncio.sleep(0.5)
        assert hand.stage.synthesizer.aborted == 1, "the voice was stopped"
        assert not hand.playout.is_made
        hand.do(fx.FinishSpeech(ONE))
        assert hand.playout.is_made
        tone = len(earcon(PLAN.output_format.rate_hz))
        for _ in range(100):
            await asyncio.sleep(0.01)
            hand.send_all()
        hand.do(fx.CompleteTurn(ONE, fx.Outcome.FAILED))
        *said, done = await hand.said()
        assert isinstance(done, messages.TurnCompleted)
        assert (done.assistant_text, done.heard_text) == ("Hello there.", "")
        assert sum(len(message.samples) for message in said if isinstance(message, messages.AudioOutput)) == tone


async def test_a_tone_after_all_text_is_the_end() -> None:
    """Otherwise a reply whose voice fails last never ends."""
    async with hands() as hand:
        hand.do(fx.StartGeneration(ONE, "hi"), fx.FinishSpeech(ONE), fx.SoundEarcon(ONE))
        assert hand.playout.is_made


async def test_a_voice_that_was_only_just_in_time_is_not_followed_by_a_tone() -> None:
    """Otherwise the tone is still to be sent when the exchange ends, and is heard after it."""
    async with hands() as hand:
        hand.do(fx.StartGeneration(ONE, "hi"), fx.SpeakText(ONE, 0, "Hello there."), fx.FinishSpeech(ONE))
        for _ in range(200):
            await asyncio.sleep(0.01)
            hand.send_all()
        assert hand.playout.is_made
        await hand.said()
        hand.do(fx.SoundEarcon(ONE))
        hand.send_all()
        hand.do(fx.CompleteTurn(ONE, fx.Outcome.FAILED))
        *said, done = await hand.said()
        assert said == []
        assert isinstance(done, messages.TurnCompleted)
        assert done.heard_text == "Hello there."


async def test_what_an_exchange_came_to_is_returned_sent_and_remembered() -> None:
    """Otherwise journal, client and model know three different conversations."""
    async with hands() as hand:
        hand.do(fx.StartGeneration(ONE, "hi"), fx.SpeakText(ONE, 0, "Hello there."), fx.FinishSpeech(ONE))
        for _ in range(200):
            await asyncio.sleep(0.01)
            hand.send_all()
        done = hand.interpreter.carry_out(fx.CompleteTurn(ONE, fx.Outcome.COMPLETED))
        assert done is not None
        assert (done.user_text, done.assistant_text, done.heard_text) == ("hi", "Hello there.", "Hello there.")
        assert (await hand.said())[-1] is done
        assert hand.history.messages()[1:] == (Message("user", "hi"), Message("assistant", "Hello there."))


async def test_what_the_client_is_shown() -> None:
    """Otherwise the client's screen says nothing, or something else."""
    async with hands() as hand:
        hand.do(
            fx.SendTranscript("hel", is_final=False, stability=0.5),
            fx.ReportFailure(Backend.TTS, ONE, "Hoarse.", "Drink."),
            fx.EndSession(EndReason.CLIENT),
        )
        assert await hand.said() == [
            messages.Transcript("hel", False, 0.5, ()),
            messages.Failure("tts", "Hoarse.", "Drink.", ONE),
        ]


async def test_ears_are_opened_asked_and_closed() -> None:
    """Otherwise the ASR stream outlives its session."""
    async with hands() as hand:
        hand.do(fx.FinalizeUtterance(), fx.CloseRecognition(), fx.OpenRecognition())
        await asyncio.sleep(0.01)
        hand.do(fx.FinalizeUtterance())
        stream = hand.stage.recognizer.stream
        assert (stream.is_open, stream.finalized) == (True, 2), "what was asked while it was away is not forgotten"
        hand.do(fx.CloseRecognition())
        await asyncio.sleep(0.01)
        assert not stream.is_open
    assert not hand.stage.remains()


async def test_stop_stops_everything() -> None:
    """Otherwise the end of a session waits for its backends."""
    stage = Stage(model=FakeLanguageModel(["word " * 10_000]))
    async with hands(stage) as hand:
        hand.do(fx.OpenRecognition(), fx.StartGeneration(ONE, "hi"), fx.SpeakText(ONE, 0, "Hello. " * 1000))
        await asyncio.sleep(0.2)
    assert (stage.model.aborted, stage.synthesizer.aborted) == (1, 1)
    assert not stage.remains()

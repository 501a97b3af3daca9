"""Complaints about other voice engines that need audio, a client or time to show: whole sessions in virtual time.

Each test names its source. Where a thread tells no more than a symptom, the symptom is tested. The echo of a real loudspeaker
(livekit #4813, pipecat #188, vocode #16) is arithmetic on audio: tests/contracts/test_echo_cancellers.py and
tests/unit/runtime/test_hearing.py. The drain of a server (livekit/livekit #3413, livekit agents #4455) needs a server:
tests/unit/server/test_gateway.py.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import types
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from voicefsm.context import State
from voicefsm.effects import Outcome
from voicefsm.errors import BackendError
from voicefsm.ports import Hypothesis, Message, SynthesisRequest
from voicefsm.runtime import messages
from voicefsm.runtime.journal import NullJournal
from voicefsm.runtime.session import Session
from voicefsm.runtime.timers import LoopClock
from voicefsm.simulation.client import Habits, Line, SimulatedClient
from voicefsm.simulation.fakes import (
    FakeLanguageModel,
    FakeRecognizer,
    FakeSynthesisStream,
    FakeSynthesizer,
    FakeVoice,
    Reply,
    ramp,
)
from voicefsm.simulation.stage import Stage, plan_with, saying
from voicefsm.values import Backend, Epoch

pytestmark = pytest.mark.looptime

STORY = "Once upon a time there was a king. He had a very long story to tell. It went on and on."
ASKS = (1000, 2000)
"""When the user asks; the reply is heard from about 2.7 s on."""
CUTS_IN = (4300, 5300)
CUT = Hypothesis("wait what time is it", is_final=False)


def story(*more: tuple[int, Hypothesis | BackendError], replies: Sequence[Reply] = (STORY, "It is noon."), **fields: Any) -> Stage:
    fields.setdefault("model", FakeLanguageModel(replies))
    fields.setdefault("recognizer", FakeRecognizer([*saying((2000, "tell me a story")), *more]))
    return Stage(**fields)


def interrupted(**fields: Any) -> Stage:
    """The user asks for a story and cuts in."""
    return story((4700, CUT), (5600, Hypothesis(CUT.text, is_final=True)), **fields)


def hang_up_at(ms: int) -> list[Line]:
    return [(ms, Session.hang_up)]


def after_cancel(stage: Stage, epoch: int = 1) -> list[messages.Outbound]:
    """What left after the CancelTts of a reply and belongs to it."""
    received = [received.message for received in stage.client.received]
    at = next(k for k, m in enumerate(received) if isinstance(m, messages.CancelTts) and m.epoch == epoch)
    return [message for message in received[at + 1 :] if getattr(message, "epoch", 0) == epoch]


def last_heard_ms(stage: Stage, epoch: int = 1) -> int:
    return max(block.at_ms for block in stage.client.rendered for span in block.spans if span.epoch == epoch)


def received_ms(stage: Stage, kind: type[messages.Outbound]) -> int:
    return next(received.at_ms for received in stage.client.received if isinstance(received.message, kind))


def turns(stage: Stage) -> list[messages.TurnCompleted]:
    return stage.client.all(messages.TurnCompleted)


def told(stage: Stage) -> list[Message]:
    """What the model was told last, without the system prompt."""
    return list(stage.model.requests[-1].messages[1:])


# --- 1: nothing after the cut ------------------------------------------------------------------------------------------------


async def test_pipecat_3077_half_a_syllable_after_the_interruption() -> None:
    """Otherwise every barge-in ends with half a syllable: it was in the voice, in our queue, on the wire or in the client."""
    stage = interrupted(synthesizer=FakeSynthesizer(FakeVoice(chunk_period_ms=90)))
    await stage.play(speech=[ASKS, CUTS_IN], script=hang_up_at(9000), habits=Habits(latency_ms=60))
    assert last_heard_ms(stage) <= received_ms(stage, messages.PausePlayout) + stage.client.habits.frame_ms


class SlowReader(SimulatedClient):
    """Does not read for a moment: what the session says waits in its outbox."""

    READS_NOT_MS = (3800, 4200)

    async def _read(self) -> None:
        while (message := await self._session.outbox.get()) is not None:
            if self.READS_NOT_MS[0] <= self.now_ms():
                await self._sleep_until(self.READS_NOT_MS[1])
            self._down.send(message)


async def test_agents_js_2059_audio_in_the_queue_when_the_reply_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise what waits for the wire when the user presses stop is played after it."""
    monkeypatch.setattr("voicefsm.simulation.stage.SimulatedClient", SlowReader)
    for act in (lambda s: s.cancel_tts(Epoch(1)), lambda s: s.type_text("what time is it")):
        stage = story(
            plan=plan_with(playout={"playout_ahead_ms_max": 2000}), synthesizer=FakeSynthesizer(FakeVoice(chunk_period_ms=90))
        )
        await stage.play(speech=[ASKS], script=[(4000, act), *hang_up_at(9000)])
        late = [r.message for r in stage.client.received if r.at_ms >= 4000]
        audio = [m for m in late if isinstance(m, messages.AudioOutput) and m.epoch == 1]
        assert len(audio) <= 1, "the one that was being written"
        assert [type(message) for message in after_cancel(stage)] == [messages.TurnCompleted]


async def test_fastrtc_341_the_clients_queue_plays_on() -> None:
    """Otherwise a client that was sent much audio ahead goes on playing it after the interruption."""
    stage = interrupted(plan=plan_with(playout={"playout_ahead_ms_max": 2000}))
    await stage.play(speech=[ASKS, CUTS_IN], script=hang_up_at(9000))
    sent = [m.first_sample + len(m.samples) for m in stage.client.all(messages.AudioOutput) if m.epoch == 1][-1]
    heard = stage.client.positions(1)[-1]
    assert sent - heard > 1500 * 16, "there was something to throw away"
    assert last_heard_ms(stage) <= received_ms(stage, messages.PausePlayout) + stage.client.habits.frame_ms


async def test_elizaos_19407_text_of_a_cancelled_turn() -> None:
    """Otherwise the client shows sentences of a reply that was cut before they were written."""
    stage = interrupted(model=FakeLanguageModel([STORY, "It is noon."], token_ms=200))
    await stage.play(speech=[ASKS, CUTS_IN], script=hang_up_at(14_000))
    assert stage.model.aborted == 1, "the model was still writing"
    assert [type(message) for message in after_cancel(stage)] == [messages.TurnCompleted]
    shown = [text.text for text in stage.client.all(messages.AssistantText) if text.epoch == 1]
    assert turns(stage)[0].assistant_text == " ".join(shown)


# --- 2: the client's buffer is flushed ---------------------------------------------------------------------------------------


async def test_vellum_37061_the_server_is_done_and_the_client_still_plays() -> None:
    """Otherwise a short reply, which is all in the client's buffer at once, cannot be interrupted."""
    plan = plan_with(playout={"playout_ahead_ms_max": 2000})
    stage = story((3900, CUT), replies=("It was a dark and stormy night.", "Noon."), plan=plan)
    await stage.play(speech=[ASKS, (3500, 4500)], script=hang_up_at(9000))
    last = next(r for r in stage.client.received if isinstance(r.message, messages.AudioOutput) and r.message.last)
    assert last.at_ms < 3500, "all of it had been sent before the user spoke"
    assert stage.synthesizer.streams[0].drained
    assert last_heard_ms(stage) <= received_ms(stage, messages.PausePlayout) + stage.client.habits.frame_ms
    assert len(stage.client.heard(1)) < stage.synthesizer.streams[0].delivered_samples
    assert turns(stage)[0].outcome is Outcome.INTERRUPTED


async def test_cloudflare_2261_the_caller_hears_seconds_more() -> None:
    """Otherwise a barge-in over a slow line is followed by seconds of the old reply."""
    latency_ms = 150
    stage = interrupted()
    await stage.play(speech=[ASKS, CUTS_IN], script=hang_up_at(9000), habits=Habits(latency_ms=latency_ms))
    onset_ms, frame_ms = CUTS_IN[0], stage.client.habits.frame_ms
    assert 0 < last_heard_ms(stage) - onset_ms <= 100 + 2 * (latency_ms + frame_ms), "detection, and the line there and back"
    (cancel,) = stage.client.all(messages.CancelTts)
    assert cancel.last_valid_sample <= stage.client.positions(1)[-1]


# --- 5: one generation -------------------------------------------------------------------------------------------------------


class SlowToStop(FakeSynthesizer):
    """Needs its time to stop."""

    @asynccontextmanager
    async def open(self, request: SynthesisRequest) -> AsyncGenerator[FakeSynthesisStream]:
        async with super().open(request) as stream:
            try:
                yield stream
            finally:
                await asyncio.sleep(2)


async def test_pipecat_1919_a_voice_that_does_not_stop() -> None:
    """Otherwise a TTS server that is slow to cancel speaks into the next reply, or delays it."""
    stage = interrupted(synthesizer=SlowToStop(FakeVoice(chunk_period_ms=90)))
    await stage.play(speech=[ASKS, CUTS_IN], script=hang_up_at(12_000))
    assert [type(message) for message in after_cancel(stage)] == [messages.TurnCompleted]
    first, second = turns(stage)
    assert (second.heard_text, second.outcome) == ("It is noon.", Outcome.COMPLETED)
    assert np.array_equal(stage.client.heard(2), ramp(0, len(stage.client.heard(2))))
    assert first.outcome is Outcome.INTERRUPTED
    assert not stage.remains()


# --- 6: heard is history -----------------------------------------------------------------------------------------------------


async def test_pipecat_4996_text_that_was_never_spoken_enters_the_history() -> None:
    """Otherwise the model believes that it told the whole story, and goes on after its end."""
    stage = interrupted()
    await stage.play(speech=[ASKS, CUTS_IN], script=hang_up_at(9000))
    user, assistant, _ = told(stage)
    assert user == Message("user", "tell me a story")
    assert assistant.content == turns(stage)[0].heard_text
    spoken_ms = (stage.client.positions(1)[-1] + 1) // 16
    assert len(assistant.content) * 60 <= spoken_ms, "60 ms a character: nothing that was not played"


async def test_pipecat_2791_what_was_heard_is_forgotten() -> None:
    """Otherwise the model begins to count at one again, because it does not know that it was heard to five."""
    stage = interrupted()
    await stage.play(speech=[ASKS, CUTS_IN], script=hang_up_at(9000))
    heard, whole = told(stage)[1].content, STORY
    spoken_ms = (stage.client.positions(1)[-1] + 1) // 16
    next_word = whole[len(heard) :].split()[0]
    assert whole.startswith(heard)
    assert (len(heard) + 1 + len(next_word)) * 60 > spoken_ms - 60, "every word that was played to its end"


async def test_livekit_6424_a_reply_that_the_client_stops() -> None:
    """Otherwise the history differs by who stopped the reply: the user's voice or the user's finger."""
    stage = story()
    script = [(4000, lambda s: s.cancel_tts(Epoch(1))), (5000, lambda s: s.type_text("what time is it")), *hang_up_at(9000)]
    await stage.play(speech=[ASKS], script=script)
    assert told(stage)[1] == Message("assistant", turns(stage)[0].heard_text)
    assert 0 < len(turns(stage)[0].heard_text) < len(STORY)


async def test_livekit_1994_a_reply_that_fails_in_its_middle() -> None:
    """Otherwise the history holds sentences that no voice has ever spoken."""
    stage = story(synthesizer=FakeSynthesizer(errors={1: BackendError(Backend.TTS, "Hoarse.")}))
    await stage.play(speech=[ASKS], script=[(7000, lambda s: s.type_text("go on")), *hang_up_at(9000)])
    assert told(stage)[1] == Message("assistant", "Once upon a time there was a king.")


async def test_livekit_5038_a_reply_that_is_held_before_its_first_sample() -> None:
    """Otherwise a reply that a cough has held back is heard and never enters the history."""
    stage = story(replies=("It is noon.", "Yes."), model=FakeLanguageModel(["It is noon.", "Yes."], first_token_ms=400))
    script = [(6000, lambda s: s.type_text("really")), *hang_up_at(9000)]
    await stage.play(speech=[ASKS, (2700, 2780)], script=script)
    assert told(stage)[1] == Message("assistant", "It is noon.")
    assert len(stage.client.heard(1)) == stage.synthesizer.streams[0].delivered_samples


# --- 11: a server that stops -------------------------------------------------------------------------------------------------


async def test_livekit_3413_the_server_stops_in_mid_call() -> None:
    """Otherwise a rollout sounds like a crash: the line goes dead in mid-word, and nobody says why."""
    stage = story()
    ended = await stage.play(speech=[ASKS], script=[(4000, Session.shut_down)])
    assert ended.message
    assert [type(message) for message in after_cancel(stage)] == [messages.TurnCompleted]
    assert turns(stage)[0].heard_text
    assert stage.client.all(messages.StateChanged)[-1].after is State.CLOSED
    assert not stage.remains()


# --- 12: memory --------------------------------------------------------------------------------------------------------------


class Forgetful(SimulatedClient):
    """Keeps no record: what grows is the session's."""

    def _obey(self, message: messages.Outbound) -> None:
        super()._obey(message)
        self.received.clear()
        self.rendered.clear()


class NoWitness:
    """An observer that forgets."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


NOT_OURS = ("voicefsm.simulation", "asyncio", "_asyncio", "_contextvars")


def size_of(session: Session) -> int:
    """All that a session holds, in bytes, without its backends and its observers."""
    seen: set[int] = set()
    size = 0
    waiting: list[object] = [session]
    while waiting:
        one = waiting.pop()
        foreign = isinstance(one, type | types.ModuleType | types.FunctionType | types.BuiltinFunctionType | types.FrameType)
        if id(one) in seen or foreign or type(one).__module__.startswith(NOT_OURS) or isinstance(one, NoWitness):
            continue
        seen.add(id(one))
        size += sys.getsizeof(one)
        waiting += gc.get_referents(one)
    return size


async def test_paseo_4774_pipecat_3750_pipecat_3116_memory_grows_with_every_barge_in() -> None:
    """Otherwise a server needs to be restarted every few hours: replies that were cut, their audio or their tasks are kept."""
    period_ms, conversations = 8000, 30
    starts_ms = range(0, conversations * period_ms, period_ms)
    script: list[tuple[int, Hypothesis]] = []
    for ms in starts_ms:
        script += [(ms + 500, Hypothesis("tell me a story", is_final=True))]
        script += [(ms + 4500, Hypothesis("wait stop", is_final=False)), (ms + 5000, Hypothesis("wait stop", is_final=True))]
    plan = plan_with(session={"history_messages_max": 10}, turns={"session_ms_max": 3_600_000})
    stage = Stage(plan, recognizer=FakeRecognizer(script), model=FakeLanguageModel([STORY]))
    session = Session("s-1", plan, stage.senses(), clock=LoopClock(), journal=NullJournal(), observer=NoWitness())
    sizes: list[int] = []
    measure: list[Line] = [(ms + 3900, lambda s: sizes.append(size_of(s))) for ms in starts_ms]
    client = Forgetful(
        session,
        speech=[span for ms in starts_ms for span in ((ms, ms + 600), (ms + 4200, ms + 5000))],
        script=[*measure, *hang_up_at(conversations * period_ms)],
        habits=Habits(frame_ms=100),
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(client.run())
        await session.run()
    assert stage.model.completed + stage.model.aborted >= conversations
    early, late = sizes[conversations // 3 : 2 * conversations // 3], sizes[-conversations // 3 :]
    assert max(late) <= max(early) * 1.01, sizes


# --- 13: ears that fail ------------------------------------------------------------------------------------------------------


async def test_flowcat_28_a_recogniser_that_never_finalises() -> None:
    """Otherwise the user's words are on the screen, and nobody answers."""
    recognizer = FakeRecognizer([(2000, Hypothesis("tell me a story", is_final=False))], finalizes=False)
    stage = story(recognizer=recognizer)
    await stage.play(speech=[ASKS], script=hang_up_at(12_000))
    assert recognizer.stream.finalized == 1
    assert [(turn.user_text, turn.outcome) for turn in turns(stage)] == [("tell me a story", Outcome.COMPLETED)]


async def test_pipecat_4512_the_asr_stream_drops_in_mid_word() -> None:
    """Otherwise a dropped stream costs the words that were said meanwhile, or all that come after."""
    scripts: list[list[tuple[int, Hypothesis | BackendError | None]]] = [
        [(1500, Hypothesis("tell me", is_final=False)), (1600, None)],
        [(1900, Hypothesis("tell me a story", is_final=True))],
    ]
    recognizer = FakeRecognizer(scripts=scripts)
    stage = story(recognizer=recognizer)
    await stage.play(speech=[ASKS], script=hang_up_at(12_000))
    assert [turn.user_text for turn in turns(stage)] == ["tell me a story"]
    first, second = recognizer.streams
    assert first.received_ms == 1600
    assert second.received_ms == pytest.approx(12_000, abs=60), "nothing was final: the second stream hears it all"

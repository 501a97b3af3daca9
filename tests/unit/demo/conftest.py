"""The whole script in virtual time, with an assistant of given manners: a minute of conversation in a fraction of a second."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import cast

import numpy as np
import pytest

from voicefsm.client import (
    AssistantText,
    Conversation,
    Event,
    Outcome,
    Player,
    PlayoutPaused,
    PlayoutResumed,
    State,
    StateChanged,
    Transcript,
    TtsCancelled,
    TurnCompleted,
    TurnLatencies,
)
from voicefsm.demo import report, script
from voicefsm.demo.line import Line
from voicefsm.demo.settings import DemoSettings
from voicefsm.values import CancelReason, Epoch

SPEECH = {text: np.full(320 * (20 + 3 * place), 1000, np.int16) for place, text in enumerate(script.TEXTS)}
RATE = 16
"""Samples of a millisecond."""
MS_PER_WORD = 300
NO_LATENCIES = TurnLatencies(None, None, None, None, None, None)
STORY = " ".join(f"word{n}" for n in range(60))
TWENTY = " ".join(f"number{n}" for n in range(20))
ANSWERS = {
    script.HELLO: "Yes I can hear you well",
    script.STORY: STORY,
    script.COUNT: TWENTY,
    script.GOODBYE: "Goodbye then",
}


@dataclasses.dataclass
class Manners:
    """What the assistant does right and wrong."""

    pauses: bool = True
    stops: bool = True
    remembers_unheard: bool = False
    forgets: bool = False
    cuts_on_backchannel: bool = False
    skips_on_resume: int = 0
    stale_ms: int = 0
    onset_frames: int = 3
    """So much speech it takes to pause."""
    decision_ms: int = 0
    """So long it thinks, after the barge-in was said, before it cancels."""
    heard_share: float = 1
    """So much of what was heard it claims."""
    retracts: bool = False
    """It begins to answer before the user is done, and drops that unheard."""
    misses: list[str] = dataclasses.field(default_factory=list)
    """Each is not understood as often as it stands here."""
    hears_as: dict[str, str] = dataclasses.field(default_factory=dict)
    whole_heard_text: bool = False
    hears_itself: tuple[str, ...] = ()
    """What it does in the middle of the story, nobody having spoken: pause, cut, answer."""
    deaf_over_voice: bool = False
    hangs_up_after: str = ""


class FakeConversation:
    """What the demo needs of a conversation; answers what the user says, by its length."""

    def __init__(self, speech, manners: Manners) -> None:
        self.player = Player(16000)
        self.ended = False
        self._by_length = {-(-len(samples) // 320): text for text, samples in speech.items()}
        self._manners = manners
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._voiced = self._silent = 0
        self._epoch = Epoch(0)
        self._end = 0
        self._words: list[str] = []
        self._said = ""
        self._first = 0
        self._state = State.IDLE
        self._heard = self._written = ""

    def __aiter__(self):
        return self

    async def __anext__(self):
        event = await self._queue.get()
        if event is None:
            raise StopAsyncIteration
        return event

    async def end(self) -> None:
        self._hang_up()

    def _hang_up(self) -> None:
        self.ended = True
        self._queue.put_nowait(None)

    async def send_audio(self, samples, *, capture_sample, far_end_sample) -> None:
        if samples.any():
            self._voiced, self._silent = self._voiced + 1, 0
            if self._voiced == self._manners.onset_frames:
                self._onset()
        elif self._voiced:
            self._silent += 1
            if self._silent == 15:
                self._utterance(self._by_length[self._voiced])
                self._voiced = 0
        self._progress()

    def _emit(self, kind, *fields) -> None:
        self._queue.put_nowait(kind(asyncio.get_running_loop().time() * 1000, *fields))

    def _move(self, state: State) -> None:
        self._emit(StateChanged, self._state, state, "Fact", 0)
        self._state = state

    def _onset(self) -> None:
        if self._state is State.SPEAKING and self._manners.pauses:
            self.player.pause(self._epoch)
            self._emit(PlayoutPaused, self._epoch, self.player.position)
            self._move(State.INTERRUPTING)
        elif self._state is State.IDLE:
            self._move(State.LISTENING)

    def _utterance(self, text: str) -> None:
        deaf = self._manners.deaf_over_voice and self._state is State.INTERRUPTING
        self._emit(Transcript, "" if deaf else text, True, 1.0, ())
        if text in self._manners.misses:
            self._manners.misses.remove(text)
            self._move(State.IDLE)
            return
        if self._manners.hangs_up_after == text:
            self._hang_up()
        elif text == script.OKAY and not self._manners.cuts_on_backchannel:
            self._resume()
        elif self._state is State.INTERRUPTING:
            if self._manners.stops:
                asyncio.get_running_loop().call_later(self._manners.decision_ms / 1000, self._give_way, text)
            else:
                self._resume()
        elif text != script.OKAY:
            self._answer_soon(text)

    def _give_way(self, text: str) -> None:
        self._cancel()
        self._answer_soon(text)

    def _resume(self) -> None:
        if self.player.paused:
            if self._manners.skips_on_resume:
                self.player._chunks[0].drop_front(self._manners.skips_on_resume)
            self.player.resume(self._epoch)
            self._emit(PlayoutResumed, self._epoch, self.player.position)
            self._move(State.SPEAKING)

    def _cancel(self) -> None:
        self._emit(TtsCancelled, self._epoch, self.player.position - 1, CancelReason.BARGE_IN, self.player.position)
        if self._manners.stale_ms:
            epoch, player = self._epoch, self.player
            player.resume(epoch)
            asyncio.get_running_loop().call_later(self._manners.stale_ms / 1000, player.cancel, epoch)
        else:
            self.player.cancel(self._epoch)
        heard = int((self.player.position - self._first) // (MS_PER_WORD * RATE) * self._manners.heard_share)
        self._over(len(self._words) if self._manners.whole_heard_text else heard, Outcome.INTERRUPTED)
        self._move(State.LISTENING)

    def _answer_soon(self, said: str) -> None:
        asyncio.get_running_loop().call_later(0.3, self._answer, said)

    def _answer(self, said: str) -> None:
        if self._manners.retracts:
            self._epoch = Epoch(self._epoch + 1)
            self._emit(TurnCompleted, self._epoch, "hello", "Yes.", "", Outcome.RETRACTED, NO_LATENCIES)
        self._said = said
        self._words = ANSWERS.get(said, "").split() or self._last_thing()
        self._epoch = Epoch(self._epoch + 1)
        self._first = self._end + 8000
        count = len(self._words) * MS_PER_WORD * RATE
        self._end = self._first + count
        samples = np.full(count, 500, np.int16)
        self.player._samples_max = 10**9
        self.player.push(self._epoch, self._first, samples, last=True)
        self._move(State.PROCESSING)
        self._emit(AssistantText, self._epoch, 0, " ".join(self._words))

    def _last_thing(self) -> list[str]:
        if self._manners.forgets:
            return ["no", "idea"]
        return (self._written if self._manners.remembers_unheard else self._heard).split()

    def _progress(self) -> None:
        """What the playout reports of the client cause."""
        position = self.player.position
        if self._state is State.PROCESSING and position > self._first:
            self._move(State.SPEAKING)
        if self._state is State.SPEAKING and self._said == script.STORY and position > self._first + 4000 * RATE:
            self._hear_itself()
        if self._state is State.SPEAKING and position >= self._end:
            self._over(len(self._words), Outcome.COMPLETED)
            self._move(State.IDLE)

    def _hear_itself(self) -> None:
        habits, self._manners.hears_itself = self._manners.hears_itself, ()
        for habit in habits:
            if habit == "pause":
                self._emit(PlayoutPaused, self._epoch, self.player.position)
                self._emit(PlayoutResumed, self._epoch, self.player.position)
            elif habit == "cut":
                self._emit(TtsCancelled, self._epoch, self.player.position - 1, CancelReason.BARGE_IN, self.player.position)
            else:
                self._emit(StateChanged, State.LISTENING, State.PROCESSING, "FinalHeard", 0)
                self._emit(TurnCompleted, Epoch(99), "word1 word2", "What?", "What?", Outcome.COMPLETED, NO_LATENCIES)

    def _over(self, heard: int, outcome: Outcome) -> None:
        self._heard, self._written = " ".join(self._words[:heard]), " ".join(self._words)
        understood = self._manners.hears_as.get(self._said, self._said)
        self._emit(TurnCompleted, self._epoch, understood, self._written, self._heard, outcome, NO_LATENCIES)


@pytest.fixture
def manners():
    return Manners


@pytest.fixture
def talk(tmp_path):
    """Hold the scripted conversation with an assistant of the given manners; returns (report, line)."""

    async def hold(manners):
        conversation = cast(Conversation, FakeConversation(SPEECH, manners))
        line = Line(conversation)
        observer = script.Observer(conversation, line, lambda _: None)
        settings = DemoSettings(out=tmp_path, answer_ms_max=3000)
        user = script.User(conversation, line, observer, speech=SPEECH, settings=settings, show=lambda _: None)
        failures = []
        tasks = [asyncio.create_task(line.run()), asyncio.create_task(observer.run())]
        talking = asyncio.create_task(user.talk())
        await asyncio.wait([talking, *tasks], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(1)
        if talking.done() and talking.exception():
            failures.append(str(talking.exception()))
        for task in (talking, *tasks):
            task.cancel()
        await asyncio.wait([talking, *tasks])
        return report.build(report.Lived(user.exchanges, observer.moments, line.heard, line.said, failures), {}), line

    return hold

"""The scripted user: what is said when, and what follows from what is heard.

The user acts on what a person would act on: the answer's sound, its end, silence. Every wait has a limit; a question that gets no
answer is asked once more, as people do, and then the conversation is given up with `Stuck`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping

from voicefsm.audio.samples import SAMPLES_PER_MS, Samples
from voicefsm.client import Conversation, Event, EventsLost, ServerError, State, StateChanged, TtsCancelled, TurnCompleted
from voicefsm.demo.line import Line, Utterance
from voicefsm.demo.settings import DemoSettings
from voicefsm.errors import VoiceFsmError
from voicefsm.values import NO_EPOCH, Epoch

HELLO = "Hello. Can you hear me?"
STORY = "Tell me a long story please."
STOP = "Stop. What was the last thing you told me?"
COUNT = "Please count to twenty."
OKAY = "Okay."
LAST = "What was the last thing you told me?"
GOODBYE = "Thank you, goodbye."
TEXTS = (HELLO, STORY, STOP, COUNT, OKAY, LAST, GOODBYE)

ASKED_MAX = 2
"""How often a question is asked before the user gives up."""
CANCEL_MS_MAX = 10_000
"""How long the user waits for silence after the barge-in."""


class Stuck(VoiceFsmError):
    """The conversation cannot go on."""


class Role(enum.StrEnum):
    """What an exchange is there to show."""

    QUESTION = "question"
    """A short question, heard to the end."""
    INTERRUPTED = "interrupted"
    """A long answer that the user cuts."""
    BARGE_IN = "barge_in"
    """The sentence that cut it, and its answer."""
    BACKCHANNEL = "backchannel"
    """A long answer during which the user says "okay"."""
    HISTORY = "history"
    """What did you tell me last?"""
    GOODBYE = "goodbye"
    """The end."""


@dataclasses.dataclass(slots=True)
class Exchange:
    """One question and its answer, as the user lived it."""

    role: Role
    said: Utterance
    asked: int = 1
    """How often it had to be asked."""
    epoch: Epoch = NO_EPOCH
    """The answer; `NO_EPOCH`: none."""
    interjected: Utterance | None = None
    """What the user said into the answer."""


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """An event of the server, and when it came off the wire: the place in the recording."""

    at_sample: int
    event: Event


class Observer:
    """Reads the conversation's events and keeps them."""

    def __init__(self, conversation: Conversation, line: Line, show: Callable[[Moment], None]) -> None:
        self.moments: list[Moment] = []
        self.state = State.IDLE
        self.completed: dict[Epoch, TurnCompleted] = {}
        self.cancelled: set[Epoch] = set()
        self.failures: list[str] = []
        self._conversation = conversation
        self._line = line
        self._show = show

    async def run(self) -> None:
        """Read to the end of the conversation. Raises `ConversationFailed` when it ended with an error."""
        async for event in self._conversation:
            moment = Moment(self._line.sample_at(event.received_ms), event)
            self.moments.append(moment)
            self._take(event)
            self._show(moment)

    def _take(self, event: Event) -> None:
        match event:
            case StateChanged():
                self.state = event.after
            case TurnCompleted():
                self.completed[event.epoch] = event
            case TtsCancelled():
                self.cancelled.add(event.epoch)
            case ServerError():
                self.failures.append(f"{event.message} {event.remedy}".strip())
            case EventsLost():
                self.failures.append(f"{event.count} events were lost: the demo did not look in time.")


class User:
    """The person at the telephone."""

    def __init__(
        self,
        conversation: Conversation,
        line: Line,
        observer: Observer,
        *,
        speech: Mapping[str, Samples],
        settings: DemoSettings,
        show: Callable[[Utterance], None],
    ) -> None:
        self.exchanges: list[Exchange] = []
        self._conversation = conversation
        self._line = line
        self._observer = observer
        self._speech = speech
        self._settings = settings
        self._show = show

    async def talk(self) -> None:
        """The whole conversation. Raises `Stuck`."""
        await self._rest()
        await self._ask_and_listen(Role.QUESTION, HELLO)
        await self._interrupt()
        await self._ask_under_backchannel()
        await self._ask_and_listen(Role.HISTORY, LAST)
        await self._ask_and_listen(Role.GOODBYE, GOODBYE)
        await self._conversation.end()

    async def _ask_and_listen(self, role: Role, text: str) -> None:
        exchange = await self._ask(role, text)
        await self._listen(exchange)

    async def _interrupt(self) -> None:
        """Ask for something long, and cut it."""
        story = await self._ask(Role.INTERRUPTED, STORY)
        await self._hear(story, self._settings.interrupt_after_ms)
        story.interjected = self._say(STOP)
        await self._until(lambda: story.epoch in self._observer.cancelled, CANCEL_MS_MAX, f'"{STOP}" did not stop the answer')
        answer = await self._ask(Role.BARGE_IN, STOP, already=story.interjected)
        await self._listen(answer)

    async def _ask_under_backchannel(self) -> None:
        """Ask for something long, and murmur into it."""
        exchange = await self._ask(Role.BACKCHANNEL, COUNT)
        await self._hear(exchange, self._settings.backchannel_after_ms)
        exchange.interjected = self._say(OKAY)
        await self._listen(exchange)

    async def _ask(self, role: Role, text: str, already: Utterance | None = None) -> Exchange:
        """Say it and wait for the sound of an answer; say it again if there is none."""
        exchange = Exchange(role, already or self._say(text))
        self.exchanges.append(exchange)
        while not await self._answer_begins(exchange):
            if exchange.asked == ASKED_MAX:
                raise Stuck(f'"{text}" was not answered within {self._settings.answer_ms_max} ms, asked {ASKED_MAX} times.')
            exchange.asked += 1
            exchange.said = self._say(text)
        return exchange

    async def _answer_begins(self, exchange: Exchange) -> bool:
        """Whether a reply is heard that begins after the question ended, in time."""

        def answer() -> Epoch:
            runs = self._line.heard
            known = {e.epoch for e in self.exchanges}
            later = (r.epoch for r in reversed(runs) if r.epoch not in known and r.at_sample >= exchange.said.end_sample)
            return next(later, NO_EPOCH)

        limit = exchange.said.end_sample + self._settings.answer_ms_max * SAMPLES_PER_MS
        while not (found := answer()) and self._line.now_sample < limit:
            await self._tick()
        exchange.epoch = found
        return bool(found)

    async def _hear(self, exchange: Exchange, heard_ms: int) -> None:
        """Listen to the beginning of an answer."""
        samples = heard_ms * SAMPLES_PER_MS
        epoch = exchange.epoch
        await self._until(
            lambda: self._line.heard_samples(epoch) >= samples or epoch in self._observer.completed,
            self._settings.listen_ms_max,
            f'The answer to "{exchange.said.text}" stood still before {heard_ms} ms of it were heard',
        )
        if epoch in self._observer.completed:
            raise Stuck(
                f'The answer to "{exchange.said.text}" was over before {heard_ms} ms of it were heard: nothing to speak into.'
            )

    async def _listen(self, exchange: Exchange) -> None:
        """Listen to an answer to its end, and think."""
        await self._until(
            lambda: exchange.epoch in self._observer.completed,
            self._settings.listen_ms_max,
            f'The answer to "{exchange.said.text}" did not come to an end',
        )
        await self._rest()

    async def _rest(self) -> None:
        until = self._line.now_sample + self._settings.pause_ms * SAMPLES_PER_MS
        while self._line.now_sample < until:
            await self._tick()

    async def _until(self, condition: Callable[[], bool], timeout_ms: int, otherwise: str) -> None:
        limit = self._line.now_sample + timeout_ms * SAMPLES_PER_MS
        while not condition():
            if self._line.now_sample >= limit:
                raise Stuck(f"{otherwise} (waited {timeout_ms} ms).")
            await self._tick()

    async def _tick(self) -> None:
        await self._line.tick()
        if self._conversation.ended:
            raise Stuck("The server ended the conversation before the user said goodbye.")

    def _say(self, text: str) -> Utterance:
        utterance = self._line.say(text, self._speech[text])
        self._show(utterance)
        return utterance

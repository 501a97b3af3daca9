"""One session that lives through one fault: brought to a state, hit there, and asked again when the backend is back."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import numpy as np

from tests.faults.lane import Lane
from tests.faults.servers import ANSWER
from tests.processes import now_ms
from voicefsm.client import (
    AssistantText,
    ClientSettings,
    Conversation,
    ConversationFailed,
    Event,
    ServerError,
    SessionOptions,
    State,
    StateChanged,
    Transcript,
    TurnCompleted,
)
from voicefsm.scripted.spelling import RATE_HZ, Samples, spell

FRAME = RATE_HZ // 50
WAIT_S_MAX = 60
"""How long anything may take at all, on a machine that has other things to do."""
OUTAGE_MS = 300
SENTENCE = "some will walk from here down past that tall blue mill home"
"""What the user says: 3.6 s."""
INTO_IT_MS = 1300
"""In mid-sentence."""
LATE_MS = 5000
"""How long the last words of the sentence may take after the answer to it, on a busy machine."""
TWICE_MS = 300
"""How long to wait for what might come twice."""
PROBE = "back then"
"""What the user says when the recogniser is back."""


@dataclasses.dataclass(frozen=True, slots=True)
class Lived:
    """What became of one session."""

    backend: str
    fault: str
    state: str
    survived: bool
    recovered_ms: float | None
    """From the backend's return to an answer (or a transcript), less what that takes without a fault."""
    is_word_for_word: bool | None
    """The transcript of the sentence in which the recogniser failed; None where there was none."""
    pace: float = 1.0
    """How much slower than usual the machine was."""
    story: str = ""
    """What went wrong; or the transcript, if it is another one."""


class User:
    """Somebody with a microphone and a loudspeaker, who remembers everything."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.events: list[tuple[float, Event]] = []
        self._news = asyncio.Event()
        self._to_say: deque[Samples] = deque()
        self._rest: Samples = np.zeros(0, np.int16)

    def say(self, text: str) -> None:
        """Begin to say this."""
        self._to_say.append(spell(text, RATE_HZ))

    async def microphone(self) -> None:
        """Send what is said, or silence, and hear the loudspeaker, in real time."""
        due = asyncio.get_running_loop().time()
        while not self.conversation.ended:
            while len(self._rest) < FRAME and self._to_say:
                self._rest = np.concatenate((self._rest, self._to_say.popleft()))
            frame, self._rest = self._rest[:FRAME], self._rest[FRAME:]
            self.conversation.player.render(FRAME)
            await self.conversation.send_audio(np.pad(frame, (0, FRAME - len(frame))))
            due += 0.02
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))

    async def listen(self) -> None:
        """Remember what the server says."""
        async for event in self.conversation:
            self.events.append((now_ms(), event))
            self._news.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for the server to say something that makes it true."""
        async with asyncio.timeout(WAIT_S_MAX):
            while not holds():
                self._news.clear()
                await self._news.wait()

    def has_been(self, state: State) -> bool:
        """Whether the conversation was ever there."""
        return any(isinstance(event, StateChanged) and event.after is state for _, event in self.events)

    def since(self, at_ms: float) -> list[Event]:
        """What was said from then on."""
        return [event for seen_ms, event in self.events if seen_ms >= at_ms]

    # --- to a state ---

    async def get_to(self, state: State) -> None:
        """Be there."""
        if state is State.LISTENING:
            self.say(SENTENCE)
            await self.until(lambda: self.has_been(state))
            await asyncio.sleep(INTO_IT_MS / 1000)
        elif state is not State.IDLE:
            await self.conversation.send_text("what is it like")
            await self.until(lambda: self.has_been(State.PROCESSING if state is State.PROCESSING else State.SPEAKING))
        if state is State.SPEAKING:
            await asyncio.sleep(0.2)
        if state is State.INTERRUPTING:
            await asyncio.sleep(0.5)
            self.say("past that")
            await self.until(lambda: self.has_been(state))

    # --- is it back? ---

    async def is_answered(self) -> float:
        """Ask, again after every failure, until the answer is heard; how long after the first time of asking."""
        asked_ms = now_ms()
        while True:
            since_ms = now_ms()
            await self.conversation.send_text("and now")
            await self.until(lambda since_ms=since_ms: self._is_decided(since_ms))  # type: ignore[misc]
            if not any(isinstance(event, ServerError) for event in self.since(since_ms)):
                break
            await asyncio.sleep(0.2)
        took_ms = now_ms() - asked_ms
        await self.conversation.cancel()
        return took_ms

    def _is_decided(self, since_ms: float) -> bool:
        events = self.since(since_ms)
        if any(isinstance(event, ServerError) for event in events):
            return True
        texts = [event.text for event in events if isinstance(event, AssistantText)]
        is_ours = any(text in ANSWER for text in texts)
        return is_ours and any(isinstance(event, StateChanged) and event.after is State.SPEAKING for event in events)

    async def is_heard(self) -> float:
        """Speak until there is a transcript of it; how long that took."""
        asked_ms = now_ms()
        wanted = PROBE.split(maxsplit=1)[0]
        async with asyncio.timeout(WAIT_S_MAX):
            while not any(isinstance(event, Transcript) and wanted in event.text.split() for event in self.since(asked_ms)):
                self.say(PROBE)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await self.until(
                            lambda: any(
                                isinstance(event, Transcript) and wanted in event.text.split() for event in self.since(asked_ms)
                            )
                        )
        return now_ms() - asked_ms

    def transcript(self) -> str:
        """What the recogniser has written down."""
        return " ".join(event.text for _, event in self.events if isinstance(event, Transcript) and event.is_final)


@asynccontextmanager
async def user(lane: Lane) -> AsyncGenerator[User]:
    """Somebody in a conversation."""
    options = SessionOptions(client_echo_cancellation=True)
    settings = ClientSettings(connect_ms_max=WAIT_S_MAX * 1000)
    async with Conversation.connect(lane.target, options, settings=settings) as conversation:
        somebody = User(conversation)
        tasks = [asyncio.create_task(work) for work in (somebody.microphone(), somebody.listen())]
        try:
            yield somebody
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def without_a_fault(lane: Lane) -> dict[str, float]:
    """How long an answer and a transcript take when all is well: the best of three, since the other lanes are just starting."""
    answered_ms = heard_ms = float("inf")
    for _ in range(3):
        async with user(lane) as somebody:
            answered_ms = min(answered_ms, await somebody.is_answered())
            heard_ms = min(heard_ms, await somebody.is_heard())
    return {"asr": heard_ms, "llm": answered_ms, "tts": answered_ms}


async def live(lane: Lane, backend: str, fault: str, state: State, usual_ms: dict[str, float]) -> Lived:
    """One session."""
    recovered_ms, transcript = None, None
    try:
        async with user(lane) as somebody:
            await somebody.get_to(state)
            async with lane.fault(fault, backend) as bring_back:
                await asyncio.sleep(OUTAGE_MS / 1000)
                await bring_back()
                if backend == "asr" and state is State.LISTENING:
                    transcript = await _sentence(somebody)
                took_ms = await (somebody.is_heard() if backend == "asr" else somebody.is_answered())
                recovered_ms = max(0.0, took_ms - usual_ms[backend])
    except (ConversationFailed, TimeoutError, AssertionError) as error:
        told = "; ".join(f"{type(event).__name__} {getattr(event, 'after', '')}" for _, event in somebody.events[-8:])
        return Lived(backend, fault, state.value, False, recovered_ms, None, lane.pace, f"{error!r}; before it {told}")
    if transcript is None:
        return Lived(backend, fault, state.value, True, recovered_ms, None, lane.pace)
    return Lived(backend, fault, state.value, True, recovered_ms, transcript == SENTENCE, lane.pace, transcript)


async def _sentence(somebody: User) -> str:
    """The transcript of the sentence in which the recogniser failed, once there is an answer and whatever may still come late."""
    await somebody.until(lambda: any(isinstance(event, TurnCompleted | AssistantText) for _, event in somebody.events))
    await somebody.conversation.cancel()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LATE_MS / 1000):
            await somebody.until(lambda: len(somebody.transcript().split()) >= len(SENTENCE.split()))
    await asyncio.sleep(TWICE_MS / 1000)
    return somebody.transcript()

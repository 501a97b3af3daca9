"""A whole session on one event loop: the runtime as it is, fakes behind every port, a simulated client in front.

    stage = Stage(model=FakeLanguageModel(["It is noon."]), recognizer=FakeRecognizer(saying((1000, "what time is it"))))
    ended = await stage.play(speech=[(0, 1000)], script=[(5000, Session.hang_up)])
    stage.client.all(messages.TurnCompleted)
    assert not stage.remains()

Nothing here decides or checks: it keeps what everybody saw, and says what is left over after the end.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from voicefsm.aec.settings import AecSettings
from voicefsm.context import Context, TurnSettings
from voicefsm.effects import EndSession
from voicefsm.errors import VoiceFsmError
from voicefsm.ports import Hypothesis, Journal, Kept, Opening, Samples, Silence, Step, Traceparent, Vitals, untraced
from voicefsm.runtime.groups import first_error, raised
from voicefsm.runtime.hearing import HearingSettings
from voicefsm.runtime.keeper import Keeping
from voicefsm.runtime.messages import AudioFormat, Encoding
from voicefsm.runtime.plan import Senses, SessionPlan, SessionSettings
from voicefsm.runtime.playout import PlayoutSettings
from voicefsm.runtime.session import Session
from voicefsm.runtime.timers import LoopClock
from voicefsm.simulation.client import Habits, Line, LoudnessDetector, SimulatedClient
from voicefsm.simulation.fakes import FakeLanguageModel, FakeRecognizer, FakeSynthesizer

_WIDEBAND = AudioFormat(Encoding.PCM16, 16000)

PLAN = SessionPlan(
    session=SessionSettings(),
    turns=TurnSettings(),
    hearing=HearingSettings(aec=AecSettings(coupling_db=-60)),  # a headset: the ramp would pass for the loudest of echoes
    playout=PlayoutSettings(),
    input_format=_WIDEBAND,
    output_format=_WIDEBAND,
    language_code="en-US",
    voice_name="",
    system_prompt="Be brief.",
    temperature=0.5,
    model="",
    tokens_max=100,
    client_echo_cancellation=False,
)
"""What a session is when a test wishes for nothing."""


def plan_with(
    *,
    turns: Mapping[str, Any] | None = None,
    session: Mapping[str, Any] | None = None,
    playout: Mapping[str, Any] | None = None,
    **fields: Any,
) -> SessionPlan:
    """`PLAN` with some settings changed."""
    return dataclasses.replace(
        PLAN,
        turns=dataclasses.replace(PLAN.turns, **(turns or {})),
        session=dataclasses.replace(PLAN.session, **(session or {})),
        playout=dataclasses.replace(PLAN.playout, **(playout or {})),
        **fields,
    )


def saying(*utterances: tuple[int, str]) -> list[tuple[int, Hypothesis]]:
    """A recogniser's script: after so much audio (ms), these words, stable; and 400 ms later as a final."""
    lines: list[tuple[int, Hypothesis]] = []
    for at_ms, text in utterances:
        lines += [(at_ms, Hypothesis(text, is_final=False, stability=1.0)), (at_ms + 400, Hypothesis(text, is_final=True))]
    return lines


class MemoryJournal:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.records: list[tuple[str, int, Mapping[str, Any]]] = []
        self.closed = 0

    def write(self, kind: str, at_ms: int, body: Mapping[str, Any]) -> None:
        """See `ports.Journal`."""
        assert not self.closed, f"a {kind} record after the journal was closed"
        self.records.append((kind, at_ms, body))

    def close(self) -> None:
        """See `ports.Journal`."""
        self.closed += 1


class Witness:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.closed: list[tuple[str, str]] = []
        self.last_words: list[str] = []
        self.steps: list[Step] = []
        self.vitals: list[Vitals] = []
        self.silences: list[Silence] = []
        self.crashes: list[Exception] = []
        self.keepings: list[Kept] = []

    def session_opened(self, session_id: str, opening: Opening) -> None:  # noqa: ARG002 (the port has it)
        """See `ports.Observer`."""
        self.opened.append(session_id)

    def stepped(self, step: Step, context: Context) -> None:  # noqa: ARG002 (the port has it)
        """See `ports.Observer`."""
        self.steps.append(step)

    def measured(self, session_id: str, vitals: Vitals) -> None:  # noqa: ARG002 (the port has it)
        """See `ports.Observer`."""
        self.vitals.append(vitals)

    def fell_silent(self, session_id: str, silence: Silence) -> None:  # noqa: ARG002 (the port has it)
        """See `ports.Observer`."""
        self.silences.append(silence)

    def kept(self, session_id: str, kept: Kept) -> None:  # noqa: ARG002 (the port has it)
        """See `ports.Observer`."""
        self.keepings.append(kept)

    def session_closed(self, session_id: str, reason: str, message: str) -> None:
        """See `ports.Observer`."""
        self.closed.append((session_id, reason))
        self.last_words.append(message)

    def refused(self, error: VoiceFsmError, identity: str = "") -> None:
        """See `ports.Observer`: a session on the stage was never refused."""

    def reloaded(self, what: str, problem: str) -> None:
        """See `ports.Observer`: nothing is on the stage that could be."""

    def crashed(self, session_id: str, error: Exception) -> None:  # noqa: ARG002 (the port has it)
        """See `ports.Observer`."""
        self.crashes.append(error)


class CountedCanceller:
    """A canceller that cancels nothing and knows whether it was freed."""

    name = "fake"

    def __init__(self) -> None:
        self.closed = 0
        self.audible_frames = 0
        """Frames in which the reference was not silent."""

    def process(self, near: Samples, far: Samples) -> Samples:
        """See `ports.EchoCanceller`."""
        assert not self.closed, "audio for a canceller that was freed"
        self.audible_frames += bool(far.any())
        return near

    def close(self) -> None:
        """See `ports.EchoCanceller`."""
        self.closed += 1


class Stage:
    """The fakes, and the sessions played with them."""

    client: SimulatedClient
    """Of the last `play`."""

    def __init__(
        self,
        plan: SessionPlan = PLAN,
        *,
        recognizer: FakeRecognizer | None = None,
        model: FakeLanguageModel | None = None,
        synthesizer: FakeSynthesizer | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.plan = plan
        self.recognizer = recognizer or FakeRecognizer()
        self.model = model or FakeLanguageModel()
        self.synthesizer = synthesizer or FakeSynthesizer()
        self.cancellers: list[CountedCanceller] = []
        self.journal = MemoryJournal()
        self.witness = Witness()
        self.traceparent: Traceparent = untraced
        self.keeping: Keeping | None = None
        """How sessions are kept, where they are."""
        self._journal: Journal = journal or self.journal
        self._before = _tasks()

    def senses(self) -> Senses:
        """What a session leans on."""
        return Senses(self.recognizer, self.model, self.synthesizer, self._make_canceller, lambda _settings: LoudnessDetector())

    def session(self) -> Session:
        """A new session, not running yet."""
        return Session(
            "s-1",
            self.plan,
            self.senses(),
            clock=LoopClock(),
            journal=self._journal,
            observer=self.witness,
            traceparent=self.traceparent,
            keeping=self.keeping,
        )

    async def play(
        self, *, speech: Sequence[tuple[int, int]] = (), script: Sequence[Line] = (), habits: Habits | None = None
    ) -> EndSession:
        """Hold one session to its end; raises what ended it if that was an error, of the session or of its client."""
        session = self.session()
        self.client = SimulatedClient(session, speech=speech, script=script, habits=habits)
        errors: list[Exception] = []
        try:
            return await self._hold(session)
        except ExceptionGroup as group:
            errors.append(first_error(group))
        return raised(errors)

    async def _hold(self, session: Session) -> EndSession:
        async with asyncio.TaskGroup() as tasks:
            client = tasks.create_task(self.client.run(), name="client")
            ended = await session.run()
            if not self.client.habits.reads:
                client.cancel()
        return ended

    def remains(self) -> list[str]:
        """What a session left behind: tasks, open streams, native memory, an open journal. Nothing, if all is well."""
        left = [f"task {task.get_name()}" for task in _tasks() - self._before]
        left += ["an ASR stream" for stream in self.recognizer.streams if stream.is_open]
        left += ["a TTS stream" for stream in self.synthesizer.streams if stream.is_open]
        left += ["a canceller" for canceller in self.cancellers if not canceller.closed]
        left += ["the journal"] if self.journal.records and not self.journal.closed else []
        return left

    def _make_canceller(self) -> CountedCanceller:
        self.cancellers.append(CountedCanceller())
        return self.cancellers[-1]


def _tasks() -> set[asyncio.Task[Any]]:
    with suppress(RuntimeError):
        return {task for task in asyncio.all_tasks() if not task.done()}
    return set()

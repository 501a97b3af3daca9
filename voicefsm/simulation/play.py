"""One script, played: the whole runtime on a virtual clock, from `SessionOpened` to the last task."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from voicefsm.errors import LocalProtocolError, RemoteProtocolError, TooMuch
from voicefsm.ports import Journal
from voicefsm.runtime.journal import NullJournal
from voicefsm.runtime.messages import AudioFormat, Encoding
from voicefsm.runtime.plan import Senses, SessionPlan
from voicefsm.runtime.session import Session
from voicefsm.runtime.timers import LoopClock
from voicefsm.simulation import virtual
from voicefsm.simulation.caller import Caller, LoudDetector, Microphone
from voicefsm.simulation.faulty import Backends
from voicefsm.simulation.invariants import Checker, Violation
from voicefsm.simulation.script import Act, Kind, Script
from voicefsm.simulation.stage import PLAN, CountedCanceller

EPOCH_BEGINS = "1970-01-01T00:00:00Z"
"""The wall clock of every simulated session."""
FAREWELL_MS_MAX = 1000
"""How long a session may take to end, and its client to read its last words."""
CHECK_MS = 100
AFTERMATH_MS = 20_000
"""A user who does not hang up does it after this long."""


@dataclasses.dataclass(frozen=True, slots=True)
class Played:
    """What a session came to."""

    violation: Violation | None
    ended: str
    virtual_ms: int
    steps: int
    seen: frozenset[str]


def play(script: Script, *, session_id: str = "simulated", journal: Journal | None = None) -> Played:
    """Play a script to its end, or to the first violation."""
    if not script.has(Kind.HANG_UP, Kind.VANISH, Kind.SHUT_DOWN):
        script = dataclasses.replace(script, acts=(*script.acts, Act(script.end_ms + AFTERMATH_MS, Kind.HANG_UP)))
    return virtual.run(_Show(script, session_id, journal or NullJournal()).play())


def plan_of(script: Script) -> SessionPlan:
    """The session a script asks for."""
    return dataclasses.replace(
        PLAN,
        # A word is one sample value here: it swings no more than a horn does.
        turns=dataclasses.replace(script.turns, barge_in_swing_db_min=0),
        language_code=script.language_code,
        output_format=AudioFormat(Encoding.PCM16, script.output_rate_hz),
        client_echo_cancellation=True,
    )


class _Show:
    """One session and everybody around it. Made on the loop it runs on."""

    def __init__(self, script: Script, session_id: str, journal: Journal) -> None:
        self._script, self._session_id, self._journal = script, session_id, journal
        self._canceller = CountedCanceller()
        self._ended = ""
        self._end_call: Callable[[], object] = lambda: None
        """Takes the session down; set when there is one."""

    async def play(self) -> Played:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_stray)
        self._set_up()
        session = asyncio.create_task(self._session.run(), name="session")
        caller = asyncio.create_task(self._caller.run(), name="caller")
        self._end_call = session.cancel
        await self._until_over(session)
        await self._take_down(session, caller)
        self._check_remains()
        checker = self._checker
        return Played(checker.violation, self._ended, checker.now_ms(), checker.steps, frozenset(checker.seen))

    def _set_up(self) -> None:
        script, plan, clock = self._script, plan_of(self._script), LoopClock()
        microphone = Microphone(script)
        self._backends = Backends(script, microphone.words, clock.now_ms)
        self._checker = Checker(script, plan, self._backends, self._journal)
        senses = Senses(
            self._backends.recognizer,
            self._backends.model,
            self._backends.synthesizer,
            lambda: self._canceller,
            lambda *_: LoudDetector(),
        )
        self._session = Session(
            self._session_id,
            plan,
            senses,
            clock=clock,
            journal=self._checker,
            observer=self._checker,
            wall_clock=lambda: EPOCH_BEGINS,
        )
        self._caller = Caller(script, microphone, self._session, self._checker, self._on_end_call)
        self._checker.caller = self._caller

    def _on_end_call(self) -> None:
        self._end_call()

    async def _until_over(self, session: asyncio.Task[Any]) -> None:
        """Until the session ends by itself, breaks a rule, or does not end when it is told to."""
        limit_ms = self._script.end_ms + self._script.latency_ms + FAREWELL_MS_MAX + self._longest_stall_ms()
        while not session.done() and self._checker.violation is None:
            await asyncio.wait([session], timeout=CHECK_MS / 1000)
            self._checker.tick()
            if not session.done() and self._checker.now_ms() > limit_ms:
                self._checker.broken("a session ends", f"not {FAREWELL_MS_MAX} ms after it was told to")

    def _longest_stall_ms(self) -> int:
        return max((act.for_ms for act in self._script.by_kind[Kind.UP_STALL]), default=0)

    async def _take_down(self, session: asyncio.Task[Any], caller: asyncio.Task[None]) -> None:
        self._caller.hang_up()
        session.cancel()
        try:
            ended = await session
            self._ended = ended.reason.value
        except asyncio.CancelledError:
            self._ended = "cancelled"
        except RemoteProtocolError as error:
            self._ended = type(error).__name__
            self._check_blame(error)
        except LocalProtocolError as error:
            self._ended = "broken"
            self._checker.broken(getattr(error, "rule", "nothing is refused"), error.message)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is what we are looking for)
            self._ended = "crashed"
            self._checker.broken("no crash", _last_lines(error))
        await asyncio.wait([caller], timeout=(FAREWELL_MS_MAX + self._script.latency_ms) / 1000)
        caller.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await caller

    def _check_blame(self, error: RemoteProtocolError) -> None:
        """A client is refused for what it did, and for nothing else."""
        if isinstance(error, TooMuch) and not self._script.has(Kind.STOP_READING, Kind.FLOOD):
            self._checker.broken("nobody is blamed for nothing", error.message)

    def _check_remains(self) -> None:
        """No task and no stream outlives its session."""
        if self._ended == "cancelled" and self._caller.breach is not None:
            self._ended = type(self._caller.breach).__name__
            self._check_breach(self._caller.breach)
        tasks = sorted(task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task())
        canceller = [] if self._canceller.closed == 1 else [f"a canceller closed {self._canceller.closed} times"]
        if remains := [*(f"task {name}" for name in tasks), *self._backends.open_streams(), *canceller]:
            self._checker.broken("nothing outlives its session", ", ".join(remains))

    def _check_breach(self, error: RemoteProtocolError) -> None:
        causes = (Kind.STEP_BACK, Kind.FLOOD) if not isinstance(error, TooMuch) else (Kind.FLOOD,)
        if not self._script.has(*causes) and not self._script.drift_ppm > 0:
            self._checker.broken("nobody is blamed for nothing", error.message)

    def _on_stray(self, _loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """An error that nobody waited for."""
        error = context.get("exception")
        self._checker.broken("no crash", _last_lines(error) if isinstance(error, Exception) else str(context["message"]))


def _last_lines(error: Exception) -> str:
    """The error and where it was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.name}, line {frame.lineno})"

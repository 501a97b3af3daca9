"""Who may hold a conversation here: is there room, and can the backends speak what the client asks for?"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, TypeVar

from voicefsm.errors import BackendError, NotOffered, TooMuch
from voicefsm.ports import Clock
from voicefsm.server.busy import Busy
from voicefsm.server.pace import Pace, Spread
from voicefsm.values import setting

T = TypeVar("T")

WINDOW_BYTES = 262_144
"""What gRPC takes from a client that is not read, and as much towards it. It does not grow: `grpc.http2.bdp_probe` is off.

Calls that share a connection share it: at a round trip of 100 ms it is 2.6 MB/s, the audio of 80 callers at 16 kHz.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class ServerSettings:
    """The port clients talk to."""

    host: str = setting("127.0.0.1", unit="", doc="Address to listen on; 0.0.0.0 for all, :: for those of IPv6 too.")
    port: int = setting(50055, unit="", ge=0, le=65535, doc="Port to listen on; 0 takes any free one.")
    workers: int = setting(
        1, unit="processes", ge=1, le=256, doc="Gateway processes on the port, one for each core to fill (`serve --workers`)."
    )
    port_is_shared: bool = setting(
        False, unit="", doc="Whether other processes may listen on the port too; `serve --workers` sees to it for its own."
    )
    sessions_max: int = setting(
        100, unit="sessions", ge=1, le=100000, doc="How many conversations may be held at once, by all workers together."
    )
    busy_pct_max: int = setting(
        80,
        unit="% of a core",
        ge=20,
        le=100,
        doc="A worker with eight sessions whose loop takes so much, or would with those that have just begun, takes no more,"
        " so that those it has are not late; 100: it always does.",
    )
    memory_mib_max: int = setting(
        0,
        unit="MiB",
        ge=0,
        le=1 << 24,
        doc="What all workers together may take; settings by which sessions could need more are refused. 0: not checked.",
    )
    message_bytes_max: int = setting(65536, unit="bytes", ge=1024, le=4194304, doc="The largest message taken from a client.")
    sessions_per_s_max: int = setting(
        50,
        unit="sessions",
        ge=1,
        le=100000,
        doc="How many sessions a worker begins in a second, bursts of 4 s (in one): beginning one costs more than holding it.",
    )
    pending_max: int = setting(
        200,
        unit="calls",
        ge=1,
        le=100000,
        doc="How many calls of this worker may not have sent their configuration yet; they hold no place of a session.",
    )
    config_ms_max: int = setting(10000, unit="ms", ge=100, le=60000, doc="How long a client may take to send its configuration.")
    offers_ms_max: int = setting(
        30000, unit="ms", ge=0, le=3600000, doc="How long the list of languages and voices of the backends is trusted."
    )
    drain_ms_max: int = setting(
        5000, unit="ms", ge=0, le=3600000, doc="How long sessions may go on after the process was told to stop."
    )
    health: bool = setting(True, unit="", doc="Whether the port answers grpc.health.v1.")
    health_port: int = setting(
        0,
        unit="",
        ge=0,
        le=65535,
        doc="A port of its own for grpc.health.v1 alone, never encrypted: probes of Kubernetes speak no TLS; 0: none.",
    )
    admin: bool = setting(False, unit="", doc="Whether the port has the admin service, for identities that may administer.")
    admin_watch_ms: int = setting(500, unit="ms", ge=20, le=60000, doc="How often who watches sessions is told what has changed.")
    reflection: bool = setting(True, unit="", doc="Whether the server describes its protocol to tools such as grpcurl.")


class Remembered(Generic[T]):
    """What a backend says about itself, asked again when it is too old. One question at a time.

    Who waits while a question is asked shares its answer, and its failure: with a backend that hangs, the last of a hundred
    clients waits as long as the first.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], clock: Clock, age_ms_max: int) -> None:
        self._ask, self._clock, self._age_ms_max = ask, clock, age_ms_max
        self._lock = asyncio.Lock()
        self._answer: tuple[int, T] | None = None
        self._questions = 0
        self._failure: BackendError | None = None
        """Of the last question."""

    async def get(self) -> T:
        """The answer. Raises `BackendError` when there is none and the backend does not answer."""
        asked_before = self._questions
        async with self._lock:
            now_ms = self._clock.now_ms()
            if self._answer is None or now_ms - self._answer[0] > self._age_ms_max:
                if self._failure is not None and self._questions > asked_before:
                    raise self._failure
                self._answer = (now_ms, await self._ask_again())
            return self._answer[1]

    async def _ask_again(self) -> T:
        self._failure = None
        try:
            return await self._ask()
        except BackendError as error:
            self._failure = error
            raise
        finally:
            self._questions += 1


class Admission:
    """Counts sessions and checks what they ask for."""

    def __init__(
        self,
        sessions_max: int,
        languages: Remembered[frozenset[str]],
        voices: Remembered[Mapping[str, tuple[str, ...]]],
        pending_max: int = 200,
        *,
        pace: Pace | None = None,
        spread: Spread | None = None,
        busy: Busy | None = None,
    ) -> None:
        """`pace` is that of beginning sessions, `spread` how far apart they begin; None: as fast as they come.

        `busy` knows whether the core has time left; None: always.
        """
        self.sessions = self.pending = 0
        self.sessions_max = sessions_max
        self._languages, self._voices, self._pending_max = languages, voices, pending_max
        self._pace, self._spread, self._busy = pace, spread, busy

    @contextmanager
    def at_the_door(self) -> Iterator[None]:
        """Around what a call does before we know what it wants. Raises `TooMuch` when too many are there, or there is no place."""
        self.check_room()
        if self.pending >= self._pending_max:
            raise TooMuch(
                f"{self._pending_max} calls have not sent their configuration.", remedy="Try another replica, or again in a while."
            )
        self.pending += 1
        try:
            yield
        finally:
            self.pending -= 1

    def enter(self) -> None:
        """Take a place. Raises `TooMuch` when there is none."""
        self.check_room()
        self.sessions += 1

    async def begin(self) -> None:
        """A session is made after this. Raises `TooMuch` when that happens too often.

        Who is refused for another reason costs little. Those that come at once wait for each other a little, for the sake of the
        sessions that live.
        """
        if self._pace is not None:
            self._pace.note()
        if self._spread is not None:
            await self._spread.turn()

    def check_room(self) -> None:
        """Is there a place, and time for one more? Raises `TooMuch` when there is none."""
        if self._busy is not None:
            self._busy.check(self.sessions)
        if self.sessions >= self.sessions_max:
            raise TooMuch(
                f"This server holds {self.sessions_max} sessions already.", remedy="Try another replica, or again in a while."
            )

    def leave(self) -> None:
        """Give the place back."""
        self.sessions -= 1

    async def check(self, language_code: str, voice_name: str) -> None:
        """Can the backends do this? An empty list of a backend says nothing.

        Raises:
            NotOffered: no backend has the language or the voice.
            BackendError: a backend does not answer.

        """
        languages = await self._languages.get()
        if languages and not _offers(languages, language_code):
            raise NotOffered(
                f"The ASR server does not recognise {language_code!r}; it offers {_list(languages)}.",
                remedy="Set `language_code` to one of these.",
            )
        voices = await self._voices.get()
        if not voices:
            return
        if not _offers(voices, language_code):
            raise NotOffered(
                f"The TTS server does not speak {language_code!r}; it offers {_list(voices)}.",
                remedy="Set `language_code` to one of these.",
            )
        fitting = [voice for language, names in voices.items() if _same(language, language_code) for voice in names]
        if voice_name and voice_name not in fitting:
            raise NotOffered(
                f"The TTS server has no voice {voice_name!r} for {language_code!r}; it has {_list(fitting)}.",
                remedy="Set `voice_name` to one of these, or leave it empty.",
            )


def _same(one: str, other: str) -> bool:
    """Tags are equal without regard to case; a server that lists "multi" takes any."""
    return one.lower() == other.lower() or one.lower() in {"multi", "auto"}


def _offers(offered: frozenset[str] | Mapping[str, object], language_code: str) -> bool:
    return any(_same(language, language_code) for language in offered)


def _list(names: frozenset[str] | Mapping[str, object] | list[str]) -> str:
    return ", ".join(sorted(names)) or "none"

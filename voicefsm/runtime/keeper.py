"""Keeps a conversation in a store while it is held, so that it can be resumed after its session, or its process, is gone.

Theory of operation. The session says that something was committed (`note`); one task writes the newest checkpoint, and only that:
however fast notes come, one write is under way at a time, and none of them holds the conversation up. Whoever tells the client that
an exchange is over waits (`settled`, at most `commit_ms_max`) until the store has it: what a client was told is complete is not
lost with the process. A store that fails costs the chance to resume, and nothing else.

Each session that takes a conversation up has a number of its own, its *owner*, given by the store and greater than the one before.
A store takes nothing from an older owner: a session that lives on without its client (the network broke, and the client has gone on
elsewhere) learns so from its next write, and ends.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from contextlib import suppress

from voicefsm.errors import StoreError
from voicefsm.ports import Kept, SessionStore
from voicefsm.runtime.checkpoint import Checkpoint
from voicefsm.values import setting


@dataclasses.dataclass(frozen=True, slots=True)
class ResumeSettings:
    """How conversations are kept, to be resumed after a broken connection, a restart or a crash."""

    enabled: bool = setting(True, unit="", doc="Whether clients get a token with which to resume their conversation.")
    redis_url: str = setting(
        "",
        unit="",
        secret=True,
        doc="Redis that keeps conversations for all replicas, redis://… or rediss://…; empty: each process keeps its own.",
    )
    keep_ms: int = setting(
        300000,
        unit="ms",
        ge=1000,
        le=86400000,
        doc="How long a conversation whose session is gone can be resumed; then it is forgotten.",
    )
    sessions_max: int = setting(
        10000,
        unit="sessions",
        ge=1,
        le=1000000,
        doc="How many conversations a process keeps itself; then the oldest are forgotten.",
    )
    bytes_max: int = setting(
        268_435_456, unit="bytes", ge=1 << 20, le=1 << 40, doc="How large they may be together; then the oldest are forgotten."
    )
    cursor_ms: int = setting(
        500,
        unit="ms",
        ge=100,
        le=10000,
        doc="How far the ear moves on before that is kept: at most so much of an answer is heard twice.",
    )
    commit_ms_max: int = setting(
        250, unit="ms", ge=0, le=10000, doc="How long the news that an exchange is over waits for the store to have it."
    )
    store_ms_max: int = setting(1000, unit="ms", ge=10, le=30000, doc="How long the store may take for one question.")
    retry_ms_min: int = setting(
        1000, unit="ms", ge=10, le=600000, doc="How long a store that has failed is left alone by each session."
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Keeping:
    """What a session needs to be kept."""

    store: SessionStore
    settings: ResumeSettings
    token: str
    owner: int
    before: Checkpoint | None = None
    """The conversation it goes on with."""


class Keeper:
    """Of one session."""

    def __init__(
        self, keeping: Keeping, look: Callable[[], Checkpoint], *, told: Callable[[Kept], None], lost: Callable[[], None]
    ) -> None:
        """`look` makes a checkpoint of this moment; `told` hears of each write; `lost` is called when somebody else goes on."""
        self._store, self._settings = keeping.store, keeping.settings
        self._token, self._owner = keeping.token, keeping.owner
        self.look, self._told, self._lost = look, told, lost
        self._noted = self._settled = 0
        self._dirty, self._news = asyncio.Event(), asyncio.Event()
        self._is_ours = True
        self._is_failing = False
        """The store has failed, and has done nothing right since."""
        self._last: Checkpoint | None = None
        self._is_finished = False

    def note(self) -> None:
        """Something was committed."""
        self._noted += 1
        self._dirty.set()

    async def run(self) -> None:
        """Write what is new, and the old again before it expires; until cancelled, or somebody else goes on."""
        while self._is_ours:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.keep_ms / 3000):
                    await self._dirty.wait()
            self._dirty.clear()
            noted = self._noted
            self._is_failing = not await self._write(self.look())
            self._settled = noted
            self._news.set()
            if self._is_failing:
                await asyncio.sleep(self._settings.retry_ms_min / 1000)
                self._dirty.set()

    async def settled(self) -> None:
        """Wait until the store has what was noted; not for ever, and not for one that is failing."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.commit_ms_max / 1000):
                while self._settled < self._noted and self._is_ours and not (self._is_failing or self._is_finished):
                    self._news.clear()
                    await self._news.wait()

    def finish(self, last: Checkpoint | None) -> None:
        """The session is over: this is to be kept of it; None: nothing, the conversation is over too."""
        self._last, self._is_finished = last, True
        self._news.set()

    async def close(self) -> None:
        """Write the last of it, once nobody else does."""
        if not self._is_finished or not self._is_ours:
            return
        if self._last is not None:
            await self._write(self._last)
        else:
            with suppress(StoreError, TimeoutError):  # then it expires
                async with asyncio.timeout(self._settings.store_ms_max / 1000):
                    await self._store.forget(self._token, self._owner)

    async def _write(self, checkpoint: Checkpoint) -> bool:
        """False when the store has failed."""
        began_s = asyncio.get_running_loop().time()
        problem = ""
        try:
            async with asyncio.timeout(self._settings.store_ms_max / 1000):
                self._is_ours = await self._store.save(
                    self._token, self._owner, checkpoint.to_bytes(), keep_ms=self._settings.keep_ms
                )
        except TimeoutError:
            problem = f"The store did not answer within {self._settings.store_ms_max} ms."
        except StoreError as error:
            problem = error.message
        took_ms = round((asyncio.get_running_loop().time() - began_s) * 1000, 3)
        self._told(Kept("failed" if problem else "saved" if self._is_ours else "taken over", took_ms, problem))
        if not self._is_ours:
            self._lost()
        return not problem

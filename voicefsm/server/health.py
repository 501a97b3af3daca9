"""Are the backends there? Asked again and again; the gateway's readiness follows, and does not flap.

Theory of operation. Each server of each backend has a watch of its own: it asks `check`, tells the server's breaker, and counts.
A server is *up* or *down*; it goes down after `failures_min` failed checks in a row and up after `successes_min` good ones, and the
first check decides alone. The gateway is ready while every backend has a server that is up. While a server is not well it is
asked more often: a server that is back is found before the breaker would let a caller try it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence

from voicefsm.errors import BackendError
from voicefsm.ports import Clock
from voicefsm.runtime.breaker import Breaker
from voicefsm.values import Backend, setting


@dataclasses.dataclass(frozen=True, slots=True)
class HealthSettings:
    """How the backends are watched."""

    check_ms: int = setting(1000, unit="ms", ge=100, le=600000, doc="How often a server that is well is asked whether it still is.")
    thorough_checks: int = setting(
        10, unit="checks", ge=1, le=10000, doc="Every so many of these, it is also asked for its models."
    )
    check_down_ms: int = setting(500, unit="ms", ge=50, le=60000, doc="How often a server that is not well is checked.")
    failures_min: int = setting(
        3, unit="checks", ge=1, le=100, doc="So many failed checks in a row, and the server counts as down."
    )
    successes_min: int = setting(2, unit="checks", ge=1, le=100, doc="So many good checks in a row, and it counts as up again.")


class Steady:
    """Up or down, with hysteresis."""

    def __init__(self, settings: HealthSettings) -> None:
        self._settings = settings
        self.is_up: bool | None = None
        """None before the first check."""
        self._against = 0
        """Checks in a row that say otherwise."""

    def told(self, *, is_well: bool) -> bool:
        """One more check. Returns whether the verdict has changed."""
        if is_well is self.is_up:
            self._against = 0
            return False
        self._against += 1
        needed = self._settings.successes_min if is_well else self._settings.failures_min
        if self.is_up is not None and self._against < needed:
            return False
        self.is_up, self._against = is_well, 0
        return True


@dataclasses.dataclass(frozen=True, slots=True)
class Watched:
    """One server to be watched."""

    name: str
    check: Callable[[], Awaitable[None]]
    """Returns when the server would do its work now; raises `BackendError` saying why it would not."""
    ping: Callable[[], Awaitable[None]]
    """The same, cheaper and less thorough."""
    breaker: Breaker


class Watch:
    """Over all servers. `run` it; `changed` is told which backends have no server up: at the first verdict, and at each change."""

    def __init__(
        self,
        servers: Mapping[Backend, Sequence[Watched]],
        settings: HealthSettings,
        clock: Clock,
        changed: Callable[[frozenset[Backend], str], Awaitable[None]],
    ) -> None:
        self._servers, self._settings, self._clock, self._changed = servers, settings, clock, changed
        self._verdicts = {backend: {server.name: Steady(settings) for server in watched} for backend, watched in servers.items()}
        self._told: frozenset[Backend] | None = None

    @property
    def down(self) -> frozenset[Backend]:
        """Backends without a server that is up. One that was not asked yet counts as up: nothing is known against it."""
        return frozenset(
            backend
            for backend, verdicts in self._verdicts.items()
            if not any(verdict.is_up is not False for verdict in verdicts.values())
        )

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for backend, servers in self._servers.items():
                for server in servers:
                    tasks.create_task(self._watch(backend, server), name=f"watch {backend} {server.name}")

    async def _watch(self, backend: Backend, server: Watched) -> None:
        steady = self._verdicts[backend][server.name]
        is_calm = False
        for number in itertools.count():
            is_thorough = not is_calm or number % self._settings.thorough_checks == 0
            problem = await self._check(server, server.check if is_thorough else server.ping)
            if steady.told(is_well=not problem):
                await self._tell(problem)
            is_calm = not problem and bool(steady.is_up)
            await asyncio.sleep((self._settings.check_ms if is_calm else self._settings.check_down_ms) / 1000)

    async def _check(self, server: Watched, check: Callable[[], Awaitable[None]]) -> str:
        """What is wrong; empty when nothing is."""
        try:
            await check()
        except BackendError as error:
            server.breaker.check_failed(self._clock.now_ms(), error.message)
            return str(error)
        except Exception as defect:  # noqa: BLE001, a check that is broken must not blind the watch: nobody would look again
            return f"The check of {server.name} is broken: {type(defect).__name__}."
        server.breaker.check_succeeded(self._clock.now_ms())
        return ""

    async def _tell(self, problem: str) -> None:
        if all(verdict.is_up is not None for verdicts in self._verdicts.values() for verdict in verdicts.values()):
            down = self.down
            if down != self._told:
                self._told = down
                await self._changed(down, problem)

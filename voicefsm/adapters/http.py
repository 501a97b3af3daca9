"""HTTP connections to a model server: shared by all requests, replaced with their certificates, and given up when they are dead.

Theory of operation. HTTP/1.1 has no ping, and a connection whose other end is gone looks like a model that thinks. Two things tell
them apart. The kernel does where the host is gone: what it does not acknowledge in time ends the connection (`liveness`). Where
something between us still acknowledges (a proxy, a balancer), a second opinion does: `ask` puts a small question to the server,
over a connection that is used for nothing else, and again over a new one if the answer is late. When the new one is answered and
the old one still is not, whoever has waited for longer than that is told (`Lost`), long before the deadline that a model has.

Connections of one age are a `_Generation`. An exchange that goes wrong, or a late answer, retires it: what comes next is sent over
new connections, and the old ones are closed after their last exchange.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

from voicefsm.adapters.channels import GRACE_S
from voicefsm.adapters.followed import Followed
from voicefsm.adapters.patience import Patience

T = TypeVar("T")

PROBE_S = 1
"""How often the kernel asks whether the other end of an idle connection is still there."""

Tls = ssl.SSLContext | None
"""How a connection is encrypted, if it is."""


class Lost(Exception):
    """The server answers on newer connections, and not on this one."""


class Exchange:
    """A request and its response, on one connection."""

    def __init__(self, client: httpx.AsyncClient, doubt: Callable[[], None]) -> None:
        self.client = client
        """What sends the request."""
        self.doubt = doubt
        """To be called when it goes wrong: what comes next goes over new connections."""
        self.waits_since: float | None = None
        """When it began to wait for the server, on the loop's clock; None while it does not."""
        self._patience = Patience()
        self._is_lost = False

    async def within(self, at: float, wait: Awaitable[T]) -> T:
        """Await `wait` until `at` on the loop's clock. Raises `TimeoutError`, `Lost`, and what `wait` does."""
        self.waits_since = asyncio.get_running_loop().time()
        self._patience.until(at)
        try:
            return await self._patience.wait(wait)
        except TimeoutError:
            if self._is_lost:
                raise Lost from None
            raise
        finally:
            self.waits_since = None

    def give_up(self) -> None:
        """Nothing comes any more."""
        if self.waits_since is not None:
            self._is_lost = True
            self._patience.end()

    def close(self) -> None:
        """It is over."""
        self._patience.close()


class _Generation:
    """Connections of one age."""

    def __init__(self, make: Callable[[Tls], httpx.AsyncClient], tls: Tls) -> None:
        self.tls = tls
        self.client, self.pulse = make(tls), make(tls)
        """For exchanges; and for questions, which must not find out about a connection that was opened for them."""
        self.exchanges: set[Exchange] = set()
        self.check: asyncio.Task[Any] | None = None
        """A question that was not answered in time, and may be yet."""
        self.doubted_at = 0.0
        """When it was asked."""

    @property
    def owes(self) -> bool:
        """Whether it still was not answered."""
        return self.check is not None and not self.check.done()

    def give_up(self) -> None:
        """It is dead: whoever has waited for longer than the check is told."""
        for exchange in tuple(self.exchanges):
            if exchange.waits_since is not None and exchange.waits_since <= self.doubted_at:
                exchange.give_up()

    async def aclose(self) -> None:
        """Close its connections."""
        if self.check is not None:
            self.check.cancel()
            await asyncio.wait([self.check])
        await asyncio.gather(self.pulse.aclose(), self.client.aclose())


class Connections:
    """All connections to one server; they open themselves on first use, on the loop of the requests."""

    def __init__(self, make: Callable[[Tls], httpx.AsyncClient], tls: Followed[Tls]) -> None:
        """`make` a client that encrypts so."""
        self._make, self._tls = make, tls
        self._current = self._next()
        self._retired: set[_Generation] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @contextmanager
    def exchange(self) -> Iterator[Exchange]:
        """A request and its response."""
        self._follow_certificates()
        with self._on(self._current) as exchange:
            yield exchange

    @contextmanager
    def _on(self, generation: _Generation) -> Iterator[Exchange]:
        exchange = Exchange(generation.client, lambda: self._retire(generation))
        generation.exchanges.add(exchange)
        try:
            yield exchange
        finally:
            exchange.close()
            generation.exchanges.discard(exchange)
            self._tidy()

    async def ask(self, question: Callable[[httpx.AsyncClient], Coroutine[Any, Any, T]], ms_max: int) -> T:
        """The server's answer, from whichever connection; those that are found dead meanwhile are given up.

        Raises:
            TimeoutError: there was none in time.
            httpx.TransportError: it cannot be reached.

        """
        self._follow_certificates()
        answer = await self._answer(question, ms_max / 1000)
        await self._give_up_dead()
        return answer

    async def aclose(self) -> None:
        """Close them all; exchanges on them end. Harmless twice."""
        for generation in (self._current, *self._retired):
            await generation.aclose()
        self._retired.clear()
        await asyncio.gather(*self._closing, return_exceptions=True)

    # --- is it alive? ---

    async def _answer(self, question: Callable[[httpx.AsyncClient], Coroutine[Any, Any, T]], s_max: float) -> T:
        """Half of the time is for the connections there are, the other half for a new one."""
        old = self._current
        with self._on(old):
            first = asyncio.create_task(question(old.pulse))
            await _done([first], s_max / 2)
            if first.done() and not isinstance(first.exception(), httpx.TransportError):
                return first.result()
            self._doubt(old, first)
            new = self._current
            with self._on(new):
                second = asyncio.create_task(question(new.pulse))
                await _done([second] if first.done() else [first, second], s_max / 2)
                if not second.done():
                    self._doubt(new, second)
            for answer in (first, second):
                if answer.done() and not answer.exception():
                    return answer.result()
            if second.done():
                return second.result()
            raise TimeoutError

    def _doubt(self, generation: _Generation, check: asyncio.Task[Any]) -> None:
        """A check has failed there, or is late."""
        generation.check, generation.doubted_at = check, asyncio.get_running_loop().time()
        check.add_done_callback(_look_at)
        self._retire(generation)

    async def _give_up_dead(self) -> None:
        """The server has answered just now: older connections on which it still owes an answer are dead."""
        owing = [generation for generation in self._retired if generation.owes]
        if owing:
            await asyncio.wait([generation.check for generation in owing if generation.check], timeout=GRACE_S)
        for generation in owing:
            if generation.owes:
                generation.give_up()

    # --- one generation after the other ---

    def _follow_certificates(self) -> None:
        """New exchanges show, and check by, what the files say now."""
        self._tls.look()
        if self._current.tls is not self._tls.now:
            self._retire(self._current)

    def _retire(self, generation: _Generation) -> None:
        """What comes next goes over new connections."""
        if generation is self._current:
            self._retired.add(generation)
            self._current = self._next()
            self._tidy()

    def _next(self) -> _Generation:
        return _Generation(self._make, self._tls.now)

    def _tidy(self) -> None:
        """Let go of the retired ones that nobody uses any more."""
        idle = [generation for generation in self._retired if not generation.exchanges]
        for generation in idle:
            self._retired.discard(generation)
            closing = asyncio.get_running_loop().create_task(generation.aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


async def _done(answers: Sequence[asyncio.Task[Any]], s_max: float) -> None:
    """Wait for the first of them. Whoever is cancelled meanwhile does not want them."""
    try:
        await asyncio.wait(answers, timeout=s_max, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        for answer in answers:
            answer.cancel()
        raise


def _look_at(check: asyncio.Task[Any]) -> None:
    """An error that nobody waits for any more is no defect."""
    if not check.cancelled():
        check.exception()


# --- what a client is made of ------------------------------------------------------------------------------------------------


def tls_context(authorities: str, certificate: str, key: str) -> ssl.SSLContext:
    """From these files (PEM); empty ones are left out. Raises `OSError`, of which `ssl.SSLError` is one."""
    context = ssl.create_default_context(cafile=authorities or None)
    if certificate:
        context.load_cert_chain(certificate, key)
    return context


def liveness(ms_max: int) -> list[tuple[int, int, int]]:
    """Socket options by which the kernel ends a connection whose other end acknowledges nothing for `ms_max`.

    Linux counts what was sent and the probes of an idle connection alike; macOS has the probes alone; elsewhere nothing is known.
    """
    wanted = {
        "TCP_KEEPIDLE": PROBE_S,
        "TCP_KEEPALIVE": PROBE_S,  # what macOS calls it
        "TCP_KEEPINTVL": PROBE_S,
        "TCP_KEEPCNT": max(1, ms_max // 1000 // PROBE_S),
        "TCP_USER_TIMEOUT": ms_max,
    }
    known = [(socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in wanted.items() if hasattr(socket, name)]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *known]

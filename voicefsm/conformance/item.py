"""One item of the list: what a server is expected to do, and how a client can see whether it does."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Awaitable, Callable

from voicefsm.conformance.targets import Targets

DEADLINE_MS = 30_000
"""How long one item may take, unless it says otherwise."""
LONG_MS = 700_000
"""How long one may take that leaves a server alone for `Wish.idle_s`, which is ten minutes at most."""


class Outcome(enum.StrEnum):
    """How an item came out."""

    PASS = "pass"  # noqa: S105, no password
    FAIL = "fail"
    NOT_SUPPORTED = "not supported"
    """The server lacks what the item is about, or the item cannot be seen there. No fault."""


class Failed(Exception):
    """The server does otherwise. The text says what it did."""


class Away(Failed):
    """Nobody is there who could do anything. The text says where."""


class NotSupported(Exception):
    """The item does not apply to this server. The text says why."""


class Need(enum.Flag):
    """Which servers an item looks at."""

    RIVA = enum.auto()
    LLM = enum.auto()


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One item."""

    id: str
    """A letter and a number: A for ASR, T for TTS, L for the language model, H for what is around them."""
    title: str
    """What is expected, in one line."""
    run: Callable[[Targets], Awaitable[str]]
    """Returns what was seen, in one line. Raises `Failed` or `NotSupported`; any other error is a failure too."""
    needs: Need = Need.RIVA
    """Run when one of these is given."""
    deadline_ms: int = DEADLINE_MS


def cannot_be_seen(because: str) -> Callable[[Targets], Awaitable[str]]:
    """An item that a client cannot provoke, or should not; the report says why."""

    async def check(_: Targets) -> str:
        raise NotSupported(because)

    return check


BY_ITSELF = "comes over a server by itself, and cannot be had on demand: the gateway's own tests have it, on a scripted server"
OPERATOR = "needs a hand on the server: see the fault tests"


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What came of it."""

    id: str
    title: str
    outcome: Outcome
    detail: str
    took_ms: int
    is_away: bool = False
    """Nobody was there: the items after it that need this server are not run."""

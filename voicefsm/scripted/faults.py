"""What can go wrong with a call, as a script says it."""

from __future__ import annotations

import asyncio
import dataclasses

import grpc

SETTLE_MS = 5
"""How long after the end of its requests a call waits to learn whether the client half-closed or cancelled."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fail:
    """End the call with a status."""

    code: grpc.StatusCode
    details: str


@dataclasses.dataclass(frozen=True, slots=True)
class Close:
    """End the call with OK although the client has more to say."""


@dataclasses.dataclass(frozen=True, slots=True)
class FallSilent:
    """Take everything and answer nothing ever after."""


@dataclasses.dataclass(frozen=True, slots=True)
class StopReading:
    """Answer nothing and take nothing: a frozen server."""


async def settle() -> None:
    """Let a cancellation arrive. In grpc.aio the requests of a cancelled call end just like those of a half-closed one."""
    await asyncio.sleep(SETTLE_MS / 1000)

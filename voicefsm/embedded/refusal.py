"""How a service says no: an exception that carries the gRPC status, and the place where it becomes one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TypeAlias

import grpc
import grpc.aio

from voicefsm.embedded.audio import BadAudio

Context: TypeAlias = grpc.aio.ServicerContext


class Refused(Exception):
    """The client asked for something that cannot be."""

    def __init__(self, message: str, code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT) -> None:
        super().__init__(message)
        self.code = code


@contextlib.asynccontextmanager
async def refusals(context: Context) -> AsyncIterator[None]:
    """Turn what goes wrong inside into the status of the call."""
    try:
        yield
    except Refused as refused:
        await context.abort(refused.code, str(refused))
    except BadAudio as bad:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(bad))
    except RuntimeError as failed:
        await context.abort(grpc.StatusCode.INTERNAL, f"The engine failed: {failed}.")

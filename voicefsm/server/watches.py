"""What else the port answers: health and reflection. Neither asks who calls, and both hold calls open for ever: few at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

WATCHES_MAX = 500
"""Calls to each of them that may be open at once. Each costs about 30 KiB."""

Call: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class _Places:
    """For the open calls to one service."""

    def __init__(self) -> None:
        self._taken = 0

    def take(self, call: Call) -> bool:
        """Whether there was one. Where not, the call has its status: `abort` would leave it to the garbage collector."""
        if self._taken >= WATCHES_MAX:
            call.set_code(grpc.StatusCode.RESOURCE_EXHAUSTED)
            call.set_details(f"{WATCHES_MAX} such calls are open already. Try again later.")
            return False
        self._taken += 1
        return True

    def leave(self) -> None:
        """The call is over."""
        self._taken -= 1


class Health(health.aio.HealthServicer):  # type: ignore[misc] # untyped
    """grpc.health.v1. `Check` is always answered."""

    def __init__(self) -> None:
        super().__init__()
        self._places = _Places()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Call) -> None:  # noqa: N802 (the protocol's name)
        """See health.proto."""
        if self._places.take(context):
            try:
                await super().Watch(request, context)
            finally:
                self._places.leave()


class Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc] # untyped
    """grpc.reflection.v1alpha."""

    def __init__(self, services: tuple[str, ...]) -> None:
        super().__init__(services)
        self._places = _Places()

    async def ServerReflectionInfo(  # noqa: N802 (the protocol's name)
        self, request_iterator: AsyncIterator[reflection_pb2.ServerReflectionRequest], context: Call
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        """See reflection.proto."""
        if self._places.take(context):
            try:
                async for answer in super().ServerReflectionInfo(request_iterator, context):
                    yield answer
            finally:
                self._places.leave()

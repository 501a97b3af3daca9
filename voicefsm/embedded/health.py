"""grpc.health.v1, on Riva's own stubs: `riva.client.proto.health_pb2` and grpcio-health-checking cannot live in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection

import grpc
from riva.client.proto import health_pb2 as health
from riva.client.proto import health_pb2_grpc as health_grpc

from voicefsm.embedded.refusal import Context

_Status = health.HealthCheckResponse.ServingStatus
_SERVICE_UNKNOWN = 3
"""In the standard's enum, missing in Riva's copy."""


class HealthService(health_grpc.HealthServicer):  # type: ignore[misc]
    """SERVING until `stop()`, for the server ("") and each of its services."""

    def __init__(self, services: Collection[str]) -> None:
        self._services = {"", *services}
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Say NOT_SERVING from now on, to the watchers too."""
        self._stopped.set()

    async def Check(self, request: health.HealthCheckRequest, context: Context) -> health.HealthCheckResponse:  # noqa: N802
        """The state now; NOT_FOUND for a service that is not here."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"There is no service {request.service!r} here.")
        return self._answer()

    async def Watch(  # noqa: N802
        self, request: health.HealthCheckRequest, _: Context
    ) -> AsyncIterator[health.HealthCheckResponse]:
        """The state now and when it changes."""
        if request.service in self._services:
            yield self._answer()
            await self._stopped.wait()
            yield self._answer()
            return
        yield health.HealthCheckResponse(status=_SERVICE_UNKNOWN)
        await self._stopped.wait()

    def _answer(self) -> health.HealthCheckResponse:
        return health.HealthCheckResponse(status=_Status.NOT_SERVING if self._stopped.is_set() else _Status.SERVING)

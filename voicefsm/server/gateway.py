"""The gRPC server: its port, its health, its end.

Health (grpc.health.v1): "" is liveness and SERVING as long as the process works; "voicefsm.v1.ConversationService" is readiness
and SERVING while each backend has a server that is up (health.py). It turns NOT_SERVING as soon as the process is told to stop. The
order then: not ready, no new sessions, time for the live ones, an in-band end for those that are left, and only then the port.
"""

from __future__ import annotations

import asyncio

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from voicefsm.errors import SettingsError
from voicefsm.server.admin import AdminServicer
from voicefsm.server.admission import WINDOW_BYTES, ServerSettings
from voicefsm.server.port import address, hold
from voicefsm.server.servicer import ConversationServicer
from voicefsm.server.tls import Certificates
from voicefsm.server.watches import Health, Reflection
from voicefsm.v1 import admin_pb2_grpc as admin_grpc
from voicefsm.v1 import conversation_pb2 as pb
from voicefsm.v1 import conversation_pb2_grpc as pb_grpc

SERVICE = pb.DESCRIPTOR.services_by_name["ConversationService"].full_name

_CLOSE_MS = 1000
"""How long sessions may take to end once they were told to."""
_POLL_MS = 50


class Gateway:
    """The server of one process."""

    def __init__(
        self,
        settings: ServerSettings,
        servicer: ConversationServicer,
        *,
        is_ready: bool = True,
        certificates: Certificates | None = None,
        admin: AdminServicer | None = None,
    ) -> None:
        """`is_ready`: whether it is before anybody calls `set_ready`. Without `certificates` nothing is encrypted."""
        self._settings, self._servicer = settings, servicer
        self._is_ready, self._is_stopping = is_ready, False
        self._health = Health()
        self._server = grpc.aio.server(options=_options(settings))
        pb_grpc.add_ConversationServiceServicer_to_server(servicer, self._server)  # type: ignore[no-untyped-call] # generated
        if admin is not None:
            admin_grpc.add_AdminServiceServicer_to_server(admin, self._server)  # type: ignore[no-untyped-call] # generated
        if settings.health:
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._certificates = certificates
        self._probed = self._for_probes()
        if settings.reflection:
            named = (SERVICE, reflection.SERVICE_NAME, *(["grpc.health.v1.Health"] if settings.health else []))
            reflection_pb2_grpc.add_ServerReflectionServicer_to_server(Reflection(named), self._server)

    async def start(self) -> int:
        """Open the port. Returns its number. Raises `SettingsError` when it cannot be opened."""
        port = _listen(self._server, self._settings.host, self._settings.port, "server.port", self._certificates)
        if self._probed is not None:
            _listen(self._probed, self._settings.host, self._settings.health_port, "server.health_port")
            await self._probed.start()
        await self._server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        await self.set_ready(is_ready=self._is_ready)
        return port

    @property
    def is_ready(self) -> bool:
        """Whether it says so."""
        return self._is_ready

    async def set_ready(self, *, is_ready: bool) -> None:
        """Say whether conversations can be held here now. One that is about to stop is not ready again."""
        self._is_ready = is_ready and not self._is_stopping
        status = health_pb2.HealthCheckResponse
        await self._health.set(SERVICE, status.SERVING if self._is_ready else status.NOT_SERVING)

    async def stop(self) -> None:
        """Drain, then close. Live sessions have `drain_ms_max` to come to their own end."""
        self._is_stopping = True
        await self.set_ready(is_ready=False)
        self._servicer.drain(self._settings.drain_ms_max)
        await self._wait_for_sessions(self._settings.drain_ms_max)
        self._servicer.shut_down()
        await self._wait_for_sessions(_CLOSE_MS)
        await self._server.stop(grace=_CLOSE_MS / 1000)
        if self._probed is not None:
            await self._probed.stop(grace=0)

    def _for_probes(self) -> grpc.aio.Server | None:
        """A server for health alone, if it is wanted."""
        if not self._settings.health_port:
            return None
        server = grpc.aio.server(options=_options(self._settings))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        return server

    async def _wait_for_sessions(self, wait_ms: int) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time() + wait_ms / 1000
        while self._servicer.sessions and loop.time() < due_s:  # noqa: ASYNC110 (not counted: on a busy loop each sleep is longer)
            await asyncio.sleep(_POLL_MS / 1000)


def _listen(server: grpc.aio.Server, host: str, port: int, setting: str, certificates: Certificates | None = None) -> int:
    """Open a port. Returns its number. Raises `SettingsError`."""
    where = address(host, port)
    try:
        if certificates is None:
            return int(server.add_insecure_port(where))
        return int(server.add_secure_port(where, certificates.credentials()))
    except RuntimeError as error:
        hold(host, port, setting).close()  # raises the reason
        raise SettingsError(f"Cannot listen on {where}: {error}.", remedy=f"Set server.host, or {setting}.") from error


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.message_bytes_max),
        ("grpc.so_reuseport", int(settings.port_is_shared)),  # else a second gateway on the port is a mistake
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.bdp_probe", 0),  # what a client may send ahead does not grow: it is memory ...
        ("grpc.http2.lookahead_bytes", WINDOW_BYTES),  # ... but the calls of one connection share it, for each round trip
    ]

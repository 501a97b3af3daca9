"""A scripted Riva: both services, their listings and gRPC health, in this process, on a port of its own."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import grpc
import grpc.aio
import riva.client.proto.riva_asr_pb2_grpc as rasr_grpc
import riva.client.proto.riva_tts_pb2 as rtts
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from voicefsm.scripted.asr import AsrScript, ScriptedAsr
from voicefsm.scripted.tts import ScriptedTts, TtsScript

TTS_SERVICE = "nvidia.riva.tts.RivaSpeechSynthesis"


@dataclasses.dataclass(frozen=True, slots=True)
class Gate:
    """Who is let in, and how."""

    certificate: bytes = b""
    """Our certificate (PEM); none: nothing is encrypted."""
    key: bytes = b""
    """Its private key (PEM)."""
    client_authorities: bytes = b""
    """Whose certificates a client must have one of (PEM); none: it needs none."""
    api_keys: frozenset[str] = frozenset()
    """Bearer tokens that are let in; none: everybody is."""


class _Doorkeeper(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Notes the metadata of each call, and turns away who has no key."""

    def __init__(self, riva: ScriptedRiva) -> None:
        self._riva = riva

    async def intercept_service(self, proceed: Any, details: grpc.HandlerCallDetails) -> Any:
        """See `grpc.aio.ServerInterceptor`."""
        metadata = [(name, value) for name, value in details.invocation_metadata if isinstance(value, str)]
        self._riva.metadata.append(metadata)
        keys = self._riva.gate.api_keys
        handler = await proceed(details)
        if not keys or any(f"Bearer {key}" == value for name, value in metadata if name == "authorization" for key in keys):
            return handler
        return _turned_away(handler)


def _turned_away(handler: Any) -> Any:
    """A handler of the same kind that lets nobody in."""

    async def refuse(_: object, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no such key")

    kinds = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = kinds[handler.request_streaming, handler.response_streaming]
    return make(refuse, handler.request_deserializer, handler.response_serializer)


class ScriptedRiva:
    """`async with ScriptedRiva(asr=AsrScript(…), tts=TtsScript(…)) as riva:` serves at `riva.target` until the block is left.

    `riva.asr` and `riva.tts` are what the servers saw. `stop()` and `start()` inside the block are an outage on the same port.
    """

    def __init__(
        self,
        *,
        asr: AsrScript | ScriptedAsr | None = None,
        tts: TtsScript | ScriptedTts | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        gate: Gate | None = None,
        is_serving: bool = True,
    ) -> None:
        self.asr = asr if isinstance(asr, ScriptedAsr) else ScriptedAsr(asr or AsrScript())
        self.tts = tts if isinstance(tts, ScriptedTts) else ScriptedTts(tts or TtsScript())
        self.gate = gate or Gate()
        """Who is let in; the keys may be exchanged at any time."""
        self.metadata: list[list[tuple[str, str]]] = []
        """Of each call, in order of arrival."""
        self.is_serving = is_serving
        """What the health service says."""
        self._host, self._port = host, port
        self._server: grpc.aio.Server | None = None

    @property
    def target(self) -> str:
        """HOST:PORT."""
        return f"{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen. The port stays the same after the first time."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)], interceptors=[_Doorkeeper(self)])
        rasr_grpc.add_RivaSpeechRecognitionServicer_to_server(self.asr, server)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(TTS_SERVICE, self._tts_methods()),))
        checks = health.aio.HealthServicer()
        states = health_pb2.HealthCheckResponse
        await checks.set("", states.SERVING if self.is_serving else states.NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        self._port = self._listen(server)
        await server.start()
        self._server = server

    def _listen(self, server: grpc.aio.Server) -> int:
        gate = self.gate
        if not gate.certificate:
            return int(server.add_insecure_port(self.target))
        authorities = gate.client_authorities or None
        pair = [(gate.key, gate.certificate)]
        credentials = grpc.ssl_server_credentials(pair, authorities, require_client_auth=authorities is not None)
        return int(server.add_secure_port(self.target, credentials))

    async def stop(self) -> None:
        """Drop every call and stop listening. Harmless twice."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace=None)

    def _tts_methods(self) -> dict[str, grpc.RpcMethodHandler[object, object]]:
        """By hand and not by the generated code: the old service has the same name and another shape."""
        read, write = rtts.SynthesizeSpeechRequest.FromString, rtts.SynthesizeSpeechResponse.SerializeToString
        if self.tts.script.is_old:
            online = grpc.unary_stream_rpc_method_handler(self.tts.online_old, read, write)
        else:
            online = grpc.stream_stream_rpc_method_handler(self.tts.online, read, write)
        listing = grpc.unary_unary_rpc_method_handler(
            self.tts.config, rtts.RivaSynthesisConfigRequest.FromString, rtts.RivaSynthesisConfigResponse.SerializeToString
        )
        return {"SynthesizeOnline": online, "GetRivaSynthesisConfig": listing}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

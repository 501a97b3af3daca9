"""Is the gateway of this container alive? Exit code 0 if its health service says so, 1 if not."""  # noqa: INP001  # a script

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from voicefsm.config import load


def problem() -> str:
    """Ask where the settings say that it listens; a server that does not answer in time is not alive. Empty: it is."""
    settings = load()
    if settings.tls.is_on and not settings.server.health_port:
        return "the port is encrypted, and a probe is nobody: set server.health_port"
    with grpc.insecure_channel(f"127.0.0.1:{settings.server.health_port or settings.server.port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=3)
        except grpc.RpcError as error:
            return str(error.details())
    return "" if answer.status == health_pb2.HealthCheckResponse.SERVING else "not serving"


if __name__ == "__main__":
    sys.exit(problem() or 0)

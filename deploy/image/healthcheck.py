"""Is the gateway of this container alive? Exit code 0 if its health service says so, 1 if not."""  # noqa: INP001  # a script

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from voicefsm.config import load


def is_alive() -> bool:
    """Ask where the settings say that it listens; a server that does not answer in time is not alive."""
    with grpc.insecure_channel(f"127.0.0.1:{load().server.port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=3)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    sys.exit(0 if is_alive() else 1)

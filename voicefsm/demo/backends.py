"""The two child processes of the demo, and what stands behind them."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
from riva.client.proto import riva_asr_pb2 as riva_asr
from riva.client.proto.riva_asr_pb2_grpc import RivaSpeechRecognitionStub

from voicefsm.demo.settings import DemoSettings
from voicefsm.processes import (
    EMBEDDED_LIKES,
    EMBEDDED_LLM,
    EMBEDDED_READY,
    EMBEDDED_RIVA,
    Child,
    child,
    environment_without_settings,
)

EMBEDDED_LINES = (rf"^{re.escape(EMBEDDED_RIVA)}(\S+)", rf"^{re.escape(EMBEDDED_LLM)}(\S+)", f"^{EMBEDDED_READY}")
GATEWAY_ADDRESS = r"^voicefsm gateway: listening on (\S+)"
GATEWAY_READY = r"^voicefsm gateway: ready"
ASK_S_MAX = 10.0
"""How long a backend may take to say what it is."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """Everything is up."""

    riva: str
    """HOST:PORT of ASR and TTS."""
    llm: str
    """Base URL of the model."""
    gateway: str
    """HOST:PORT of the gateway."""
    children: tuple[Child, ...]


@asynccontextmanager
async def stage(settings: DemoSettings, journals: Path) -> AsyncIterator[Stage]:
    """Start the embedded backends and a gateway that uses them, on free ports of loopback. Raises `ProcessDied`."""
    clean = environment_without_settings()
    stop_ms_max, out = settings.stop_ms_max, settings.out
    program = (sys.executable, "-u", "-m", "voicefsm")
    command = (*program, "embedded", "--riva-port", "0", "--llm-port", "0")
    async with child("embedded", command, environment=clean, log=out / "embedded.log", stop_ms_max=stop_ms_max) as embedded:
        riva, llm, _ = await embedded.ready(EMBEDDED_LINES, settings.start_ms_max)
        environment = clean | _gateway_environment(riva, llm, journals)
        async with child(
            "gateway", (*program, "serve"), environment=environment, log=out / "gateway.log", stop_ms_max=stop_ms_max
        ) as gateway:
            address, _ = await gateway.ready((GATEWAY_ADDRESS, GATEWAY_READY), settings.start_ms_max)
            yield Stage(riva, llm, address, (embedded, gateway))


def _gateway_environment(riva: str, llm: str, journals: Path) -> dict[str, str]:
    return {
        "VOICEFSM_SERVER__HOST": "127.0.0.1",
        "VOICEFSM_SERVER__PORT": "0",
        "VOICEFSM_RIVA__TARGET": riva,
        "VOICEFSM_LLM__BASE_URL": llm,
        "VOICEFSM_JOURNAL__DIR": str(journals),
    } | {f"VOICEFSM_{section}__{name}".upper(): value for section, liked in EMBEDDED_LIKES.items() for name, value in liked.items()}


async def engines(stage: Stage) -> dict[str, str]:
    """What the backends call themselves; what does not answer is left out."""
    found: dict[str, str] = {}
    with contextlib.suppress(grpc.aio.AioRpcError):
        async with grpc.aio.insecure_channel(stage.riva) as channel:
            request = riva_asr.RivaSpeechRecognitionConfigRequest()
            answer = await RivaSpeechRecognitionStub(channel).GetRivaSpeechRecognitionConfig(request, timeout=ASK_S_MAX)
            found["asr"] = ", ".join(model.model_name for model in answer.model_config)
    with contextlib.suppress(httpx.HTTPError, KeyError, ValueError):
        async with httpx.AsyncClient(timeout=ASK_S_MAX, trust_env=False) as client:
            models = (await client.get(f"{stage.llm}/models")).json()["data"]
            found["llm"] = ", ".join(model["id"] for model in models)
    return found

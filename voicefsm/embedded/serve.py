"""The embedded process: two servers, their engines, and an orderly end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from riva.client.proto import riva_asr_pb2 as asr
from riva.client.proto import riva_asr_pb2_grpc as asr_grpc
from riva.client.proto import riva_tts_pb2 as tts
from riva.client.proto import riva_tts_pb2_grpc as tts_grpc

from voicefsm.embedded.decoders import DecoderPool
from voicefsm.embedded.llm_server import llm_server
from voicefsm.embedded.pocketsphinx_engine import SpeechModel
from voicefsm.embedded.recognition_service import RecognitionService
from voicefsm.embedded.settings import EmbeddedSettings
from voicefsm.embedded.synthesis import Synthesizer, engines
from voicefsm.embedded.synthesis_service import SynthesisService

_BYTES_PER_S_MAX = 2 * 48000
_SERVICES = (
    asr.DESCRIPTOR.services_by_name["RivaSpeechRecognition"].full_name,
    tts.DESCRIPTOR.services_by_name["RivaSpeechSynthesis"].full_name,
)


async def serve(settings: EmbeddedSettings) -> None:
    """Load the engines, listen, say so, and serve until SIGTERM or SIGINT.

    Raises SystemExit with a message when a port is taken.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as servers:
        try:
            llm = await servers.enter_async_context(llm_server(settings.llm))
        except OSError:
            raise _cannot_listen(settings.host, settings.llm_port, "llm") from None
        riva_port = await servers.enter_async_context(_riva(settings))
        _say(f"Riva ASR+TTS on {settings.host}:{riva_port}")
        _say(f"LLM on {llm.base_url}")
        _say("ready")
        await stop.wait()


def _say(line: str) -> None:
    print(f"voicefsm embedded: {line}", flush=True)  # noqa: T201  # who starts this process waits for these lines


def _cannot_listen(host: str, port: int, which: str) -> SystemExit:
    return SystemExit(
        f"voicefsm embedded: cannot listen on {host}, port {port}. Is something else listening there? Stop it, or choose "
        f"another port with `embedded --{which}-port` or `serve --embedded --set embedded.{which}_port`; 0 takes any free one."
    )


@asynccontextmanager
async def _riva(settings: EmbeddedSettings) -> AsyncIterator[int]:
    """The speech server; yields its port."""
    options = [
        ("grpc.so_reuseport", 0),  # a second server on our port is an error, not a lottery
        ("grpc.max_receive_message_length", settings.asr_recording_s_max * _BYTES_PER_S_MAX),
        ("grpc.max_send_message_length", -1),
    ]
    server = grpc.aio.server(options=options)
    try:
        port = server.add_insecure_port(f"{settings.host}:{settings.riva_port}")
    except RuntimeError:
        raise _cannot_listen(settings.host, settings.riva_port, "riva") from None
    pool = DecoderPool(SpeechModel(settings.asr_search, settings.asr_domain_weight), settings.asr_streams_max)
    synthesizer = Synthesizer(engines(settings.tts_words_per_minute, with_flite=settings.tts_flite))
    readiness = health.aio.HealthServicer()
    asr_grpc.add_RivaSpeechRecognitionServicer_to_server(RecognitionService(pool, settings), server)
    tts_grpc.add_RivaSpeechSynthesisServicer_to_server(SynthesisService(synthesizer, settings), server)
    health_pb2_grpc.add_HealthServicer_to_server(readiness, server)
    await pool.load()
    await synthesizer.warm_up()
    for service in ("", *_SERVICES):
        await readiness.set(service, health_pb2.HealthCheckResponse.SERVING)
    await server.start()
    try:
        yield port
    finally:
        await readiness.enter_graceful_shutdown()
        await server.stop(settings.stop_ms_max / 1000)
        synthesizer.close()
        pool.close()

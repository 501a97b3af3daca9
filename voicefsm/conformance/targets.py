"""The servers under test, reached just as the gateway reaches them: the same settings, the same channels, the same credentials."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import riva.client.proto.riva_asr_pb2_grpc as rasr_grpc
import riva.client.proto.riva_tts_pb2_grpc as rtts_grpc
from grpc_health.v1 import health_pb2_grpc

from voicefsm.adapters.channels import Connection, FunctionSettings, RivaChannel, RivaChannelSettings
from voicefsm.adapters.nim import LlmSettings, NimLanguageModel, http_client, tls_of
from voicefsm.adapters.riva_asr import RivaAsrSettings
from voicefsm.adapters.riva_tts import RivaSynthesizer, RivaTtsSettings
from voicefsm.ports import SynthesisRequest
from voicefsm.values import Backend

SPEECH_RATE_HZ = 16000


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """What is to be tested. Each server is optional."""

    riva: RivaChannelSettings | None = None
    llm: LlmSettings | None = None
    asr: RivaAsrSettings = RivaAsrSettings()
    tts: RivaTtsSettings = RivaTtsSettings()
    language_code: str = "en-US"
    voice_name: str = ""
    """Empty: the server's own choice."""
    riva_http: str = ""
    """Base URL of a Speech NIM's HTTP port; empty: nobody knows."""
    idle_s: float = 35.0
    """How long H5 leaves a connection alone; hosted services close theirs after 30 s."""


class Riva:
    """One Riva server."""

    def __init__(self, settings: RivaChannelSettings, wish: Wish) -> None:
        self.settings, self.asr, self.tts = settings, wish.asr, wish.tts
        self.language_code, self.voice_name = wish.language_code, wish.voice_name
        self.synthesizer = RivaSynthesizer(wish.tts, settings)
        """The gateway's own adapter; its channel has the gateway's bound on the run-ahead."""
        self._function = FunctionSettings(wish.asr.function_id, wish.asr.function_version_id)
        self._recognition = RivaChannel(Backend.ASR, settings, function=self._function)

    def recognition(self) -> rasr_grpc.RivaSpeechRecognitionStub:
        """The ASR service, raw."""
        return rasr_grpc.RivaSpeechRecognitionStub(self._recognition.get())

    def synthesis(self) -> rtts_grpc.RivaSpeechSynthesisStub:
        """The TTS service, raw."""
        return self.synthesizer.stub()

    def health(self) -> health_pb2_grpc.HealthStub:
        """The gRPC health service."""
        return health_pb2_grpc.HealthStub(self._recognition.get())

    @asynccontextmanager
    async def fresh_channel(self) -> AsyncGenerator[Connection]:
        """A connection that nothing else uses."""
        async with aclosing(RivaChannel(Backend.ASR, self.settings, function=self._function)) as channel:
            yield channel.get()

    async def say(self, text: str) -> bytes:
        """`text` spoken by this server: 16 kHz PCM16, for its recogniser to hear. Raises `BackendError`."""
        request = SynthesisRequest(self.language_code, self.voice_name, SPEECH_RATE_HZ)
        async with self.synthesizer.open(request) as stream:
            stream.speak(0, text)
            stream.finish()
            spoken: AsyncIterator[bytes] = (audio.samples.tobytes() async for audio in stream)
            return b"".join([samples async for samples in spoken])

    async def aclose(self) -> None:
        """Close every connection."""
        await self.synthesizer.aclose()
        await self._recognition.aclose()


class Llm:
    """One model server."""

    def __init__(self, settings: LlmSettings) -> None:
        self.settings = settings
        self.model = NimLanguageModel(settings)
        """The gateway's own adapter."""
        self.client = http_client(settings, tls_of(settings))
        """The wire itself. Its base URL is the server's (…/v1/)."""

    async def aclose(self) -> None:
        """Close every connection."""
        await self.model.aclose()
        await self.client.aclose()


@dataclasses.dataclass(frozen=True, slots=True)
class Targets:
    """The servers that were given. A check is only run when what it needs is there."""

    wish: Wish
    given_riva: Riva | None
    given_llm: Llm | None

    @property
    def riva(self) -> Riva:
        """The Riva server, for checks that need one."""
        assert self.given_riva is not None, "this check needs a Riva server"
        return self.given_riva

    @property
    def llm(self) -> Llm:
        """The model server, for checks that need one."""
        assert self.given_llm is not None, "this check needs a model server"
        return self.given_llm


@asynccontextmanager
async def reach(wish: Wish) -> AsyncGenerator[Targets]:
    """The servers of a wish; their connections are closed on leaving."""
    async with AsyncExitStack() as stack:
        riva = await stack.enter_async_context(aclosing(Riva(wish.riva, wish))) if wish.riva else None
        llm = await stack.enter_async_context(aclosing(Llm(wish.llm))) if wish.llm else None
        yield Targets(wish, riva, llm)

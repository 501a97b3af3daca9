"""`python -m voicefsm.load.relay JSON`: the floor, a bare relay between our protocol and the scripted backends.

What is the least that could pass for a gateway? For each session a reader of the client, that asks webrtcvad about each frame and
hands it to the recogniser, a reader of the recogniser, and a writer to the client; in a turn, a reader of the model and one of the
voice. Four voiced frames are speech and cancel the reply; so much silence as the client wishes ends its turn. Nothing else:
no echo canceller, no state machine, no second thoughts about an interruption, no journal, no metrics, no checks of what a client
sends, no limits; a backend's failure ends the session. Nobody should serve with it: `voicefsm bench floor` measures beside it.

It is as good as such a relay is: uvloop, the garbage collector as in the gateway, connections that are shared, no task per frame,
playout paced by the client's, sentences cut at the token that ends them, the first-pass end of utterance used, and whatever belongs
to a cancelled reply cancelled at once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import httpx
import numpy as np
import riva.client.proto.riva_asr_pb2 as rasr
import riva.client.proto.riva_asr_pb2_grpc as rasr_grpc
import riva.client.proto.riva_audio_pb2 as raudio
import riva.client.proto.riva_tts_pb2 as rtts
import riva.client.proto.riva_tts_pb2_grpc as rtts_grpc
import webrtcvad

from voicefsm.adapters.riva_asr import endpointing
from voicefsm.audio.samples import FRAME_MS, RATE_HZ
from voicefsm.calls import half_close, write
from voicefsm.loop import run, settle_memory
from voicefsm.v1 import conversation_pb2 as pb
from voicefsm.v1 import conversation_pb2_grpc as pb_grpc

ONSET_FRAMES = 4
"""Voiced frames in a row that are speech."""
VAD_MODE = 2
AUDIBLE = 100
"""A frame with no sample above this, some -50 dB full scale, is silence."""
BYTES_PER_MS = 2 * RATE_HZ // 1000
AHEAD_SAMPLES = RATE_HZ * 400 // 1000
"""How much of a reply is sent ahead of the client's playout."""
PIECE_BYTES = 100 * BYTES_PER_MS
"""Longest piece of audio that the protocol allows."""
EARLY_MS = 240
"""Silence after which the recogniser announces the end of an utterance."""
MESSAGES_MAX = 20
"""How much of the conversation the model is told."""
WAITING_MAX = 1000
"""Messages that wait for a client."""
LANGUAGE = "en-US"
SENTENCE_ENDS = (".", "!", "?")
RUN_AHEAD = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 16384))
"""Else a voice sends minutes ahead of what is read."""


@dataclasses.dataclass(frozen=True, slots=True)
class Backends:
    """What all sessions share."""

    asr: rasr_grpc.RivaSpeechRecognitionStub
    tts: rtts_grpc.RivaSpeechSynthesisStub
    llm: httpx.AsyncClient


class Relay(pb_grpc.ConversationServiceServicer):
    """The service."""

    def __init__(self, backends: Backends, chunk_ms: int) -> None:
        self._backends, self._chunk_ms = backends, chunk_ms

    async def Converse(self, requests: AsyncIterator[pb.ConverseRequest], context: Any) -> None:  # noqa: N802 (the protocol's name)
        """See conversation.proto."""
        config = (await anext(requests)).config
        await context.write(pb.ConverseResponse(session_ready=pb.SessionReady(session_id="relay", echo_canceller="none")))
        silence_ms = config.endpointing.silence_ms
        recognition = self._backends.asr.StreamingRecognize()
        try:
            await write(recognition, rasr.StreamingRecognizeRequest(streaming_config=_recognised(silence_ms)))
            async with asyncio.TaskGroup() as tasks:
                session = Session(self._backends, recognition, tasks, silence_ms // FRAME_MS, self._chunk_ms * BYTES_PER_MS)
                beside = tasks.create_task(session.listen()), tasks.create_task(session.tell(context))
                await session.hear(requests)
                session.leave()
                for task in beside:
                    task.cancel()
        finally:
            recognition.cancel()


def _recognised(silence_ms: int) -> rasr.StreamingRecognitionConfig:
    config = rasr.RecognitionConfig(
        encoding=raudio.AudioEncoding.LINEAR_PCM,
        sample_rate_hertz=RATE_HZ,
        language_code=LANGUAGE,
        max_alternatives=1,
        audio_channel_count=1,
        endpointing_config=endpointing(silence_ms, EARLY_MS),
    )
    return rasr.StreamingRecognitionConfig(config=config, interim_results=True)


class Session:
    """One conversation."""

    def __init__(
        self, backends: Backends, recognition: Any, tasks: asyncio.TaskGroup, silence_frames: int, chunk_bytes: int
    ) -> None:
        self._backends, self._recognition, self._tasks = backends, recognition, tasks
        self._silence_frames, self._chunk_bytes = silence_frames, chunk_bytes
        self._vad = webrtcvad.Vad(VAD_MODE)
        self._outbox: asyncio.Queue[pb.ConverseResponse] = asyncio.Queue(WAITING_MAX)
        self._chunk = b""
        """Audio that the recogniser has not been sent yet."""
        self._voiced = self._silent = 0
        """Frames in a row."""
        self._is_speaking = self._awaits_final = False
        self._announced = ""
        """What was said, by the recogniser's first pass."""
        self._reply: asyncio.Task[None] | None = None
        self._epoch = self._sent = self._rendered = 0
        """The reply's number; samples sent of all replies; where the client's playout is."""
        self._has_moved = asyncio.Event()
        self._messages: deque[dict[str, str]] = deque(maxlen=MESSAGES_MAX)

    # --- the user ------------------------------------------------------------------------------------------------------------

    async def hear(self, requests: AsyncIterator[pb.ConverseRequest]) -> None:
        """Take what the client sends, until it hangs up."""
        async for request in requests:
            kind = request.WhichOneof("request")
            if kind == "audio":
                await self._hear(request.audio)
            elif kind == "end_session":
                return

    async def _hear(self, audio: pb.AudioInput) -> None:
        """One frame."""
        self._rendered = max(self._rendered, audio.far_end_sample)
        self._has_moved.set()
        if self._is_voiced(audio.data):
            self._voiced, self._silent = self._voiced + 1, 0
        else:
            self._voiced, self._silent = 0, self._silent + 1
        if self._voiced == ONSET_FRAMES:
            self._is_speaking, self._awaits_final, self._announced = True, False, ""
            self._cancel()
        self._chunk += audio.data
        if self._is_speaking and self._silent >= self._silence_frames:
            self._is_speaking = False
            await self._end_turn()
        elif len(self._chunk) >= self._chunk_bytes:
            await self._send({})

    def _is_voiced(self, frame: bytes) -> bool:
        """The level comes first: webrtcvad calls the 100 to 140 ms after speech voiced."""
        return bool(np.abs(np.frombuffer(frame, "<i2")).max(initial=0) > AUDIBLE) and self._vad.is_speech(frame, RATE_HZ)

    async def _end_turn(self) -> None:
        """The user has said it all: answer what the first pass has understood, or else the final that is asked for."""
        self._awaits_final = not self._announced
        if self._announced:
            self._answer(self._announced)
        await self._send({"force_eou": "true"})

    async def _send(self, runtime_config: dict[str, str]) -> None:
        """To the recogniser."""
        await write(self._recognition, rasr.StreamingRecognizeRequest(audio_content=self._chunk, runtime_config=runtime_config))
        self._chunk = b""

    async def listen(self) -> None:
        """Take what the recogniser says."""
        while (response := await self._recognition.read()) is not grpc.aio.EOF:
            for result in response.results:
                text = result.alternatives[0].transcript.strip()
                if not result.is_final:
                    self._announced = text if result.stability >= 1.0 else ""
                elif self._awaits_final and text:
                    self._awaits_final = False
                    self._answer(text)

    # --- the reply -----------------------------------------------------------------------------------------------------------

    def _answer(self, text: str) -> None:
        self._epoch += 1
        self._messages.append({"role": "user", "content": text})
        self._reply = self._tasks.create_task(self._speak(self._epoch))

    def _cancel(self) -> None:
        """Whoever speaks wants no reply to what was before."""
        if self._reply is not None:
            self._reply.cancel()
            self._reply = None
            self._outbox.put_nowait(pb.ConverseResponse(cancel_tts=pb.CancelTts(epoch=self._epoch)))

    def leave(self) -> None:
        """The client has hung up."""
        if self._reply is not None:
            self._reply.cancel()

    async def _speak(self, epoch: int) -> None:
        """One reply: text goes to the voice while its audio goes to the client."""
        synthesis = self._backends.tts.SynthesizeOnline()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write(synthesis))
                await self._play(synthesis, epoch)
        finally:
            synthesis.cancel()

    async def _write(self, synthesis: Any) -> None:
        """The model's text, sentence by sentence."""
        said = sentence = ""
        async for token in self._tokens():
            said, sentence = said + token, sentence + token
            if sentence.endswith(SENTENCE_ENDS):
                await write(synthesis, _asked(sentence))
                sentence = ""
        if sentence.strip():
            await write(synthesis, _asked(sentence))
        await half_close(synthesis)
        self._messages.append({"role": "assistant", "content": said})

    async def _tokens(self) -> AsyncIterator[str]:
        body = {"model": "scripted", "stream": True, "messages": list(self._messages)}
        async with self._backends.llm.stream("POST", "chat/completions", json=body) as response:
            response.raise_for_status()
            rest = b""
            async for data in response.aiter_bytes():
                *events, rest = (rest + data).split(b"\n\n")
                for event in events:
                    if event.startswith(b"data: {") and (text := _content(event)):
                        yield text

    async def _play(self, synthesis: Any, epoch: int) -> None:
        begin = self._sent  # what was sent and cancelled before is not rendered any more
        while (response := await synthesis.read()) is not grpc.aio.EOF:
            for start in range(0, len(response.audio), PIECE_BYTES):
                while self._sent - max(begin, self._rendered) > AHEAD_SAMPLES:
                    self._has_moved.clear()
                    await self._has_moved.wait()
                self._post(epoch, response.audio[start : start + PIECE_BYTES])
        self._post(epoch, b"", last=True)

    def _post(self, epoch: int, data: bytes, *, last: bool = False) -> None:
        audio = pb.AudioOutput(epoch=epoch, first_sample=self._sent, data=data, last=last)
        self._sent += len(data) // 2
        self._outbox.put_nowait(pb.ConverseResponse(audio=audio))

    async def tell(self, context: Any) -> None:
        """Write to the client what waits for it."""
        while True:
            await context.write(await self._outbox.get())


def _asked(sentence: str) -> rtts.SynthesizeSpeechRequest:
    return rtts.SynthesizeSpeechRequest(
        text=sentence.strip(), language_code=LANGUAGE, encoding=raudio.AudioEncoding.LINEAR_PCM, sample_rate_hz=RATE_HZ
    )


def _content(event: bytes) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in json.loads(event[6:])["choices"])


@asynccontextmanager
async def serving(riva: str, llm: str, chunk_ms: int) -> AsyncIterator[str]:
    """A relay to these backends (HOST:PORT, base URL); HOST:PORT of it."""
    async with (
        grpc.aio.insecure_channel(riva, (("grpc.use_local_subchannel_pool", 1),)) as ears,
        grpc.aio.insecure_channel(riva, (("grpc.use_local_subchannel_pool", 1), *RUN_AHEAD)) as voice,
        httpx.AsyncClient(base_url=llm, timeout=30.0, limits=httpx.Limits(max_connections=None), trust_env=False) as model,
    ):
        backends = Backends(rasr_grpc.RivaSpeechRecognitionStub(ears), rtts_grpc.RivaSpeechSynthesisStub(voice), model)
        server = grpc.aio.server()
        pb_grpc.add_ConversationServiceServicer_to_server(Relay(backends, chunk_ms), server)  # type: ignore[no-untyped-call]
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        yield f"127.0.0.1:{port}"
        await server.stop(grace=1.0)


async def main(riva: str, llm: str, chunk_ms: int) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with serving(riva, llm, chunk_ms) as address:
        settle_memory()
        print(f"voicefsm relay: listening on {address}\nvoicefsm relay: ready", flush=True)  # noqa: T201, it is a command
        await stop.wait()


if __name__ == "__main__":
    run(main(**json.loads(sys.argv[1])))

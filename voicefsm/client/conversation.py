"""One conversation with a voicefsm server.

    async with Conversation.connect("127.0.0.1:50055") as conversation:
        ...
        await conversation.send_audio(frame, far_end_sample=heard)   # every 20 ms, also while the assistant speaks
        loudspeaker.write(conversation.player.render(320))           # every 20 ms, also when there is nothing to hear
        ...
        async for event in conversation: ...

Theory of operation. One task per conversation holds three: a reader, a writer, a reporter. The reader obeys the server first
(audio, pause, duck, resume and cancel go to the `Player` before anything else looks at them, so silence falls within one frame) and
queues what happened as events. The writer is the only one that writes. The reporter tells the server how far playout is whenever
no microphone audio does. When the call is over, for whatever reason, iteration ends or raises `ConversationFailed`; a defect in
one of the three is such a reason. Leaving takes `close_ms_max` at most, whatever the server does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NoReturn, TypeAlias

import grpc

from voicefsm.audio.samples import Samples
from voicefsm.calls import half_close, write
from voicefsm.client import codec, events
from voicefsm.client.access import Access
from voicefsm.client.errors import ConversationEnded, ConversationFailed, ServerDefect, ServerUnavailable, defect_of, failure_of
from voicefsm.client.options import ClientSettings, SessionOptions
from voicefsm.client.player import Player
from voicefsm.client.tools import ToolCalls
from voicefsm.v1 import conversation_pb2 as pb
from voicefsm.v1.conversation_pb2_grpc import ConversationServiceStub
from voicefsm.values import NO_EPOCH, Epoch

Metadata: TypeAlias = Sequence[tuple[str, str]]
_Call: TypeAlias = "grpc.aio.StreamStreamCall[pb.ConverseRequest, pb.ConverseResponse]"


class Conversation:
    """A conversation that is going on. Made by `connect`; use it from one event loop."""

    def __init__(self, call: _Call, options: SessionOptions, settings: ClientSettings) -> None:
        self.options = options
        self.player = Player(options.playout_format.sample_rate_hz, settings.player)
        """What the loudspeaker renders: call `player.render(n)` at the loudspeaker's pace."""
        self.session: events.SessionReady
        """What the server said when the session began."""
        self._call = call
        self._settings = settings
        self._outbox: asyncio.Queue[pb.ConverseRequest | None] = asyncio.Queue(settings.send_messages_max)
        self._outbox.put_nowait(pb.ConverseRequest(config=codec.options_to_proto(options)))
        self._events: deque[events.Event] = deque()
        self._lost = 0
        self._news = asyncio.Event()
        self._ready: asyncio.Future[events.SessionReady] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        self._failure: ConversationFailed | None = None
        self._failure_seen = False
        self._capture_sample = 0
        self._ending = False
        self._audio_sent = False
        self._reported = (0, False, 0)
        self._playout_changed = asyncio.Event()
        self._calls = ToolCalls(options.tools, self._answer_tool, self._tool_failed)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        target: str,
        options: SessionOptions | None = None,
        *,
        settings: ClientSettings | None = None,
        access: Access | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Metadata = (),
    ) -> AsyncIterator[Conversation]:
        """Open a conversation with the server at `target` ("host:port") and wait until its session is ready.

        `access` says what to show and how to encrypt; `credentials` and `metadata` are for what it does not cover. Leaving hangs
        up, and waits `close_ms_max` at most for the server to take that in.

        Raises:
            ConversationFailed: the server refuses, or ended the call and nobody saw it until now.
            ServerUnavailable: it cannot be reached in `connect_ms_max`.
            SettingsError: `access` cannot be shown.
            TypeError, ValueError: the options cannot be sent.

        """
        settings, access = settings or ClientSettings(), access or Access()
        credentials = credentials or access.credentials()
        metadata = (*metadata, *access.metadata(target))
        async with _channel(target, credentials, settings) as channel:
            call = ConversationServiceStub(channel).Converse(  # type: ignore[no-untyped-call]
                metadata=tuple(metadata)
            )
            conversation = cls(call, options or SessionOptions(), settings)
            task = asyncio.create_task(conversation._run(), name="conversation")
            try:
                await conversation._wait_ready(target)
                yield conversation
                await conversation._hang_up()
            finally:
                call.cancel()
                task.cancel()
                await asyncio.wait([task])

    # --- what the user does --------------------------------------------------------------------------------------------------

    async def send_audio(
        self, audio: Samples | bytes, *, capture_sample: int | None = None, far_end_sample: int | None = None
    ) -> None:
        """Send 10 to 200 ms of microphone audio; 20 ms is best. Waits while the send queue is full.

        `audio` is int16 of shape (n,), or bytes already in `input_format`. `capture_sample` is the position of its first sample in
        the microphone's stream; unset, it follows the last piece. `far_end_sample` is the far-end sample that left the loudspeaker
        when that first sample was taken (`player.position` at that moment); unset, the player's position now.
        """
        encoding = self.options.input_format.encoding
        data = audio if isinstance(audio, bytes) else codec.samples_to_bytes(audio, encoding)
        first = self._capture_sample if capture_sample is None else capture_sample
        self._capture_sample = first + codec.length_samples(data, encoding)
        far_end = self.player.position if far_end_sample is None else far_end_sample
        self._audio_sent = True
        self._reported = (far_end, self.player.paused, self._reported[2])
        await self._send(pb.ConverseRequest(audio=pb.AudioInput(data=data, capture_sample=first, far_end_sample=far_end)))

    async def send_text(self, text: str) -> None:
        """Say something by typing it."""
        await self._send(pb.ConverseRequest(text=pb.TextInput(text=text)))

    async def end_of_speech(self) -> None:
        """The talk button was released: the utterance is over."""
        await self._send(pb.ConverseRequest(end_of_speech=pb.EndOfSpeech()))

    async def cancel(self, epoch: Epoch = NO_EPOCH) -> None:
        """The user pressed stop: silence this reply, or the one now playing, at once, and tell the server what was heard."""
        self.player.cancel(epoch or self.player.epoch)
        # Not the player's epoch: the server may be at work on a reply of which no audio has come yet, and that is meant as well.
        message = pb.CancelTts(epoch=epoch, last_valid_sample=self.player.position - 1)
        await self._send(pb.ConverseRequest(cancel_tts=message))

    async def answer_tool(self, call: events.ToolCalled, output: str = "", *, error: str = "") -> None:
        """Answer the call of a tool that has no function: with its `output`, or with the `error` that the model is to know of."""
        await self._send(codec.tool_result(call.epoch, call.call_id, output, error))

    async def end(self) -> None:
        """Hang up. Waits while the send queue is full. The events still under way can be read until iteration ends."""
        if not self._ending and not self._over.is_set():
            self._ending = True
            with suppress(ConversationEnded):
                await self._put(pb.ConverseRequest(end_session=pb.EndSession()))
                await self._put(None)

    # --- what the server says ------------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """True once the call is over."""
        return self._over.is_set()

    def __aiter__(self) -> AsyncIterator[events.Event]:
        """Events in order; ends when the conversation does. Raises `ConversationFailed` when it ended with an error."""
        return self

    async def __anext__(self) -> events.Event:
        while not self._events:
            if self._over.is_set():
                self._raise_failure()
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        if self._lost:
            lost, self._lost = self._lost, 0
            return events.EventsLost(_now_ms(), lost)
        return self._events.popleft()

    # --- the machinery -------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [group.create_task(self._write()), group.create_task(self._report())]
                await self._read()
                for helper in helpers:
                    helper.cancel()
        except ExceptionGroup as defects:
            self._failure = self._failure or defect_of(defects.exceptions[0])
            self._call.cancel()
        finally:
            self._over.set()
            self._news.set()
            self._ready.cancel()
            await self._calls.aclose()

    async def _read(self) -> None:
        try:
            while (response := await self._call.read()) is not grpc.aio.EOF:
                if response is None:  # grpcio logs what it cannot parse, and returns this
                    raise ValueError("it sent what is no message of voicefsm.v1")
                self._obey(response)
        except grpc.aio.AioRpcError as error:
            self._failure = failure_of(error)

    def _obey(self, response: pb.ConverseResponse) -> None:
        """The player first, then the events."""
        kind = response.WhichOneof("response")
        if kind == "audio":
            piece = response.audio
            samples = codec.bytes_to_samples(piece.data, self.options.playout_format.encoding)
            self.player.push(Epoch(piece.epoch), piece.first_sample, samples, last=piece.last)
            if self.player.duck_db != self._reported[2]:  # a reply that was still ducked is over
                self._playout_changed.set()
            return
        if kind == "pause_playout":
            self.player.pause(Epoch(response.pause_playout.epoch))
            self._playout_changed.set()
        elif kind == "duck_playout":
            self.player.duck(Epoch(response.duck_playout.epoch), response.duck_playout.duck_db)
            self._playout_changed.set()
        elif kind == "resume_playout":
            self.player.resume(Epoch(response.resume_playout.epoch))
            self._playout_changed.set()
        elif kind == "cancel_tts":
            self.player.cancel(Epoch(response.cancel_tts.epoch))
            self._playout_changed.set()
        event = codec.event_of(response, _now_ms(), self.player.position)
        if isinstance(event, events.ToolCalled):
            self._calls.start(event)
        elif isinstance(event, events.ToolCallCancelled):
            self._calls.cancel(event.call_id)
        self._publish(event)

    async def _answer_tool(self, epoch: Epoch, call_id: str, output: str, error: str) -> None:
        if not self._over.is_set() and not self._ending:
            with suppress(ConversationEnded, ConversationFailed):  # whoever looks at the conversation learns that it is over
                await self._put(codec.tool_result(epoch, call_id, output, error))

    def _tool_failed(self, call: events.ToolCalled, error: Exception) -> None:
        self._publish(events.ToolCallFailed(_now_ms(), call.epoch, call.call_id, call.name, error))

    def _publish(self, event: events.Event | None) -> None:
        if event is None:
            return
        if isinstance(event, events.SessionReady) and not self._ready.done():
            self._ready.set_result(event)
        if len(self._events) >= self._settings.events_max:
            self._events.popleft()
            self._lost += 1
        self._events.append(event)
        self._news.set()

    async def _write(self) -> None:
        """The only writer. A call that is over is the reader's to explain."""
        while (request := await self._outbox.get()) is not None:
            if not await write(self._call, request):
                return
        await half_close(self._call)

    async def _report(self) -> None:
        """Tell the server how far playout is, when no microphone audio did and something changed; how loud it is, always."""
        await asyncio.wait([self._ready])
        while not self._ending:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.report_ms / 1000):
                    await self._playout_changed.wait()
            self._playout_changed.clear()
            sent, self._audio_sent = self._audio_sent, False
            progress = (self.player.position, self.player.paused, self.player.duck_db)
            is_news = not sent or progress[1] or progress[2] != self._reported[2]
            if progress != self._reported and is_news and not self._outbox.full():
                self._reported = progress
                message = pb.PlayoutProgress(far_end_sample=progress[0], paused=progress[1], duck_db=progress[2])
                self._outbox.put_nowait(pb.ConverseRequest(playout_progress=message))

    async def _send(self, request: pb.ConverseRequest) -> None:
        if self._over.is_set() or self._ending:
            self._refuse()
        await self._put(request)

    async def _put(self, request: pb.ConverseRequest | None) -> None:
        """Queue it, at the latest when there is room; a call that ends first refuses it."""
        if not self._outbox.full():
            self._outbox.put_nowait(request)
            return
        put = asyncio.ensure_future(self._outbox.put(request))
        over = asyncio.ensure_future(self._over.wait())
        try:
            done, _ = await asyncio.wait([put, over], return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            put.cancel()
        if put not in done:
            self._refuse()

    def _refuse(self) -> NoReturn:
        self._raise_failure()
        raise ConversationEnded("The conversation is over.", remedy="Connect again.")

    async def _wait_ready(self, target: str) -> None:
        await asyncio.wait([self._ready], timeout=self._settings.connect_ms_max / 1000)
        if self._ready.done() and not self._ready.cancelled():
            self.session = self._ready.result()
            return
        self._raise_failure()
        if self._over.is_set():
            raise ServerDefect(f"The server at {target} ended the call before the session was ready.", code="OK")
        raise ServerUnavailable(
            f"The server at {target} did not answer within {self._settings.connect_ms_max} ms.",
            code="DEADLINE_EXCEEDED",
            remedy="Is `voicefsm serve` running there?",
        )

    async def _hang_up(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.close_ms_max / 1000):
                await self.end()
                await self._over.wait()
        if not self._failure_seen:
            self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            self._failure_seen = True
            raise self._failure


def _channel(target: str, credentials: grpc.ChannelCredentials | None, settings: ClientSettings) -> grpc.aio.Channel:
    options = [
        ("grpc.keepalive_time_ms", settings.keepalive_ms),
        ("grpc.keepalive_timeout_ms", settings.keepalive_timeout_ms),
    ]
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, credentials, options=options)


def _now_ms() -> float:
    """The loop's clock: monotonic, and virtual where a test makes it so."""
    return asyncio.get_running_loop().time() * 1000

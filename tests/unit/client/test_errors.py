"""What becomes of calls that somebody resets: a raw HTTP/2 server on loopback plays the proxy that has lost the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

import pytest

from voicefsm.client import ClientSettings, Conversation, ConversationFailed, ReasonLost, ServerFull, SessionOptions, resuming
from voicefsm.v1 import conversation_pb2 as pb

QUICK = ClientSettings(resume_attempts_max=2, resume_wait_ms_min=1, resume_wait_ms_max=1)
DATA, HEADERS, RST_STREAM, SETTINGS, PING = 0, 1, 3, 4, 6
ACK = END_STREAM = 1
END_HEADERS = 4
OK_HEADERS = b"\x88\x0f\x10\x10application/grpc"
TRAILERS = b"\x00\x0bgrpc-status\x010"
NO_ERROR, INTERNAL_ERROR, CANCEL, ENHANCE_YOUR_CALM = 0, 2, 8, 11


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def message(response: pb.ConverseResponse) -> bytes:
    data = response.SerializeToString()
    return b"\0" + struct.pack(">I", len(data)) + data


class Proxy:
    """Each call gets its session; the first `resets` are then reset with `code`, and those after them end well."""

    def __init__(self, code: int, resets: int) -> None:
        self.code, self.resets = code, resets
        self.tokens: list[str] = []
        self.connections: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readexactly(24)
            writer.write(frame(SETTINGS, 0, 0))
            while True:
                head = await reader.readexactly(9)
                stream = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
                body = await reader.readexactly(int.from_bytes(head[:3], "big"))
                self.answer(writer, head[3], head[4], stream, body)
                await writer.drain()

    def answer(self, writer: asyncio.StreamWriter, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind in {SETTINGS, PING} and not flags & ACK:
            writer.write(frame(kind, ACK, 0, body if kind == PING else b""))
        elif kind == DATA and (request := pb.ConverseRequest.FromString(body[5:])).HasField("config"):
            self.tokens.append(request.config.resume_token)
            ready = pb.ConverseResponse(session_ready=pb.SessionReady(session_id="s", resume_token="vfr_t"))
            writer.write(frame(HEADERS, END_HEADERS, stream, OK_HEADERS) + frame(DATA, 0, stream, message(ready)))
        elif kind == DATA and request.HasField("text"):  # the client knows that it has a session
            reset = frame(RST_STREAM, 0, stream, struct.pack(">I", self.code))
            is_lost = len(self.tokens) <= self.resets
            writer.write(reset if is_lost else frame(HEADERS, END_HEADERS | END_STREAM, stream, TRAILERS))


@contextlib.asynccontextmanager
async def standing(proxy: Proxy) -> AsyncIterator[str]:
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for connection in proxy.connections:
            connection.close()
            with contextlib.suppress(ConnectionError):
                await connection.wait_closed()


async def converse(conversation: Conversation) -> str:
    await conversation.send_text("Hello.")
    async for _ in conversation:
        pass
    return "done"


@pytest.mark.parametrize("code", [NO_ERROR, INTERNAL_ERROR, CANCEL])
async def test_a_call_that_a_proxy_resets_is_resumed(code: int) -> None:
    """Otherwise a gateway that dies behind Envoy or nginx takes the conversation with it, token or no token."""
    proxy = Proxy(code, resets=1)
    async with standing(proxy) as target:
        assert await resuming([target], SessionOptions(), converse, settings=QUICK) == "done"
    assert proxy.tokens == ["", "vfr_t"]


@pytest.mark.parametrize(
    ("code", "kind", "calls"), [(INTERNAL_ERROR, ReasonLost, 1 + QUICK.resume_attempts_max), (ENHANCE_YOUR_CALM, ServerFull, 1)]
)
async def test_a_call_that_is_always_reset_is_given_up(code: int, kind: type[ConversationFailed], calls: int) -> None:
    """Otherwise a client whose calls are always reset calls for ever; or one is let in again that the proxy calls a flood."""
    proxy = Proxy(code, resets=99)
    async with standing(proxy) as target:
        with pytest.raises(kind):
            await resuming([target], SessionOptions(), converse, settings=QUICK)
    assert len(proxy.tokens) == calls

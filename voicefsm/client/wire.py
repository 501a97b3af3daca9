"""The protocol without the comfort of `Conversation`: for drivers that hold hundreds of calls and must cost next to nothing.

async with grpc.aio.insecure_channel(target) as channel:
call = wire.open_call(channel)
await call.write(wire.config(options))
await call.write(wire.audio(data, capture_sample=0, far_end_sample=0))
response = await call.read()      # a ConverseResponse, or grpc.aio.EOF
"""

from __future__ import annotations

from typing import TypeAlias

import grpc.aio

from voicefsm.client import codec
from voicefsm.client.options import SessionOptions
from voicefsm.v1 import conversation_pb2 as pb
from voicefsm.v1.conversation_pb2_grpc import ConversationServiceStub

Call: TypeAlias = "grpc.aio.StreamStreamCall[pb.ConverseRequest, pb.ConverseResponse]"


def open_call(channel: grpc.aio.Channel) -> Call:
    """A call, nothing said yet."""
    call: Call = ConversationServiceStub(channel).Converse()  # type: ignore[no-untyped-call]
    return call


def config(options: SessionOptions) -> pb.ConverseRequest:
    """The first message."""
    return pb.ConverseRequest(config=codec.options_to_proto(options))


def audio(data: bytes, *, capture_sample: int, far_end_sample: int) -> pb.ConverseRequest:
    """A piece of microphone audio, in the input format; positions as in conversation.proto."""
    return pb.ConverseRequest(audio=pb.AudioInput(data=data, capture_sample=capture_sample, far_end_sample=far_end_sample))


def end() -> pb.ConverseRequest:
    """Hang up."""
    return pb.ConverseRequest(end_session=pb.EndSession())

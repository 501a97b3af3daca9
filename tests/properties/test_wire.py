"""Whatever a client sends, in whatever bytes: it is understood, or refused with whose fault it is. Nothing else ever happens."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.mutations import mutated
from voicefsm.errors import RemoteProtocolError
from voicefsm.server import codec
from voicefsm.simulation.stage import PLAN
from voicefsm.v1 import conversation_pb2 as pb

FORMAT = pb.AudioFormat(encoding=pb.AudioFormat.ENCODING_PCM16, sample_rate_hertz=16000)
SEEDS = [
    message.SerializeToString()
    for message in (
        pb.ConverseRequest(
            config=pb.SessionConfig(
                input_format=FORMAT,
                output_format=FORMAT,
                language_code="en-US",
                system_prompt="Be brief.",
                interruption=pb.InterruptionPolicy(mode=pb.InterruptionPolicy.MODE_ENABLED, guard_ms=300),
                generation=pb.GenerationOptions(temperature=0.5, tokens_max=99, model="m"),
                endpointing=pb.EndpointingOptions(silence_ms=500),
                detection=pb.DetectionOptions(mode=1, level_db_min=-50),
                tools=[pb.Tool(name="t", parameters='{"type":"object","properties":{"a":{"type":"string"}}}')],
                tool_options=pb.ToolOptions(call_ms_max=1000, filler_text="Wait."),
                resume_token="vfr_x",
            )
        ),
        pb.ConverseRequest(audio=pb.AudioInput(data=bytes(640), capture_sample=320, far_end_sample=7)),
        pb.ConverseRequest(playout_progress=pb.PlayoutProgress(far_end_sample=9, duck_db=3)),
        pb.ConverseRequest(cancel_tts=pb.CancelTts(epoch=3, last_valid_sample=44)),
        pb.ConverseRequest(text=pb.TextInput(text="what time is it")),
        pb.ConverseRequest(tool_result=pb.ToolResult(epoch=1, call_id="c", output="done")),
    )
]


def take(data: bytes) -> str:
    """What becomes of it: as the first message, and as a later one."""
    try:
        request = pb.ConverseRequest.FromString(data)
    except DecodeError:
        return "no message"
    fates = []
    for read in (
        lambda: codec.plan_of(codec.wishes_of(request) if codec.is_config(request) else request, PLAN),
        lambda: codec.inbound_of(request, PLAN),
    ):
        refusal = _refusal(read)
        assert refusal is None or (refusal.message and refusal.remedy), refusal
        fates.append("refused" if refusal else "taken")
    return " ".join(fates)


def _refusal(read: Callable[[], object]) -> RemoteProtocolError | None:
    try:
        read()
    except RemoteProtocolError as refused:
        return refused
    return None


@settings(max_examples=2000, deadline=None)
@given(st.one_of(mutated(SEEDS), st.binary(max_size=200)))
def test_every_message_is_understood_or_refused(data: bytes) -> None:
    """Otherwise a client that is broken, or means harm, finds a way to what nobody thought of."""
    take(data)


@settings(max_examples=500, deadline=None)
@given(mutated(SEEDS), mutated(SEEDS))
def test_what_is_kept_of_a_configuration_is_one(before: bytes, after: bytes) -> None:
    """Otherwise a conversation that is resumed has wishes that nobody could have sent."""
    try:
        old, new = pb.ConverseRequest.FromString(before), pb.ConverseRequest.FromString(after)
        codec.plan_of(codec.wishes_of(old), PLAN)
        merged = codec.wishes_of(new, codec.wishes_of(old).config.SerializeToString())
        codec.plan_of(merged, PLAN)
    except (DecodeError, RemoteProtocolError):
        return
    assert not merged.config.resume_token


def test_the_seeds_are_good() -> None:
    """Otherwise what is mutated never gets beyond the first check."""
    assert [take(seed) for seed in SEEDS] == ["taken refused", *["refused taken"] * 5]

"""Protobuf to domain and back: whatever a client sends is either understood or refused with its name and a remedy."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, cast

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from voicefsm.audio import mulaw
from voicefsm.context import Interruption, State
from voicefsm.effects import Outcome
from voicefsm.errors import InvalidMessage, OutOfOrder, RemoteProtocolError
from voicefsm.events import Word
from voicefsm.runtime import messages
from voicefsm.runtime.messages import RATES_HZ, AudioFormat, Encoding
from voicefsm.server import codec
from voicefsm.simulation.stage import PLAN, plan_with
from voicefsm.v1 import conversation_pb2 as pb
from voicefsm.values import CancelReason, Epoch, SampleIndex

FORMAT = pb.AudioFormat(encoding=pb.AudioFormat.ENCODING_PCM16, sample_rate_hertz=16000)


def config(**fields: Any) -> pb.ConverseRequest:
    return pb.ConverseRequest(config=pb.SessionConfig(**{"input_format": FORMAT, **fields}))


def audio(data: bytes = bytes(640), **fields: Any) -> pb.ConverseRequest:
    return pb.ConverseRequest(audio=pb.AudioInput(data=data, **fields))


# --- the configuration ---


def test_nothing_but_a_format_takes_the_servers_settings() -> None:
    """Otherwise the smallest client gets something nobody configured."""
    plan = codec.plan_of(config(), dataclasses.replace(PLAN, voice_name="Jane"))
    assert plan == dataclasses.replace(PLAN, voice_name="Jane")


def test_every_wish_is_granted() -> None:
    """Otherwise a field of the protocol is decoration."""
    request = config(
        output_format=pb.AudioFormat(encoding=pb.AudioFormat.ENCODING_MULAW, sample_rate_hertz=8000),
        language_code="hi-IN",
        voice_name=" Asha ",
        system_prompt=" Answer in Hindi. ",
        interruption=pb.InterruptionPolicy(mode=pb.InterruptionPolicy.MODE_CLIENT_ONLY, speech_ms_min=700, words_min=3),
        client_echo_cancellation=True,
        generation=pb.GenerationOptions(temperature=0.1, tokens_max=64),
        endpointing=pb.EndpointingOptions(silence_ms=900, push_to_talk=True),
    )
    plan = codec.plan_of(request, PLAN)
    assert plan.input_format == AudioFormat(Encoding.PCM16, 16000)
    assert plan.output_format == AudioFormat(Encoding.MULAW, 8000)
    assert (plan.language_code, plan.voice_name, plan.system_prompt) == ("hi-IN", "Asha", "Answer in Hindi.")
    assert (plan.temperature, plan.tokens_max, plan.client_echo_cancellation) == (0.1, 64, True)
    turns = plan.turns
    assert (turns.interruption, turns.barge_in_speech_ms_min, turns.barge_in_words_min) == (Interruption.CLIENT_ONLY, 700, 3)
    assert (turns.silence_ms, turns.push_to_talk) == (900, True)


def test_only_who_can_duck_is_told_to() -> None:
    """Otherwise a client that never heard of ducks plays on at full level while the server expects a quiet echo."""
    ducking = dataclasses.replace(PLAN, turns=dataclasses.replace(PLAN.turns, duck_db=12))
    assert codec.plan_of(config(can_duck=True), ducking).turns.duck_db == 12
    assert codec.plan_of(config(), ducking).turns.duck_db == 0
    assert codec.plan_of(config(can_duck=True), PLAN).turns.duck_db == 0


@pytest.mark.parametrize("can", [False, True])
def test_what_a_device_can_do_is_not_of_the_device_before(can: bool) -> None:
    """Otherwise a call that is resumed without the headset is not cancelled, and hears itself; or is ducked by one that cannot."""
    before = pb.SessionConfig(client_echo_cancellation=not can, can_duck=not can, language_code="hi-IN").SerializeToString()
    wishes = codec.wishes_of(config(client_echo_cancellation=can, can_duck=can), before).config
    assert (wishes.client_echo_cancellation, wishes.can_duck, wishes.language_code) == (can, can, "hi-IN")


def test_the_servers_voice_is_not_forced_upon_another_language() -> None:
    """Otherwise a client that asks only for Hindi is refused, because the server's English voice speaks none."""
    defaults = dataclasses.replace(PLAN, voice_name="Jane")
    assert codec.plan_of(config(language_code="hi-IN"), defaults).voice_name == ""


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("encoding", [pb.AudioFormat.ENCODING_PCM16, pb.AudioFormat.ENCODING_MULAW])
def test_every_rate_and_encoding(rate_hz: int, encoding: pb.AudioFormat.Encoding) -> None:
    """Otherwise telephones, or studios, cannot call."""
    request = config(input_format=pb.AudioFormat(encoding=encoding, sample_rate_hertz=rate_hz))
    plan = codec.plan_of(request, PLAN)
    assert plan.input_format == plan.output_format
    samples = (np.arange(rate_hz // 50) * 7 - 1000).astype(np.int16)
    is_mulaw = encoding == pb.AudioFormat.ENCODING_MULAW
    message = codec.inbound_of(audio(mulaw.encode(samples) if is_mulaw else samples.tobytes(), capture_sample=5), plan)
    assert isinstance(message, codec.AudioInput)
    expected = mulaw.decode(mulaw.encode(samples)) if is_mulaw else samples
    assert message.samples.tolist() == expected.tolist()
    out = messages.AudioOutput(Epoch(2), SampleIndex(9), samples, last=True)
    written = codec.response_of(out, plan).audio
    assert (written.epoch, written.first_sample, written.last) == (2, 9, True)
    assert written.data == (mulaw.encode(samples) if is_mulaw else samples.tobytes())


BAD_CONFIGS: dict[str, tuple[pb.ConverseRequest, type[RemoteProtocolError], str]] = {
    "audio first": (audio(), OutOfOrder, "first message is `audio`.*Send `config` first"),
    "empty first": (pb.ConverseRequest(), OutOfOrder, "first message is empty, or of a kind.*Send `config` first"),
    "no format": (pb.ConverseRequest(config=pb.SessionConfig()), InvalidMessage, r"`input_format\.encoding` is 0.*ENCODING_PCM16"),
    "future encoding": (
        config(input_format=pb.AudioFormat(encoding=cast("pb.AudioFormat.Encoding", 9), sample_rate_hertz=16000)),
        InvalidMessage,
        "encoding` is 9",
    ),
    "odd rate": (
        config(input_format=pb.AudioFormat(encoding=pb.AudioFormat.ENCODING_PCM16, sample_rate_hertz=44100)),
        InvalidMessage,
        r"`input_format\.sample_rate_hertz` is 44100.*8000, 16000, 24000, 48000",
    ),
    "odd output rate": (
        config(output_format=pb.AudioFormat(encoding=pb.AudioFormat.ENCODING_PCM16, sample_rate_hertz=22050)),
        InvalidMessage,
        r"`output_format\.sample_rate_hertz` is 22050",
    ),
    "language": (config(language_code="english, please"), InvalidMessage, "no BCP-47 tag"),
    "long language": (config(language_code="en" + "-abcdefgh" * 5000), InvalidMessage, "no BCP-47 tag"),
    "long voice": (config(voice_name="x" * 60_000), InvalidMessage, "`voice_name` has 60000 characters; 200 are allowed"),
    "long model": (
        config(generation=pb.GenerationOptions(model="x" * 201)),
        InvalidMessage,
        r"`generation\.model` has 201 characters; 200 are allowed",
    ),
    "long prompt": (config(system_prompt="x" * 8001), InvalidMessage, "has 8001 characters; 8000 are allowed"),
    "temperature": (
        config(generation=pb.GenerationOptions(temperature=2.5)),
        InvalidMessage,
        r"temperature is 2\.5.*between 0 and 2.*docs/settings\.md",
    ),
    "no temperature": (config(generation=pb.GenerationOptions(temperature=math.nan)), InvalidMessage, "not a number"),
    "hot": (config(generation=pb.GenerationOptions(temperature=math.inf)), InvalidMessage, "not a number"),
    "tokens": (
        config(generation=pb.GenerationOptions(tokens_max=0)),
        InvalidMessage,
        "tokens_max is 0.*between 16 and 8192 tokens",
    ),
    "silence": (
        config(endpointing=pb.EndpointingOptions(silence_ms=10)),
        InvalidMessage,
        "silence_ms is 10.*between 100 and 3000 ms",
    ),
    "words": (config(interruption=pb.InterruptionPolicy(words_min=0)), InvalidMessage, "barge_in_words_min is 0"),
    "speech": (config(interruption=pb.InterruptionPolicy(speech_ms_min=-1)), InvalidMessage, "barge_in_speech_ms_min is -1"),
    "mode": (
        config(interruption=pb.InterruptionPolicy(mode=cast("pb.InterruptionPolicy.Mode", 77))),
        InvalidMessage,
        "mode` is 77",
    ),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_a_bad_configuration_is_named(name: str) -> None:
    """Otherwise a developer of a client has to guess what was wrong with it, or is charged for our guess."""
    request, kind, pattern = BAD_CONFIGS[name]
    with pytest.raises(kind, match=pattern) as caught:
        codec.plan_of(request, PLAN)
    assert type(caught.value) is kind
    assert caught.value.remedy
    assert len(str(caught.value)) < 1000, "it has to fit into the trailers of a call"


# --- everything after it ---

BAD_MESSAGES: dict[str, tuple[pb.ConverseRequest, type[RemoteProtocolError], str]] = {
    "second config": (config(), OutOfOrder, "second `config`.*new call"),
    "half a sample": (audio(bytes(641)), InvalidMessage, "641 bytes: half a sample.*16-bit"),
    "oversize": (audio(bytes(19_202)), InvalidMessage, "19202 bytes; 19200 are allowed"),
    "too long": (audio(bytes(6402)), InvalidMessage, r"200\.062 ms long; 10 to 200 ms are allowed.*20 ms"),
    "too short": (audio(bytes(318)), InvalidMessage, r"9\.9375 ms long"),
    "no audio": (audio(b""), InvalidMessage, "0 ms long"),
    "before time": (audio(capture_sample=-1), InvalidMessage, "`capture_sample` is -1.*from 0"),
    "after time": (audio(capture_sample=2**62), InvalidMessage, "`capture_sample` is 4611686018427387904"),
    "far end before time": (audio(far_end_sample=-1), InvalidMessage, "`far_end_sample` is -1"),
    "progress": (
        pb.ConverseRequest(playout_progress=pb.PlayoutProgress(far_end_sample=-7)),
        InvalidMessage,
        "`far_end_sample` is -7",
    ),
    "duck": (pb.ConverseRequest(playout_progress=pb.PlayoutProgress(duck_db=-1)), InvalidMessage, "`duck_db` is -1.*0 to 96"),
    "deep duck": (pb.ConverseRequest(playout_progress=pb.PlayoutProgress(duck_db=97)), InvalidMessage, "`duck_db` is 97"),
    "cancel": (pb.ConverseRequest(cancel_tts=pb.CancelTts(epoch=-1)), InvalidMessage, "`epoch` is -1"),
    "no text": (pb.ConverseRequest(text=pb.TextInput(text=" \n")), InvalidMessage, "text is empty"),
    "long text": (pb.ConverseRequest(text=pb.TextInput(text="x" * 4001)), InvalidMessage, "4001 characters; 4000 are allowed"),
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
def test_a_bad_message_is_named(name: str) -> None:
    """Otherwise a developer of a client has to guess what was wrong with it."""
    request, kind, pattern = BAD_MESSAGES[name]
    with pytest.raises(kind, match=pattern) as caught:
        codec.inbound_of(request, PLAN)
    assert type(caught.value) is kind
    assert caught.value.remedy


def test_every_good_message() -> None:
    """Otherwise something a client may say is not understood."""
    read = [
        codec.inbound_of(request, PLAN)
        for request in (
            pb.ConverseRequest(playout_progress=pb.PlayoutProgress(far_end_sample=7, paused=True)),
            pb.ConverseRequest(playout_progress=pb.PlayoutProgress(far_end_sample=7, duck_db=12)),
            pb.ConverseRequest(cancel_tts=pb.CancelTts()),
            pb.ConverseRequest(cancel_tts=pb.CancelTts(epoch=2, last_valid_sample=319)),
            pb.ConverseRequest(cancel_tts=pb.CancelTts(epoch=2, last_valid_sample=-1)),
            pb.ConverseRequest(text=pb.TextInput(text=" hi ")),
            pb.ConverseRequest(end_of_speech=pb.EndOfSpeech()),
            pb.ConverseRequest(end_session=pb.EndSession()),
            pb.ConverseRequest(),
        )
    ]
    assert read == [
        codec.PlayoutProgress(7),
        codec.PlayoutProgress(7, 12),
        codec.CancelTts(Epoch(0), None),
        codec.CancelTts(Epoch(2), 320),
        codec.CancelTts(Epoch(2), None),
        codec.TextInput("hi"),
        codec.EndOfSpeech(),
        codec.EndSession(),
        None,
    ]


def test_an_unset_far_end_is_unknown_and_not_zero() -> None:
    """Otherwise a client that does not report seems to stand still for ever."""
    unset, zero = codec.inbound_of(audio(), PLAN), codec.inbound_of(audio(far_end_sample=0), PLAN)
    assert isinstance(unset, codec.AudioInput)
    assert isinstance(zero, codec.AudioInput)
    assert (unset.far_end_sample, zero.far_end_sample) == (None, 0)


def test_kinds_of_a_later_version_are_ignored() -> None:
    """Otherwise the protocol cannot grow without breaking this server."""
    newer = pb.ConverseRequest.FromString(b"\xfa\x01\x02\x08\x01")  # field 31, a message
    assert codec.inbound_of(newer, PLAN) is None


def refusals(request: pb.ConverseRequest) -> list[RemoteProtocolError]:
    """What a message is refused with as the first of a session, and as a later one; any other error passes through."""
    refused = []
    for read in (codec.plan_of, codec.inbound_of):
        try:
            read(request, PLAN)
        except RemoteProtocolError as error:
            refused.append(error)
    return refused


@given(st.binary(max_size=400))
@example(b"")
@example(audio(capture_sample=2**63 - 1).SerializeToString())
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    """Otherwise there are bytes with which anybody can write a crash into our log."""
    try:
        request = pb.ConverseRequest.FromString(data)
    except DecodeError:
        return
    assert all(error.message and error.remedy for error in refusals(request))


_I32, _I64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
_FORMATS = st.builds(pb.AudioFormat, encoding=_I32, sample_rate_hertz=st.one_of(st.sampled_from(RATES_HZ), _I32))
_CONFIGS = st.builds(
    pb.SessionConfig,
    input_format=st.one_of(st.just(FORMAT), _FORMATS),
    output_format=st.one_of(st.none(), _FORMATS),
    language_code=st.one_of(st.just("en-US"), st.text(max_size=300)),
    voice_name=st.text(max_size=300),
    system_prompt=st.text(),
    interruption=st.builds(pb.InterruptionPolicy, mode=_I32, speech_ms_min=_I32, words_min=_I32),
    generation=st.builds(pb.GenerationOptions, temperature=st.floats(width=32), tokens_max=_I32),
    endpointing=st.builds(pb.EndpointingOptions, silence_ms=_I32, push_to_talk=st.booleans()),
)
_REQUESTS = st.one_of(
    st.builds(pb.ConverseRequest, config=_CONFIGS),
    st.builds(
        pb.ConverseRequest,
        audio=st.builds(
            pb.AudioInput, data=st.binary(max_size=1000), capture_sample=_I64, far_end_sample=st.one_of(st.none(), _I64)
        ),
    ),
    st.builds(pb.ConverseRequest, text=st.builds(pb.TextInput, text=st.text())),
    st.builds(pb.ConverseRequest, cancel_tts=st.builds(pb.CancelTts, epoch=_I64, last_valid_sample=_I64, reason=_I32)),
    st.builds(pb.ConverseRequest, playout_progress=st.builds(pb.PlayoutProgress, far_end_sample=_I64)),
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(_REQUESTS)
def test_arbitrary_messages_are_read_or_refused(request: pb.ConverseRequest) -> None:
    """Otherwise there is a well-formed message that crashes a session of ours; or a plan leaves its bounds."""
    assert all(error.remedy and len(str(error)) < 1500 for error in refusals(request))


# --- responses ---


def test_the_first_message_tells_the_limits() -> None:
    """Otherwise a client learns them by being refused."""
    plan = plan_with(turns={"idle_ms_max": 7000}, playout={"playout_ahead_ms_max": 300})
    ready = codec.response_of(messages.SessionReady("s", "speex", "en-US", "Jane"), plan).session_ready
    assert (ready.session_id, ready.echo_canceller, ready.language_code, ready.voice_name) == ("s", "speex", "en-US", "Jane")
    limits = ready.limits
    assert (limits.session_ms_max, limits.idle_ms_max, limits.playout_ahead_ms_max) == (7_200_000, 7000, 300)
    assert (limits.audio_bytes_max, limits.text_chars_max) == (19_200, 4000)
    assert ready.resume_token == ""


def test_words_are_placed_in_samples_of_the_input() -> None:
    """Otherwise a client cannot find a word in its own recording."""
    plan = dataclasses.replace(PLAN, input_format=AudioFormat(Encoding.MULAW, 8000))
    heard = messages.Transcript("hi", True, 0.5, (Word("hi", 1000, 1250),))
    transcript = codec.response_of(heard, plan).transcript
    assert (transcript.text, transcript.is_final, transcript.stability) == ("hi", True, 0.5)
    assert [(word.text, word.start_sample, word.end_sample) for word in transcript.words] == [("hi", 8000, 10_000)]


def test_what_did_not_happen_stays_unset() -> None:
    """Otherwise a client averages zeros into its latencies."""
    latencies = messages.Latencies(first_token_ms=0, onset_to_cancel_ms=300)
    done = messages.TurnCompleted(Epoch(3), "q", "a b", "a", "words", Outcome.INTERRUPTED, latencies)
    turn = codec.response_of(done, PLAN).turn_completed
    assert (turn.epoch, turn.user_text, turn.assistant_text, turn.heard_text) == (3, "q", "a b", "a")
    assert turn.outcome == pb.TurnCompleted.OUTCOME_INTERRUPTED
    assert turn.latencies.HasField("first_token_ms")
    assert not turn.latencies.HasField("endpointing_ms")
    assert turn.latencies.onset_to_cancel_ms == 300


def test_every_state_reason_and_outcome_has_a_number() -> None:
    """Otherwise a word added to the core is a crash at the wire."""
    for state in State:
        changed = codec.response_of(messages.StateChanged(state, state, "x", 5), PLAN).state_changed
        assert pb.State.Name(changed.to) == f"STATE_{state.name}" == pb.State.Name(getattr(changed, "from"))
    for reason in CancelReason:
        cancel = codec.response_of(messages.CancelTts(Epoch(1), SampleIndex(-1), reason), PLAN).cancel_tts
        assert pb.CancelTts.Reason.Name(cancel.reason) == f"REASON_{reason.name}"
        assert cancel.last_valid_sample == -1
    for outcome in Outcome:
        done = messages.TurnCompleted(Epoch(1), "", "", "", "all", outcome, messages.Latencies())
        assert pb.TurnCompleted.Outcome.Name(codec.response_of(done, PLAN).turn_completed.outcome) == f"OUTCOME_{outcome.name}"


def test_every_message_has_a_writer() -> None:
    """Otherwise a session says something that no client will ever hear."""
    assert set(codec._WRITERS) == set(messages.Outbound.__args__)
    rest: dict[str, messages.Outbound] = {
        "pause_playout": messages.PausePlayout(Epoch(4)),
        "duck_playout": messages.DuckPlayout(Epoch(4), 12),
        "resume_playout": messages.ResumePlayout(Epoch(4)),
        "assistant_text": messages.AssistantText(Epoch(4), 1, "Hi."),
        "error": messages.Failure("tts", "Hoarse.", "Drink.", Epoch(4)),
    }
    for kind, message in rest.items():
        response = codec.response_of(message, PLAN)
        assert response.WhichOneof("response") == kind
        assert getattr(response, kind).epoch == 4
    assert codec.response_of(rest["duck_playout"], PLAN).duck_playout.duck_db == 12
    assert codec.response_of(rest["error"], PLAN).error.fault == pb.Error.FAULT_BACKEND


# --- tools ---

WIDEBAND = pb.AudioFormat(encoding=pb.AudioFormat.ENCODING_PCM16, sample_rate_hertz=16000)


def test_tools_and_their_options_are_part_of_the_plan() -> None:
    """Otherwise a session has no tools, or waits for them as long as the server likes."""
    config = pb.SessionConfig(
        input_format=WIDEBAND,
        tools=[pb.Tool(name="clock", description="The time.")],
        tool_options=pb.ToolOptions(call_ms_max=3000, filler_ms=0, filler_text=" *Wait*  a second. "),
    )
    plan = codec.plan_of(pb.ConverseRequest(config=config), PLAN)
    assert [tool.name for tool in plan.tools] == ["clock"]
    assert (plan.turns.tool_ms_max, plan.turns.filler_ms, plan.turns.filler_text) == (3000, 0, "Wait a second.")
    too_long = pb.SessionConfig(input_format=WIDEBAND, tool_options=pb.ToolOptions(call_ms_max=1))
    with pytest.raises(InvalidMessage, match="tool_ms_max is 1"):
        codec.plan_of(pb.ConverseRequest(config=too_long), PLAN)


def test_a_tool_result_is_an_output_or_an_error() -> None:
    """Otherwise the model is told nothing, or that all is well."""
    for message, expected in (
        (pb.ToolResult(epoch=3, call_id="c", output=""), codec.ToolResult(Epoch(3), "c", "", "")),
        (pb.ToolResult(epoch=3, call_id="c", output="sun"), codec.ToolResult(Epoch(3), "c", "sun", "")),
        (pb.ToolResult(epoch=3, call_id="c", error=" no "), codec.ToolResult(Epoch(3), "c", "", "no")),
    ):
        assert codec.inbound_of(pb.ConverseRequest(tool_result=message), PLAN) == expected
    for message, told in (
        (pb.ToolResult(call_id="c", output="sun"), "names no call"),
        (pb.ToolResult(epoch=3, output="sun"), "names no call"),
        (pb.ToolResult(epoch=3, call_id="c" * 201, output="sun"), "names no call"),
        (pb.ToolResult(epoch=3, call_id="c"), "has no result"),
        (pb.ToolResult(epoch=3, call_id="c", error=" "), "has no result"),
        (pb.ToolResult(epoch=-1, call_id="c", output=""), "tool_result.epoch"),
    ):
        with pytest.raises(InvalidMessage, match=told):
            codec.inbound_of(pb.ConverseRequest(tool_result=message), PLAN)


def test_calls_and_their_ends_are_told() -> None:
    """Otherwise the client does not know what to do, or does it for nobody."""
    call = codec.response_of(messages.ToolCalled(Epoch(3), "c", "clock", "{}", 5000), PLAN).tool_call
    assert call == pb.ToolCall(epoch=3, call_id="c", name="clock", arguments="{}", wait_ms_max=5000)
    for is_late, reason in ((True, pb.ToolCallCancelled.REASON_TIMEOUT), (False, pb.ToolCallCancelled.REASON_REPLY_OVER)):
        ended = codec.response_of(messages.ToolCallCancelled(Epoch(3), "c", is_late), PLAN).tool_call_cancelled
        assert ended == pb.ToolCallCancelled(epoch=3, call_id="c", reason=reason)

"""Protobuf to typed values and back: the only module of the client that knows how the messages are laid out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from voicefsm.audio import mulaw
from voicefsm.audio.samples import Samples
from voicefsm.client import events
from voicefsm.client.options import AudioFormat, Encoding, Interruption, SessionOptions
from voicefsm.client.tools import Tool
from voicefsm.v1 import conversation_pb2 as pb
from voicefsm.values import CancelReason, Epoch, SampleIndex

_ENCODINGS: Mapping[Encoding, pb.AudioFormat.Encoding] = {
    Encoding.PCM16: pb.AudioFormat.ENCODING_PCM16,
    Encoding.MULAW: pb.AudioFormat.ENCODING_MULAW,
}
_MODES: Mapping[Interruption, pb.InterruptionPolicy.Mode] = {
    Interruption.ENABLED: pb.InterruptionPolicy.MODE_ENABLED,
    Interruption.CLIENT_ONLY: pb.InterruptionPolicy.MODE_CLIENT_ONLY,
    Interruption.DISABLED: pb.InterruptionPolicy.MODE_DISABLED,
}
_STATES: Mapping[int, events.State] = {
    pb.STATE_IDLE: events.State.IDLE,
    pb.STATE_LISTENING: events.State.LISTENING,
    pb.STATE_PROCESSING: events.State.PROCESSING,
    pb.STATE_SPEAKING: events.State.SPEAKING,
    pb.STATE_INTERRUPTING: events.State.INTERRUPTING,
    pb.STATE_CLOSED: events.State.CLOSED,
}
_REASONS: Mapping[int, CancelReason] = {
    pb.CancelTts.REASON_BARGE_IN: CancelReason.BARGE_IN,
    pb.CancelTts.REASON_CLIENT: CancelReason.CLIENT,
    pb.CancelTts.REASON_NEW_INPUT: CancelReason.NEW_INPUT,
    pb.CancelTts.REASON_FAILURE: CancelReason.FAILURE,
    pb.CancelTts.REASON_SESSION_END: CancelReason.SESSION_END,
}
_OUTCOMES: Mapping[int, events.Outcome] = {
    pb.TurnCompleted.OUTCOME_COMPLETED: events.Outcome.COMPLETED,
    pb.TurnCompleted.OUTCOME_INTERRUPTED: events.Outcome.INTERRUPTED,
    pb.TurnCompleted.OUTCOME_FAILED: events.Outcome.FAILED,
    pb.TurnCompleted.OUTCOME_RETRACTED: events.Outcome.RETRACTED,
}
_FAULTS: Mapping[int, events.Fault] = {
    pb.Error.FAULT_CLIENT: events.Fault.CLIENT,
    pb.Error.FAULT_BACKEND: events.Fault.BACKEND,
    pb.Error.FAULT_SERVER: events.Fault.SERVER,
}


def samples_to_bytes(samples: Samples, encoding: Encoding) -> bytes:
    """Audio for the wire. `samples` has shape (n,)."""
    return mulaw.encode(samples) if encoding is Encoding.MULAW else samples.astype("<i2", copy=False).tobytes()


def bytes_to_samples(data: bytes, encoding: Encoding) -> Samples:
    """Audio off the wire, shape (n,). An odd byte at the end of PCM16 is left out."""
    if encoding is Encoding.MULAW:
        return mulaw.decode(data)
    return np.frombuffer(data, "<i2", count=len(data) // 2).astype(np.int16, copy=False)


def length_samples(data: bytes, encoding: Encoding) -> int:
    """How many samples so many bytes are."""
    return len(data) if encoding is Encoding.MULAW else len(data) // 2


def format_to_proto(audio_format: AudioFormat) -> pb.AudioFormat:
    """One direction's format."""
    return pb.AudioFormat(encoding=_ENCODINGS[audio_format.encoding], sample_rate_hertz=audio_format.sample_rate_hz)


def options_to_proto(options: SessionOptions) -> pb.SessionConfig:
    """The first message."""
    return pb.SessionConfig(
        input_format=format_to_proto(options.input_format),
        output_format=format_to_proto(options.output_format) if options.output_format else None,
        language_code=options.language_code,
        voice_name=options.voice_name,
        system_prompt=options.system_prompt,
        interruption=pb.InterruptionPolicy(
            mode=_MODES[options.interruption] if options.interruption else pb.InterruptionPolicy.MODE_UNSPECIFIED,
            speech_ms_min=options.barge_in_speech_ms_min,
            words_min=options.barge_in_words_min,
            onset_ms_min=options.barge_in_onset_ms_min,
            guard_ms=options.guard_ms,
            decision_ms_max=options.decision_ms_max,
        ),
        can_duck=True,
        client_echo_cancellation=options.client_echo_cancellation,
        resume_token=options.resume_token,
        generation=pb.GenerationOptions(model=options.model, temperature=options.temperature, tokens_max=options.tokens_max),
        endpointing=pb.EndpointingOptions(silence_ms=options.silence_ms, push_to_talk=options.push_to_talk),
        detection=pb.DetectionOptions(
            mode=options.vad_mode, level_db_min=options.vad_level_db_min, hangover_ms=options.vad_hangover_ms
        ),
        tools=[_tool_to_proto(tool) for tool in options.tools],
        tool_options=pb.ToolOptions(call_ms_max=options.tool_ms_max, filler_ms=options.filler_ms, filler_text=options.filler_text),
    )


def _tool_to_proto(tool: Tool) -> pb.Tool:
    parameters = json.dumps(dict(tool.parameters), ensure_ascii=False)
    return pb.Tool(name=tool.name, description=tool.description, parameters=parameters)


def tool_result(epoch: Epoch, call_id: str, output: str, error: str) -> pb.ConverseRequest:
    """The answer to a call: its output, or the error if there is one."""
    result = pb.ToolResult(epoch=epoch, call_id=call_id)
    if error:
        result.error = error
    else:
        result.output = output
    return pb.ConverseRequest(tool_result=result)


def event_of(response: pb.ConverseResponse, received_ms: float, position: SampleIndex) -> events.Event | None:
    """The event a response stands for; None for audio and for kinds this version does not know.

    `position` is the player's, after it obeyed the message.
    """
    kind = response.WhichOneof("response")
    read = _READERS.get(kind or "")
    return read(getattr(response, kind), received_ms, position) if read and kind else None


def _ready(message: pb.SessionReady, received_ms: float, _: SampleIndex) -> events.Event:
    limits = message.limits
    return events.SessionReady(
        received_ms,
        session_id=message.session_id,
        limits=events.SessionLimits(
            session_ms_max=limits.session_ms_max,
            idle_ms_max=limits.idle_ms_max,
            audio_bytes_max=limits.audio_bytes_max,
            text_chars_max=limits.text_chars_max,
            playout_ahead_ms_max=limits.playout_ahead_ms_max,
            tool_output_chars_max=limits.tool_output_chars_max,
        ),
        resume_token=message.resume_token,
        resumed_user_text=message.resumed_user_text,
        echo_canceller=message.echo_canceller,
        language_code=message.language_code,
        voice_name=message.voice_name,
    )


def _state(message: pb.StateChanged, received_ms: float, _: SampleIndex) -> events.Event:
    before = _STATES.get(getattr(message, "from"), events.State.UNSPECIFIED)
    after = _STATES.get(message.to, events.State.UNSPECIFIED)
    return events.StateChanged(received_ms, before, after, message.event, message.session_ms)


def _transcript(message: pb.Transcript, received_ms: float, _: SampleIndex) -> events.Event:
    words = tuple(events.Word(w.text, SampleIndex(w.start_sample), SampleIndex(w.end_sample)) for w in message.words)
    return events.Transcript(received_ms, message.text, message.is_final, message.stability, words)


def _assistant_text(message: pb.AssistantText, received_ms: float, _: SampleIndex) -> events.Event:
    return events.AssistantText(received_ms, Epoch(message.epoch), message.index, message.text)


def _paused(message: pb.PausePlayout, received_ms: float, position: SampleIndex) -> events.Event:
    return events.PlayoutPaused(received_ms, Epoch(message.epoch), position)


def _ducked(message: pb.DuckPlayout, received_ms: float, position: SampleIndex) -> events.Event:
    return events.PlayoutDucked(received_ms, Epoch(message.epoch), position, message.duck_db)


def _resumed(message: pb.ResumePlayout, received_ms: float, position: SampleIndex) -> events.Event:
    return events.PlayoutResumed(received_ms, Epoch(message.epoch), position)


def _cancelled(message: pb.CancelTts, received_ms: float, position: SampleIndex) -> events.Event:
    last = SampleIndex(message.last_valid_sample)
    return events.TtsCancelled(received_ms, Epoch(message.epoch), last, _REASONS.get(message.reason), position)


def _completed(message: pb.TurnCompleted, received_ms: float, _: SampleIndex) -> events.Event:
    return events.TurnCompleted(
        received_ms,
        epoch=Epoch(message.epoch),
        user_text=message.user_text,
        assistant_text=message.assistant_text,
        heard_text=message.heard_text,
        outcome=_OUTCOMES.get(message.outcome, events.Outcome.UNSPECIFIED),
        latencies=_latencies(message.latencies),
    )


def _latencies(message: pb.TurnLatencies) -> events.TurnLatencies:
    return events.TurnLatencies(
        endpointing_ms=message.endpointing_ms if message.HasField("endpointing_ms") else None,
        first_token_ms=message.first_token_ms if message.HasField("first_token_ms") else None,
        first_audio_ms=message.first_audio_ms if message.HasField("first_audio_ms") else None,
        first_heard_ms=message.first_heard_ms if message.HasField("first_heard_ms") else None,
        onset_to_pause_ms=message.onset_to_pause_ms if message.HasField("onset_to_pause_ms") else None,
        onset_to_cancel_ms=message.onset_to_cancel_ms if message.HasField("onset_to_cancel_ms") else None,
    )


def _tool_called(message: pb.ToolCall, received_ms: float, _: SampleIndex) -> events.Event:
    arguments = json.loads(message.arguments)
    return events.ToolCalled(received_ms, Epoch(message.epoch), message.call_id, message.name, arguments, message.wait_ms_max)


def _tool_call_cancelled(message: pb.ToolCallCancelled, received_ms: float, _: SampleIndex) -> events.Event:
    is_late = message.reason == pb.ToolCallCancelled.REASON_TIMEOUT
    return events.ToolCallCancelled(received_ms, Epoch(message.epoch), message.call_id, is_late)


def _go_away(message: pb.GoAway, received_ms: float, _: SampleIndex) -> events.Event:
    return events.GoAway(received_ms, message.deadline_ms, message.resume_token)


def _error(message: pb.Error, received_ms: float, _: SampleIndex) -> events.Event:
    fault = _FAULTS.get(message.fault, events.Fault.UNSPECIFIED)
    return events.ServerError(received_ms, fault, message.message, message.remedy, message.backend, Epoch(message.epoch))


_READERS: Mapping[str, Callable[[Any, float, SampleIndex], events.Event]] = {
    "session_ready": _ready,
    "state_changed": _state,
    "transcript": _transcript,
    "assistant_text": _assistant_text,
    "pause_playout": _paused,
    "duck_playout": _ducked,
    "resume_playout": _resumed,
    "cancel_tts": _cancelled,
    "turn_completed": _completed,
    "tool_call": _tool_called,
    "tool_call_cancelled": _tool_call_cancelled,
    "go_away": _go_away,
    "error": _error,
}

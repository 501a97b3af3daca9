"""Protobuf to domain and back. The only file of the server that reads or builds messages; no I/O.

What a client sends is checked here, completely, before anything else sees it: a `RemoteProtocolError` says what is wrong, and
what to do about it.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from google.protobuf.message import Message

from voicefsm.audio import mulaw
from voicefsm.context import Interruption, State, TurnSettings
from voicefsm.effects import Outcome
from voicefsm.errors import InvalidMessage, OutOfOrder
from voicefsm.ports import Samples
from voicefsm.runtime import messages
from voicefsm.runtime.hearing import HearingSettings
from voicefsm.runtime.messages import RATES_HZ, AudioFormat, Encoding
from voicefsm.runtime.plan import SessionPlan, SessionSettings, prompt_in
from voicefsm.runtime.speakable import speakable
from voicefsm.server.tools import tools_of
from voicefsm.v1 import conversation_pb2 as pb
from voicefsm.values import CancelReason, Epoch, SettingsT, checked_replace

FRAME_MS_MIN, FRAME_MS_MAX = 10, 200
"""Length of a piece of microphone audio."""

NAME_CHARS_MAX = 200
"""Longest name of a language, a voice or a model. Names stand in error messages, and a gRPC status holds only some kilobytes."""

DUCK_DB_MAX = 96
"""Nothing is left of 16-bit audio that is so much quieter."""
POSITION_MAX = 2**48
"""Largest sample position or epoch: 186 years at 48 kHz, and far from where sums of them overflow."""

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_ENCODINGS = {pb.AudioFormat.ENCODING_PCM16: Encoding.PCM16, pb.AudioFormat.ENCODING_MULAW: Encoding.MULAW}
_MODES = {
    pb.InterruptionPolicy.MODE_ENABLED: Interruption.ENABLED,
    pb.InterruptionPolicy.MODE_CLIENT_ONLY: Interruption.CLIENT_ONLY,
    pb.InterruptionPolicy.MODE_DISABLED: Interruption.DISABLED,
}

# --- requests ----------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class AudioInput:
    """A piece of microphone audio at the input rate."""

    samples: Samples
    capture_sample: int
    far_end_sample: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class PlayoutProgress:
    """A report of the client's playout."""

    far_end_sample: int
    duck_db: int = 0
    """From there on the client renders what it was sent so much quieter."""


@dataclasses.dataclass(frozen=True, slots=True)
class CancelTts:
    """The user pressed stop."""

    epoch: Epoch
    far_end_sample: int | None
    """One past the last sample that was rendered; None when the client does not say."""


@dataclasses.dataclass(frozen=True, slots=True)
class TextInput:
    """The user typed something."""

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class EndOfSpeech:
    """The talk button was released."""


@dataclasses.dataclass(frozen=True, slots=True)
class EndSession:
    """The user hangs up."""


@dataclasses.dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a tool call."""

    epoch: Epoch
    call_id: str
    output: str
    error: str
    """Not empty when it failed."""


Inbound = AudioInput | PlayoutProgress | CancelTts | TextInput | EndOfSpeech | EndSession | ToolResult


def plan_of(request: pb.ConverseRequest, defaults: SessionPlan) -> SessionPlan:
    """The plan of a session, from its first message. `defaults` holds the server's settings.

    Raises:
        OutOfOrder: the first message is not the configuration.
        InvalidMessage: something in it is malformed or out of bounds.
    """
    kind = request.WhichOneof("request")
    if kind != "config":
        raise OutOfOrder(f"The first message is {_named(kind)}, not `config`.", remedy="Send `config` first.")
    config = request.config
    input_format = _format_of(config.input_format, "input_format")
    language_code = _language_of(config.language_code) or defaults.language_code
    return dataclasses.replace(
        defaults,
        input_format=input_format,
        output_format=_format_of(config.output_format, "output_format") if config.HasField("output_format") else input_format,
        language_code=language_code,
        voice_name=_name_of(config.voice_name, "voice_name", "the TTS server")
        or ("" if config.language_code else defaults.voice_name),
        system_prompt=_prompt_of(config.system_prompt, defaults.session) or prompt_in(language_code, defaults.system_prompt),
        turns=_turns_of(config, defaults.turns),
        hearing=_hearing_of(config.detection, defaults.hearing),
        client_echo_cancellation=config.client_echo_cancellation,
        tools=tools_of(config.tools, defaults.session),
        **_generation_of(config.generation, defaults),
    )


def is_config(request: pb.ConverseRequest) -> bool:
    """Whether it is what has to come first."""
    return bool(request.WhichOneof("request") == "config")


def wishes_of(request: pb.ConverseRequest, before: bytes = b"") -> pb.ConverseRequest:
    """The first message, with what it leaves unset as it was in the session that goes on in this one. Without the token.

    What the client's device can do is never of before: it may be another device, and a bool that is false is no wish left unset.
    """
    config = pb.SessionConfig.FromString(before)
    for ability in ("client_echo_cancellation", "can_duck"):
        config.ClearField(ability)
    if request.config.tools:
        config.ClearField("tools")
    config.MergeFrom(request.config)
    config.ClearField("resume_token")
    return pb.ConverseRequest(config=config)


def inbound_of(request: pb.ConverseRequest, plan: SessionPlan) -> Inbound | None:
    """Any message but the first. None for a kind of message that this version does not know.

    Raises:
        OutOfOrder: a second configuration.
        InvalidMessage: malformed, or out of bounds.

    """
    kind = request.WhichOneof("request")
    return None if kind is None else _READERS[kind](getattr(request, kind), plan)


def _audio_of(message: pb.AudioInput, plan: SessionPlan) -> AudioInput:
    data, fmt = message.data, plan.input_format
    size, width = len(data), fmt.bytes_per_sample
    if size > plan.session.audio_bytes_max:
        raise InvalidMessage(
            f"A piece of audio has {size} bytes; {plan.session.audio_bytes_max} are allowed.", remedy="Send pieces of 20 ms."
        )
    if size % width:
        raise InvalidMessage(f"A piece of audio has {size} bytes: half a sample.", remedy="Send whole 16-bit samples.")
    length_ms = size * 1000 / (width * fmt.rate_hz)
    if not FRAME_MS_MIN <= length_ms <= FRAME_MS_MAX:
        raise InvalidMessage(
            f"A piece of audio is {length_ms:g} ms long; {FRAME_MS_MIN} to {FRAME_MS_MAX} ms are allowed.",
            remedy="Send pieces of 20 ms.",
        )
    samples = mulaw.decode(data) if fmt.encoding is Encoding.MULAW else np.frombuffer(data, "<i2")
    far_end = _position(message.far_end_sample, "far_end_sample") if message.HasField("far_end_sample") else None
    return AudioInput(samples, _position(message.capture_sample, "capture_sample"), far_end)


def _progress_of(message: pb.PlayoutProgress, _plan: SessionPlan) -> PlayoutProgress:
    if not 0 <= message.duck_db <= DUCK_DB_MAX:
        remedy = f"Say how much quieter than it was sent the far end is rendered, 0 to {DUCK_DB_MAX}."
        raise InvalidMessage(f"`duck_db` is {message.duck_db}.", remedy=remedy)
    return PlayoutProgress(_position(message.far_end_sample, "far_end_sample"), message.duck_db)


def _cancel_of(message: pb.CancelTts, _plan: SessionPlan) -> CancelTts:
    last = message.last_valid_sample
    return CancelTts(Epoch(_position(message.epoch, "epoch")), last + 1 if 0 < last < POSITION_MAX else None)


def _text_of(message: pb.TextInput, plan: SessionPlan) -> TextInput:
    text = message.text.strip()
    if not text:
        raise InvalidMessage("The text is empty.", remedy="Send what the user wrote.")
    if len(text) > plan.session.text_chars_max:
        raise InvalidMessage(
            f"The text has {len(text)} characters; {plan.session.text_chars_max} are allowed.", remedy="Send less text."
        )
    return TextInput(text)


def _tool_result_of(message: pb.ToolResult, _plan: SessionPlan) -> ToolResult:
    epoch = _position(message.epoch, "tool_result.epoch")
    kind = message.WhichOneof("result")
    if not epoch or not message.call_id or len(message.call_id) > NAME_CHARS_MAX:
        raise InvalidMessage("A `tool_result` names no call.", remedy="Send the `epoch` and the `call_id` of its `tool_call`.")
    if kind is None or (kind == "error" and not message.error.strip()):
        raise InvalidMessage("A `tool_result` has no result.", remedy="Set `output`, or say in `error` what went wrong.")
    return ToolResult(Epoch(epoch), message.call_id, message.output, message.error.strip())


def _second_config(_message: pb.SessionConfig, _plan: SessionPlan) -> Inbound:
    raise OutOfOrder("A second `config` in one session.", remedy="Open a new call to change the configuration.")


_READERS: Mapping[str, Callable[[Any, SessionPlan], Inbound]] = {
    "config": _second_config,
    "audio": _audio_of,
    "playout_progress": _progress_of,
    "cancel_tts": _cancel_of,
    "text": _text_of,
    "end_of_speech": lambda _message, _plan: EndOfSpeech(),
    "end_session": lambda _message, _plan: EndSession(),
    "tool_result": _tool_result_of,
}


def _named(kind: str | None) -> str:
    return f"`{kind}`" if kind else "empty, or of a kind this server does not know"


def _position(value: int, field: str) -> int:
    if not 0 <= value <= POSITION_MAX:
        raise InvalidMessage(f"`{field}` is {value}.", remedy="Count from 0, by one a sample or reply.")
    return value


def _format_of(message: pb.AudioFormat, field: str) -> AudioFormat:
    encoding = _ENCODINGS.get(message.encoding)
    if encoding is None:
        raise InvalidMessage(f"`{field}.encoding` is {message.encoding}.", remedy="Use ENCODING_PCM16 (1) or ENCODING_MULAW (2).")
    if message.sample_rate_hertz not in RATES_HZ:
        raise InvalidMessage(
            f"`{field}.sample_rate_hertz` is {message.sample_rate_hertz}.", remedy=f"Use one of {', '.join(map(str, RATES_HZ))}."
        )
    return AudioFormat(encoding, message.sample_rate_hertz)


def _language_of(tag: str) -> str:
    if tag and not (len(tag) <= NAME_CHARS_MAX and _LANGUAGE.fullmatch(tag)):
        raise InvalidMessage(f"`language_code` {tag[:NAME_CHARS_MAX]!r} is no BCP-47 tag.", remedy='Use a tag such as "en-US".')
    return tag


def _name_of(name: str, field: str, lister: str) -> str:
    if len(name) > NAME_CHARS_MAX:
        raise InvalidMessage(
            f"`{field}` has {len(name)} characters; {NAME_CHARS_MAX} are allowed.", remedy=f"Use a name that {lister} lists."
        )
    return name.strip()


def _prompt_of(prompt: str, limits: SessionSettings) -> str:
    if len(prompt) > limits.prompt_chars_max:
        raise InvalidMessage(
            f"`system_prompt` has {len(prompt)} characters; {limits.prompt_chars_max} are allowed.", remedy="Shorten it."
        )
    return prompt.strip()


def _turns_of(config: pb.SessionConfig, turns: TurnSettings) -> TurnSettings:
    policy, endpointing = config.interruption, config.endpointing
    changes: dict[str, Any] = {}
    if policy.mode:
        if policy.mode not in _MODES:
            raise InvalidMessage(f"`interruption.mode` is {policy.mode}.", remedy="Use a mode of InterruptionPolicy.Mode.")
        changes["interruption"] = _MODES[policy.mode]
    if not config.can_duck:
        changes["duck_db"] = 0
    changes |= _set_fields(policy, _POLICY_FIELDS) | _set_fields(endpointing, _ENDPOINTING_FIELDS)
    changes |= _set_fields(config.tool_options, _TOOL_FIELDS)
    if filler := speakable(config.tool_options.filler_text):
        changes["filler_text"] = filler
    return _within_bounds(turns, changes)


_POLICY_FIELDS = {
    "speech_ms_min": "barge_in_speech_ms_min",
    "words_min": "barge_in_words_min",
    "onset_ms_min": "barge_in_onset_ms_min",
    "guard_ms": "guard_ms",
    "decision_ms_max": "decision_ms_max",
}
_ENDPOINTING_FIELDS = {"silence_ms": "silence_ms", "push_to_talk": "push_to_talk"}
_TOOL_FIELDS = {"call_ms_max": "tool_ms_max", "filler_ms": "filler_ms"}
_DETECTION_FIELDS = {"mode": "mode", "level_db_min": "level_db_min", "hangover_ms": "hangover_ms"}


def _set_fields(message: Message, names: Mapping[str, str]) -> dict[str, Any]:
    """What a message sets, under the names of the settings."""
    return {setting: getattr(message, field) for field, setting in names.items() if message.HasField(field)}


def _hearing_of(options: pb.DetectionOptions, hearing: HearingSettings) -> HearingSettings:
    return dataclasses.replace(hearing, vad=_within_bounds(hearing.vad, _set_fields(options, _DETECTION_FIELDS)))


def _generation_of(options: pb.GenerationOptions, defaults: SessionPlan) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if options.HasField("temperature"):
        if not math.isfinite(options.temperature):
            raise InvalidMessage("`generation.temperature` is not a number.", remedy="Send a finite number.")
        changes["temperature"] = round(options.temperature, 6)
    if options.HasField("tokens_max"):
        changes["tokens_max"] = options.tokens_max
    _within_bounds(defaults.session, changes)
    if options.model:
        changes["model"] = _name_of(options.model, "generation.model", "the model server")
    return changes


def _within_bounds(settings: SettingsT, changes: dict[str, Any]) -> SettingsT:
    try:
        return checked_replace(settings, **changes)
    except ValueError as error:
        raise InvalidMessage(str(error), remedy="The bounds are in docs/settings.md.") from error


# --- responses ---------------------------------------------------------------------------------------------------------------

_STATES = {state: f"STATE_{state.name}" for state in State}
_REASONS = {reason: f"REASON_{reason.name}" for reason in CancelReason}
_OUTCOMES = {outcome: f"OUTCOME_{outcome.name}" for outcome in Outcome}


def response_of(message: messages.Outbound, plan: SessionPlan) -> pb.ConverseResponse:
    """What a session says, as protobuf."""
    return _WRITERS[type(message)](message, plan)


def _ready(message: messages.SessionReady, plan: SessionPlan) -> pb.ConverseResponse:
    limits = pb.SessionLimits(
        session_ms_max=plan.turns.session_ms_max,
        idle_ms_max=plan.turns.idle_ms_max,
        audio_bytes_max=plan.session.audio_bytes_max,
        text_chars_max=plan.session.text_chars_max,
        playout_ahead_ms_max=plan.playout.playout_ahead_ms_max,
        tool_output_chars_max=plan.session.tool_output_chars_max,
    )
    return pb.ConverseResponse(
        session_ready=pb.SessionReady(
            session_id=message.session_id,
            limits=limits,
            echo_canceller=message.echo_canceller,
            language_code=message.language_code,
            voice_name=message.voice_name,
            resume_token=message.resume_token,
            resumed_user_text=message.resumed_user_text,
        )
    )


def _go_away(message: messages.GoAway, _plan: SessionPlan) -> pb.ConverseResponse:
    return pb.ConverseResponse(go_away=pb.GoAway(deadline_ms=message.wait_ms, resume_token=message.resume_token))


def _state(message: messages.StateChanged, _plan: SessionPlan) -> pb.ConverseResponse:
    both = {"from": _STATES[message.before], "to": _STATES[message.after]}  # "from" is a word of Python
    return pb.ConverseResponse(state_changed=pb.StateChanged(event=message.event, session_ms=message.session_ms, **both))


def _transcript(message: messages.Transcript, plan: SessionPlan) -> pb.ConverseResponse:
    rate_hz = plan.input_format.rate_hz
    words = [
        pb.Word(text=word.text, start_sample=word.start_ms * rate_hz // 1000, end_sample=word.end_ms * rate_hz // 1000)
        for word in message.words
    ]
    return pb.ConverseResponse(
        transcript=pb.Transcript(text=message.text, is_final=message.is_final, stability=message.stability, words=words)
    )


def _assistant_text(message: messages.AssistantText, _plan: SessionPlan) -> pb.ConverseResponse:
    return pb.ConverseResponse(assistant_text=pb.AssistantText(epoch=message.epoch, index=message.index, text=message.text))


def _audio(message: messages.AudioOutput, plan: SessionPlan) -> pb.ConverseResponse:
    is_mulaw = plan.output_format.encoding is Encoding.MULAW
    data = mulaw.encode(message.samples) if is_mulaw else message.samples.astype("<i2", copy=False).tobytes()
    return pb.ConverseResponse(
        audio=pb.AudioOutput(epoch=message.epoch, first_sample=message.first_sample, data=data, last=message.last)
    )


def _pause(message: messages.PausePlayout, _plan: SessionPlan) -> pb.ConverseResponse:
    return pb.ConverseResponse(pause_playout=pb.PausePlayout(epoch=message.epoch))


def _duck(message: messages.DuckPlayout, _plan: SessionPlan) -> pb.ConverseResponse:
    return pb.ConverseResponse(duck_playout=pb.DuckPlayout(epoch=message.epoch, duck_db=message.duck_db))


def _resume(message: messages.ResumePlayout, _plan: SessionPlan) -> pb.ConverseResponse:
    return pb.ConverseResponse(resume_playout=pb.ResumePlayout(epoch=message.epoch))


def _cancel(message: messages.CancelTts, _plan: SessionPlan) -> pb.ConverseResponse:
    return pb.ConverseResponse(
        cancel_tts=pb.CancelTts(epoch=message.epoch, last_valid_sample=message.last_valid_sample, reason=_REASONS[message.reason])
    )


def _turn(message: messages.TurnCompleted, _plan: SessionPlan) -> pb.ConverseResponse:
    known = {name: value for name, value in dataclasses.asdict(message.latencies).items() if value is not None}
    return pb.ConverseResponse(
        turn_completed=pb.TurnCompleted(
            epoch=message.epoch,
            user_text=message.user_text,
            assistant_text=message.assistant_text,
            heard_text=message.heard_text,
            outcome=_OUTCOMES[message.outcome],
            latencies=pb.TurnLatencies(**known),
        )
    )


def _tool_call(message: messages.ToolCalled, _plan: SessionPlan) -> pb.ConverseResponse:
    return pb.ConverseResponse(
        tool_call=pb.ToolCall(
            epoch=message.epoch,
            call_id=message.call_id,
            name=message.name,
            arguments=message.arguments,
            wait_ms_max=message.wait_ms,
        )
    )


def _tool_call_cancelled(message: messages.ToolCallCancelled, _plan: SessionPlan) -> pb.ConverseResponse:
    reason = pb.ToolCallCancelled.REASON_TIMEOUT if message.is_late else pb.ToolCallCancelled.REASON_REPLY_OVER
    return pb.ConverseResponse(
        tool_call_cancelled=pb.ToolCallCancelled(epoch=message.epoch, call_id=message.call_id, reason=reason)
    )


def _failure(message: messages.Failure, _plan: SessionPlan) -> pb.ConverseResponse:
    return pb.ConverseResponse(
        error=pb.Error(
            fault=pb.Error.FAULT_BACKEND if message.backend else pb.Error.FAULT_CLIENT,
            message=message.message,
            remedy=message.remedy,
            backend=message.backend,
            epoch=message.epoch,
        )
    )


_WRITERS: Mapping[type[Any], Callable[[Any, SessionPlan], pb.ConverseResponse]] = {
    messages.SessionReady: _ready,
    messages.StateChanged: _state,
    messages.Transcript: _transcript,
    messages.AssistantText: _assistant_text,
    messages.AudioOutput: _audio,
    messages.PausePlayout: _pause,
    messages.DuckPlayout: _duck,
    messages.ResumePlayout: _resume,
    messages.CancelTts: _cancel,
    messages.TurnCompleted: _turn,
    messages.GoAway: _go_away,
    messages.ToolCalled: _tool_call,
    messages.ToolCallCancelled: _tool_call_cancelled,
    messages.Failure: _failure,
}

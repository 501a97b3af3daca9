from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATE_UNSPECIFIED: _ClassVar[State]
    STATE_IDLE: _ClassVar[State]
    STATE_LISTENING: _ClassVar[State]
    STATE_PROCESSING: _ClassVar[State]
    STATE_SPEAKING: _ClassVar[State]
    STATE_INTERRUPTING: _ClassVar[State]
    STATE_CLOSED: _ClassVar[State]
STATE_UNSPECIFIED: State
STATE_IDLE: State
STATE_LISTENING: State
STATE_PROCESSING: State
STATE_SPEAKING: State
STATE_INTERRUPTING: State
STATE_CLOSED: State

class ConverseRequest(_message.Message):
    __slots__ = ("config", "audio", "playout_progress", "cancel_tts", "text", "end_of_speech", "end_session", "tool_result")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    PLAYOUT_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    CANCEL_TTS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    END_OF_SPEECH_FIELD_NUMBER: _ClassVar[int]
    END_SESSION_FIELD_NUMBER: _ClassVar[int]
    TOOL_RESULT_FIELD_NUMBER: _ClassVar[int]
    config: SessionConfig
    audio: AudioInput
    playout_progress: PlayoutProgress
    cancel_tts: CancelTts
    text: TextInput
    end_of_speech: EndOfSpeech
    end_session: EndSession
    tool_result: ToolResult
    def __init__(self, config: _Optional[_Union[SessionConfig, _Mapping]] = ..., audio: _Optional[_Union[AudioInput, _Mapping]] = ..., playout_progress: _Optional[_Union[PlayoutProgress, _Mapping]] = ..., cancel_tts: _Optional[_Union[CancelTts, _Mapping]] = ..., text: _Optional[_Union[TextInput, _Mapping]] = ..., end_of_speech: _Optional[_Union[EndOfSpeech, _Mapping]] = ..., end_session: _Optional[_Union[EndSession, _Mapping]] = ..., tool_result: _Optional[_Union[ToolResult, _Mapping]] = ...) -> None: ...

class ConverseResponse(_message.Message):
    __slots__ = ("session_ready", "state_changed", "transcript", "assistant_text", "audio", "pause_playout", "resume_playout", "cancel_tts", "turn_completed", "go_away", "error", "duck_playout", "tool_call", "tool_call_cancelled")
    SESSION_READY_FIELD_NUMBER: _ClassVar[int]
    STATE_CHANGED_FIELD_NUMBER: _ClassVar[int]
    TRANSCRIPT_FIELD_NUMBER: _ClassVar[int]
    ASSISTANT_TEXT_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    PAUSE_PLAYOUT_FIELD_NUMBER: _ClassVar[int]
    RESUME_PLAYOUT_FIELD_NUMBER: _ClassVar[int]
    CANCEL_TTS_FIELD_NUMBER: _ClassVar[int]
    TURN_COMPLETED_FIELD_NUMBER: _ClassVar[int]
    GO_AWAY_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DUCK_PLAYOUT_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_FIELD_NUMBER: _ClassVar[int]
    TOOL_CALL_CANCELLED_FIELD_NUMBER: _ClassVar[int]
    session_ready: SessionReady
    state_changed: StateChanged
    transcript: Transcript
    assistant_text: AssistantText
    audio: AudioOutput
    pause_playout: PausePlayout
    resume_playout: ResumePlayout
    cancel_tts: CancelTts
    turn_completed: TurnCompleted
    go_away: GoAway
    error: Error
    duck_playout: DuckPlayout
    tool_call: ToolCall
    tool_call_cancelled: ToolCallCancelled
    def __init__(self, session_ready: _Optional[_Union[SessionReady, _Mapping]] = ..., state_changed: _Optional[_Union[StateChanged, _Mapping]] = ..., transcript: _Optional[_Union[Transcript, _Mapping]] = ..., assistant_text: _Optional[_Union[AssistantText, _Mapping]] = ..., audio: _Optional[_Union[AudioOutput, _Mapping]] = ..., pause_playout: _Optional[_Union[PausePlayout, _Mapping]] = ..., resume_playout: _Optional[_Union[ResumePlayout, _Mapping]] = ..., cancel_tts: _Optional[_Union[CancelTts, _Mapping]] = ..., turn_completed: _Optional[_Union[TurnCompleted, _Mapping]] = ..., go_away: _Optional[_Union[GoAway, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., duck_playout: _Optional[_Union[DuckPlayout, _Mapping]] = ..., tool_call: _Optional[_Union[ToolCall, _Mapping]] = ..., tool_call_cancelled: _Optional[_Union[ToolCallCancelled, _Mapping]] = ...) -> None: ...

class AudioFormat(_message.Message):
    __slots__ = ("encoding", "sample_rate_hertz")
    class Encoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ENCODING_UNSPECIFIED: _ClassVar[AudioFormat.Encoding]
        ENCODING_PCM16: _ClassVar[AudioFormat.Encoding]
        ENCODING_MULAW: _ClassVar[AudioFormat.Encoding]
    ENCODING_UNSPECIFIED: AudioFormat.Encoding
    ENCODING_PCM16: AudioFormat.Encoding
    ENCODING_MULAW: AudioFormat.Encoding
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_HERTZ_FIELD_NUMBER: _ClassVar[int]
    encoding: AudioFormat.Encoding
    sample_rate_hertz: int
    def __init__(self, encoding: _Optional[_Union[AudioFormat.Encoding, str]] = ..., sample_rate_hertz: _Optional[int] = ...) -> None: ...

class SessionConfig(_message.Message):
    __slots__ = ("input_format", "output_format", "language_code", "voice_name", "system_prompt", "interruption", "client_echo_cancellation", "resume_token", "generation", "endpointing", "detection", "can_duck", "tools", "tool_options")
    INPUT_FORMAT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FORMAT_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_CODE_FIELD_NUMBER: _ClassVar[int]
    VOICE_NAME_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_PROMPT_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTION_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ECHO_CANCELLATION_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTING_FIELD_NUMBER: _ClassVar[int]
    DETECTION_FIELD_NUMBER: _ClassVar[int]
    CAN_DUCK_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    TOOL_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    input_format: AudioFormat
    output_format: AudioFormat
    language_code: str
    voice_name: str
    system_prompt: str
    interruption: InterruptionPolicy
    client_echo_cancellation: bool
    resume_token: str
    generation: GenerationOptions
    endpointing: EndpointingOptions
    detection: DetectionOptions
    can_duck: bool
    tools: _containers.RepeatedCompositeFieldContainer[Tool]
    tool_options: ToolOptions
    def __init__(self, input_format: _Optional[_Union[AudioFormat, _Mapping]] = ..., output_format: _Optional[_Union[AudioFormat, _Mapping]] = ..., language_code: _Optional[str] = ..., voice_name: _Optional[str] = ..., system_prompt: _Optional[str] = ..., interruption: _Optional[_Union[InterruptionPolicy, _Mapping]] = ..., client_echo_cancellation: _Optional[bool] = ..., resume_token: _Optional[str] = ..., generation: _Optional[_Union[GenerationOptions, _Mapping]] = ..., endpointing: _Optional[_Union[EndpointingOptions, _Mapping]] = ..., detection: _Optional[_Union[DetectionOptions, _Mapping]] = ..., can_duck: _Optional[bool] = ..., tools: _Optional[_Iterable[_Union[Tool, _Mapping]]] = ..., tool_options: _Optional[_Union[ToolOptions, _Mapping]] = ...) -> None: ...

class Tool(_message.Message):
    __slots__ = ("name", "description", "parameters")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    parameters: str
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., parameters: _Optional[str] = ...) -> None: ...

class ToolOptions(_message.Message):
    __slots__ = ("call_ms_max", "filler_ms", "filler_text")
    CALL_MS_MAX_FIELD_NUMBER: _ClassVar[int]
    FILLER_MS_FIELD_NUMBER: _ClassVar[int]
    FILLER_TEXT_FIELD_NUMBER: _ClassVar[int]
    call_ms_max: int
    filler_ms: int
    filler_text: str
    def __init__(self, call_ms_max: _Optional[int] = ..., filler_ms: _Optional[int] = ..., filler_text: _Optional[str] = ...) -> None: ...

class InterruptionPolicy(_message.Message):
    __slots__ = ("mode", "speech_ms_min", "words_min", "onset_ms_min", "guard_ms", "decision_ms_max")
    class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        MODE_UNSPECIFIED: _ClassVar[InterruptionPolicy.Mode]
        MODE_ENABLED: _ClassVar[InterruptionPolicy.Mode]
        MODE_CLIENT_ONLY: _ClassVar[InterruptionPolicy.Mode]
        MODE_DISABLED: _ClassVar[InterruptionPolicy.Mode]
    MODE_UNSPECIFIED: InterruptionPolicy.Mode
    MODE_ENABLED: InterruptionPolicy.Mode
    MODE_CLIENT_ONLY: InterruptionPolicy.Mode
    MODE_DISABLED: InterruptionPolicy.Mode
    MODE_FIELD_NUMBER: _ClassVar[int]
    SPEECH_MS_MIN_FIELD_NUMBER: _ClassVar[int]
    WORDS_MIN_FIELD_NUMBER: _ClassVar[int]
    ONSET_MS_MIN_FIELD_NUMBER: _ClassVar[int]
    GUARD_MS_FIELD_NUMBER: _ClassVar[int]
    DECISION_MS_MAX_FIELD_NUMBER: _ClassVar[int]
    mode: InterruptionPolicy.Mode
    speech_ms_min: int
    words_min: int
    onset_ms_min: int
    guard_ms: int
    decision_ms_max: int
    def __init__(self, mode: _Optional[_Union[InterruptionPolicy.Mode, str]] = ..., speech_ms_min: _Optional[int] = ..., words_min: _Optional[int] = ..., onset_ms_min: _Optional[int] = ..., guard_ms: _Optional[int] = ..., decision_ms_max: _Optional[int] = ...) -> None: ...

class GenerationOptions(_message.Message):
    __slots__ = ("temperature", "tokens_max", "model")
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOKENS_MAX_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    temperature: float
    tokens_max: int
    model: str
    def __init__(self, temperature: _Optional[float] = ..., tokens_max: _Optional[int] = ..., model: _Optional[str] = ...) -> None: ...

class EndpointingOptions(_message.Message):
    __slots__ = ("silence_ms", "push_to_talk")
    SILENCE_MS_FIELD_NUMBER: _ClassVar[int]
    PUSH_TO_TALK_FIELD_NUMBER: _ClassVar[int]
    silence_ms: int
    push_to_talk: bool
    def __init__(self, silence_ms: _Optional[int] = ..., push_to_talk: _Optional[bool] = ...) -> None: ...

class DetectionOptions(_message.Message):
    __slots__ = ("mode", "level_db_min", "hangover_ms")
    MODE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_DB_MIN_FIELD_NUMBER: _ClassVar[int]
    HANGOVER_MS_FIELD_NUMBER: _ClassVar[int]
    mode: int
    level_db_min: int
    hangover_ms: int
    def __init__(self, mode: _Optional[int] = ..., level_db_min: _Optional[int] = ..., hangover_ms: _Optional[int] = ...) -> None: ...

class AudioInput(_message.Message):
    __slots__ = ("data", "capture_sample", "far_end_sample")
    DATA_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    FAR_END_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    capture_sample: int
    far_end_sample: int
    def __init__(self, data: _Optional[bytes] = ..., capture_sample: _Optional[int] = ..., far_end_sample: _Optional[int] = ...) -> None: ...

class PlayoutProgress(_message.Message):
    __slots__ = ("far_end_sample", "paused", "duck_db")
    FAR_END_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    DUCK_DB_FIELD_NUMBER: _ClassVar[int]
    far_end_sample: int
    paused: bool
    duck_db: int
    def __init__(self, far_end_sample: _Optional[int] = ..., paused: _Optional[bool] = ..., duck_db: _Optional[int] = ...) -> None: ...

class CancelTts(_message.Message):
    __slots__ = ("epoch", "last_valid_sample", "reason")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[CancelTts.Reason]
        REASON_BARGE_IN: _ClassVar[CancelTts.Reason]
        REASON_CLIENT: _ClassVar[CancelTts.Reason]
        REASON_NEW_INPUT: _ClassVar[CancelTts.Reason]
        REASON_FAILURE: _ClassVar[CancelTts.Reason]
        REASON_SESSION_END: _ClassVar[CancelTts.Reason]
    REASON_UNSPECIFIED: CancelTts.Reason
    REASON_BARGE_IN: CancelTts.Reason
    REASON_CLIENT: CancelTts.Reason
    REASON_NEW_INPUT: CancelTts.Reason
    REASON_FAILURE: CancelTts.Reason
    REASON_SESSION_END: CancelTts.Reason
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LAST_VALID_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    last_valid_sample: int
    reason: CancelTts.Reason
    def __init__(self, epoch: _Optional[int] = ..., last_valid_sample: _Optional[int] = ..., reason: _Optional[_Union[CancelTts.Reason, str]] = ...) -> None: ...

class TextInput(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class EndOfSpeech(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EndSession(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ToolResult(_message.Message):
    __slots__ = ("epoch", "call_id", "output", "error")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    call_id: str
    output: str
    error: str
    def __init__(self, epoch: _Optional[int] = ..., call_id: _Optional[str] = ..., output: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class ToolCall(_message.Message):
    __slots__ = ("epoch", "call_id", "name", "arguments", "wait_ms_max")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_MAX_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    call_id: str
    name: str
    arguments: str
    wait_ms_max: int
    def __init__(self, epoch: _Optional[int] = ..., call_id: _Optional[str] = ..., name: _Optional[str] = ..., arguments: _Optional[str] = ..., wait_ms_max: _Optional[int] = ...) -> None: ...

class ToolCallCancelled(_message.Message):
    __slots__ = ("epoch", "call_id", "reason")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[ToolCallCancelled.Reason]
        REASON_TIMEOUT: _ClassVar[ToolCallCancelled.Reason]
        REASON_REPLY_OVER: _ClassVar[ToolCallCancelled.Reason]
    REASON_UNSPECIFIED: ToolCallCancelled.Reason
    REASON_TIMEOUT: ToolCallCancelled.Reason
    REASON_REPLY_OVER: ToolCallCancelled.Reason
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CALL_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    call_id: str
    reason: ToolCallCancelled.Reason
    def __init__(self, epoch: _Optional[int] = ..., call_id: _Optional[str] = ..., reason: _Optional[_Union[ToolCallCancelled.Reason, str]] = ...) -> None: ...

class SessionReady(_message.Message):
    __slots__ = ("session_id", "limits", "resume_token", "echo_canceller", "language_code", "voice_name", "resumed_user_text")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ECHO_CANCELLER_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_CODE_FIELD_NUMBER: _ClassVar[int]
    VOICE_NAME_FIELD_NUMBER: _ClassVar[int]
    RESUMED_USER_TEXT_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    limits: SessionLimits
    resume_token: str
    echo_canceller: str
    language_code: str
    voice_name: str
    resumed_user_text: str
    def __init__(self, session_id: _Optional[str] = ..., limits: _Optional[_Union[SessionLimits, _Mapping]] = ..., resume_token: _Optional[str] = ..., echo_canceller: _Optional[str] = ..., language_code: _Optional[str] = ..., voice_name: _Optional[str] = ..., resumed_user_text: _Optional[str] = ...) -> None: ...

class SessionLimits(_message.Message):
    __slots__ = ("session_ms_max", "idle_ms_max", "audio_bytes_max", "text_chars_max", "playout_ahead_ms_max", "tool_output_chars_max")
    SESSION_MS_MAX_FIELD_NUMBER: _ClassVar[int]
    IDLE_MS_MAX_FIELD_NUMBER: _ClassVar[int]
    AUDIO_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    TEXT_CHARS_MAX_FIELD_NUMBER: _ClassVar[int]
    PLAYOUT_AHEAD_MS_MAX_FIELD_NUMBER: _ClassVar[int]
    TOOL_OUTPUT_CHARS_MAX_FIELD_NUMBER: _ClassVar[int]
    session_ms_max: int
    idle_ms_max: int
    audio_bytes_max: int
    text_chars_max: int
    playout_ahead_ms_max: int
    tool_output_chars_max: int
    def __init__(self, session_ms_max: _Optional[int] = ..., idle_ms_max: _Optional[int] = ..., audio_bytes_max: _Optional[int] = ..., text_chars_max: _Optional[int] = ..., playout_ahead_ms_max: _Optional[int] = ..., tool_output_chars_max: _Optional[int] = ...) -> None: ...

class StateChanged(_message.Message):
    __slots__ = ("to", "event", "session_ms")
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    SESSION_MS_FIELD_NUMBER: _ClassVar[int]
    to: State
    event: str
    session_ms: int
    def __init__(self, to: _Optional[_Union[State, str]] = ..., event: _Optional[str] = ..., session_ms: _Optional[int] = ..., **kwargs) -> None: ...

class Transcript(_message.Message):
    __slots__ = ("text", "is_final", "stability", "words")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    IS_FINAL_FIELD_NUMBER: _ClassVar[int]
    STABILITY_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    text: str
    is_final: bool
    stability: float
    words: _containers.RepeatedCompositeFieldContainer[Word]
    def __init__(self, text: _Optional[str] = ..., is_final: _Optional[bool] = ..., stability: _Optional[float] = ..., words: _Optional[_Iterable[_Union[Word, _Mapping]]] = ...) -> None: ...

class Word(_message.Message):
    __slots__ = ("text", "start_sample", "end_sample")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    START_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    END_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    text: str
    start_sample: int
    end_sample: int
    def __init__(self, text: _Optional[str] = ..., start_sample: _Optional[int] = ..., end_sample: _Optional[int] = ...) -> None: ...

class AssistantText(_message.Message):
    __slots__ = ("epoch", "index", "text")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    index: int
    text: str
    def __init__(self, epoch: _Optional[int] = ..., index: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class AudioOutput(_message.Message):
    __slots__ = ("epoch", "first_sample", "data", "last")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FIRST_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    first_sample: int
    data: bytes
    last: bool
    def __init__(self, epoch: _Optional[int] = ..., first_sample: _Optional[int] = ..., data: _Optional[bytes] = ..., last: _Optional[bool] = ...) -> None: ...

class PausePlayout(_message.Message):
    __slots__ = ("epoch",)
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    def __init__(self, epoch: _Optional[int] = ...) -> None: ...

class DuckPlayout(_message.Message):
    __slots__ = ("epoch", "duck_db")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    DUCK_DB_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    duck_db: int
    def __init__(self, epoch: _Optional[int] = ..., duck_db: _Optional[int] = ...) -> None: ...

class ResumePlayout(_message.Message):
    __slots__ = ("epoch",)
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    def __init__(self, epoch: _Optional[int] = ...) -> None: ...

class TurnCompleted(_message.Message):
    __slots__ = ("epoch", "user_text", "assistant_text", "heard_text", "outcome", "latencies")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[TurnCompleted.Outcome]
        OUTCOME_COMPLETED: _ClassVar[TurnCompleted.Outcome]
        OUTCOME_INTERRUPTED: _ClassVar[TurnCompleted.Outcome]
        OUTCOME_FAILED: _ClassVar[TurnCompleted.Outcome]
        OUTCOME_RETRACTED: _ClassVar[TurnCompleted.Outcome]
    OUTCOME_UNSPECIFIED: TurnCompleted.Outcome
    OUTCOME_COMPLETED: TurnCompleted.Outcome
    OUTCOME_INTERRUPTED: TurnCompleted.Outcome
    OUTCOME_FAILED: TurnCompleted.Outcome
    OUTCOME_RETRACTED: TurnCompleted.Outcome
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    USER_TEXT_FIELD_NUMBER: _ClassVar[int]
    ASSISTANT_TEXT_FIELD_NUMBER: _ClassVar[int]
    HEARD_TEXT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    LATENCIES_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    user_text: str
    assistant_text: str
    heard_text: str
    outcome: TurnCompleted.Outcome
    latencies: TurnLatencies
    def __init__(self, epoch: _Optional[int] = ..., user_text: _Optional[str] = ..., assistant_text: _Optional[str] = ..., heard_text: _Optional[str] = ..., outcome: _Optional[_Union[TurnCompleted.Outcome, str]] = ..., latencies: _Optional[_Union[TurnLatencies, _Mapping]] = ...) -> None: ...

class TurnLatencies(_message.Message):
    __slots__ = ("endpointing_ms", "first_token_ms", "first_audio_ms", "first_heard_ms", "onset_to_pause_ms", "onset_to_cancel_ms")
    ENDPOINTING_MS_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    FIRST_AUDIO_MS_FIELD_NUMBER: _ClassVar[int]
    FIRST_HEARD_MS_FIELD_NUMBER: _ClassVar[int]
    ONSET_TO_PAUSE_MS_FIELD_NUMBER: _ClassVar[int]
    ONSET_TO_CANCEL_MS_FIELD_NUMBER: _ClassVar[int]
    endpointing_ms: int
    first_token_ms: int
    first_audio_ms: int
    first_heard_ms: int
    onset_to_pause_ms: int
    onset_to_cancel_ms: int
    def __init__(self, endpointing_ms: _Optional[int] = ..., first_token_ms: _Optional[int] = ..., first_audio_ms: _Optional[int] = ..., first_heard_ms: _Optional[int] = ..., onset_to_pause_ms: _Optional[int] = ..., onset_to_cancel_ms: _Optional[int] = ...) -> None: ...

class GoAway(_message.Message):
    __slots__ = ("deadline_ms", "resume_token")
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    deadline_ms: int
    resume_token: str
    def __init__(self, deadline_ms: _Optional[int] = ..., resume_token: _Optional[str] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("fault", "message", "remedy", "backend", "epoch")
    class Fault(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FAULT_UNSPECIFIED: _ClassVar[Error.Fault]
        FAULT_CLIENT: _ClassVar[Error.Fault]
        FAULT_BACKEND: _ClassVar[Error.Fault]
        FAULT_SERVER: _ClassVar[Error.Fault]
    FAULT_UNSPECIFIED: Error.Fault
    FAULT_CLIENT: Error.Fault
    FAULT_BACKEND: Error.Fault
    FAULT_SERVER: Error.Fault
    FAULT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    fault: Error.Fault
    message: str
    remedy: str
    backend: str
    epoch: int
    def __init__(self, fault: _Optional[_Union[Error.Fault, str]] = ..., message: _Optional[str] = ..., remedy: _Optional[str] = ..., backend: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

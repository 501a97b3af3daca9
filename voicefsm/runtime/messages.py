"""What a session says to its client, before it becomes protobuf (server/codec.py), and what a client may ask of a session.

Far-end positions are samples at the output rate, counted over the whole session.
"""

from __future__ import annotations

import dataclasses
import enum

from voicefsm.context import State
from voicefsm.effects import Outcome
from voicefsm.events import Word
from voicefsm.ports import Samples
from voicefsm.values import CancelReason, Epoch, SampleIndex


class Encoding(enum.Enum):
    """Sample coding on the wire."""

    PCM16 = "pcm16"
    MULAW = "mulaw"


RATES_HZ = (8000, 16000, 24000, 48000)
"""The sample rates of the protocol."""


@dataclasses.dataclass(frozen=True, slots=True)
class AudioFormat:
    """How audio bytes are to be read. Always mono."""

    encoding: Encoding
    rate_hz: int

    @property
    def bytes_per_sample(self) -> int:
        """1 or 2."""
        return 1 if self.encoding is Encoding.MULAW else 2


@dataclasses.dataclass(frozen=True, slots=True)
class SessionReady:
    """The session exists."""

    session_id: str
    echo_canceller: str
    language_code: str
    voice_name: str
    resume_token: str = ""
    """With which the client can go on in another session; empty: it cannot."""
    resumed_user_text: str = ""
    """The turn of another session that is answered in this one."""


@dataclasses.dataclass(frozen=True, slots=True)
class StateChanged:
    """The turn machine moved."""

    before: State
    after: State
    event: str
    session_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class Transcript:
    """What the user is heard to say."""

    text: str
    is_final: bool
    stability: float
    words: tuple[Word, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class AssistantText:
    """One sentence on its way to the voice."""

    epoch: Epoch
    index: int
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class AudioOutput:
    """A piece of the assistant's voice."""

    epoch: Epoch
    first_sample: SampleIndex
    samples: Samples
    last: bool


@dataclasses.dataclass(frozen=True, slots=True)
class PausePlayout:
    """Fall silent, keep the buffer."""

    epoch: Epoch


@dataclasses.dataclass(frozen=True, slots=True)
class DuckPlayout:
    """Go on, quieter by this much."""

    epoch: Epoch
    duck_db: int


@dataclasses.dataclass(frozen=True, slots=True)
class ResumePlayout:
    """Go on at the exact sample, as loud as ever."""

    epoch: Epoch


@dataclasses.dataclass(frozen=True, slots=True)
class CancelTts:
    """Fall silent, drop the buffer."""

    epoch: Epoch
    last_valid_sample: SampleIndex
    reason: CancelReason


@dataclasses.dataclass(frozen=True, slots=True)
class Latencies:
    """Where the time of one turn went, in ms; None where the thing did not happen."""

    endpointing_ms: int | None = None
    first_token_ms: int | None = None
    first_audio_ms: int | None = None
    first_heard_ms: int | None = None
    onset_to_pause_ms: int | None = None
    onset_to_cancel_ms: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class TurnCompleted:
    """One exchange is over."""

    epoch: Epoch
    user_text: str
    assistant_text: str
    heard_text: str
    heard_source: str
    """How the heard text was found: "all", "words" (the voice timed them), "durations" (it planned them) or "proportional"."""
    outcome: Outcome
    latencies: Latencies


@dataclasses.dataclass(frozen=True, slots=True)
class GoAway:
    """The process is going to stop."""

    wait_ms: int
    """How long a live turn may go on."""
    resume_token: str


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCalled:
    """Carry this out, and answer."""

    epoch: Epoch
    call_id: str
    name: str
    arguments: str
    """A JSON object, as text."""
    wait_ms: int
    """How long the answer is waited for."""


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCallCancelled:
    """Nobody waits for this call any more."""

    epoch: Epoch
    call_id: str
    is_late: bool
    """It took too long; otherwise the reply is over."""


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Something failed; the session lives on."""

    backend: str
    """Empty: the client's fault."""
    message: str
    remedy: str
    epoch: Epoch


Outbound = (
    SessionReady
    | StateChanged
    | Transcript
    | AssistantText
    | AudioOutput
    | PausePlayout
    | DuckPlayout
    | ResumePlayout
    | CancelTts
    | TurnCompleted
    | GoAway
    | ToolCalled
    | ToolCallCancelled
    | Failure
)

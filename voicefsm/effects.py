"""Orders: what the runtime has to do, in the imperative. The only things the core can say.

Rules:

- `machine.step` returns orders in the order they must be carried out, and all of them before the next fact.
- Carrying an order out never blocks and never fails the step: what goes wrong comes back as a fact.
- Deadlines are not orders. They are data in the context; the runtime arms one timer for the earliest.
"""

from __future__ import annotations

import dataclasses
import enum

from voicefsm.events import ToolCall, Word
from voicefsm.values import Backend, CancelReason, EndReason, Epoch


class Outcome(enum.StrEnum):
    """How an exchange ended."""

    COMPLETED = "completed"
    """The reply was heard to its end."""
    INTERRUPTED = "interrupted"
    """The reply was cut."""
    FAILED = "failed"
    """A backend failed before the reply was heard to its end."""
    RETRACTED = "retracted"
    """Nobody heard the reply, and the user went on: the turn was not over."""


@dataclasses.dataclass(frozen=True, slots=True)
class Effect:
    """Anything the runtime has to do."""


# --- ears --------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class OpenRecognition(Effect):
    """Open the ASR stream and keep it open."""


@dataclasses.dataclass(frozen=True, slots=True)
class CloseRecognition(Effect):
    """Close the ASR stream."""


@dataclasses.dataclass(frozen=True, slots=True)
class FinalizeUtterance(Effect):
    """Ask the recogniser to finalise what it has heard, and to stay open."""


@dataclasses.dataclass(frozen=True, slots=True)
class SendTranscript(Effect):
    """Show the client what the user is heard to say."""

    text: str
    is_final: bool
    stability: float = 0.0
    words: tuple[Word, ...] = ()


# --- a turn ------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class StartGeneration(Effect):
    """Put the user's words into the history and let the model answer."""

    epoch: Epoch
    """The new reply."""
    user_text: str
    """The whole user turn."""


@dataclasses.dataclass(frozen=True, slots=True)
class RetryGeneration(Effect):
    """Ask the model again for the live reply. It has failed, and written nothing of it."""

    epoch: Epoch


@dataclasses.dataclass(frozen=True, slots=True)
class CancelGeneration(Effect):
    """Stop the model. Harmless when it has finished."""

    epoch: Epoch


@dataclasses.dataclass(frozen=True, slots=True)
class CallTools(Effect):
    """Put the model's calls into the history, and have the client carry out those that have no problem."""

    epoch: Epoch
    calls: tuple[ToolCall, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class KeepToolResult(Effect):
    """Put what came of a call into the history."""

    epoch: Epoch
    call_id: str
    text: str
    """The output, or what is wrong, as the model reads it."""


@dataclasses.dataclass(frozen=True, slots=True)
class CancelTools(Effect):
    """Tell the client that nobody waits for these calls any more."""

    epoch: Epoch
    call_ids: tuple[str, ...]
    is_late: bool = False
    """They took too long; otherwise the reply is over."""


@dataclasses.dataclass(frozen=True, slots=True)
class ContinueGeneration(Effect):
    """Let the model go on with the live reply: the history holds what it asked for."""

    epoch: Epoch
    may_call: bool
    """Whether it may ask for tools again."""


@dataclasses.dataclass(frozen=True, slots=True)
class RetractUserTurn(Effect):
    """Take the user's last words out of the history again: the turn was not over after all."""

    epoch: Epoch
    """The reply that nobody heard."""


@dataclasses.dataclass(frozen=True, slots=True)
class SpeakText(Effect):
    """Have one sentence synthesised, and show it to the client."""

    epoch: Epoch
    index: int
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class FinishSpeech(Effect):
    """No more text will come for this reply."""

    epoch: Epoch


@dataclasses.dataclass(frozen=True, slots=True)
class RetrySpeech(Effect):
    """Have all text of the live reply synthesised once more. The voice has failed, and spoken nothing of it."""

    epoch: Epoch


@dataclasses.dataclass(frozen=True, slots=True)
class SoundEarcon(Effect):
    """Give the voice up: after what it has spoken comes a short tone, and no more speech.

    Text goes on to the client until `FinishSpeech`, which ends the reply.
    """

    epoch: Epoch


@dataclasses.dataclass(frozen=True, slots=True)
class HoldPlayout(Effect):
    """Send no audio of this reply yet: the user may be speaking. The client hears nothing of it so far."""

    epoch: Epoch


@dataclasses.dataclass(frozen=True, slots=True)
class ReleasePlayout(Effect):
    """Send audio of this reply after all."""

    epoch: Epoch


@dataclasses.dataclass(frozen=True, slots=True)
class PausePlayout(Effect):
    """Silence the client at once and keep everything."""

    epoch: Epoch


@dataclasses.dataclass(frozen=True, slots=True)
class DuckPlayout(Effect):
    """Let the client go on more quietly."""

    epoch: Epoch
    duck_db: int
    """By how much."""


@dataclasses.dataclass(frozen=True, slots=True)
class ResumePlayout(Effect):
    """Let the client go on at the exact sample, as loud as ever."""

    epoch: Epoch
    why: str
    """Why the interruption was rejected; for the journal."""


@dataclasses.dataclass(frozen=True, slots=True)
class CancelTts(Effect):
    """Drop what the client has not rendered, silence it at once, and stop the TTS server.

    The client is told only if a sample of the reply has left: otherwise there is nothing to silence.
    """

    epoch: Epoch
    reason: CancelReason
    why: str = ""
    """Why a barge-in was confirmed; for the journal."""


@dataclasses.dataclass(frozen=True, slots=True)
class CompleteTurn(Effect):
    """Put exactly what was heard of the reply into the history, and tell the client how the exchange went."""

    epoch: Epoch
    outcome: Outcome


# --- the session -------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class ReportFailure(Effect):
    """Tell the client that something failed. The session lives on."""

    backend: Backend | None
    """None: the client's fault."""
    epoch: Epoch
    message: str
    remedy: str


@dataclasses.dataclass(frozen=True, slots=True)
class EndSession(Effect):
    """Close everything and the call."""

    reason: EndReason
    message: str = ""


EFFECTS: tuple[type[Effect], ...] = (
    OpenRecognition,
    CloseRecognition,
    FinalizeUtterance,
    SendTranscript,
    StartGeneration,
    RetryGeneration,
    CancelGeneration,
    CallTools,
    KeepToolResult,
    CancelTools,
    ContinueGeneration,
    RetractUserTurn,
    SpeakText,
    FinishSpeech,
    RetrySpeech,
    SoundEarcon,
    HoldPlayout,
    ReleasePlayout,
    PausePlayout,
    DuckPlayout,
    ResumePlayout,
    CancelTts,
    CompleteTurn,
    ReportFailure,
    EndSession,
)
"""Every kind of order. A test proves that none is missing."""

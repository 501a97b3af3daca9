"""Facts: what happened, in the past tense. The only things the core can be told.

Rules:

- A fact is frozen, and carries the moment it happened (`at_ms`, on the *now* clock) so that the core needs no clock.
- A fact about a reply carries that reply's `epoch`. `machine.step` drops it when the reply is over.
- Audio is never a fact. Frames stay on the data plane; their edges come here.
- What crosses a wire twice must be harmless twice: a repeated fact changes nothing the first one did not.
"""

from __future__ import annotations

import dataclasses
import enum

from voicefsm.values import NO_EPOCH, Backend, Epoch


class Timer(enum.IntEnum):
    """The named deadlines of a session. The context holds at most one of each."""

    WORDS = 0
    """LISTENING must yield words, or the floor falls back to nobody (`words_ms_max`)."""
    END_OF_TURN = 1
    """Silence long enough for the user's turn to be over (`silence_ms`)."""
    FINAL = 2
    """The recogniser must finalise what it was asked to finalise (`final_ms_max`)."""
    UTTERANCE = 3
    """The longest utterance before it is taken as a turn (`utterance_ms_max`)."""
    FIRST_SENTENCE = 4
    """The model must have produced something to say (`first_sentence_ms_max`)."""
    FIRST_HEARD = 5
    """The client must hear the reply (`first_heard_ms_max`)."""
    PLAYOUT = 6
    """The client's playout must move on (`playout_stall_ms_max`)."""
    DECISION = 7
    """An interruption must be confirmed or rejected (`decision_ms_max`)."""
    IDLE = 8
    """The longest time nobody says anything (`idle_ms_max`)."""
    AGE = 9
    """The longest session (`session_ms_max`)."""
    REOPEN = 10
    """When to try the recogniser again (`asr_reopen_ms_min`, then doubled)."""
    VERDICT = 11
    """Playout paused for speech has to resume, unless the speech goes on (`verdict_ms_max`)."""
    WORDLESS = 12
    """The recogniser has finalised all it heard, and hears nothing more in what is taken for speech (`wordless_ms_max`)."""
    LULL = 13
    """Speech over our voice has paused for a moment: its words are wanted before the verdict (`barge_in_lull_ms`)."""
    RETRY_MODEL = 14
    """When to ask the model again for a reply of which it has written nothing (`reply_retry_ms_min`, then doubled)."""
    RETRY_VOICE = 15
    """When to ask the voice again for a reply of which it has spoken nothing (`reply_retry_ms_min`, then doubled)."""
    TOOLS = 16
    """The client must have answered the calls of tools (`tool_ms_max`)."""
    FILLER = 17
    """When the user is told that a tool takes its time (`filler_ms`)."""


UNKNOWN_DB = -96
"""A level that was not measured, or silence: the least that 16 bits can tell."""
UNKNOWN_SWING_DB = 96
"""A swing that was not measured."""


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """What the senses know about near-end speech over our voice. Integers only, so that decisions replay exactly."""

    voiced_ms: int = 0
    """Length of voiced near-end frames since the onset."""
    near_db: int = UNKNOWN_DB
    """Mean level of the voiced frames of this stretch after echo cancellation, dB full scale."""
    far_db: int = UNKNOWN_DB
    """Level of the reference signal at the microphone's moment, dB full scale; -96 is silence."""
    erle_db: int = 0
    """Echo return loss enhancement of the canceller, smoothed; 0 when unknown."""
    echo_db: int = UNKNOWN_DB
    """Level of the residual echo to be expected at this moment, dB full scale; -96 when none can be audible."""
    gate_pct: int = 100
    """Mean probability of near-end speech, by the gate, over the voiced frames of this stretch; 100 when no far end is audible."""
    swing_db: int = UNKNOWN_SWING_DB
    """How far the loudest voiced frame of this stretch rises above `near_db`. Speech swings; a horn, a hum, a siren hardly do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Word:
    """A recognised word and its place in the near-end stream."""

    text: str
    start_ms: int
    """Media time of its first sample, in ms since the session's first near-end sample."""
    end_ms: int
    """Media time one past its last sample."""


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model wants to be called."""

    id: str
    """Ours, not the model's; unique in the session."""
    name: str
    """Of the tool."""
    arguments: str
    """A JSON object, as text."""
    problem: str = ""
    """Why it cannot be called, as the model is told; empty when it can."""


@dataclasses.dataclass(frozen=True, slots=True)
class Fact:
    """Anything that happened."""

    at_ms: int
    """When, on the monotonic clock of the session."""


@dataclasses.dataclass(frozen=True, slots=True)
class ReplyFact(Fact):
    """Anything that happened to one reply. Stale, and dropped, once that reply is over."""

    epoch: Epoch
    """The reply."""


# --- the session -------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class SessionOpened(Fact):
    """The client's configuration was accepted. A conversation that began in another session may go on in this one."""

    last_epoch: Epoch = NO_EPOCH
    """The last number given out there; they only grow, also across sessions."""
    question: str = ""
    """The turn of the user that was being answered there; empty when none was."""
    is_begun: bool = False
    """Whether some of that answer was heard."""


@dataclasses.dataclass(frozen=True, slots=True)
class ClientClosed(Fact):
    """The client hung up, half-closed, or vanished."""


@dataclasses.dataclass(frozen=True, slots=True)
class DrainRequested(Fact):
    """The process wants to stop, and has time: a session in which no turn is live may end. It is told again when one was."""


@dataclasses.dataclass(frozen=True, slots=True)
class ShutdownRequested(Fact):
    """The process stops."""


@dataclasses.dataclass(frozen=True, slots=True)
class TimerFired(Fact):
    """A deadline passed."""

    timer: Timer
    """Which one."""


# --- the near end ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class SpeechStarted(Fact):
    """The voice detector saw an onset."""

    onset_ms: int
    """When the first voiced frame began, on the same clock as `at_ms`."""
    evidence: Evidence = Evidence()
    """What is known at the onset."""


@dataclasses.dataclass(frozen=True, slots=True)
class EvidenceChanged(Fact):
    """Near-end speech goes on and more is known about it. Only while a candidate is open."""

    evidence: Evidence
    """What is known now."""


@dataclasses.dataclass(frozen=True, slots=True)
class SpeechEnded(Fact):
    """The voice detector's hangover ran out."""

    last_voiced_ms: int
    """When the last voiced frame ended, on the same clock as `at_ms`."""
    evidence: Evidence = Evidence()
    """What is known about the whole stretch of speech."""


@dataclasses.dataclass(frozen=True, slots=True)
class PartialHeard(Fact):
    """The recogniser has a hypothesis for the utterance in progress."""

    text: str
    """The hypothesis, stripped."""
    stability: float = 0.0
    """0 to 1; 1.0 is the recogniser's first-pass end of utterance."""


@dataclasses.dataclass(frozen=True, slots=True)
class FinalHeard(Fact):
    """The recogniser has finalised an utterance. The text may be empty."""

    text: str
    """The utterance, stripped."""
    words: tuple[Word, ...] = ()
    """Its words with times; empty when the recogniser does not time words."""


@dataclasses.dataclass(frozen=True, slots=True)
class SpeechFinished(Fact):
    """The client released its talk button (`EndOfSpeech`)."""


@dataclasses.dataclass(frozen=True, slots=True)
class TextReceived(Fact):
    """The user typed something."""

    text: str
    """What, stripped and not empty."""


@dataclasses.dataclass(frozen=True, slots=True)
class ClientCancelled(Fact):
    """The user pressed stop (`CancelTts` from the client)."""

    epoch: Epoch
    """The reply it wants stopped; `NO_EPOCH` means whichever is playing."""


# --- the recogniser ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class RecognitionOpened(Fact):
    """The ASR stream accepted its configuration."""


@dataclasses.dataclass(frozen=True, slots=True)
class RecognitionFailed(Fact):
    """The ASR stream ended although nobody asked it to."""

    message: str
    """What happened, and to whom."""
    retryable: bool
    """False when opening it again cannot help."""


# --- the reply ---------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class TokenArrived(ReplyFact):
    """The model's first token. Later ones stay on the data plane."""


@dataclasses.dataclass(frozen=True, slots=True)
class SentenceReady(ReplyFact):
    """The model wrote one speakable sentence."""

    index: int
    """Its place in the reply, from 0."""
    text: str
    """Speech-safe text, not empty."""


@dataclasses.dataclass(frozen=True, slots=True)
class GenerationFinished(ReplyFact):
    """The model wrote its last token."""


@dataclasses.dataclass(frozen=True, slots=True)
class ToolsCalled(ReplyFact):
    """The model has stopped writing: it wants tools to be called first."""

    calls: tuple[ToolCall, ...]
    """At least one."""


@dataclasses.dataclass(frozen=True, slots=True)
class ToolAnswered(ReplyFact):
    """The client has carried out a call, or could not."""

    call_id: str
    """`ToolCall.id`, if the client made no mistake."""
    output: str = ""
    """What came of it, for the model."""
    error: str = ""
    """Why nothing came of it; empty when something did."""


@dataclasses.dataclass(frozen=True, slots=True)
class FirstAudio(ReplyFact):
    """The TTS server delivered the first samples."""


@dataclasses.dataclass(frozen=True, slots=True)
class PlayoutStarted(ReplyFact):
    """The client's loudspeaker rendered the first sample of the reply."""


@dataclasses.dataclass(frozen=True, slots=True)
class PlayoutAdvanced(ReplyFact):
    """The client's playout moved on, or stands still."""

    heard_ms: int
    """Length of the reply rendered so far."""
    left_ms: int
    """Length of the reply that is synthesised and not rendered yet."""
    is_made: bool = False
    """Nothing will be added to `left_ms`: the voice has spoken all there is."""


@dataclasses.dataclass(frozen=True, slots=True)
class PlayoutFinished(ReplyFact):
    """The client rendered the last sample of the reply."""


@dataclasses.dataclass(frozen=True, slots=True)
class BackendFailed(ReplyFact):
    """The model or the voice gave up on this reply."""

    backend: Backend
    """LLM or TTS."""
    message: str
    """What happened, and to whom."""
    remedy: str = ""
    """What to do about it."""
    retryable: bool = True
    """False when asking again cannot help."""
    retry_after_ms: int = 0
    """How long it wants to be left alone; 0 when it did not say."""


# --- raised inside a step, by one machine for the others ----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class RecognitionLost(Fact):
    """The recognition machine has given up on the ASR stream."""

    message: str
    """What happened last, and to whom."""


@dataclasses.dataclass(frozen=True, slots=True)
class GenerationResumed(ReplyFact):
    """The generation machine lets the model go on: it has what it asked for, as far as that can be had."""


@dataclasses.dataclass(frozen=True, slots=True)
class ReplyStarted(ReplyFact):
    """The turn machine has begun a reply."""


@dataclasses.dataclass(frozen=True, slots=True)
class ReplyEnded(Fact):
    """The turn machine has ended the live reply."""

    epoch: Epoch
    """Which one; another may live already."""


@dataclasses.dataclass(frozen=True, slots=True)
class SessionEnded(Fact):
    """The turn machine has closed the session."""


FACTS: tuple[type[Fact], ...] = (
    SessionOpened,
    ClientClosed,
    DrainRequested,
    ShutdownRequested,
    TimerFired,
    SpeechStarted,
    EvidenceChanged,
    SpeechEnded,
    PartialHeard,
    FinalHeard,
    SpeechFinished,
    TextReceived,
    ClientCancelled,
    RecognitionOpened,
    RecognitionFailed,
    TokenArrived,
    SentenceReady,
    GenerationFinished,
    ToolsCalled,
    ToolAnswered,
    FirstAudio,
    PlayoutStarted,
    PlayoutAdvanced,
    PlayoutFinished,
    BackendFailed,
    RecognitionLost,
    GenerationResumed,
    ReplyStarted,
    ReplyEnded,
    SessionEnded,
)
"""Every kind of fact: the columns of the state table. A test proves that none is missing."""

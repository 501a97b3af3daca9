"""What the runtime needs from the outside world, as protocols. Adapters implement them, one foreign library per file.

Rules for every implementation (tests/contracts holds fakes and real adapters to the same suites):

- Methods that are not `async` never block and never raise; they buffer within a named limit. What overflows it fails the stream.
- Async iterators end normally when the backend finished, raise `BackendError` when it failed, and re-raise cancellation.
- Leaving the `async with` (or `aclose()`) cancels the remote call at once; nothing arrives afterwards.
- Every wait has a timeout of the adapter's own settings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from voicefsm.context import Context, State
from voicefsm.effects import Effect
from voicefsm.errors import VoiceFsmError
from voicefsm.events import Fact, ToolCall, Word
from voicefsm.values import Backend, Epoch

Samples = NDArray[np.int16]
"""Mono PCM, shape (n,)."""


# --- automatic speech recognition --------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class RecognitionRequest:
    """What one session wants from the recogniser. Audio is always 16 kHz PCM16."""

    language_code: str
    silence_ms: int
    """The session's endpointing silence: what the recogniser's own endpointer should wait at most."""
    traceparent: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Hypothesis:
    """Something heard."""

    text: str
    """Stripped of the leading space that continuations carry."""
    is_final: bool
    stability: float = 0.0
    words: tuple[Word, ...] = ()
    """Times are ms since the stream's first sample."""
    audio_ms: int = dataclasses.field(default=0, compare=False)
    """How much of the stream's audio the recogniser had processed when it said this; 0 when it does not tell."""


class RecognitionStream(Protocol):
    """One open ASR stream."""

    def send(self, pcm: bytes, *, at_once: bool = False, is_quiet: bool = False) -> None:
        """Queue 16 kHz PCM16 audio, any even length.

        `at_once`: it must not wait until there is more of it. `is_quiet`: nobody speaks, so it may wait longer than speech.
        """

    async def room(self) -> None:
        """Wait until most of what was queued has left: for audio that is sent faster than it was spoken. Returns when it failed."""

    def finalize(self) -> None:
        """Ask for a final of what was heard so far; the stream stays open."""

    def finish(self) -> None:
        """No more audio: what is left to say comes, and then the end."""

    def __aiter__(self) -> AsyncIterator[Hypothesis]:
        """Hypotheses as they come. Ends when the server closed the stream with OK."""


class Recognizer(Protocol):
    """An ASR server."""

    async def languages(self) -> frozenset[str]:
        """BCP-47 tags it recognises in streams; empty when it does not say. Raises `BackendError` when it does not answer."""

    def open(self, request: RecognitionRequest) -> AbstractAsyncContextManager[RecognitionStream]:
        """Open a stream. Entering raises `BackendError` when the server is not there or refuses."""


# --- language model ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Tool:
    """Something the model may ask to be done, by the client."""

    name: str
    description: str
    parameters: str
    """What it takes: a JSON schema of an object, as text."""


@dataclasses.dataclass(frozen=True, slots=True)
class WantedCall:
    """The model wants a tool to be called. Nothing in it has been checked."""

    name: str
    arguments: str
    """What should be the text of a JSON object."""


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One entry of the conversation as the model sees it."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    calls: tuple[ToolCall, ...] = ()
    """Of the assistant; each is answered by a message of the role "tool"."""
    call_id: str = ""
    """Of the role "tool": the call that it answers."""


@dataclasses.dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One reply to be written."""

    messages: Sequence[Message]
    temperature: float
    tokens_max: int
    model: str = ""
    """Empty: the adapter's own."""
    traceparent: str = ""
    tools: tuple[Tool, ...] = ()
    """What the model may ask for."""
    may_call: bool = True
    """False: the tools are declared, since earlier messages name them, and the model has to answer without them."""


class LanguageModel(Protocol):
    """An OpenAI-compatible server."""

    def stream(self, request: GenerationRequest) -> AsyncGenerator[str | WantedCall]:
        """Pieces of the answer's text, never reasoning, never empty; then the calls it ends with. `aclose()` aborts the generation.

        Calls come only if the request has tools and allows calls.
        """


# --- text to speech ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class SynthesisRequest:
    """How one reply is to sound."""

    language_code: str
    voice_name: str
    """Empty: the server's own choice."""
    sample_rate_hz: int
    traceparent: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word of a segment and when it is over."""

    text: str
    """As it stands in the segment."""
    end_ms: int
    """From the segment's first sample."""


@dataclasses.dataclass(frozen=True, slots=True)
class SpokenAudio:
    """A piece of the voice."""

    index: int
    """The segment (`SpeakText.index`) it belongs to."""
    samples: Samples
    """At the requested rate; may be empty when only words are new. Not to be written to."""
    words: tuple[SpokenWord, ...] = ()
    """Word timings that became known with this piece; empty when the server has none."""
    is_predicted: bool = False
    """Whether these timings are what the server planned, not what it measured."""


class SynthesisStream(Protocol):
    """The voice of one reply."""

    def speak(self, index: int, text: str) -> None:
        """Queue one segment. Segments are spoken in order."""

    def finish(self) -> None:
        """No more segments."""

    def leave(self) -> None:
        """Stop the server now: nothing is wanted any more. Harmless twice, and at the end of the context it comes by itself."""

    def __aiter__(self) -> AsyncIterator[SpokenAudio]:
        """Audio in order; segment k+1 begins after the last piece of segment k. Ends after `finish()` and the last piece."""


class Synthesizer(Protocol):
    """A TTS server."""

    async def voices(self) -> Mapping[str, tuple[str, ...]]:
        """Voice names by BCP-47 tag; empty when it does not say. Raises `BackendError` when it does not answer."""

    def open(self, request: SynthesisRequest) -> AbstractAsyncContextManager[SynthesisStream]:
        """Begin one reply. Costs nothing until the first `speak`."""


# --- near end ----------------------------------------------------------------------------------------------------------------


class EchoCanceller(Protocol):
    """Takes our own voice out of the near end. 16 kHz, 20 ms frames; synchronous, bounded, one instance per session."""

    name: str
    """What `SessionReady.echo_canceller` and `doctor` call it."""

    def process(self, near: Samples, far: Samples) -> Samples:
        """`near` and `far` have shape (320,), `far` being what the loudspeaker rendered at that moment. Returns shape (320,)."""

    def close(self) -> None:
        """Free native memory. Harmless twice."""


@runtime_checkable
class GatedCanceller(EchoCanceller, Protocol):
    """One that also says how likely near-end speech is in what it has left."""

    @property
    def speech(self) -> float:
        """At the end of the last frame: 0 to 1."""

    @property
    def powers(self) -> tuple[float, float, float, float]:
        """Mean squares of the last frame: near end, what is left of it, what was taken away, reference."""

    @property
    def fit(self) -> tuple[float, float]:
        """Of the last frame: mean square of the echo that was expected, and mean of its product with the near end."""

    def moved(self) -> None:
        """The echo's delay had jumped, and the reference has followed."""

    def forget(self) -> None:
        """The reference had never been in its place: what was learnt of the echo path is wrong."""

    def clear(self) -> None:
        """The far end was never heard on this line: nothing to cancel and nothing to learn, until `forget`."""

    def missed(self, far: Samples) -> None:
        """The reference of the frames before was this, shape (n * 320,), and not silence."""


class VoiceDetector(Protocol):
    """Is there speech in a 20 ms frame at 16 kHz?"""

    def is_speech(self, frame: Samples) -> bool:
        """`frame` has shape (320,)."""


# --- around a session --------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """The *now* clock."""

    def now_ms(self) -> int:
        """Monotonic milliseconds."""


class Journal(Protocol):
    """The replayable record of one session."""

    def write(self, kind: str, at_ms: int, body: Mapping[str, Any]) -> None:
        """Append one record; never blocks, never raises."""

    def close(self) -> None:
        """Flush. Harmless twice."""


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One step of the machine, as observers see it."""

    session_id: str
    fact: Fact
    before: State
    after: State
    effects: tuple[Effect, ...]
    epoch: Epoch


@dataclasses.dataclass(frozen=True, slots=True)
class Opening:
    """A session, as it begins."""

    language_code: str
    model: str
    """Empty when the client named none."""
    traceparent: str
    """The client's trace context (W3C); empty when it sent none."""
    identity: str = "anonymous"
    """Who holds it."""
    is_known: bool = False
    """Whether the operator has named this identity: then it may be a label of a metric."""
    resumes: str = ""
    """The session whose conversation goes on in this one; empty: none."""


Traceparent = Callable[[str, Epoch, Backend, int], str]
"""The trace context (W3C) of a call to a backend: asked just before, with session, reply (`NO_EPOCH` for none) and moment in ms."""


def untraced(session_id: str, epoch: Epoch, backend: Backend, at_ms: int) -> str:  # noqa: ARG001 (it is a `Traceparent`)
    """Nobody traces."""
    return ""


@dataclasses.dataclass(frozen=True, slots=True)
class Vitals:
    """How a session is at a moment. What is counted is counted since it began."""

    state: State
    inbox_facts: int
    """Waiting for its machine."""
    outbox_messages: int
    """Waiting for its client."""
    ears_backlog_ms: int
    """Audio waiting for an ASR stream."""
    ears_lost_ms: int
    """Audio that waited for too long."""
    stale_dropped: int
    """Facts that came too late."""
    underruns: int
    """Times the client ran out of audio within a reply."""
    pieces: int
    """What the model wrote, about a token each."""
    erle_db: int
    """What the echo canceller achieves; 0 while unknown."""
    echo_ms: float | None
    """By how much the echo comes after its reference; None while it was not heard."""


@dataclasses.dataclass(frozen=True, slots=True)
class Silence:
    """How a reply that was cut fell silent, on the clock of the session."""

    epoch: Epoch
    written_ms: int
    """When CANCEL_TTS was handed to gRPC."""
    silent_ms: int
    """When the client last said that its loudspeaker had moved on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """A session was written into the store."""

    outcome: Literal["saved", "failed", "taken over"]
    took_ms: float
    problem: str = ""
    """What the store said when it failed."""


class Observer(Protocol):
    """Watches, never acts: logs, metrics, spans and the journal subscribe."""

    def session_opened(self, session_id: str, opening: Opening) -> None:
        """A session begins."""

    def stepped(self, step: Step, context: Context) -> None:
        """The machine took one step."""

    def measured(self, session_id: str, vitals: Vitals) -> None:
        """How the session is after an exchange, and at its end."""

    def fell_silent(self, session_id: str, silence: Silence) -> None:
        """A client that reports its playout has rendered the last sample of a reply that was cut."""

    def kept(self, session_id: str, kept: Kept) -> None:
        """A session was kept, or could not be; or another goes on with it."""

    def session_closed(self, session_id: str, reason: str, message: str) -> None:
        """A session is over.

        `reason` is an `EndReason`, "cancelled" (the client vanished), "client_error" (it broke the protocol) or "failed" (a
        defect); `message` says what happened, where there is more to say.
        """

    def refused(self, error: VoiceFsmError, identity: str = "") -> None:
        """A call was turned away before it became a session; `identity` is whose it was, once that is known."""

    def crashed(self, session_id: str, error: Exception) -> None:
        """A defect of ours ended a call; `session_id` is what its client was told to report."""

    def reloaded(self, what: str, problem: str) -> None:
        """A file that we follow has changed: it counts from now on; or it has a `problem`, and what it said before still counts."""


# --- what outlives a session -------------------------------------------------------------------------------------------------


class SessionStore(Protocol):
    """Keeps conversations, each under a token that only its client has. Methods raise `StoreError` when it cannot be reached."""

    async def find(self, token: str) -> bytes | None:
        """What was saved last; None when there is nothing, or it has expired."""

    async def claim(self, token: str) -> tuple[int, bytes] | None:
        """Take it over: the number of the new owner, greater than any before, and what was saved last. Atomic."""

    async def save(self, token: str, owner: int, data: bytes, *, keep_ms: int) -> bool:
        """Keep this for so long. False, and nothing is changed, when there is a newer owner. Atomic."""

    async def forget(self, token: str, owner: int) -> None:
        """The conversation is over, and stays so for older owners; nothing is changed when there is a newer one."""

    async def aclose(self) -> None:
        """Close the connections. Harmless twice."""


# --- who calls ---------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """What a caller shows. Nothing in it has been checked but the certificate, which TLS has."""

    key: str = ""
    """An API key."""
    token: str = ""
    """A bearer token: a JWT, or an API key."""
    certificate_names: tuple[str, ...] = ()
    """Whom its certificate names, the most telling first; empty without mTLS."""


@dataclasses.dataclass(frozen=True, slots=True)
class Allowance:
    """What an identity may use at most."""

    sessions_max: int
    """At once, in this process."""
    sessions_per_minute_max: int
    """Begun in a minute, in this process."""
    session_ms_max: int
    """The longest."""


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """Who calls."""

    name: str
    allowance: Allowance
    is_known: bool = False
    """The operator has named it: there are only so many of these."""
    may_administer: bool = False


class Authenticator(Protocol):
    """Knows callers by what they show."""

    async def identify(self, credentials: Credentials) -> Identity | None:
        """Who this is; None when it shows nothing of the kind that this one knows.

        Raises:
            NotIdentified: what it shows is wrong, or over.
            NotPermitted: it is known, and shut out.

        """

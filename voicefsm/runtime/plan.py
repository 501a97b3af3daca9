"""What one session is to be: the client's wishes, checked, over the server's settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from voicefsm.context import TurnSettings
from voicefsm.ports import EchoCanceller, LanguageModel, Recognizer, Synthesizer, Tool, VoiceDetector
from voicefsm.runtime.hearing import HearingSettings
from voicefsm.runtime.messages import AudioFormat
from voicefsm.runtime.playout import PlayoutSettings
from voicefsm.vad.settings import VadSettings
from voicefsm.values import setting

DEFAULT_SYSTEM_PROMPT = (
    "You are a helpful voice assistant. Your words are spoken aloud and heard, not read: answer in short, plain sentences, "
    "without lists, headings, markup, emoji or code. Say numbers and symbols the way a person would say them. "
    "Keep to two or three sentences unless you are asked for more. The user may interrupt you; then go on from what they say."
)

HINDI_SYSTEM_PROMPT = (
    "आप एक मददगार आवाज़ सहायक हैं। आपके शब्द बोले और सुने जाते हैं, पढ़े नहीं जाते: हिंदी में, छोटे और सरल वाक्यों में उत्तर दें, "
    "बिना सूची, शीर्षक, मार्कअप, इमोजी या कोड के। संख्याएँ और चिह्न वैसे कहें जैसे कोई व्यक्ति कहता है। जब तक अधिक न पूछा जाए, "
    "दो या तीन वाक्यों से अधिक न बोलें। उपयोगकर्ता आपको बीच में टोक सकता है; तब उसकी बात से आगे बढ़ें।"
)
_PROMPTS = {"hi": HINDI_SYSTEM_PROMPT}


def prompt_in(language_code: str, prompt: str) -> str:
    """The default prompt in the session's language, where we have it: a model answers in the language it is spoken to."""
    language = language_code.partition("-")[0].lower()
    return _PROMPTS.get(language, prompt) if prompt == DEFAULT_SYSTEM_PROMPT else prompt


@dataclasses.dataclass(frozen=True, slots=True)
class SessionSettings:
    """Limits and defaults of every session. Clients may override what the protocol lets them, within the same bounds."""

    language_code: str = setting("en-US", unit="", doc="Language of sessions that name none, a BCP-47 tag.")
    voice_name: str = setting("", unit="", doc="Voice of sessions that name none; empty: the TTS server chooses.")
    system_prompt: str = setting(
        DEFAULT_SYSTEM_PROMPT, unit="", doc="System prompt of sessions that bring none. Hindi sessions have the default in Hindi."
    )
    temperature: float = setting(0.6, unit="", ge=0.0, le=2.0, doc="Sampling temperature of the model.")
    tokens_max: int = setting(512, unit="tokens", ge=16, le=8192, doc="The longest answer of the model.")
    reply_chars_max: int = setting(
        50000,
        unit="characters",
        ge=1000,
        le=1_000_000,
        doc="The longest answer that is taken from a model that writes on and on; what follows is cut off.",
    )
    history_messages_max: int = setting(
        200, unit="messages", ge=4, le=10000, doc="How many messages of the conversation the model sees; the oldest are dropped."
    )
    history_chars_max: int = setting(
        48000,
        unit="characters",
        ge=1000,
        le=10_000_000,
        doc="How much of the conversation the model sees; the oldest is dropped. English has about four characters to a token.",
    )
    text_chars_max: int = setting(4000, unit="characters", ge=10, le=100000, doc="The longest typed input.")
    texts_per_minute_max: int = setting(
        60, unit="messages", ge=1, le=10000, doc="How many typed inputs are taken in a minute: each asks the model. More wait."
    )
    texts_at_once_max: int = setting(
        3, unit="messages", ge=1, le=1000, doc="How many of them may come at once, without waiting for their share of the minute."
    )
    texts_waiting_max: int = setting(
        20, unit="messages", ge=1, le=1000, doc="How many of them may wait; a client that sends more is cut off."
    )
    prompt_chars_max: int = setting(8000, unit="characters", ge=10, le=1000000, doc="The longest system prompt of a client.")
    tools_max: int = setting(32, unit="tools", ge=0, le=1000, doc="How many tools a client may declare; 0: none.")
    tool_chars_max: int = setting(
        8000, unit="characters", ge=100, le=1000000, doc="The longest declaration of a tool: its name, description and parameters."
    )
    tools_chars_max: int = setting(
        32000,
        unit="characters",
        ge=100,
        le=10000000,
        doc="The longest declaration of all tools of a session: the model reads them first.",
    )
    tool_output_chars_max: int = setting(
        8000,
        unit="characters",
        ge=100,
        le=1000000,
        doc="The longest output of a tool; of a longer one the model is told that it failed.",
    )
    audio_bytes_max: int = setting(
        19200, unit="bytes", ge=160, le=65536, doc="The largest piece of microphone audio; 200 ms at 48 kHz are 19200."
    )
    messages_per_s_max: int = setting(
        250,
        unit="messages",
        ge=20,
        le=100000,
        doc="How many messages a client may send in a second, whatever is in them; bursts of 4 s.",
    )
    inbox_facts_max: int = setting(1000, unit="facts", ge=10, le=100000, doc="How many facts may wait for a session's machine.")
    inbox_bytes_max: int = setting(
        1_048_576, unit="bytes", ge=65_536, le=1_073_741_824, doc="How large the facts that wait may be together."
    )
    outbox_messages_max: int = setting(
        2000, unit="messages", ge=10, le=100000, doc="How many messages may wait for a client that does not read."
    )
    outbox_bytes_max: int = setting(
        4_194_304, unit="bytes", ge=262_144, le=1_073_741_824, doc="How large these messages may be together."
    )
    outbox_ms_max: int = setting(
        10000,
        unit="ms",
        ge=500,
        le=600000,
        doc="How long a message may wait for a client that does not read.",
    )
    ears_backlog_ms_max: int = setting(
        30000,
        unit="ms",
        ge=200,
        le=120000,
        doc="How much audio is kept until it is final, for the next ASR stream to hear; then the oldest goes. 32 kB a second.",
    )
    ears_quiet_ms: int = setting(
        2000,
        unit="ms",
        ge=0,
        le=10000,
        doc="How much of it is kept while nobody speaks: the run-up to words that the detector misses.",
    )
    ears_stale_ms: int = setting(
        4000,
        unit="ms",
        ge=500,
        le=60000,
        doc="Speech in which the recogniser hears no word before the stream is replaced; twice as long each time in a row.",
    )
    ears_idle_ms_max: int = setting(
        10000,
        unit="ms",
        ge=1000,
        le=30000,
        doc="How long a muted client may send nothing before the ASR stream gets a little silence to be kept open.",
    )
    ears_rotate_s: int = setting(
        900, unit="s", ge=0, le=86400, doc="Age at which an ASR stream is replaced while it works; 0 is never."
    )
    ears_rotate_wait_ms: int = setting(
        20000,
        unit="ms",
        ge=0,
        le=600000,
        doc="How long that waits for a place between two utterances; then the new stream hears the one in progress again.",
    )
    audio_ahead_ms_max: int = setting(
        3000,
        unit="ms",
        ge=200,
        le=60000,
        doc="How far a client's audio may run ahead of real time before the session is refused more.",
    )
    evidence_ms: int = setting(
        20, unit="ms", ge=20, le=500, doc="How often the barge-in decision is asked again while speech over the assistant goes on."
    )
    leave_ms: int = setting(
        300,
        unit="ms",
        ge=0,
        le=60000,
        doc="When the process is to stop: how long a session in which nobody speaks goes on, for a turn that just begins.",
    )
    playout_step_ms: int = setting(
        100, unit="ms", ge=20, le=1000, doc="How often the machine is told that the client's playout has moved on."
    )


@dataclasses.dataclass(frozen=True, slots=True)
class SessionPlan:
    """One session: the settings it runs with."""

    session: SessionSettings
    turns: TurnSettings
    hearing: HearingSettings
    playout: PlayoutSettings
    input_format: AudioFormat
    output_format: AudioFormat
    language_code: str
    voice_name: str
    system_prompt: str
    temperature: float
    tokens_max: int
    model: str
    """Empty: the adapter's own."""
    client_echo_cancellation: bool
    tools: tuple[Tool, ...] = ()
    """What the model may have the client do."""
    traceparent: str = ""
    """The client's trace context (W3C); empty when it sent none."""
    identity: str = "anonymous"
    """Who holds it."""
    wishes: bytes = b""
    """Its client's configuration as it came, for a session that goes on with this one."""
    is_known: bool = False
    """Whether the operator has named them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Senses:
    """What a session leans on. One of each per process; sessions open streams on them."""

    recognizer: Recognizer
    model: LanguageModel
    synthesizer: Synthesizer
    make_canceller: Callable[[], EchoCanceller]
    make_detector: Callable[[VadSettings], VoiceDetector]
